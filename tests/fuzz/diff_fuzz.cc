// diff_fuzz: random system calls by several processes on the filesystem under test and on a plain
// directory, with clones, snapshots, drops, remounts and kills of the daemon in between. Trees and
// contents must stay the same, byte for byte.
//
//   diff_fuzz --mode=passthrough [--seed=N] [--seconds=N | --epochs=N] [--processes=N]
//             [--no-maps] [--takeovers | --kills]
//
// With --takeovers the daemon is killed and replaced all the while, and nobody may notice. With
// --kills it is killed, its keeper with it, while the workers have files open; what they did must
// be there after a mount (nothing is mapped then: what was stored there need not be). The run
// follows from the seed, which is printed; --epochs makes the length of a replay exact. On the
// oracle's side a clone is `cp -a`. With --mode=plain both sides are plain: a test of the fuzzer
// itself.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/random.h"
#include "tests/fuzz/worker.h"
#include "tests/mount/mode_main.h"
#include "tests/mount/tree.h"
#include "tests/mount/volume.h"
#include "tests/testing/mount_fixture.h"
#include "tests/testing/takeovers.h"

namespace px::testing {
namespace {

constexpr auto kSegmentLimit = std::chrono::seconds(120);
constexpr size_t kMaxVolumes = 5;
constexpr auto kTakeoverPause = std::chrono::milliseconds(150);

struct Options {
  const MountMode* mode = nullptr;
  uint64_t seed = 0;
  int seconds = 8;
  int epochs = 0;
  int processes = 3;
  bool use_maps = true;
  bool takeovers = false;
  bool kills = false;
};

// What the parent tells a worker process, and what it gets back: one byte, 'k' or 'f'.
struct Order {
  char volume[32];
  int ops;  // 0: end
};

class Fuzzer {
 public:
  Fuzzer(const Options& options, MountFixture& mount)
      : options_(options),
        mount_(mount),
        random_(options.seed),
        oracle_(mount.scratch() + "/oracle") {}

  bool Run();

 private:
  struct Child {
    pid_t pid = -1;
    UniqueFd channel;
  };

  bool Epoch(uint64_t number);
  std::vector<Child> StartWorkers(uint64_t number);
  bool EpochUnderLoad(const std::vector<Child>& children);
  bool Segment(const std::vector<Child>& children);
  bool VolumeStep();
  bool Compare();
  bool NewVolume();
  bool CloneAny();
  bool SnapshotAny();
  bool DropAny();
  bool Restart();
  bool KillAndMount();
  Child StartWorker(int id, uint64_t seed);
  [[noreturn]] void WorkerMain(int channel, int id, uint64_t seed) const;

  std::string AnyVolume() { return volumes_[random_.Below(volumes_.size())]; }
  std::string NewName() { return fmt::format("v{}", next_name_++); }
  std::string Subject(const std::string& name) const { return mount_.root() + "/" + name; }
  std::string Oracle(const std::string& name) const { return oracle_ + "/" + name; }
  bool Fail(const std::string& what) const;
  bool Check(const std::string& what, int error) const {
    return error == 0 || Fail(what + ": " + strerrorname_np(error));
  }
  static bool Copy(const std::string& from, const std::string& to) {
    return Execute({"cp", "-a", from, to}, std::chrono::minutes(5)).exit_code == 0;
  }

  const Options& options_;
  MountFixture& mount_;
  Random random_;
  const std::string oracle_;
  std::vector<std::string> volumes_;
  std::map<std::string, std::string> snapshots_;  // "VOLUME/NAME" and its copy on the oracle's side
  int next_name_ = 0;
  int kills_ = 0, restarts_ = 0;  // of the daemon, under load
};

bool Fuzzer::Fail(const std::string& what) const {
  std::fprintf(stderr, "FAILED: %s\nreplay: --mode=%s --seed=%llu --processes=%d%s%s\n%s\n",
               what.c_str(), std::string(options_.mode->name).c_str(),
               static_cast<unsigned long long>(options_.seed), options_.processes,
               options_.use_maps ? "" : " --no-maps",
               options_.takeovers ? " --takeovers"
               : options_.kills   ? " --kills"
                                  : "",
               mount_.LogTail().c_str());
  return false;
}

bool Fuzzer::Run() {
  if (::mkdir(oracle_.c_str(), 0755) != 0) return Fail("mkdir " + oracle_);
  if (!NewVolume()) return false;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options_.seconds);
  uint64_t epoch = 0;
  for (; options_.epochs > 0 ? epoch < static_cast<uint64_t>(options_.epochs)
                             : std::chrono::steady_clock::now() < end;
       ++epoch) {
    if (!Epoch(epoch)) return Fail(fmt::format("in epoch {}", epoch));
  }
  if (options_.takeovers && kills_ == 0) return Fail("the daemon was never killed");
  if (options_.kills && kills_ == 0) return Fail("nothing was killed with files open");
  if (const Status unmounted = mount_.Unmount(); !unmounted) {
    return Fail("at the end: " + unmounted.error().ToString());
  }
  if (mount_.px()) {
    const RunResult fsck = mount_.PxFs({"fsck", mount_.store()});
    if (fsck.exit_code != 0) return Fail("fsck: " + fsck.output);
  }
  std::printf("ok: %llu epochs, %d volumes made, %d kills and %d restarts under load\n",
              static_cast<unsigned long long>(epoch), next_name_, kills_, restarts_);
  return true;
}

// Worker processes live for one epoch, over several segments; between segments they stand still
// with their files open and mapped while volumes are cloned and dropped.
bool Fuzzer::Epoch(uint64_t number) {
  // Forked before there is another thread, whose locks (a sanitizer's allocator has some) they
  // would have for ever.
  const std::vector<Child> children = StartWorkers(number);
  std::optional<Takeovers> takeovers;
  if (options_.takeovers) takeovers.emplace(mount_, options_.seed ^ number, kTakeoverPause);
  const bool good = EpochUnderLoad(children);
  if (takeovers) {
    takeovers->Stop();
    kills_ += takeovers->kills();
    restarts_ += takeovers->restarts();
    if (const std::string failure = takeovers->failure(); !failure.empty()) return Fail(failure);
  }
  return good && Restart() && Compare();
}

std::vector<Fuzzer::Child> Fuzzer::StartWorkers(uint64_t number) {
  std::vector<Child> children;
  for (int id = 0; id < options_.processes; ++id) {
    children.push_back(
        StartWorker(id, options_.seed ^ ((number * 64 + static_cast<uint64_t>(id) + 1) << 20)));
  }
  return children;
}

bool Fuzzer::EpochUnderLoad(const std::vector<Child>& children) {
  bool good = true;
  const uint64_t segments = 1 + random_.Below(4);
  for (uint64_t i = 0; i < segments && good; ++i) {
    const bool killed = options_.kills && (random_.OneIn(2) || kills_ == 0);
    good = Segment(children) && VolumeStep();
    if (killed) {
      ++kills_;
      good = good && KillAndMount();
    }
    good = good && Compare();
    if (killed) break;  // what they have open is of the mount that is gone
  }
  const Order end{};
  for (const Child& child : children) {
    if (::send(child.channel.get(), &end, sizeof end, MSG_NOSIGNAL) < 0) good = false;
  }
  for (const Child& child : children) {
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    if (status != 0) good = good && Fail(fmt::format("a worker ended with status {}", status));
  }
  return good && Compare();
}

bool Fuzzer::Segment(const std::vector<Child>& children) {
  for (const Child& child : children) {
    Order order{};
    const std::string volume = AnyVolume();
    volume.copy(order.volume, sizeof order.volume - 1);
    order.ops = 20 + static_cast<int>(random_.Below(150));
    if (::send(child.channel.get(), &order, sizeof order, MSG_NOSIGNAL) < 0)
      return Fail("a worker died");
  }
  bool good = true;
  for (const Child& child : children) {
    pollfd fd = {child.channel.get(), POLLIN, 0};
    char answer = 0;
    const int ready =
        ::poll(&fd, 1, static_cast<int>(std::chrono::milliseconds(kSegmentLimit).count()));
    if (ready != 1) {
      mount_.AbortConnection();
      return Fail("a worker hangs");
    }
    if (::recv(child.channel.get(), &answer, 1, 0) != 1 || answer != 'k') good = false;
  }
  return good;
}

Fuzzer::Child Fuzzer::StartWorker(int id, uint64_t seed) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    WorkerMain(ends[1], id, seed);
  }
  ::close(ends[1]);
  return {pid, UniqueFd(ends[0])};
}

void Fuzzer::WorkerMain(int channel, int id, uint64_t seed) const {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int status = 0;
  {
    Worker worker(mount_.root(), oracle_, id, seed, options_.use_maps);
    Order order{};
    while (::recv(channel, &order, sizeof order, 0) == sizeof order && order.ops > 0) {
      const bool good = worker.RunOps(order.volume, order.ops);
      if (!good) {
        std::fprintf(stderr, "worker %d in %s:\n%s", id, order.volume, worker.Report().c_str());
        status = 1;
      }
      if (::send(channel, good ? "k" : "f", 1, MSG_NOSIGNAL) != 1) break;
    }
  }
  std::fflush(stderr);
  ::_exit(status);
}

bool Fuzzer::VolumeStep() {
  switch (random_.Below(6)) {
    case 0:
    case 1:
      return CloneAny();
    case 2:
      return SnapshotAny();
    case 3:
      return DropAny();
    case 4:
      return volumes_.size() < kMaxVolumes ? NewVolume() : DropAny();
    default:
      return true;
  }
}

bool Fuzzer::NewVolume() {
  const std::string name = NewName();
  if (!Check("create " + name, mount_.px() ? CreateVolume(Subject(name))
                               : ::mkdir(Subject(name).c_str(), 0755) == 0 ? 0
                                                                           : errno)) {
    return false;
  }
  if (::mkdir(Oracle(name).c_str(), 0755) != 0) return Fail("mkdir " + Oracle(name));
  volumes_.push_back(name);
  return true;
}

bool Fuzzer::CloneAny() {
  if (volumes_.size() >= kMaxVolumes && !DropAny()) return false;
  const std::string from = AnyVolume();
  const std::string to = NewName();
  if (mount_.px()) {
    if (!Check("clone " + from, CloneVolume(Subject(from), Subject(to)))) return false;
  } else if (!Copy(Subject(from), Subject(to))) {
    return Fail("cp");
  }
  if (!Copy(Oracle(from), Oracle(to))) return Fail("cp -a " + from);
  volumes_.push_back(to);
  return true;
}

bool Fuzzer::SnapshotAny() {
  if (!mount_.px() || snapshots_.size() >= 4) return true;
  const std::string volume = AnyVolume();
  const std::string name = NewName();
  if (!Check("snapshot " + volume, SnapshotVolume(Subject(volume), name))) return false;
  if (!Copy(Oracle(volume), oracle_ + "/snapshot-" + name)) return Fail("cp -a " + volume);
  snapshots_[volume + "/.snapshots/" + name] = "snapshot-" + name;
  return true;
}

bool Fuzzer::DropAny() {
  if (volumes_.size() < 2) return true;
  const std::string name = AnyVolume();
  if (mount_.px()) {
    const int error = DropVolume(Subject(name));
    if (error == EBUSY) return true;  // a worker has a file of it open
    if (!Check("drop " + name, error)) return false;
  } else {
    Execute({"rm", "-rf", Subject(name)});
  }
  Execute({"rm", "-rf", Oracle(name)});
  std::erase(volumes_, name);
  std::erase_if(snapshots_, [&](const auto& entry) { return entry.first.starts_with(name + "/"); });
  return true;
}

bool Fuzzer::Restart() {
  if (!mount_.px() || random_.OneIn(2)) return true;
  if (random_.OneIn(2)) return KillAndMount();
  const Status mounted = mount_.Remount();
  return mounted ? true : Fail("remount: " + mounted.error().ToString());
}

bool Fuzzer::KillAndMount() {
  mount_.KillDaemon();
  const Status mounted = mount_.Mount();
  return mounted ? true : Fail("mount after a kill: " + mounted.error().ToString());
}

bool Fuzzer::Compare() {
  TreeOptions options;
  options.times = false;
  std::map<std::string, std::string> pairs = snapshots_;
  for (const std::string& volume : volumes_) pairs[volume] = volume;
  for (const auto& [subject, oracle] : pairs) {
    const std::string expected = DescribeTree(Oracle(oracle), options);
    const std::string actual = DescribeTree(Subject(subject), options);
    if (expected == actual) continue;
    const std::string files = mount_.scratch() + "/difference";
    FILE* file = std::fopen((files + ".subject").c_str(), "w");
    std::fputs(actual.c_str(), file);
    std::fclose(file);
    file = std::fopen((files + ".oracle").c_str(), "w");
    std::fputs(expected.c_str(), file);
    std::fclose(file);
    const std::string bytes =
        Execute({"sh", "-c", R"(cd "$1" && find . -type f -exec cmp -l -- {} "$2"/{} \; | head -5)",
                 "sh", Oracle(oracle), Subject(subject)})
            .output;
    return Fail("trees differ in " + subject + ":\n" +
                Execute({"diff", files + ".oracle", files + ".subject"}).output +
                "the first bytes that do (number, there, here):\n" + bytes);
  }
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  options.seed = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string key = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (key == "--mode") {
      options.mode = FindMountMode(value);
    } else if (key == "--seed") {
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (key == "--seconds") {
      options.seconds = std::atoi(value.c_str());
    } else if (key == "--epochs") {
      options.epochs = std::atoi(value.c_str());
    } else if (key == "--processes") {
      options.processes = std::atoi(value.c_str());
    } else if (key == "--no-maps") {
      options.use_maps = false;
    } else if (key == "--takeovers") {
      options.takeovers = true;
    } else if (key == "--kills") {
      options.kills = true;
      options.use_maps = false;
    } else {
      options.mode = nullptr;
      break;
    }
  }
  if (options.mode == nullptr || options.processes < 1) {
    std::fprintf(
        stderr,
        "usage: diff_fuzz --mode=MODE [--seed=N] [--seconds=N | --epochs=N] [--processes=N] "
        "[--no-maps] [--takeovers | --kills]\n"
        "MODE: %s\n",
        MountModeNames().c_str());
    return 2;
  }
  ::umask(0);
  return RunOnMount(*options.mode, "DiffFuzz", [&](MountFixture& mount) {
    std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
    std::fflush(stdout);
    Fuzzer fuzzer(options, mount);
    return fuzzer.Run() ? 0 : 1;
  });
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
