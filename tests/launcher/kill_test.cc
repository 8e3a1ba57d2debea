// Supervisors, guardians and schedulers killed at random moments: no orphan, no wrong status, no
// GPU leased for ever, and nobody types a command to put it right.
//
// PX_KILLS says how many (100), PX_SEED with which random numbers.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>

#include "catalog/catalog.h"
#include "tests/launcher/launcher_fixture.h"
#include "tests/launcher/lease_model.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using catalog::State;

struct Process {
  pid_t pid = 0;
  std::string arguments;  // separated by blanks
};

class KillTest : public LauncherTest {
 protected:
  void SetUp() override {
    LauncherTest::SetUp();
    const char* seed = ::getenv("PX_SEED");
    const auto number = seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device{}();
    std::printf("PX_SEED=%llu\n", static_cast<unsigned long long>(number));
    rng_.seed(number);
  }

  static int Kills() { return Number("PX_KILLS", 100); }
  size_t Random(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(rng_); }

  // Those that belong to this test's home and whose arguments hold `part`.
  std::vector<Process> Processes(const std::string& part) {
    std::vector<Process> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto pid =
          static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
      if (pid <= 0) continue;
      std::string arguments = ReadFile(entry.path().string() + "/cmdline");
      std::replace(arguments.begin(), arguments.end(), '\0', ' ');
      if (arguments.find(part) == std::string::npos) continue;
      const bool ours = arguments.find(home_) != std::string::npos ||
                        ReadFile(entry.path().string() + "/environ").find("PX_HOME=" + home_) !=
                            std::string::npos;
      if (ours) found.push_back({pid, arguments});
    }
    return found;
  }

  // Kills up to `count` of those whose arguments hold `part`, each at another moment; none whose
  // arguments hold `spared`.
  void KillSome(int count, const std::string& part, const std::string& spared) {
    for (int misses = 0; count > 0 && misses < 50;) {
      auto candidates = Processes(part);
      std::erase_if(candidates, [&](const Process& process) {
        return process.arguments.find(spared) != std::string::npos || killed_.contains(process.pid);
      });
      if (candidates.empty()) {
        ++misses;
        ::usleep(2000);
        continue;
      }
      const pid_t victim = candidates[Random(candidates.size())].pid;
      if (::kill(victim, SIGKILL) == 0) killed_.insert(victim);
      --count;
      ::usleep(static_cast<useconds_t>(Random(60'000)));
    }
  }

  // The scheduler of the only group, or its guardian, as long as it is unfinished. Their children
  // are spared: those are supervisors that have just been forked.
  void KillSchedulers(int count) {
    while (count > 0) {
      const auto groups = Open().UnfinishedGroups();
      if (!groups || groups->empty()) return;
      const auto scheduler = static_cast<pid_t>(groups->front().owner.pid);
      std::vector<pid_t> candidates;
      for (const Process& process : Processes("--schedule")) {
        const std::string status = ReadFile("/proc/" + std::to_string(process.pid) + "/task/" +
                                            std::to_string(process.pid) + "/children");
        const bool guardian = status.find(std::to_string(scheduler) + " ") != std::string::npos;
        if (process.pid == scheduler || guardian) candidates.push_back(process.pid);
      }
      if (candidates.empty()) continue;
      const pid_t victim = candidates[Random(candidates.size())];
      if (killed_.insert(victim).second && ::kill(victim, SIGKILL) == 0) --count;
      ::usleep(static_cast<useconds_t>(Random(60'000)));
    }
  }

  catalog::Catalog Open() {
    return std::move(*catalog::Catalog::Open(home_ + "/store/catalog.db", clock_));
  }

  std::vector<catalog::Experiment> All(const catalog::Catalog& catalog) {
    return catalog.ListExperiments({.project = catalog.FindProject("user", "demo")->id})
        .value_or(std::vector<catalog::Experiment>{});
  }

  // By looking only: no command of px-launch runs.
  void WaitUntilOnlyTheFirstRuns() {
    WaitFor("all but the first to have ended", [&] {
      const auto unfinished = Open().Unfinished();
      return unfinished && unfinished->size() <= 1;
    });
  }

  // An experiment whose supervisor and guardian are spared: the sibling that survives.
  void StartSentinel() {
    EXPECT_EQ(Run("while [ ! -e " + home_ + "/go ]; do sleep 0.05; done"), 1);
    WaitState(1, "running");
  }
  void EndSentinel() {
    Write("../go", "");
    EXPECT_EQ(WaitDone(1), "succeeded");
    WaitFor("the last supervisor's end",
            [&] { return Processes("--supervise").empty() && Processes("--schedule").empty(); });
    EXPECT_TRUE(Processes("/orphan").empty());
    EXPECT_TRUE(Open().GpuLeases()->empty());
    EXPECT_EQ(CheckLeases(*Open().GpuHistory(), {}), std::vector<std::string>{});
  }

  std::mt19937_64 rng_;
  std::set<pid_t> killed_;
  SystemClock clock_;
};

// What each job leaves running: one process in a session of its own, and one that has also dropped
// the environment.
std::string JobThatForksAway(const std::string& home) {
  return "for clean in '' 'env -i'; do $clean setsid bash -c 'exec -a " + home +
         "/orphan sleep 1000' & done; sleep 0.$((RANDOM % 6)); "
         "echo done > $POLYAXON_OUTPUTS_PATH/done";
}

TEST_P(KillTest, SupervisorsAndGuardiansAtRandom) {
  StartSentinel();
  const std::vector<std::string> gpus{std::string("PX_NVML=") + PX_FAKE_NVML, "PX_FAKE_GPUS=3"};
  constexpr int kBatch = 8;
  for (int batch = 0; static_cast<int>(killed_.size()) < Kills(); ++batch) {
    for (int i = 0; i < kBatch; ++i) {
      const nlohmann::json spec{
          {"version", 1},
          {"kind", "experiment"},
          {"environment",
           {{"resources", {{"gpu", {{"limits", i % 2}}}}}, {"max_restarts", i % 4 == 3 ? 1 : 0}}},
          {"run", {{"cmd", JobThatForksAway(home_)}}}};
      Write("polyaxonfile.yml", spec.dump());
      LaunchWith(gpus, {"run", "-f", "polyaxonfile.yml"});
      if (i >= kBatch / 2) KillSome(1, "--supervise", "--supervise 1 ");
    }
    KillSome(kBatch, "--supervise", "--supervise 1 ");
    WaitUntilOnlyTheFirstRuns();
    if (HasFatalFailure()) return;
  }
  catalog::Catalog catalog = Open();
  EXPECT_EQ(catalog.GpuLeases()->size(), 0U);
  int failed = 0;
  for (const auto& experiment : All(catalog)) {
    if (experiment.number == 1) continue;
    SCOPED_TRACE("experiment " + std::to_string(experiment.number) + ": " +
                 experiment.last_message);
    const auto runs = catalog.Runs(experiment.id);
    ASSERT_TRUE(runs);
    for (const auto& run : *runs) EXPECT_NE(run.finished_at, 0);
    const bool done = fs::exists(home_ + "/outputs/user/demo/experiments/" +
                                 std::to_string(experiment.number) + "/done");
    if (experiment.state == State::kSucceeded) {
      EXPECT_TRUE(done);
      EXPECT_EQ(runs->back().exit_code, 0);
      continue;
    }
    ++failed;
    EXPECT_EQ(experiment.state, State::kFailed);
    // Nothing else than one of the kills is a reason.
    const size_t at = experiment.last_message.find("(pid ");
    // A job that was not a shell yet looked like its supervisor, and so did a cp of DirOutputsFs.
    if (experiment.last_message.starts_with("cp was killed")) continue;
    if (!runs->empty() && killed_.contains(static_cast<pid_t>(runs->back().job.pid))) continue;
    if (at != std::string::npos) {
      const long pid = std::strtol(experiment.last_message.c_str() + at + 5, nullptr, 10);
      EXPECT_TRUE(killed_.contains(static_cast<pid_t>(pid)));
    } else {
      EXPECT_EQ(experiment.last_message.find("not started: "), 0U);
    }
  }
  std::printf("%zu kills, %zu experiments, %d of them failed by it\n", killed_.size(),
              All(catalog).size() - 1, failed);
  EndSentinel();
}

TEST_P(KillTest, ASchedulerThatIsKilledLosesNoMemberAndStartsNoneTwice) {
  StartSentinel();
  Write(
      "group.yml",
      "version: 1\nkind: group\nhptuning:\n  concurrency: 3\n  matrix:\n    lr: {range: '0:24:1'}\n"
      "run: {cmd: 'echo x >> $POLYAXON_OUTPUTS_PATH/runs; sleep 0.3'}\n");
  const CommandResult run = Launch({"run", "-f", "group.yml"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  KillSchedulers(std::max(Kills() / 10, 1));
  WaitFor("the group", [&] { return Open().UnfinishedGroups()->empty(); });
  WaitUntilOnlyTheFirstRuns();
  int members = 0;
  for (const auto& experiment : All(Open())) {
    if (!experiment.group) continue;
    ++members;
    EXPECT_EQ(experiment.state, State::kSucceeded) << experiment.last_message;
    EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/" + std::to_string(experiment.number) +
                       "/runs"),
              "x\n");
  }
  EXPECT_EQ(members, 24);
  std::printf("%zu kills\n", killed_.size());
  EndSentinel();
}

PX_LAUNCHER_SUITE(KillTest);

}  // namespace
}  // namespace px::testing
