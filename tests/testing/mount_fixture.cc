#include "tests/testing/mount_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/unique_fd.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::string_view kPrefix = "px-mount-test.";
constexpr auto kMountTimeout = seconds(30);
constexpr auto kUnmountTimeout = seconds(30);

// "allow_other": a root mount must be one that any program runs on without knowing.
constexpr std::array kModes = {
    MountMode{"plain", false, true, false, ""},
    MountMode{"plain-user", false, false, false, ""},
    MountMode{"plain-xfs", false, true, true, ""},
    MountMode{"passthrough", true, true, false, "allow_other"},
    MountMode{"cached", true, true, false, "nopassthrough,allow_other"},
    MountMode{"user", true, false, false, ""},
    MountMode{"xfs", true, true, true, "allow_other"},
    MountMode{"xfs-cached", true, true, true, "nopassthrough,allow_other"},
};

std::string TempBase() {
  const char* base = std::getenv("TMPDIR");
  return base != nullptr && *base != '\0' ? base : "/tmp";
}

// Mount points at or below `path`, deepest last, as the kernel lists them.
std::vector<std::string> MountsBelow(const std::string& path) {
  std::vector<std::string> found;
  for (const auto& [point, type] : MountTable()) {
    if (point == path || point.starts_with(path + "/")) found.push_back(point);
  }
  return found;
}

void DetachBelow(const std::string& path) {
  const std::vector<std::string> mounts = MountsBelow(path);
  for (auto it = mounts.rbegin(); it != mounts.rend(); ++it) {
    // By force: a thread of a killed daemon that was dropping the kernel's pages of a file waits
    // for a page whose writer waits for the daemon, and only the end of the connection ends both.
    if (::umount2(it->c_str(), MNT_DETACH | MNT_FORCE) != 0)
      Execute({"fusermount3", "-u", "-z", *it}, seconds(10));
  }
}

void KillNaming(const std::string& path) {
  for (const pid_t pid : ProcessesNaming(path)) ::kill(pid, SIGKILL);
}

void RemoveTree(const std::string& path) {
  if (!MountsBelow(path).empty()) return;
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// What test programs that died have left behind.
void SweepStale() {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(TempBase(), ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    pid_t owner = 0;
    const char* digits = name.c_str() + kPrefix.size();
    std::from_chars(digits, name.c_str() + name.size(), owner);
    if (owner <= 0 || ::kill(owner, 0) == 0 || errno != ESRCH) continue;
    KillNaming(name);
    DetachBelow(entry.path());
    RemoveTree(entry.path());
  }
}

Status Command(const std::vector<std::string>& argv) {
  const RunResult result = Execute(argv, seconds(60));
  if (result.exit_code == 0) return {};
  return Fail(EOPNOTSUPP, argv[0] + ": " + result.output);
}

}  // namespace

std::vector<MountEntry> MountTable() {
  std::vector<MountEntry> mounts;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string word, point, type;
    fields >> word >> word >> word >> word >> point;
    while (fields >> word && word != "-") {
    }
    fields >> type;
    mounts.push_back({point, type});
  }
  return mounts;
}

const MountMode* FindMountMode(std::string_view name) {
  for (const MountMode& mode : kModes) {
    if (mode.name == name) return &mode;
  }
  return nullptr;
}

std::string MountModeNames() {
  std::string names;
  for (const MountMode& mode : kModes) names.append(names.empty() ? "" : ", ").append(mode.name);
  return names;
}

MountFixture::MountFixture(const MountMode& mode, std::string directory)
    : mode_(mode),
      directory_(std::move(directory)),
      root_(directory_ + "/mnt"),
      scratch_(directory_ + "/scratch"),
      store_(directory_ + "/store"),
      log_(directory_ + "/daemon.log") {}

Result<std::unique_ptr<MountFixture>> MountFixture::Create(const MountMode& mode) {
  if (mode.root && ::geteuid() != 0) return Fail(EOPNOTSUPP, "needs root");
  if (mode.px && ::access("/dev/fuse", F_OK) != 0) return Fail(EOPNOTSUPP, "there is no /dev/fuse");
  if (mode.px && ::access(PxFsProgram().c_str(), X_OK) != 0) {
    return Fail(EOPNOTSUPP, "there is no program " + PxFsProgram());
  }
  SweepStale();
  std::string directory =
      TempBase() + "/" + std::string(kPrefix) + std::to_string(::getpid()) + ".XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) return FailErrno("mkdtemp " + directory);
  ::chmod(directory.c_str(), 0755);
  std::unique_ptr<MountFixture> fixture(new MountFixture(mode, directory));
  PX_TRY(fixture->PrepareBacking());
  PX_TRY(fixture->Mount());
  return fixture;
}

Status MountFixture::PrepareBacking() {
  if (::mkdir(scratch_.c_str(), 0777) != 0) return FailErrno("mkdir " + scratch_);
  ::chmod(scratch_.c_str(), 0777);
  if (mode_.xfs) {
    const std::string image = directory_ + "/xfs.img";
    xfs_ = directory_ + "/xfs";
    if (::mkdir(xfs_.c_str(), 0755) != 0) return FailErrno("mkdir " + xfs_);
    const UniqueFd fd(::open(image.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (!fd || ::ftruncate(fd.get(), off_t{6} << 30) != 0) return FailErrno("create " + image);
    PX_TRY(Command({"mkfs.xfs", "-q", "-m", "reflink=1", image}));
    PX_TRY(Command({"mount", "-o", "loop", image, xfs_}));
    store_ = xfs_ + "/store";
    if (!mode_.px) root_ = xfs_ + "/plain";
  }
  if (::mkdir(root_.c_str(), 0755) != 0) return FailErrno("mkdir " + root_);
  return {};
}

MountFixture::~MountFixture() {
  if (::chdir("/") != 0) std::abort();
  if (mode_.px) {
    if (!Unmount()) KillDaemon();
  }
  DetachBelow(directory_);
  RemoveTree(directory_);
}

Status MountFixture::Mount() {
  if (!mode_.px) return {};
  // The kernel wakes a poll of this file when a mount appears; what it waits for is thus an event.
  const UniqueFd table(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  std::vector<std::string> argv;
  if (!environment_.empty()) argv.emplace_back("env");
  argv.insert(argv.end(), environment_.begin(), environment_.end());
  argv.insert(argv.end(), {PxFsProgram(), "mount", "--store", store_, "--foreground"});
  if (!mode_.options.empty()) argv.insert(argv.end(), {"-o", std::string(mode_.options)});
  if (!keeper_) argv.insert(argv.end(), {"-o", "nokeeper"});
  argv.push_back(root_);
  PX_ASSIGN(daemon_, Background::Start(argv, log_));
  const auto deadline = steady_clock::now() + kMountTimeout;
  while (MountsBelow(root_).empty()) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    pollfd fds[2] = {{table.get(), POLLPRI, 0}, {daemon_.pidfd(), POLLIN, 0}};
    const int ready = left.count() > 0 ? ::poll(fds, 2, static_cast<int>(left.count())) : 0;
    if (ready == 0 || (fds[1].revents & POLLIN) != 0) {
      KillDaemon();
      return Fail(ready == 0 ? ETIMEDOUT : EIO, "px-fs mount: " + LogTail());
    }
  }
  struct statfs info{};
  if (::statfs(root_.c_str(), &info) != 0) return FailErrno("statfs " + root_);
  return {};
}

Status MountFixture::Unmount() {
  if (!mode_.px || !daemon_.running()) return {};
  const RunResult result = Execute({PxFsProgram(), "umount", root_}, kUnmountTimeout);
  if (result.exit_code != 0) return Fail(EBUSY, "px-fs umount: " + result.output);
  if (!MountsBelow(root_).empty()) return Fail(EBUSY, "still mounted after px-fs umount");
  if (!daemon_.Wait(kUnmountTimeout)) return Fail(ETIMEDOUT, "the daemon outlives its mount");
  return {};
}

Status MountFixture::Remount() {
  PX_TRY(Unmount());
  return Mount();
}

pid_t MountFixture::DaemonPid() const {
  std::ifstream state(store_ + "/keeper");
  pid_t pid = 0;
  for (std::string word; state >> word;) {
    if (word == "daemon") state >> pid;
  }
  return pid;
}

// A keeper that is killed while it starts a daemon leaves one that does not name the mount yet: it
// holds the store's lock all the same.
void MountFixture::KillDaemon() {
  // What waits in the kernel for the end of the connection ends with it, and cannot be reaped
  // before.
  KillNaming(root_);
  Detach();
  daemon_.Kill();
  const UniqueFd lock(::open((store_ + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  do {
    KillNaming(root_);
    Detach();
  } while (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
  Detach();
}

void MountFixture::Detach() const { DetachBelow(root_); }

Status MountFixture::EnsureMounted() {
  if (!mode_.px) return {};
  struct statfs info{};
  if (daemon_.running() && !daemon_.Wait(milliseconds(0)) && !MountsBelow(root_).empty() &&
      ::statfs(root_.c_str(), &info) == 0) {
    return {};
  }
  KillDaemon();
  return Mount();
}

RunResult MountFixture::PxFs(const std::vector<std::string>& args) const {
  std::vector<std::string> argv = {PxFsProgram()};
  argv.insert(argv.end(), args.begin(), args.end());
  return Execute(argv);
}

std::string MountFixture::PxFsProgram() {
  if (const char* path = std::getenv("PX_FS"); path != nullptr && *path != '\0') return path;
#ifdef PX_FS_PROGRAM
  return PX_FS_PROGRAM;
#else
  return "px-fs";
#endif
}

void MountFixture::AbortConnection() const {
  if (!mode_.px) return;
  KillNaming(root_);
  Detach();
}

std::string MountFixture::LogTail() const {
  std::ifstream file(log_);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  constexpr size_t kTail = 4000;
  return text.size() > kTail ? text.substr(text.size() - kTail) : text;
}

}  // namespace px::testing
