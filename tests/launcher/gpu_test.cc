#include <fstream>
#include <set>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class GpuTest : public LauncherTest {
 protected:
  // Submits a job that wants `count` GPUs and ends when the file `go` is there; the exit code of
  // run.
  CommandResult Submit(const std::string& count, const std::vector<std::string>& more = {}) {
    Write("polyaxonfile.yml",
          "version: 1\nkind: experiment\n"
          "environment: {resources: {gpu: {requests: " +
              count + ", limits: " + count +
              "}}}\n"
              "run: {cmd: 'echo $CUDA_VISIBLE_DEVICES > $POLYAXON_OUTPUTS_PATH/gpus; "
              "while [ ! -e " +
              home_ + "/go ]; do sleep 0.02; done'}\n");
    auto environment = Fake();
    environment.insert(environment.end(), more.begin(), more.end());
    return LaunchWith(environment, {"run", "-f", "polyaxonfile.yml"});
  }
  static std::vector<std::string> Fake() {
    return {std::string("PX_NVML=") + PX_FAKE_NVML, "PX_FAKE_GPUS=2"};
  }
  std::string GpusOf(int64_t number) {
    const std::string path =
        home_ + "/outputs/user/demo/experiments/" + std::to_string(number) + "/gpus";
    WaitFor(path, [&] { return !ReadFile(path).empty(); });
    return ReadFile(path);
  }
};

TEST_P(GpuTest, EachJobHasItsOwnAndTheThirdWaits) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Submit("1").exit_code, 0);
  WaitState(1, "running");
  WaitState(2, "running");
  EXPECT_EQ((std::set<std::string>{GpusOf(1), GpusOf(2)}),
            (std::set<std::string>{"GPU-fake-0\n", "GPU-fake-1\n"}));
  EXPECT_EQ(StateOf(3), "scheduled");
  std::ofstream(home_ + "/go") << "";
  EXPECT_EQ(WaitDone(3), "succeeded");
  EXPECT_NE(GpusOf(3), "\n");
}

TEST_P(GpuTest, MoreThanThereAreIsRefusedAtOnce) {
  const CommandResult refused = Submit("3");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("unschedulable: it asks for 3 GPUs, this machine has 2"),
            std::string::npos)
      << refused.err;
  EXPECT_EQ(Json({"project", "experiments"}).size(), 0U);
}

TEST_P(GpuTest, PartitionsAreGivenInPlaceOfTheGpuThatHasThem) {
  const std::vector<std::string> mig{"PX_FAKE_MIG=1:2"};
  for (int i = 0; i < 3; ++i) ASSERT_EQ(Submit("1", mig).exit_code, 0);
  EXPECT_EQ((std::set<std::string>{GpusOf(1), GpusOf(2), GpusOf(3)}),
            (std::set<std::string>{"GPU-fake-0\n", "MIG-fake-1-0\n", "MIG-fake-1-1\n"}));
  auto environment = Fake();
  environment.push_back(mig.front());
  const auto list =
      nlohmann::json::parse(LaunchWith(environment, {"gpus", "--json"}).out, nullptr, false);
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[1]["mig_of"], "GPU-fake-1");
  EXPECT_TRUE(list[1]["utilisation"].is_null());
  EXPECT_EQ(list[0]["utilisation"], 25);
  EXPECT_EQ(list[0]["memory_bytes"], uint64_t{80} << 30);
}

TEST_P(GpuTest, FractionsShareOne) {
  // One after the other: of two that come at once either may be first.
  const std::string gpus[] = {"GPU-fake-0\n", "GPU-fake-0\n", "GPU-fake-1\n"};
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(Submit("0.5").exit_code, 0);
    EXPECT_EQ(GpusOf(i + 1), gpus[i]);
  }
  ASSERT_EQ(Submit("1").exit_code, 0);
  WaitState(4, "scheduled");
  const CommandResult table = LaunchWith(Fake(), {"gpus"});
  EXPECT_NE(table.out.find("user.demo.1 (0.5), user.demo.2 (0.5)"), std::string::npos) << table.out;
  EXPECT_EQ(Submit("1.5").exit_code, 1);
}

TEST_P(GpuTest, WhatOthersUseIsSeenAndNotGiven) {
  Write("../processes", "GPU-fake-0 4242\n");
  const std::string processes = "PX_FAKE_PROCESSES=" + home_ + "/processes";
  ASSERT_EQ(Submit("1", {processes}).exit_code, 0);
  EXPECT_EQ(GpusOf(1), "GPU-fake-1\n");
  ASSERT_EQ(Submit("1", {processes}).exit_code, 0);
  WaitFor("the reason",
          [&] { return Get(2)["message"] == "waits for GPUs; programs use GPU-fake-0"; });
  auto environment = Fake();
  environment.push_back(processes);
  const auto list =
      nlohmann::json::parse(LaunchWith(environment, {"gpus", "--json"}).out, nullptr, false);
  EXPECT_EQ(list[0]["foreign_pids"], nlohmann::json{4242});
  Write("../processes", "");
  EXPECT_EQ(GpusOf(2), "GPU-fake-0\n");
  const auto history =
      nlohmann::json::parse(LaunchWith(environment, {"gpus", "--history", "--json"}).out);
  EXPECT_EQ(history[1]["experiment"], "user.demo.2");
  EXPECT_EQ(history[1]["given"], true);
}

PX_LAUNCHER_SUITE(GpuTest);

}  // namespace
}  // namespace px::testing
