// kill_loop: kills the daemon (SIGKILL) at random under load, mounts again and checks that
// everything that was acknowledged is there, whole, and that px-fs fsck finds nothing.
//
//   kill_loop --mode=passthrough [--seed=N] [--seconds=N | --kills=N] [--processes=N]
//
// Each worker process notes in memory that it shares with the checker what it is about to do and,
// once the call returned, that it was done. After a kill a file must hold what was last done, or
// what was about to be done: never something older, something torn, or nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "tests/fuzz/random.h"
#include "tests/mount/mode_main.h"
#include "tests/mount/volume.h"
#include "tests/testing/mount_fixture.h"

namespace px::testing {
namespace {

constexpr size_t kSlots = 24;
constexpr size_t kClones = 4;
constexpr size_t kMaxProcesses = 8;
constexpr size_t kRecord = 16;
constexpr auto kRoundLimit = std::chrono::seconds(60);
// Daemons that live for a second do not come to give back what was dropped: so many kills, and one
// is asked to.
constexpr uint64_t kCollectEvery = 20;

// Of one file: 0 means that it does not exist, any other version what its content is made from.
struct Slot {
  std::atomic<uint64_t> intended;
  std::atomic<uint64_t> done;
  std::atomic<uint64_t> label;  // of its xattr; only counts for the version it was set on
};

struct WorkerState {
  std::array<Slot, kSlots> slots;
  Slot checkpoint;                // saved by truncating it and writing over it
  std::atomic<uint64_t> records;  // acknowledged appends to the log
};

// A clone: 1 if it is there.
struct CloneState {
  std::atomic<uint64_t> intended;
  std::atomic<uint64_t> done;
};

// In memory that parent and workers share.
struct Shared {
  std::atomic<uint64_t> calls;
  std::array<CloneState, kClones> clones;
  std::atomic<uint64_t> cloned, dropped;
  std::array<WorkerState, kMaxProcesses> workers;
};

std::string Content(uint64_t version) {
  Random random(version);
  std::string bytes(8 + random.Below(version % 5 == 0 ? 1'500'000 : 20'000), '\0');
  std::memcpy(bytes.data(), &version, sizeof version);
  for (size_t i = sizeof version; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = random.Next();
    std::memcpy(bytes.data() + i, &word, sizeof word);
  }
  return bytes;
}

std::string CheckpointOf(uint64_t version) { return Content(version) + std::string(4096, 'c'); }

std::string LogRecord(uint64_t number) { return fmt::format("{:015}\n", number); }

// False if the file cannot be read.
bool ReadWhole(const std::string& path, std::string* content) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  content->clear();
  std::vector<char> buffer(size_t{1} << 20);
  ssize_t n = 0;
  while ((n = ::read(fd.get(), buffer.data(), buffer.size())) > 0) {
    content->append(buffer.data(), static_cast<size_t>(n));
  }
  return n == 0;
}

bool WriteWhole(const std::string& path, const std::string& content) {
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
  if (!fd) return false;
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = ::write(fd.get(), content.data() + done, content.size() - done);
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return ::close(fd.Release()) == 0;
}

// Works until the first call fails, which is when the daemon was killed.
class LoadWorker {
 public:
  LoadWorker(std::string dir, WorkerState& state, std::atomic<uint64_t>& calls, uint64_t seed)
      : dir_(std::move(dir)), state_(state), calls_(calls), random_(seed) {}

  void Run() {
    UniqueFd log(::open((dir_ + "/log").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    while (log && Step(log.get())) ++calls_;
  }

 private:
  bool Step(int log) {
    const size_t slot = random_.Below(kSlots);
    switch (random_.Below(7)) {
      case 0:
        return Remove(slot);
      case 1:
        return Label(slot);
      case 3:
        return SaveInPlace();
      case 2: {
        const std::string record = LogRecord(state_.records);
        if (::write(log, record.data(), record.size()) != ssize_t{kRecord}) return false;
        ++state_.records;
        return true;
      }
      default:
        return Save(slot);
    }
  }

  bool Save(size_t index) {
    Slot& slot = state_.slots[index];
    const uint64_t version = random_.Next() | 1;
    const std::string temporary = fmt::format("{}/tmp", dir_);
    slot.intended = version;
    if (!WriteWhole(temporary, Content(version))) return false;
    if (::rename(temporary.c_str(), Name(index).c_str()) != 0) return false;
    slot.done = version;
    return true;
  }

  // As torch.save does: whoever is killed meanwhile leaves a torn file, and the one before it as a
  // kept version.
  bool SaveInPlace() {
    const uint64_t version = random_.Next() | 1;
    state_.checkpoint.intended = version;
    if (!WriteWhole(dir_ + "/checkpoint", CheckpointOf(version))) return false;
    state_.checkpoint.done = version;
    return true;
  }

  bool Remove(size_t index) {
    Slot& slot = state_.slots[index];
    if (slot.done == 0) return true;
    slot.intended = 0;
    if (::unlink(Name(index).c_str()) != 0) return false;
    slot.done = 0;
    return true;
  }

  bool Label(size_t index) {
    Slot& slot = state_.slots[index];
    const uint64_t version = slot.done;
    if (version == 0) return true;
    if (::setxattr(Name(index).c_str(), "user.version", &version, sizeof version, 0) != 0)
      return false;
    slot.label = version;
    return true;
  }

  std::string Name(size_t slot) const { return fmt::format("{}/slot{}", dir_, slot); }

  const std::string dir_;
  WorkerState& state_;
  std::atomic<uint64_t>& calls_;
  Random random_;
};

// Clones the volume that the others write in, and drops clones, until the daemon is killed.
void CloneAndDrop(const std::string& root, Shared& shared, uint64_t seed) {
  Random random(seed);
  for (;;) {
    const size_t index = random.Below(kClones);
    CloneState& clone = shared.clones[index];
    const std::string path = fmt::format("{}/clone{}", root, index);
    const bool there = clone.done != 0;
    clone.intended = there ? 0 : 1;
    if ((there ? DropVolume(path) : CloneVolume(root + "/work", path)) != 0) return;
    clone.done = there ? 0 : 1;
    ++(there ? shared.dropped : shared.cloned);
  }
}

struct Options {
  const MountMode* mode = nullptr;
  uint64_t seed = 0;
  int seconds = 8;
  int kills = 0;
  size_t processes = 3;
};

class KillLoop {
 public:
  KillLoop(const Options& options, MountFixture& mount, Shared& shared)
      : options_(options), mount_(mount), shared_(shared), random_(options.seed) {}

  bool Run();

 private:
  bool Round(uint64_t number);
  bool VerifyWorker(size_t id);
  bool VerifySlot(size_t id, size_t index);
  bool VerifyCheckpoint(size_t id);
  bool VerifyClones();
  bool VerifyClone(size_t clone);
  std::string Dir(size_t id) const { return fmt::format("{}/work/w{}", mount_.root(), id); }
  bool Fail(const std::string& what) const;

  const Options& options_;
  MountFixture& mount_;
  Shared& shared_;
  Random random_;
  uint64_t restored_ = 0;
};

bool KillLoop::Fail(const std::string& what) const {
  std::fprintf(stderr, "FAILED: %s\nseed %llu, mode %s\n%s\n", what.c_str(),
               static_cast<unsigned long long>(options_.seed),
               std::string(options_.mode->name).c_str(), mount_.LogTail().c_str());
  return false;
}

bool KillLoop::Run() {
  if (CreateVolume(mount_.root() + "/work") != 0) return Fail("create");
  for (size_t id = 0; id < options_.processes; ++id) {
    if (::mkdir(Dir(id).c_str(), 0755) != 0) return Fail("mkdir");
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options_.seconds);
  uint64_t kills = 0;
  for (; options_.kills > 0 ? kills < static_cast<uint64_t>(options_.kills)
                            : std::chrono::steady_clock::now() < end;
       ++kills) {
    if (!Round(kills)) return Fail(fmt::format("after kill {}", kills + 1));
  }
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "ok: %llu kills, %llu calls, %llu clones, %llu drops, %llu torn checkpoints restored: 0 "
      "lost, "
      "0 wrong\n",
      number(kills), number(shared_.calls), number(shared_.cloned), number(shared_.dropped),
      number(restored_));
  return true;
}

bool KillLoop::Round(uint64_t number) {
  std::vector<pid_t> workers;
  for (size_t id = 0; id < options_.processes; ++id) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      LoadWorker(Dir(id), shared_.workers[id], shared_.calls, options_.seed + number * 100 + id)
          .Run();
      ::_exit(0);
    }
    workers.push_back(pid);
  }
  const pid_t cloner = ::fork();
  if (cloner == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    CloneAndDrop(mount_.root(), shared_, options_.seed + number * 100 + 99);
    ::_exit(0);
  }
  workers.push_back(cloner);
  // The kill comes after a random number of calls.
  const uint64_t target = shared_.calls + 1 + random_.Below(400);
  const auto limit = std::chrono::steady_clock::now() + kRoundLimit;
  bool hung = false;
  while (shared_.calls < target && !hung) {
    std::this_thread::yield();
    hung = std::chrono::steady_clock::now() > limit;
  }
  mount_.KillDaemon();
  for (const pid_t pid : workers) ::waitpid(pid, nullptr, 0);
  if (hung) return Fail("the workers hung");

  const RunResult fsck = mount_.PxFs({"fsck", mount_.store()});
  if (fsck.exit_code != 0) return Fail("fsck: " + fsck.output);
  if (const Status mounted = mount_.Mount(); !mounted) return Fail(mounted.error().ToString());
  for (size_t id = 0; id < options_.processes; ++id) {
    if (!VerifyWorker(id)) return false;
  }
  if (!VerifyClones()) return false;
  if (number % kCollectEvery != kCollectEvery - 1) return true;
  const RunResult collected = mount_.PxFs({"gc", mount_.root()});
  return collected.exit_code == 0 || Fail("gc: " + collected.output);
}

bool KillLoop::VerifyWorker(size_t id) {
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (!VerifySlot(id, slot)) return false;
  }
  if (!VerifyCheckpoint(id)) return false;
  std::string log;
  WorkerState& state = shared_.workers[id];
  if (!ReadWhole(Dir(id) + "/log", &log)) {
    return state.records == 0 || Fail("the log is gone: " + std::string(strerrorname_np(errno)));
  }
  if (log.size() / kRecord < state.records) {
    return Fail(fmt::format("worker {}: {} records acknowledged, {} bytes there", id,
                            state.records.load(), log.size()));
  }
  for (uint64_t i = 0; i < log.size() / kRecord; ++i) {
    if (log.compare(i * kRecord, kRecord, LogRecord(i)) != 0)
      return Fail(fmt::format("worker {}: record {} is wrong", id, i));
  }
  // One append may have been under way: it counts if it is whole.
  state.records = log.size() / kRecord;
  return log.size() % kRecord == 0 || Fail(fmt::format("worker {}: half a record", id));
}

bool KillLoop::VerifySlot(size_t id, size_t index) {
  Slot& slot = shared_.workers[id].slots[index];
  const std::string path = fmt::format("{}/slot{}", Dir(id), index);
  std::string content;
  uint64_t version = 0;
  if (ReadWhole(path, &content)) {
    if (content.size() < sizeof version)
      return Fail(fmt::format("{}: {} bytes", path, content.size()));
    std::memcpy(&version, content.data(), sizeof version);
    if (content != Content(version)) return Fail(path + " is torn");
  } else if (errno != ENOENT) {
    return Fail(path + ": " + strerrorname_np(errno));
  }
  if (version != slot.done && version != slot.intended) {
    return Fail(fmt::format("{} has version {:x}, done {:x}, intended {:x}", path, version,
                            slot.done.load(), slot.intended.load()));
  }
  uint64_t label = 0;
  if (version != 0 && slot.label == version &&
      (::getxattr(path.c_str(), "user.version", &label, sizeof label) != sizeof label ||
       label != version)) {
    return Fail(path + " lost its xattr");
  }
  slot.done = version;
  slot.intended = version;
  return true;
}

// Whole, or torn with the last good one kept.
bool KillLoop::VerifyCheckpoint(size_t id) {
  Slot& slot = shared_.workers[id].checkpoint;
  const std::string path = Dir(id) + "/checkpoint";
  const auto version_of = [&]() -> uint64_t {
    std::string content;
    uint64_t version = 0;
    if (!ReadWhole(path, &content) || content.size() < sizeof version) return 0;
    std::memcpy(&version, content.data(), sizeof version);
    return content == CheckpointOf(version) ? version : 0;
  };
  uint64_t version = version_of();
  const bool torn = version == 0 || (version != slot.done && version != slot.intended);
  if (torn && slot.done != 0) {
    if (slot.done == slot.intended) return Fail(path + " is torn, and nobody wrote to it");
    const std::string kept = mount_.PxFs({"versions", path, "--json"}).output;
    if (const int error = RestoreFile(path); error != 0) {
      return Fail(fmt::format("{} is torn, and not restored: {}", path, strerrorname_np(error)));
    }
    const uint64_t found = std::exchange(version, version_of());
    if (version != slot.done) {
      return Fail(
          fmt::format("{} was restored to {:x}, not {:x} ({:x} was being written, {:x} was found); "
                      "kept were {}",
                      path, version, slot.done.load(), slot.intended.load(), found, kept));
    }
    ++restored_;
  }
  // It is whole but its close did not return: px may take it for torn when it is written over. What
  // the load goes on from is to be one that was closed.
  if (!torn && version != slot.done && !WriteWhole(path, CheckpointOf(version)))
    return Fail(path + ": " + strerrorname_np(errno));
  slot.done = torn && slot.done == 0 ? 0 : version;
  slot.intended = slot.done.load();
  return true;
}

bool KillLoop::VerifyClones() {
  for (size_t clone = 0; clone < kClones; ++clone) {
    CloneState& state = shared_.clones[clone];
    struct stat info{};
    const std::string path = fmt::format("{}/clone{}", mount_.root(), clone);
    const uint64_t there = ::stat(path.c_str(), &info) == 0 ? 1 : 0;
    if (there == 0 && errno != ENOENT) return Fail(path + ": " + strerrorname_np(errno));
    if (there != state.done && there != state.intended) {
      return Fail(path + (there != 0 ? " is there, and was dropped" : " is gone"));
    }
    state.done = there;
    if (there != 0 && !VerifyClone(clone)) return false;
  }
  return true;
}

// It was made while files were written: each of its slots must be whole.
bool KillLoop::VerifyClone(size_t clone) {
  for (size_t id = 0; id < options_.processes; ++id) {
    for (size_t slot = 0; slot < kSlots; ++slot) {
      const std::string path = fmt::format("{}/clone{}/w{}/slot{}", mount_.root(), clone, id, slot);
      std::string content;
      uint64_t version = 0;
      if (!ReadWhole(path, &content)) {
        if (errno == ENOENT) continue;
        return Fail(path + ": " + strerrorname_np(errno));
      }
      if (content.size() >= sizeof version) std::memcpy(&version, content.data(), sizeof version);
      if (content != Content(version)) {
        return Fail(fmt::format("{} is torn: {} bytes", path, content.size()));
      }
    }
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
    } else if (key == "--kills") {
      options.kills = std::atoi(value.c_str());
    } else if (key == "--processes") {
      options.processes = std::strtoul(value.c_str(), nullptr, 10);
    } else {
      options.mode = nullptr;
      break;
    }
  }
  if (options.mode == nullptr || !options.mode->px || options.processes < 1 ||
      options.processes > kMaxProcesses) {
    std::fprintf(
        stderr,
        "usage: kill_loop --mode=MODE [--seed=N] [--seconds=N | --kills=N] [--processes=N]\n");
    return 2;
  }
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  Shared& shared = *new (memory) Shared();
  return RunOnMount(*options.mode, "KillLoop", [&](MountFixture& mount) {
    std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
    std::fflush(stdout);
    return KillLoop(options, mount, shared).Run() ? 0 : 1;
  });
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
