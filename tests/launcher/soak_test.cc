// 200 experiments at once on this machine (PX_EXPERIMENTS), on plain directories and on a mount.
// Prints what it took; asserts that nothing was lost.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "catalog/catalog.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

class SoakTest : public LauncherTest {
 protected:
  static int Count() { return Number("PX_EXPERIMENTS", 200); }
  int64_t InState(catalog::State state) {
    auto catalog = *catalog::Catalog::Open(home_ + "/store/catalog.db", clock_);
    const auto all = catalog.ListExperiments({.project = catalog.FindProject("user", "demo")->id});
    int64_t count = 0;
    for (const auto& experiment : *all) count += experiment.state == state ? 1 : 0;
    return count;
  }
  // Proportional resident memory (PSS) in KiB and processor time in nanoseconds of all supervisors
  // and guardians.
  std::pair<int64_t, int64_t> Cost() {
    int64_t kib = 0;
    int64_t ns = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string directory = entry.path().string();
      if (ReadFile(directory + "/cmdline").find("--supervise") == std::string::npos) continue;
      if (ReadFile(directory + "/environ").find("PX_HOME=" + home_) == std::string::npos) continue;
      std::istringstream rollup(ReadFile(directory + "/smaps_rollup"));
      for (std::string word; rollup >> word;) {
        int64_t value = 0;
        if (word == "Pss:" && rollup >> value) kib += value;
      }
      // Ticks would not do: each of these uses less than one in the time that is measured.
      ns += std::strtoll(ReadFile(directory + "/schedstat").c_str(), nullptr, 10);
    }
    return {kib, ns};
  }
  SystemClock clock_;
};

TEST_P(SoakTest, ManyExperimentsAtOnce) {
  const std::string command = "echo started; while [ ! -e " + home_ +
                              "/go ]; do sleep 1; done; echo $PX_EXPERIMENT | tee "
                              "$POLYAXON_OUTPUTS_PATH/number";
  WriteSpec(command);
  const auto begin = steady_clock::now();
  for (int i = 0; i < Count(); ++i) {
    // As heartbeats are by default: it is the load of ordinary use that is measured.
    const CommandResult run = LaunchWith({"PX_HEARTBEAT=5"}, {"run", "-f", "polyaxonfile.yml"});
    ASSERT_EQ(run.exit_code, 0) << run.err;
  }
  const double submitted = Seconds(begin);
  WaitFor("all to run", [&] { return InState(catalog::State::kRunning) == Count(); });
  const double running = Seconds(begin);
  const auto idle_begin = steady_clock::now();
  const auto before = Cost();
  ::sleep(10);  // what is measured is the rate over a time
  const auto after = Cost();
  const double cpu = static_cast<double>(after.second - before.second) / 1e9 / Seconds(idle_begin);
  const auto list_begin = steady_clock::now();
  EXPECT_EQ(Launch({"project", "experiments"}).exit_code, 0);
  const double listed = Seconds(list_begin);
  const auto end_begin = steady_clock::now();
  Write("../go", "");
  WaitFor("all to succeed", [&] { return InState(catalog::State::kSucceeded) == Count(); });
  const double ended = Seconds(end_begin);
  for (int i = 1; i <= Count(); ++i) {
    const std::string number = std::to_string(i);
    EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/experiments/" + number + "/number"),
              number + "\n");
    EXPECT_EQ(ReadFile(home_ + "/logs/user/demo/experiments/" + number),
              "started\n" + number + "\n");
  }
  WaitFor("the supervisors' end", [&] { return Cost().first == 0; });
  std::printf(
      "%d experiments: submitted in %.1f s (%.0f ms each), all running after %.1f s; supervisors "
      "and guardians: %.2f MiB (PSS) each experiment, %.1f %% of a core together; list: %.0f ms; "
      "from the signal to end until the last was recorded: %.1f s\n",
      Count(), submitted, 1000 * submitted / Count(), running,
      static_cast<double>(after.first) / 1024 / Count(), 100 * cpu, 1000 * listed, ended);
}

PX_LAUNCHER_SUITE(SoakTest);

}  // namespace
}  // namespace px::testing
