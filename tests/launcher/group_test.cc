#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class GroupTest : public LauncherTest {
 protected:
  void StartGroup(const std::string& command, int concurrency) {
    Write("group.yml",
          "version: 1\nkind: group\nhptuning:\n  concurrency: " + std::to_string(concurrency) +
              "\n  matrix:\n    lr: {values: [1, 2]}\n    size: {values: [a, b]}\n"
              "run: {cmd: '" +
              command + "'}\n");
    const CommandResult run = Launch({"run", "-f", "group.yml"});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.out.find("Experiment group 1 was created"), std::string::npos);
  }
  std::string GroupState() { return Json({"group", "-g", "1", "get"})["status"]; }
};

TEST_P(GroupTest, RunsEveryPointOfTheGrid) {
  StartGroup("echo lr={{ lr }} size={{ size }} | tee $POLYAXON_OUTPUTS_PATH/f", 2);
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  EXPECT_EQ(Json({"group", "-g", "1", "experiments"}).size(), 4U);
  EXPECT_EQ(Logs(1), "lr=1 size=a\n");
  EXPECT_EQ(Logs(4), "lr=2 size=b\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/4/f"), "lr=2 size=b\n");
  EXPECT_EQ(Get(4)["unique_name"], "user.demo.1.4");
}

TEST_P(GroupTest, StopEndsRunningAndPendingOnes) {
  StartGroup("sleep 1000", 1);
  WaitState(1, "running");
  EXPECT_EQ(StateOf(2), "created");
  EXPECT_EQ(Launch({"group", "-g", "1", "stop", "-y"}).exit_code, 0);
  WaitFor("the group", [&] { return GroupState() == "stopped"; });
  EXPECT_EQ(StateOf(1), "stopped");
  EXPECT_EQ(StateOf(4), "stopped");
}

TEST_P(GroupTest, AResumedMemberStaysInItsGroup) {
  StartGroup("echo x >> $POLYAXON_OUTPUTS_PATH/f", 4);
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  EXPECT_EQ(CloneOf(2, {"resume"}), 5);
  EXPECT_EQ(WaitDone(5), "succeeded");
  EXPECT_EQ(Get(5)["group"], 1);
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/5/f"), "x\nx\n");
}

PX_LAUNCHER_SUITE(GroupTest);

}  // namespace
}  // namespace px::testing
