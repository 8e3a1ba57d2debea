#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "base/unique_fd.h"
#include "launcher/process.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

using RunTest = LauncherTest;

TEST_P(RunTest, RunsTheCommandAndRecordsItsEnd) {
  WriteSpec("echo hello; echo problem >&2; echo saved > $POLYAXON_OUTPUTS_PATH/model");
  const CommandResult run = Launch({"run", "-f", "polyaxonfile.yml"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "Creating an independent experiment.\nExperiment `1` was created\n");
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Logs(1), "hello\nproblem\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/experiments/1/model"), "saved\n");
  EXPECT_EQ(ReadFile(home_ + "/logs/user/demo/experiments/1"), "hello\nproblem\n");
  EXPECT_EQ(Get(1)["runs"][0]["exit_code"], 0);
}

TEST_P(RunTest, StatusesTellTheWholeWay) {
  EXPECT_EQ(Run("true"), 1);
  WaitDone(1);
  std::vector<std::string> states;
  for (const auto& entry : Json({"experiment", "-xp", "1", "statuses"})) {
    states.push_back(entry["status"]);
  }
  EXPECT_EQ(states,
            (std::vector<std::string>{"created", "scheduled", "starting", "running", "succeeded"}));
}

TEST_P(RunTest, ExitCodeAndSignalAreTheReason) {
  Run("exit 3");
  Run("kill -KILL $$");
  EXPECT_EQ(WaitDone(1), "failed");
  EXPECT_EQ(WaitDone(2), "failed");
  EXPECT_EQ(Get(1)["message"], "exit code 3");
  EXPECT_EQ(Get(2)["message"], "killed by signal 9 (SIGKILL)");
}

TEST_P(RunTest, OldAndNewNamesOfVariablesAreBothThere) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 0.5}\nlogging: {level: WARNING}\n"
        "run: {cmd: 'env | grep -E \"^(POLYAXON|PX)_\"; echo lr={{ lr }}'}\n");
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 0.5}\n"
        "run: {cmd: 'env | grep -E \"^(POLYAXON|PX)_\"; echo lr={{ lr }}'}\n");
  EXPECT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  WaitDone(1);
  const std::string log = Logs(1);
  const std::string outputs = home_ + "/outputs/user/demo/experiments/1";
  for (const std::string& line :
       {"POLYAXON_OUTPUTS_PATH=" + outputs, "POLYAXON_RUN_OUTPUTS_PATH=" + outputs,
        "POLYAXON_LOGS_PATH=" + home_ + "/logs/user/demo/experiments/1",
        std::string("POLYAXON_DECLARATIONS={\"lr\":0.5}"),
        std::string("POLYAXON_PARAMS={\"lr\":0.5}"), std::string("POLYAXON_LOG_LEVEL=INFO"),
        std::string("POLYAXON_TASK_INFO={\"type\":\"master\",\"index\":0}"),
        std::string("\"experiment_name\":\"user.demo.1\""), std::string("lr=0.5")}) {
    EXPECT_NE(log.find(line), std::string::npos) << line << " is not in\n" << log;
  }
}

TEST_P(RunTest, RunsInAWritableCloneOfTheCode) {
  Write("train.sh", "echo version one; touch made-by-job\n");
  Run("bash train.sh; ls");
  WaitDone(1);
  EXPECT_NE(Logs(1).find("version one"), std::string::npos);
  EXPECT_NE(Logs(1).find("made-by-job"), std::string::npos);
  EXPECT_NE(::access((project_ + "/made-by-job").c_str(), F_OK), 0);
  EXPECT_NE(::access((Json({"experiment", "-xp", "1", "code"})["path"].get<std::string>() +
                      "/made-by-job")
                         .c_str(),
                     F_OK),
            0);
}

TEST_P(RunTest, NumbersAreNeverGivenAgain) {
  Run("true");
  WaitDone(1);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "delete", "-y"}).exit_code, 0);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "get"}).exit_code, 10);
  EXPECT_NE(::access((home_ + "/outputs/user/demo/experiments/1").c_str(), F_OK), 0);
  EXPECT_EQ(Run("true"), 2);
}

TEST_P(RunTest, MetricsComeIntoTheCatalog) {
  Run(R"(echo '{"at": 1.5, "metrics": {"loss": 0.25, "acc": 1}}' >> $PX_METRICS_PATH
         echo garbage >> $PX_METRICS_PATH
         echo '{"metrics": {"loss": 0.125}}' >> $PX_METRICS_PATH)");
  WaitDone(1);
  EXPECT_EQ(Get(1)["last_metrics"], nlohmann::json::parse(R"({"acc": 1.0, "loss": 0.125})"));
  EXPECT_EQ(Json({"experiment", "-xp", "1", "metrics"}).size(), 3U);
}

TEST_P(RunTest, ParametersOverrideDeclarations) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 0.5}\nrun: {cmd: 'echo lr={{ lr }}'}\n");
  EXPECT_EQ(Launch({"run", "-f", "polyaxonfile.yml", "-P", "lr=0.75"}).exit_code, 0);
  WaitDone(1);
  EXPECT_EQ(Logs(1), "lr=0.75\n");
}

TEST_P(RunTest, LogsFollowShowsEveryLineOnce) {
  Run("for i in $(seq 1 2000); do echo line $i; done; touch done; while [ ! -e go ]; do sleep "
      "0.01; done; echo end");
  const auto run_dir = home_ + "/outputs/user/demo/.run/1";
  WaitFor("the lines", [&] { return ::access((run_dir + "/done").c_str(), F_OK) == 0; });
  Write("../go", "");
  std::string expected;
  for (int i = 1; i <= 2000; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(::symlink("/", (run_dir + "/go").c_str()), 0);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "logs", "-f", "--hide_time"}).out,
            expected + "end\n");
}

TEST_P(RunTest, AnUnfinishedCodeSnapshotOfAKilledCommandIsRemoved) {
  Write("train.sh", "echo one\n");
  ASSERT_EQ(Launch({"upload"}).exit_code, 0);
  const std::string code = home_ + "/outputs/user/demo/.code/";
  if (GetParam() == Backend::kMount) {
    ASSERT_EQ(launcher::RunProgram({PX_FS_PROGRAM, "create", code + "7.new"})->exit_code, 0);
  } else {
    std::filesystem::create_directories(code + "7.new");
  }
  // While another command makes a snapshot, nothing is touched: it might be that one's.
  const std::string lock_file = home_ + "/logs/user/demo/.px/code.lock";
  {
    const UniqueFd lock(::open(lock_file.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::flock(lock.get(), LOCK_SH), 0);
    ASSERT_EQ(Launch({"upload"}).exit_code, 0);
    EXPECT_TRUE(std::filesystem::exists(code + "7.new"));
  }
  ASSERT_EQ(Launch({"upload"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(code + "7.new"));
}

PX_LAUNCHER_SUITE(RunTest);

}  // namespace
}  // namespace px::testing
