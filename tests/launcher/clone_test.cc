#include <sys/stat.h>

#include <filesystem>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using CloneTest = LauncherTest;

constexpr const char* kTrain =
    "echo epoch >> $POLYAXON_OUTPUTS_PATH/checkpoint; echo from $PX_EXPERIMENT";

TEST_P(CloneTest, ResumeAddsToTheOriginalsOutputs) {
  Run(kTrain);
  WaitDone(1);
  EXPECT_EQ(CloneOf(1, {"resume"}), 2);
  EXPECT_EQ(WaitDone(2), "succeeded");
  const std::string original = home_ + "/outputs/user/demo/experiments/1";
  EXPECT_EQ(OutputsOf(2), original);
  EXPECT_EQ(ReadFile(original + "/checkpoint"), "epoch\nepoch\n");
  EXPECT_EQ(Get(2)["original"], 1);
  EXPECT_EQ(Get(2)["strategy"], "resume");
  // Its own name leads there, by a relative link.
  const std::string own = home_ + "/outputs/user/demo/experiments/2";
  EXPECT_EQ(fs::read_symlink(own), "1");
  EXPECT_EQ(ReadFile(own + "/checkpoint"), "epoch\nepoch\n");
  // Its own log.
  EXPECT_EQ(Logs(1), "from 1\n");
  EXPECT_EQ(Logs(2), "from 2\n");
  // And what was there before is kept and counted.
  EXPECT_EQ(Get(2)["inherited"]["snapshot"], "before-2");
  EXPECT_EQ(Get(2)["inherited"]["entries"], 1);
  EXPECT_EQ(Get(2)["inherited"]["bytes"], 6);
  if (GetParam() == Backend::kMount) {
    EXPECT_EQ(ReadFile(original + "/.snapshots/before-2/checkpoint"), "epoch\n");
  }
}

TEST_P(CloneTest, ResumeOfAResumeGoesToTheRootAndKeepsOverrides) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 1, steps: 5}\n"
        "run: {cmd: 'echo lr={{ lr }} steps={{ steps }} | tee -a $POLYAXON_OUTPUTS_PATH/log'}\n");
  Write("override.yml", "declarations: {lr: 2}\n");
  EXPECT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  WaitDone(1);
  EXPECT_EQ(CloneOf(1, {"resume", "-f", "override.yml"}), 2);
  WaitDone(2);
  EXPECT_EQ(CloneOf(2, {"resume"}), 3);
  WaitDone(3);
  EXPECT_EQ(Get(3)["original"], 1);
  EXPECT_EQ(Logs(3), "lr=2 steps=5\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/experiments/1/log"),
            "lr=1 steps=5\nlr=2 steps=5\nlr=2 steps=5\n");
}

TEST_P(CloneTest, RestartBeginsEmpty) {
  Run("ls -A $POLYAXON_OUTPUTS_PATH; echo x > $POLYAXON_OUTPUTS_PATH/file");
  WaitDone(1);
  EXPECT_EQ(CloneOf(1, {"restart"}), 2);
  EXPECT_EQ(WaitDone(2), "succeeded");
  EXPECT_EQ(Logs(2), "");
  EXPECT_EQ(OutputsOf(2), home_ + "/outputs/user/demo/experiments/2");
}

TEST_P(CloneTest, CopyIsExactAndApart) {
  Run("set -e; cd $POLYAXON_OUTPUTS_PATH; mkdir sub; echo a > sub/file; echo b > .dot; ln -s "
      "sub/file link; "
      "chmod 640 .dot; touch -d '2001-02-03 04:05:06' sub/file");
  WaitDone(1);
  EXPECT_EQ(CloneOf(1, {"restart", "--copy"}), 2);
  EXPECT_EQ(WaitDone(2), "failed");  // mkdir: sub is there
  EXPECT_EQ(Get(2)["strategy"], "copy");
  const std::string copy = OutputsOf(2);
  EXPECT_EQ(ReadFile(copy + "/.dot"), "b\n");
  EXPECT_EQ(fs::read_symlink(copy + "/link"), "sub/file");
  struct stat before{};
  struct stat after{};
  ASSERT_EQ(::stat((OutputsOf(1) + "/.dot").c_str(), &before), 0);
  ASSERT_EQ(::stat((copy + "/.dot").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  Write("../in-copy", "");
  fs::remove(copy + "/link");
  EXPECT_TRUE(fs::is_symlink(OutputsOf(1) + "/link"));
}

TEST_P(CloneTest, TheDocumentedFormsAllWork) {
  Run(kTrain);
  WaitDone(1);
  Write("polyaxonfile_override.yml", "declarations: {lr: 3}\n");
  const std::vector<std::vector<std::string>> forms{
      {"experiment", "-xp", "1", "resume"},
      {"experiment", "-xp", "1", "resume", "-u"},
      {"experiment", "-xp", "1", "resume", "-f", "polyaxonfile_override.yml"},
      {"experiment", "-xp", "1", "restart"},
      {"experiment", "-xp", "1", "restart", "-u"},
      {"experiment", "-xp=1", "restart", "-f", "polyaxonfile_override.yml"},
      {"experiment", "-xp", "1", "restart", "--copy"},
      {"experiment", "-xp", "1", "restart", "--copy", "-u"},
      {"experiment", "-xp", "1", "restart", "-cu"},
      {"experiment", "-xp", "1", "--copy", "restart", "-f", "polyaxonfile_override.yml"},
      {"experiment", "-p", "user/demo", "restart", "-xp", "1"},
  };
  int64_t number = 1;
  for (const auto& form : forms) {
    ++number;
    const CommandResult result = Launch(form);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("with id " + std::to_string(number)), std::string::npos)
        << result.out;
    EXPECT_EQ(WaitDone(number), "succeeded");
  }
  EXPECT_EQ(Get(11)["strategy"], "copy");
  EXPECT_EQ(Get(12)["strategy"], "restart");
}

TEST_P(CloneTest, CopyOfAResumeTakesTheRootsOutputs) {
  Run(kTrain);
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  EXPECT_EQ(CloneOf(2, {"restart", "--copy"}), 3);
  WaitDone(3);
  EXPECT_EQ(ReadFile(OutputsOf(3) + "/checkpoint"), "epoch\nepoch\nepoch\n");
  EXPECT_EQ(Get(3)["original"], 2);
}

TEST_P(CloneTest, ResumeIsRefusedWhileItRuns) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/f; sleep 1000");
  WaitState(1, "running");
  const CommandResult refused = Launch({"experiment", "-xp", "1", "resume"});
  EXPECT_EQ(refused.exit_code, 11);
  EXPECT_EQ(
      refused.err.find("px-launch: error: cannot resume experiment 1: it is still running (pid "),
      0U)
      << refused.err;
  EXPECT_NE(refused.err.find("hint: px-launch experiment -xp 1 stop"), std::string::npos);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "stop", "-y"}).exit_code, 0);
  EXPECT_EQ(StateOf(1), "stopped");
  EXPECT_EQ(CloneOf(1, {"resume"}), 2);
  WaitState(2, "running");
  const CommandResult other = Launch({"experiment", "-xp", "1", "resume"});
  EXPECT_EQ(other.exit_code, 11);
  EXPECT_NE(other.err.find("experiment 2, which resumed it, is still running"), std::string::npos);
}

TEST_P(CloneTest, ResumeWithoutACheckpointIsRefused) {
  Run("exit 1");
  WaitDone(1);
  const CommandResult refused = Launch({"experiment", "-xp", "1", "resume"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("saved nothing to resume from"), std::string::npos) << refused.err;
  EXPECT_EQ(CloneOf(1, {"resume", "--allow-fresh"}), 2);
}

TEST_P(CloneTest, UploadDecidesWhichCodeRuns) {
  Write("train.sh", "echo old\n");
  Run("bash train.sh");
  WaitDone(1);
  Write("train.sh", "echo new\n");
  CloneOf(1, {"restart"});
  CloneOf(1, {"restart", "-u"});
  CloneOf(1, {"restart", "-u"});
  WaitDone(2);
  WaitDone(3);
  WaitDone(4);
  EXPECT_EQ(Logs(2), "old\n");
  EXPECT_EQ(Logs(3), "new\n");
  // Nothing changed between the two: one snapshot.
  EXPECT_EQ(Get(3)["code"], Get(4)["code"]);
  EXPECT_EQ(Get(1)["code"], Get(2)["code"]);
}

TEST_P(CloneTest, DeletingWhatWasResumedNeedsAWord) {
  Run(kTrain);
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "delete", "-y"}).exit_code, 11);
  EXPECT_EQ(Launch({"experiment", "-xp", "2", "delete", "-y"}).exit_code, 0);
  EXPECT_EQ(ReadFile(OutputsOf(1) + "/checkpoint"), "epoch\nepoch\n");
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "delete", "-y"}).exit_code, 0);
}

TEST_P(CloneTest, TreeAndCompareShowWhatCameOfWhat) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 1}\n"
        "run: {cmd: 'echo {{ lr }} > $POLYAXON_OUTPUTS_PATH/f'}\n");
  Write("override.yml", "declarations: {lr: 2}\n");
  EXPECT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  CloneOf(2, {"restart", "--copy", "-f", "override.yml"});
  WaitDone(3);
  EXPECT_EQ(Launch({"tree", "3"}).out,
            "1 succeeded: exit code 0\n"
            "└─ 2 succeeded (resume): exit code 0\n"
            "   └─ 3 succeeded (copy): exit code 0\n");
  EXPECT_EQ(Json({"compare", "1", "3"})["params"]["lr"], (std::vector<std::string>{"1", "2"}));
}

PX_LAUNCHER_SUITE(CloneTest);

}  // namespace
}  // namespace px::testing
