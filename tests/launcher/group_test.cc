#include <algorithm>
#include <map>

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

// Fails where lr is 2 unless it is a later attempt; saves a checkpoint where size is a.
constexpr const char* kHalfFails =
    "echo {{ size }} >> $POLYAXON_OUTPUTS_PATH/tried.log; if [ {{ size }} = a ]; then echo "
    "$PX_EXPERIMENT >> $POLYAXON_OUTPUTS_PATH/model.bin; fi; [ {{ lr }} = 1 -o $PX_EXPERIMENT -gt "
    "4 ]";

TEST_P(GroupTest, ResumeTakesUpWhatDidNotSucceed) {
  StartGroup(kHalfFails, 4);
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  EXPECT_EQ(StateOf(3), "failed");
  const CommandResult resumed = Launch({"group", "-g", "1", "resume"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(resumed.out,
            "Experiment group was resumed with id 2: 1 resumed, 1 from the beginning, 2 had "
            "succeeded\n");
  WaitFor("group 2", [&] { return Json({"group", "-g", "2", "get"})["status"] == "succeeded"; });
  EXPECT_EQ(Json({"group", "-g", "2", "get"})["original"], 1);
  EXPECT_EQ(Get(5)["strategy"], "resume");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/3/model.bin"), "3\n5\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/2/5/model.bin"), "3\n5\n");
  EXPECT_EQ(Get(6)["strategy"], "restart");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/2/6/tried.log"), "b\n");
  const CommandResult again = Launch({"group", "-g", "2", "resume"});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_NE(again.err.find("all of its 2 experiments succeeded"), std::string::npos) << again.err;
}

TEST_P(GroupTest, RestartAndCopyMakeAllOfItAgain) {
  StartGroup("echo {{ lr }} >> $POLYAXON_OUTPUTS_PATH/model.bin", 4);
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  Write("override.yml", "run: {cmd: 'echo more >> $POLYAXON_OUTPUTS_PATH/model.bin'}\n");
  EXPECT_EQ(Launch({"group", "-g", "1", "restart"}).out,
            "Experiment group was restarted with id 2: 4 from the beginning\n");
  EXPECT_EQ(Launch({"group", "-g", "1", "restart", "--copy", "-f", "override.yml"}).out,
            "Experiment group was copied with id 3: 4 copied\n");
  for (const char* group : {"2", "3"}) {
    WaitFor("the group",
            [&] { return Json({"group", "-g", group, "get"})["status"] == "succeeded"; });
  }
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/2/8/model.bin"), "2\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/3/12/model.bin"), "2\nmore\n");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/4/model.bin"), "2\n");
}

TEST_P(GroupTest, ARunningGroupIsNotResumed) {
  StartGroup("sleep 1000", 1);
  WaitState(1, "running");
  const CommandResult refused = Launch({"group", "-g", "1", "resume"});
  EXPECT_EQ(refused.exit_code, 11);
  EXPECT_NE(refused.err.find("cannot resume group 1: it is still running"), std::string::npos);
}

TEST_P(GroupTest, HyperbandPromotesTheBestByResume) {
  // With max_iter 4 and eta 2: brackets of 4, 3 (for 2 steps) and 3 (for 4).
  Write("group.yml", R"(version: 1
kind: group
hptuning:
  seed: 5
  concurrency: 4
  hyperband: {max_iter: 4, eta: 2, resume: true, resource: {name: steps, type: int},
              metric: {name: loss, optimization: minimize}}
  matrix:
    lr: {uniform: '0:1'}
run:
  cmd: |
    echo {{ steps }} >> $POLYAXON_OUTPUTS_PATH/model.bin
    echo '{"metrics": {"loss": {{ lr }}}}' >> $PX_METRICS_PATH
)");
  const CommandResult run = Launch({"run", "-f", "group.yml"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  const auto members = Json({"group", "-g", "1", "experiments"});
  std::map<int, std::vector<double>> rungs;  // of the first bracket, by steps
  for (const auto& member : members) {
    if (member["plan"]["bracket"] != 0) continue;
    rungs[member["declarations"]["steps"]].push_back(member["declarations"]["lr"]);
    if (member["plan"]["rung"] == 2) {
      EXPECT_EQ(member["strategy"], "resume");
      EXPECT_EQ(ReadFile(member["outputs"].get<std::string>() + "/model.bin"), "1\n2\n4\n");
    }
  }
  ASSERT_EQ(rungs.size(), 3U);
  EXPECT_EQ(rungs[1].size(), 4U);
  EXPECT_EQ(rungs[2].size(), 2U);
  ASSERT_EQ(rungs[4].size(), 1U);
  EXPECT_EQ(rungs[4][0], *std::min_element(rungs[1].begin(), rungs[1].end()));
  EXPECT_EQ(members.size(), 4U + 2 + 1 + 3 + 1 + 3);
}

TEST_P(GroupTest, BayesianOptimizationGoesByTheResults) {
  Write("group.yml", R"(version: 1
kind: group
hptuning:
  seed: 7
  concurrency: 3
  bo: {n_initial_trials: 3, n_iterations: 3, metric: {name: score, optimization: maximize}}
  matrix:
    x: {uniform: '0:1'}
run: {cmd: "echo '{\"metrics\": {\"score\": {{ x }}}}' >> $PX_METRICS_PATH"}
)");
  const CommandResult run = Launch({"run", "-f", "group.yml"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  const auto members = Json({"group", "-g", "1", "experiments"});
  EXPECT_EQ(members.size(), 6U);
  double best_initial = 0;
  double best = 0;
  for (const auto& member : members) {
    const double x = member["declarations"]["x"];
    if (member["plan"]["trial"] < 3) best_initial = std::max(best_initial, x);
    best = std::max(best, x);
  }
  EXPECT_GT(best, best_initial);
}

TEST_P(GroupTest, EarlyStoppingEndsTheGroupAtItsGoal) {
  Write("group.yml", R"(version: 1
kind: group
hptuning:
  concurrency: 1
  matrix: {n: {range: '0:50:1'}}
  early_stopping: [{metric: acc, value: 0.5, optimization: maximize, policy: all}]
run: {cmd: "echo '{\"metrics\": {\"acc\": 0.{{ n }}}}' >> $PX_METRICS_PATH; [ {{ n }} -lt 5 ] || sleep 1000"}
)");
  ASSERT_EQ(Launch({"run", "-f", "group.yml"}).exit_code, 0);
  WaitFor("the group", [&] { return GroupState() == "succeeded"; });
  EXPECT_EQ(StateOf(6), "stopped");
  EXPECT_EQ(StateOf(50), "stopped");
  const auto statuses = Json({"group", "-g", "1", "statuses"});
  EXPECT_EQ(statuses.back()["message"],
            "5 of 50 experiments succeeded; early stopping: acc of experiment 6 reached its goal");
}

PX_LAUNCHER_SUITE(GroupTest);

}  // namespace
}  // namespace px::testing
