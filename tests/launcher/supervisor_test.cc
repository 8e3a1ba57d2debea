#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/process.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

class SupervisorTest : public LauncherTest {
 protected:
  // The number that the job wrote into a file of its outputs.
  pid_t PidIn(int64_t number, const std::string& name) {
    const std::string path =
        home_ + "/outputs/user/demo/experiments/" + std::to_string(number) + "/" + name;
    WaitFor(path, [&] { return !ReadFile(path).empty() && ReadFile(path).back() == '\n'; });
    return static_cast<pid_t>(std::stol(ReadFile(path)));
  }
  // A job that sleeps, and succeeds at once when it is tried again; its pid, once it runs.
  pid_t StartWithOneRestart() {
    Write("polyaxonfile.yml",
          "version: 1\nkind: experiment\nenvironment: {max_restarts: 1}\n"
          "run: {cmd: 'if [ -e $POLYAXON_OUTPUTS_PATH/job ]; then exit 0; fi; "
          "echo $$ > $POLYAXON_OUTPUTS_PATH/job; sleep 1000'}\n");
    const CommandResult run = Launch({"run", "-f", "polyaxonfile.yml"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const pid_t job = PidIn(1, "job");
    WaitState(1, "running");
    return job;
  }
  static bool Lives(pid_t pid) {
    const auto process = launcher::Identify(pid);
    return process && launcher::LivenessOf(*process) == launcher::Liveness::kAlive;
  }
  // The supervisor of the only experiment: the job's parent.
  static pid_t ParentOf(pid_t pid) {
    const std::string stat =
        launcher::RunProgram({"ps", "-o", "ppid=", "-p", std::to_string(pid)})->output;
    return static_cast<pid_t>(std::strtol(stat.c_str(), nullptr, 10));
  }
};

// A grandchild in a session of its own that ignores SIGTERM: what a process group cannot reach.
constexpr const char* kStubborn =
    "setsid bash -c 'trap \"\" TERM; echo $$ > $POLYAXON_OUTPUTS_PATH/deep; sleep 1000 & wait; "
    "sleep 1000' & "
    "echo $$ > $POLYAXON_OUTPUTS_PATH/job; sleep 1000";

TEST_P(SupervisorTest, StopReachesProcessesThatForkedAway) {
  Run(kStubborn);
  const pid_t deep = PidIn(1, "deep");
  const pid_t job = PidIn(1, "job");
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "stop", "-y"}).exit_code, 0);
  EXPECT_EQ(StateOf(1), "stopped");
  EXPECT_FALSE(Lives(deep));
  EXPECT_FALSE(Lives(job));
}

TEST_P(SupervisorTest, TheEndOfTheFirstProcessIsTheEndOfAll) {
  Run("setsid bash -c 'echo $$ > $POLYAXON_OUTPUTS_PATH/deep; sleep 1000' & "
      "while [ ! -s $POLYAXON_OUTPUTS_PATH/deep ]; do sleep 0.01; done");
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_FALSE(Lives(PidIn(1, "deep")));
}

TEST_P(SupervisorTest, AKilledSupervisorIsNoticedAndItsJobEnded) {
  Run(kStubborn);
  const pid_t deep = PidIn(1, "deep");
  const pid_t job = PidIn(1, "job");
  WaitState(1, "running");
  const pid_t supervisor = ParentOf(job);
  ASSERT_GT(supervisor, 1);
  ASSERT_EQ(::kill(supervisor, SIGKILL), 0);
  WaitFor("the supervisor's death", [&] { return !Lives(supervisor); });
  EXPECT_EQ(WaitDone(1), "failed");
  EXPECT_EQ(Get(1)["message"], "its supervisor (pid " + std::to_string(supervisor) + ") died");
  EXPECT_FALSE(Lives(deep));
  EXPECT_FALSE(Lives(job));
}

TEST_P(SupervisorTest, AStoppedExperimentStaysAsItEnded) {
  Run("true");
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "stop", "-y"}).exit_code, 0);
  EXPECT_EQ(StateOf(1), "succeeded");
}

TEST_P(SupervisorTest, GraceLetsAJobSave) {
  Run("trap 'echo saved > $POLYAXON_OUTPUTS_PATH/late; exit 0' TERM; "
      "echo $$ > $POLYAXON_OUTPUTS_PATH/job; while true; do sleep 0.02; done");
  PidIn(1, "job");
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "stop", "-y"}).exit_code, 0);
  EXPECT_EQ(StateOf(1), "stopped");
  EXPECT_EQ(ReadFile(OutputsOf(1) + "/late"), "saved\n");
}

TEST_P(SupervisorTest, TtlEndsAJob) {
  WriteSpec("sleep 1000");
  EXPECT_EQ(Launch({"run", "-f", "polyaxonfile.yml", "--ttl", "1"}).exit_code, 0);
  EXPECT_EQ(WaitDone(1), "failed");
  EXPECT_EQ(Get(1)["message"], "timeout: it ran longer than its 1 s");
}

TEST_P(SupervisorTest, MaxRestartsTriesAgainInTheSameOutputs) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nenvironment: {max_restarts: 2}\n"
        "run: {cmd: 'echo x >> $POLYAXON_OUTPUTS_PATH/tries; "
        "[ $(wc -l < $POLYAXON_OUTPUTS_PATH/tries) = 2 ]'}\n");
  const CommandResult run = Launch({"run", "-f", "polyaxonfile.yml"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Get(1)["runs"].size(), 2U);
  EXPECT_EQ(Get(1)["runs"][0]["reason"], "exit code 1");
}

TEST_P(SupervisorTest, AKilledSupervisorIsReplacedIfARestartIsLeft) {
  const pid_t job = StartWithOneRestart();
  ASSERT_EQ(::kill(ParentOf(job), SIGKILL), 0);
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_FALSE(Lives(job));
  EXPECT_EQ(Get(1)["runs"].size(), 2U);
}

TEST_P(SupervisorTest, AReplacedSupervisorKeepsTheSubmittersEnvironment) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nenvironment: {max_restarts: 1}\n"
        "run: {cmd: 'echo $COLOUR; if [ -e $POLYAXON_OUTPUTS_PATH/job ]; then exit 0; fi; "
        "echo $$ > $POLYAXON_OUTPUTS_PATH/job; sleep 1000'}\n");
  ASSERT_EQ(LaunchWith({"COLOUR=blue"}, {"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  const pid_t job = PidIn(1, "job");
  const pid_t supervisor = ParentOf(job);
  // With its guardian: the next command, of somebody with another environment, puts it right.
  const pid_t guardian = ParentOf(supervisor);
  ASSERT_EQ(::kill(guardian, SIGKILL), 0);
  ASSERT_EQ(::kill(supervisor, SIGKILL), 0);
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Logs(1), "blue\nblue\n");
  EXPECT_FALSE(fs::exists(home_ + "/logs/user/demo/.px/1.environment"));
}

TEST_P(SupervisorTest, AGuardianEndsWhatAKilledSupervisorLeft) {
  Run(kStubborn);
  const pid_t deep = PidIn(1, "deep");
  const pid_t supervisor = ParentOf(PidIn(1, "job"));
  ASSERT_EQ(::kill(supervisor, SIGKILL), 0);
  // No command is typed.
  WaitFor("the grandchild's end", [&] { return !Lives(deep); });
}

TEST_P(SupervisorTest, MoreMemoryThanItsLimitIsOutOfMemory) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\n"
        "environment: {max_restarts: 1, resources: {memory: {limits: 64}}}\n"
        "run: {cmd: 'if [ -e $POLYAXON_OUTPUTS_PATH/tried ]; then exit 0; fi; "
        "touch $POLYAXON_OUTPUTS_PATH/tried; exec python3 -c \"x = bytearray(1 << 30)\"'}\n");
  ASSERT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  EXPECT_EQ(WaitDone(1), "succeeded");  // the second time it asks for none
  const nlohmann::json runs = Get(1)["runs"];
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0]["reason"].get<std::string>().find("out of memory: the kernel killed 1 process"),
            0U)
      << runs[0];
}

TEST_P(SupervisorTest, AMachineThatWasRestartedGoesOn) {
  const pid_t job = StartWithOneRestart();
  const pid_t supervisor = ParentOf(job);
  for (const pid_t pid : {ParentOf(supervisor), supervisor, job}) {
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
  }
  // As if that had been on an earlier boot.
  ChangeCatalog("UPDATE experiments SET owner_boot = 'another'");
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Get(1)["runs"][0]["reason"], "the machine was restarted");
}

TEST_P(SupervisorTest, AClosedTerminalDoesNotMatter) {
  WriteSpec("sleep 0.2; echo still here");
  // The session that started it is gone before it ends.
  const CommandResult run = Launch({"run", "-f", "polyaxonfile.yml"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(Logs(1), "still here\n");
}

PX_LAUNCHER_SUITE(SupervisorTest);

}  // namespace
}  // namespace px::testing
