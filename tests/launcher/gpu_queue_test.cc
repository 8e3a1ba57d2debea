// 1,000 experiments (PX_EXPERIMENTS) that wait for 64 GPUs, and 500 kills (PX_KILLS) of their
// supervisors and guardians: by the history of leases none was given twice, and none is leased at
// the end. Prints what it took. PX_SEED says with which random numbers.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "catalog/catalog.h"
#include "tests/launcher/launcher_fixture.h"
#include "tests/launcher/lease_model.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

class GpuQueueTest : public LauncherTest {
 protected:
  catalog::Catalog Open() {
    return std::move(*catalog::Catalog::Open(home_ + "/store/catalog.db", clock_));
  }
  size_t Random(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(rng_); }

  // Those of this home that hold something; the first experiment's are spared: it is the sibling
  // that survives, and whose guardian puts things right.
  std::vector<pid_t> Victims() {
    std::vector<pid_t> found;
    catalog::Catalog catalog = Open();
    const auto leases = catalog.GpuLeases();
    if (!leases) return found;
    for (const catalog::GpuLease& lease : *leases) {
      const auto experiment = catalog.GetExperiment(lease.experiment);
      if (experiment && experiment->owner.pid > 0 && experiment->number != 1) {
        found.push_back(static_cast<pid_t>(experiment->owner.pid));
      }
    }
    return found;
  }

  // How often one was given GPUs while an older one waited for some: never, to the 50 ms within
  // which the two clocks and the two transactions can differ.
  static int Passed(const catalog::Catalog& catalog,
                    const std::vector<catalog::GpuEvent>& history) {
    constexpr int64_t kSlackNs = 50'000'000;
    std::map<int64_t, int64_t> given_at;  // of the first time, by experiment
    for (const catalog::GpuEvent& event : history) {
      if (event.given) given_at.try_emplace(event.experiment.value, event.at);
    }
    int passed = 0;
    int64_t latest = 0;  // of those that are older
    for (auto one = given_at.begin(); one != given_at.end(); ++one) {
      latest = std::max(latest, one->second);
      const auto next = std::next(one);
      if (next == given_at.end() || next->second >= latest - kSlackNs) continue;
      // An older one came later: was it waiting by then?
      for (auto older = given_at.begin(); older != next; ++older) {
        if (older->second <= next->second + kSlackNs) continue;
        const auto statuses = catalog.Statuses(catalog::ExperimentId{older->first});
        for (const catalog::StatusEntry& entry : *statuses) {
          if (entry.state != catalog::State::kScheduled) continue;
          if (entry.created_at < next->second - kSlackNs) ++passed;
          break;
        }
      }
    }
    return passed;
  }

  std::mt19937_64 rng_;
  SystemClock clock_;
};

TEST_P(GpuQueueTest, NoneIsGivenTwiceAndNoneLeaks) {
  const int experiments = Number("PX_EXPERIMENTS", 1000);
  const int kills = Number("PX_KILLS", 500);
  const char* text = ::getenv("PX_SEED");
  const auto seed = text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  std::printf("PX_SEED=%llu\n", static_cast<unsigned long long>(seed));
  rng_.seed(seed);
  EXPECT_EQ(Run("while [ ! -e " + home_ + "/go ]; do sleep 0.2; done"), 1);
  const std::vector<std::string> gpus{std::string("PX_NVML=") + PX_FAKE_NVML, "PX_FAKE_GPUS=64",
                                      "PX_HEARTBEAT=1"};
  const auto begin = steady_clock::now();
  int killed = 0;
  const auto kill_one = [&] {
    const auto victims = Victims();
    if (victims.empty()) return;
    if (::kill(victims[Random(victims.size())], SIGKILL) == 0) ++killed;
  };
  // The jobs that have GPUs hold them until the queue is whole: they are killed meanwhile, and
  // others come after them.
  for (int i = 0; i < experiments; ++i) {
    const nlohmann::json spec{
        {"version", 1},
        {"kind", "experiment"},
        {"environment",
         {{"resources", {{"gpu", {{"limits", i % 5 == 4 ? 0.5 : 1 + i % 3}}}}},
          {"max_restarts", i % 4 == 3 ? 1 : 0}}},
        {"run", {{"cmd", "while [ ! -e " + home_ + "/all ]; do sleep 0.5; done"}}}};
    Write("polyaxonfile.yml", spec.dump());
    ASSERT_EQ(LaunchWith(gpus, {"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
    if (i > 30 && i % 2 == 0 && killed < kills) kill_one();
  }
  const double queued = Seconds(begin);
  Write("../all", "");
  while (killed < kills && Open().Unfinished()->size() > 1) {
    kill_one();
    ::usleep(static_cast<useconds_t>(Random(30'000)));
  }
  const auto deadline = steady_clock::now() + std::chrono::minutes(10);
  while (Open().Unfinished()->size() > 1 && steady_clock::now() < deadline) ::usleep(100'000);
  catalog::Catalog catalog = Open();
  const auto history = catalog.GpuHistory();
  ASSERT_TRUE(history);
  EXPECT_EQ(CheckLeases(*history, *catalog.GpuLeases()), std::vector<std::string>{});
  EXPECT_TRUE(catalog.GpuLeases()->empty());
  EXPECT_EQ(Passed(catalog, *history), 0);
  EXPECT_EQ(catalog.Unfinished()->size(), 1U);
  std::printf(
      "%d experiments on 64 GPUs: queued after %.0f s, all ended after %.0f s; %zu leases, "
      "%d kills\n",
      experiments, queued, Seconds(begin), history->size() / 2, killed);
  Write("../go", "");
  EXPECT_EQ(WaitDone(1), "succeeded");
}

PX_LAUNCHER_SUITE(GpuQueueTest);

}  // namespace
}  // namespace px::testing
