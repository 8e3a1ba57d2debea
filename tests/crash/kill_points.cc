// kill_points: kills px-fs (SIGKILL) before, inside and after each call with which it changes its
// store, while it serves a fixed workload; mounts again and checks that all that had returned is
// there.
//
//   kill_points --mode=passthrough [--every=N] [--seed=N]
//
// First it counts the calls of each site (fault_control.h): "write meta.log by requests". Then each
// site is met on its first call and on a random one; --every=N adds each Nth call of all, --every=1
// every one there is. The workload runs on the mount and, one operation behind, on a plain
// directory: after the kill the mount must be as the directory is, or as it is one operation later.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "tests/fuzz/random.h"
#include "tests/mount/mode_main.h"
#include "tests/mount/tree.h"
#include "tests/mount/volume.h"
#include "tests/testing/fault_injector.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCheckpoint = 1'300'000;
// After so many kills it is looked at what an unmount leaves, too.
constexpr size_t kUnmountEvery = 4;

std::string Bytes(size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  Random random(seed + 1);
  for (char& byte : bytes) byte = static_cast<char>('a' + random.Next() % 26);
  return bytes;
}

int Error(int64_t result) { return result < 0 ? errno : 0; }

int WriteTo(const std::string& path, int flags, std::string_view bytes, bool sync) {
  const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (!fd) return errno;
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return sync && ::fsync(fd.get()) != 0 ? errno : 0;
}

// One acknowledged step, on the mount and on the plain directory that follows it.
struct Step {
  std::string name;
  std::function<int(const std::string& root)> act;
  std::function<void(const std::string& root)> follow;  // none: as `act`
  // What may be seen if the kill comes in the middle, besides before and after.
  bool in_parts = false;
};

class Workload {
 public:
  explicit Workload(const MountFixture& mount) : mount_(mount) { Build(); }
  const std::vector<Step>& steps() const { return steps_; }

 private:
  void Same(const std::string& name, const std::function<int(const std::string&)>& act,
            bool in_parts = false) {
    steps_.push_back({name, act, [act](const std::string& root) { act(root); }, in_parts});
  }
  void Volume(const std::string& name, const std::function<int(const std::string&)>& act,
              const std::function<void(const std::string&)>& follow) {
    steps_.push_back({name, act, follow});
  }
  int PxFs(const std::vector<std::string>& words) const {
    return mount_.PxFs(words).exit_code == 0 ? 0 : EIO;
  }
  void Build();
  void AddFiles(const std::string& dir, unsigned seed);
  void AddVolumes();

  const MountFixture& mount_;
  std::vector<Step> steps_;
};

void CopyTree(const std::string& from, const std::string& to) { Execute({"cp", "-a", from, to}); }

void Workload::AddFiles(const std::string& dir, unsigned seed) {
  const auto in = [dir](const std::string& root, const std::string& name) {
    return root + "/" + dir + "/" + name;
  };
  for (unsigned i = 0; i < 3; ++i) {
    Same(
        "small file",
        [=](const std::string& root) {
          return WriteTo(in(root, fmt::format("small{}", i)), O_CREAT | O_WRONLY | O_TRUNC,
                         Bytes(3'000 + i * 9'000, seed + i), i == 2);
        },
        true);
  }
  Same(
      "save by truncate",
      [=](const std::string& root) {
        return WriteTo(in(root, "checkpoint"), O_CREAT | O_WRONLY | O_TRUNC,
                       Bytes(kCheckpoint, seed + 10), false);
      },
      true);
  Same(
      "save to a temporary file",
      [=](const std::string& root) {
        return WriteTo(in(root, "temp"), O_CREAT | O_WRONLY | O_TRUNC,
                       Bytes(kCheckpoint, seed + 11), true);
      },
      true);
  Same("rename over", [=](const std::string& root) {
    return Error(::rename(in(root, "temp").c_str(), in(root, "best").c_str()));
  });
  Same(
      "write in place",
      [=](const std::string& root) {
        const UniqueFd fd(::open(in(root, "checkpoint").c_str(), O_RDWR | O_CLOEXEC));
        if (!fd) return errno;
        const std::string bytes = Bytes(5'000, seed + 12);
        return ::pwrite(fd.get(), bytes.data(), bytes.size(), 700'001) ==
                       static_cast<ssize_t>(bytes.size())
                   ? 0
                   : EIO;
      },
      true);
  Same(
      "append",
      [=](const std::string& root) {
        return WriteTo(in(root, "log"), O_CREAT | O_WRONLY | O_APPEND, Bytes(700, seed + 13),
                       false);
      },
      true);
  Same("truncate", [=](const std::string& root) {
    return Error(::truncate(in(root, "small1").c_str(), 1'234));
  });
  Same("mkdir", [=](const std::string& root) {
    return Error(::mkdir(in(root, fmt::format("d{}", seed)).c_str(), 0755));
  });
  Same("symlink", [=](const std::string& root) {
    return Error(::symlink("best", in(root, fmt::format("latest{}", seed)).c_str()));
  });
  Same("link", [=](const std::string& root) {
    return Error(::link(in(root, "small0").c_str(), in(root, fmt::format("d{}/h", seed)).c_str()));
  });
  Same("unlink",
       [=](const std::string& root) { return Error(::unlink(in(root, "small2").c_str())); });
}

void Workload::AddVolumes() {
  Volume(
      "clone", [](const std::string& root) { return CloneVolume(root + "/a", root + "/b"); },
      [](const std::string& root) { CopyTree(root + "/a", root + "/b"); });
  AddFiles("b", 300);  // into what is shared
  Volume(
      "snapshot", [](const std::string& root) { return SnapshotVolume(root + "/a", "s"); },
      [](const std::string&) {});
  AddFiles("a", 400);
  Volume(
      "drop of a snapshot", [](const std::string& root) { return DropSnapshot(root + "/a", "s"); },
      [](const std::string&) {});
  Volume(
      "trash", [this](const std::string& root) { return PxFs({"rm", root + "/b"}); },
      [](const std::string& root) { fs::rename(root + "/b", root + ".b"); });
  Volume(
      "undelete", [this](const std::string& root) { return PxFs({"undelete", root + "/b"}); },
      [](const std::string& root) { fs::rename(root + ".b", root + "/b"); });
  Volume(
      "drop", [](const std::string& root) { return DropVolume(root + "/b"); },
      [](const std::string& root) { fs::remove_all(root + "/b"); });
  Same("fsync", [](const std::string& root) {
    const UniqueFd fd(::open((root + "/a").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd && ::fsync(fd.get()) == 0 ? 0 : EIO;
  });
}

void Workload::Build() {
  Volume(
      "volume", [](const std::string& root) { return CreateVolume(root + "/a"); },
      [](const std::string& root) { ::mkdir((root + "/a").c_str(), 0755); });
  AddFiles("a", 100);
  AddFiles("a", 200);
  AddVolumes();
}

struct Options {
  const MountMode* mode = nullptr;
  uint64_t every = 0;
  uint64_t seed = 1;
};

class KillPoints {
 public:
  KillPoints(const Options& options, MountFixture& mount, FaultInjector& faults)
      : options_(options),
        mount_(mount),
        faults_(faults),
        workload_(mount),
        random_(options.seed) {}

  bool Run();

 private:
  bool Kill(Fault fault, uint32_t site, uint64_t skip);
  bool Fresh();
  size_t Work();
  bool Check(size_t done);
  std::string Describe(const std::string& root) const;
  bool Complain(const std::string& what) const;

  const Options& options_;
  MountFixture& mount_;
  FaultInjector& faults_;
  const Workload workload_;
  Random random_;
  std::string label_;
  size_t kills_ = 0, missed_ = 0, steps_ = 0;
};

bool KillPoints::Complain(const std::string& what) const {
  std::printf("FAILED: %s: %s\nmode %s, seed %llu\n%s\n", label_.c_str(), what.c_str(),
              std::string(options_.mode->name).c_str(),
              static_cast<unsigned long long>(options_.seed), mount_.LogTail().c_str());
  return false;
}

std::string KillPoints::Describe(const std::string& root) const {
  TreeOptions options;
  options.times = false;
  options.owners = false;
  return DescribeTree(root, options);
}

// A new store, mounted, and an empty directory beside it.
bool KillPoints::Fresh() {
  faults_.Disarm();
  mount_.KillDaemon();
  std::error_code error;
  const std::string empty = mount_.scratch() + "/empty-store";
  fs::remove_all(mount_.store(), error);
  // Making a store takes longer than copying one.
  if (fs::exists(empty, error)) CopyTree(empty, mount_.store());
  fs::remove_all(mount_.scratch() + "/plain", error);
  fs::remove_all(mount_.scratch() + "/plain.b", error);
  fs::create_directory(mount_.scratch() + "/plain", error);
  if (const Status mounted = mount_.Mount(); !mounted) {
    return Complain(mounted.error().ToString());
  }
  if (fs::exists(empty, error)) return true;
  if (const Status unmounted = mount_.Unmount(); !unmounted) {
    return Complain(unmounted.error().ToString());
  }
  CopyTree(mount_.store(), empty);
  return Fresh();
}

// How many steps were acknowledged, each of which was done on the plain directory too.
size_t KillPoints::Work() {
  size_t done = 0;
  for (const Step& step : workload_.steps()) {
    if (step.act(mount_.root()) != 0) return done;
    step.follow(mount_.scratch() + "/plain");
    ++done;
  }
  return done;
}

bool KillPoints::Check(size_t done) {
  const RunResult fsck = mount_.PxFs({"fsck", mount_.store()});
  if (fsck.exit_code != 0) return Complain("fsck: " + fsck.output);
  if (const Status mounted = mount_.Mount(); !mounted) {
    return Complain(mounted.error().ToString());
  }
  const std::string plain = mount_.scratch() + "/plain";
  const std::string now = Describe(mount_.root());
  const std::string before = Describe(plain);
  bool right = now == before;
  if (!right && done < workload_.steps().size()) {
    const Step& step = workload_.steps()[done];
    step.follow(plain);
    const std::string after = Describe(plain);
    right = now == after;
    if (!right && step.in_parts) {
      // Of a file that was being written it may have any part: all others must be right.
      const auto lines_of = [](const std::string& text) {
        std::vector<std::string> lines;
        for (size_t at = 0; at < text.size();) {
          const size_t end = text.find('\n', at);
          lines.push_back(text.substr(at, end - at));
          at = end + 1;
        }
        return lines;
      };
      // All names of one file are one.
      const auto file_of = [](const std::string& line) {
        const size_t same = line.find(" same=");
        return same == std::string::npos ? line
                                         : line.substr(same, line.find(' ', same + 1) - same);
      };
      std::set<std::string> wrong;
      const auto a = lines_of(before), b = lines_of(after);
      for (const std::string& line : lines_of(now)) {
        if (std::find(a.begin(), a.end(), line) == a.end() &&
            std::find(b.begin(), b.end(), line) == b.end()) {
          wrong.insert(file_of(line));
        }
      }
      right = wrong.size() <= 1;
    }
    if (!right) {
      return Complain(fmt::format("in '{}' the tree is\n{}and should be\n{}or\n{}", step.name, now,
                                  before, after));
    }
  }
  if (!right) return Complain(fmt::format("the tree is\n{}and should be\n{}", now, before));
  if (kills_ % kUnmountEvery != 0) return true;
  if (const Status status = mount_.Unmount(); !status) return Complain(status.error().ToString());
  const RunResult again = mount_.PxFs({"fsck", mount_.store()});
  return again.exit_code == 0 ? true : Complain("fsck after an unmount: " + again.output);
}

bool KillPoints::Kill(Fault fault, uint32_t site, uint64_t skip) {
  const char* where = fault == Fault::kKillBefore   ? "before"
                      : fault == Fault::kKillInside ? "inside"
                                                    : "after";
  label_ = fmt::format("killed {} {} #{}", where, SiteName(site), skip);
  if (!Fresh()) return false;
  faults_.Arm(fault, site, skip);
  const size_t done = Work();
  steps_ += done;
  if (faults_.Disarm() == 0) ++missed_;  // the background's calls come when they like
  ++kills_;
  mount_.KillDaemon();
  return Check(done);
}

bool KillPoints::Run() {
  label_ = "without a kill";
  if (!Fresh()) return false;
  const FaultInjector::Counts before = faults_.CountsNow();
  const uint64_t changes_before = faults_.changes();
  if (const size_t done = Work(); done != workload_.steps().size()) {
    return Complain("'" + workload_.steps()[done].name + "' fails: " + strerrorname_np(errno));
  }
  const FaultInjector::Counts counts = faults_.CountsNow();
  const uint64_t changes = faults_.changes() - changes_before;
  mount_.KillDaemon();
  if (!Check(workload_.steps().size())) return false;
  size_t sites = 0;
  constexpr Fault kFaults[] = {Fault::kKillBefore, Fault::kKillInside, Fault::kKillAfter};
  size_t turn = options_.seed;
  for (uint32_t site = 0; site < kSites; ++site) {
    const uint64_t calls = counts[site] - before[site];
    if (calls == 0 || !ChangesStore(CallOf(site))) continue;
    ++sites;
    if (!Kill(kFaults[turn++ % 3], site, 0)) return false;
    if (calls > 1 && !Kill(kFaults[turn++ % 3], site, 1 + random_.Below(calls - 1))) return false;
  }
  for (uint64_t skip = 0; options_.every > 0 && skip < changes; skip += options_.every) {
    if (!Kill(kFaults[turn++ % 3], kAnyChange, skip)) return false;
  }
  std::printf(
      "ok: %zu kills at %zu sites (%llu calls that change the store), %zu not met again, %zu "
      "steps: 0 lost, 0 wrong\n",
      kills_, sites, static_cast<unsigned long long>(changes), missed_, steps_);
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    unsigned long long number = 0;
    const std::string argument = argv[i];
    if (argument.starts_with("--mode=")) {
      options.mode = FindMountMode(argument.substr(7));
    } else if (std::sscanf(argv[i], "--every=%llu", &number) == 1) {
      options.every = number;
    } else if (std::sscanf(argv[i], "--seed=%llu", &number) == 1) {
      options.seed = number;
    } else {
      options.mode = nullptr;
      break;
    }
  }
  if (options.mode == nullptr || !options.mode->px) {
    std::fprintf(stderr, "usage: kill_points --mode=MODE [--every=N] [--seed=N]\n");
    return 2;
  }
  return RunOnMount(*options.mode, "KillPoints", [&](MountFixture& mount) {
    const auto faults = FaultInjector::Create(mount.scratch(), mount.store());
    if (!faults) {
      std::fprintf(stderr, "kill_points: %s\n", faults.error().ToString().c_str());
      return 1;
    }
    mount.set_environment((*faults)->environment());
    mount.set_keeper(false);
    return KillPoints(options, mount, **faults).Run() ? 0 : 1;
  });
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
