#include <fstream>
#include <set>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class GpuTest : public LauncherTest {
 protected:
  // Submits a job that wants `count` GPUs and ends when the file `go` is there; the exit code of
  // run.
  CommandResult Submit(int count) {
    Write("polyaxonfile.yml",
          "version: 1\nkind: experiment\n"
          "environment: {resources: {gpu: {requests: " +
              std::to_string(count) + ", limits: " + std::to_string(count) +
              "}}}\n"
              "run: {cmd: 'echo $CUDA_VISIBLE_DEVICES > $POLYAXON_OUTPUTS_PATH/gpus; "
              "while [ ! -e " +
              home_ + "/go ]; do sleep 0.02; done'}\n");
    return LaunchWith(Fake(), {"run", "-f", "polyaxonfile.yml"});
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
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Submit(1).exit_code, 0);
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
  const CommandResult refused = Submit(3);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("unschedulable: it asks for 3 GPUs, this machine has 2"),
            std::string::npos)
      << refused.err;
  EXPECT_EQ(Json({"project", "experiments"}).size(), 0U);
}

PX_LAUNCHER_SUITE(GpuTest);

}  // namespace
}  // namespace px::testing
