// 64 GPUs and 1,000 experiments that wait for them, and processes that lease, end and are killed
// while they do: the history of leases is replayed by a model. PX_SEED says with which random
// numbers.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "catalog/catalog.h"
#include "tests/launcher/lease_model.h"

namespace px::testing {
namespace {

using namespace catalog;
namespace fs = std::filesystem;

constexpr int kGpus = 64;
constexpr int kExperiments = 1000;
constexpr int kWorkers = 4;

class LeaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // In memory where that can be had: what is tested is not the disk.
    const fs::path parent =
        ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : fs::temp_directory_path();
    std::string pattern = (parent / "px-lease-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    const char* seed = ::getenv("PX_SEED");
    const auto number = seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device{}();
    std::printf("PX_SEED=%llu\n", static_cast<unsigned long long>(number));
    rng_.seed(number);
    for (int i = 0; i < kGpus; ++i) gpus_.push_back("GPU-" + std::to_string(i));
  }
  void TearDown() override { fs::remove_all(directory_); }

  Catalog Open() { return std::move(*Catalog::Open(directory_ + "/catalog.db", clock_)); }
  size_t Random(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(rng_); }

  // What each wants: whole ones, up to eight, or a share.
  void Queue() {
    Catalog catalog = Open();
    NewExperiment request;
    request.project = catalog.CreateProject("user", "demo", "")->id;
    request.user = "user";
    request.raw_spec = request.rendered_spec = "{}";
    constexpr std::array<int64_t, 3> kShares{250, 400, 500};
    std::vector<NewExperiment> members;
    for (int i = 0; i < kExperiments; ++i) {
      const bool share = Random(3) == 0;
      request.gpus = share ? 1 : static_cast<int64_t>(1 + Random(8));
      request.gpu_share = share ? kShares[Random(kShares.size())] : kWholeGpu;
      members.push_back(request);
    }
    NewGroup group;
    group.project = request.project;
    group.user = "user";
    group.raw_spec = "{}";
    group.algorithm = "grid";
    ASSERT_TRUE(catalog.CreateGroup(group, members));
  }

  // Those that hold something, and the first few that wait.
  static std::vector<ExperimentId> SomeOfTheHead(const Catalog& catalog) {
    std::set<int64_t> holders;
    for (const GpuLease& lease : catalog.GpuLeases().value_or(std::vector<GpuLease>{})) {
      holders.insert(lease.experiment.value);
    }
    std::vector<ExperimentId> some;
    for (const int64_t holder : holders) some.push_back(ExperimentId{holder});
    constexpr int kWaiting = 4;
    int waiting = 0;
    const auto unfinished = catalog.Unfinished();
    for (const Experiment& one : unfinished.value_or(std::vector<Experiment>{})) {
      if (!holders.contains(one.id.value) && waiting++ < kWaiting) some.push_back(one.id);
    }
    return some;
  }

  // One of several: asks for whom nobody has leased yet, and ends some that have. Killed anywhere.
  [[noreturn]] void Work(uint64_t seed) {
    rng_.seed(seed);
    Catalog catalog = Open();
    while (true) {
      const auto some = SomeOfTheHead(catalog);
      if (some.empty()) ::_exit(0);
      for (int i = 0; i < 10; ++i) {
        const ExperimentId one = some[Random(some.size())];
        const auto given = catalog.LeaseGpus(one, gpus_);
        const bool end = given && !given->empty() && Random(3) == 0;
        if (end) static_cast<void>(catalog.SetState(one, State::kSucceeded, ""));
      }
    }
  }

  pid_t Start() {
    const uint64_t seed = rng_();
    const pid_t child = ::fork();
    if (child == 0) Work(seed);
    return child;
  }

  std::string directory_;
  SystemClock clock_;
  std::mt19937_64 rng_;
  std::vector<std::string> gpus_;
};

TEST_F(LeaseTest, NoGpuIsGivenTwiceAndNoneIsLost) {
  Queue();
  {
    // All wait from the beginning: the order is that of the numbers.
    const auto database =
        Database::Open(directory_ + "/catalog.db", SQLITE_OPEN_READWRITE, 1000, kCheckedVfs);
    ASSERT_TRUE(database && database->Execute("UPDATE experiments SET state = 'scheduled'"));
  }
  std::vector<pid_t> workers;
  for (int i = 0; i < kWorkers; ++i) workers.push_back(Start());
  int kills = 0;
  while (!workers.empty()) {
    ::usleep(static_cast<useconds_t>(5000 + Random(40'000)));
    const size_t i = Random(workers.size());
    int status = 0;
    if (::waitpid(workers[i], &status, WNOHANG) == workers[i]) {
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    ::kill(workers[i], SIGKILL);
    ::waitpid(workers[i], &status, 0);
    workers[i] = Start();
    ++kills;
  }
  Catalog catalog = Open();
  const auto history = catalog.GpuHistory();
  ASSERT_TRUE(history);
  EXPECT_EQ(CheckLeases(*history, *catalog.GpuLeases()), std::vector<std::string>{});
  EXPECT_TRUE(catalog.GpuLeases()->empty());
  const auto order = OrderOfLeases(*history);
  EXPECT_EQ(order.size(), static_cast<size_t>(kExperiments));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  std::printf("%d experiments on %d GPUs, %zu leases, %d kills of those that lease\n", kExperiments,
              kGpus, history->size() / 2, kills);
}

// The model itself must see what it is there for.
TEST(LeaseModelTest, SeesWhatIsWrong) {
  const auto event = [](const char* gpu, int64_t experiment, int64_t share, bool given) {
    return GpuEvent{.gpu = gpu,
                    .experiment = ExperimentId{experiment},
                    .share = share,
                    .given = given,
                    .at = 0};
  };
  EXPECT_TRUE(CheckLeases({event("a", 1, 1000, true), event("a", 1, 1000, false)}, {}).empty());
  EXPECT_EQ(CheckLeases({event("a", 1, 600, true), event("a", 2, 600, true),
                         event("a", 1, 600, false), event("a", 2, 600, false)},
                        {})
                .size(),
            1U);
  EXPECT_EQ(CheckLeases({event("a", 1, 1000, true)}, {}).size(), 1U);
  EXPECT_EQ(CheckLeases({event("a", 1, 1000, false)}, {}).size(), 1U);
}

}  // namespace
}  // namespace px::testing
