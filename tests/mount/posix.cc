#include "tests/mount/posix.h"

#include <dirent.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>

#include "tests/mount/watchdog.h"

namespace px::testing {

std::string TestVolume() { return TheMount().root() + "/test/posix/experiments/1"; }

std::string PosixTest::Parent() { return px() ? TestVolume() : TheMount().root(); }

void PosixTest::SetUp() {
  if (!WhyNoMount().empty()) GTEST_SKIP() << WhyNoMount();
  ::umask(0);
  const Status mounted = TheMount().EnsureMounted();
  ASSERT_TRUE(mounted) << mounted.error().ToString();
  TheWatchdog().Arm(kTestLimit);
  if (px() && !Exists(TestVolume())) {
    const std::string experiments = TheMount().root() + "/test/posix/experiments";
    ::mkdir((TheMount().root() + "/test").c_str(), 0755);
    ::mkdir((TheMount().root() + "/test/posix").c_str(), 0755);
    ::mkdir(experiments.c_str(), 0755);
    const RunResult made = TheMount().PxFs({"create", TestVolume()});
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  dir_ = Parent() + "/" + info->test_suite_name() + "." + info->name() + "." +
         std::to_string(std::chrono::steady_clock::now().time_since_epoch().count());
  ASSERT_EQ(Try(::mkdir(dir_.c_str(), 0755)), 0) << dir_;
  ASSERT_EQ(Try(::chdir(dir_.c_str())), 0) << dir_;
}

void PosixTest::TearDown() {
  if (IsSkipped()) return;
  ::umask(022);
  EXPECT_EQ(::chdir("/"), 0);
  if (TheWatchdog().Disarm()) {
    ADD_FAILURE() << "hung: ended by killing the daemon";
  } else if (!HasFailure()) {
    const RunResult removed = Execute({"rm", "-rf", dir_});
    EXPECT_EQ(removed.exit_code, 0) << removed.output;
  }
  if (HasFailure() && px()) {
    const std::string log = TheMount().LogTail();
    if (!log.empty()) std::fprintf(stderr, "px-fs says:\n%s\n", log.c_str());
  }
}

void PosixTest::Remount() {
  ASSERT_EQ(::chdir("/"), 0);
  const Status done = TheMount().Remount();
  ASSERT_TRUE(done) << done.error().ToString();
  ASSERT_EQ(Try(::chdir(dir_.c_str())), 0);
}

void PosixTest::KillAndRemount() {
  ASSERT_EQ(::chdir("/"), 0);
  if (px()) {
    TheMount().KillDaemon();
    const Status done = TheMount().Mount();
    ASSERT_TRUE(done) << done.error().ToString();
  }
  ASSERT_EQ(Try(::chdir(dir_.c_str())), 0);
}

void Put(const std::string& path, std::string_view content, mode_t mode) {
  const UniqueFd fd = Open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  if (fd) WriteAt(fd.get(), 0, content);
}

std::string Get(const std::string& path) {
  const UniqueFd fd = Open(path, O_RDONLY);
  return fd ? GetFd(fd.get()) : "!unreadable";
}

std::string GetFd(int fd) {
  std::string content;
  std::vector<char> buffer(size_t{1} << 20);
  for (;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
    EXPECT_GE(n, 0) << "pread: " << std::strerror(errno);
    if (n <= 0) return content;
    content.append(buffer.data(), static_cast<size_t>(n));
  }
}

void MkDir(const std::string& path, mode_t mode) {
  ASSERT_EQ(Try(::mkdir(path.c_str(), mode)), 0) << "mkdir " << path;
}

UniqueFd Open(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  EXPECT_TRUE(fd) << "open " << path << ": " << std::strerror(errno);
  return fd;
}

int OpenErrno(const std::string& path, int flags, mode_t mode) {
  const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  return fd ? 0 : errno;
}

struct stat Stat(const std::string& path) {
  struct stat st{};
  EXPECT_EQ(Try(::stat(path.c_str(), &st)), 0) << "stat " << path;
  return st;
}

struct stat LStat(const std::string& path) {
  struct stat st{};
  EXPECT_EQ(Try(::lstat(path.c_str(), &st)), 0) << "lstat " << path;
  return st;
}

struct stat FStat(int fd) {
  struct stat st{};
  EXPECT_EQ(Try(::fstat(fd, &st)), 0) << "fstat";
  return st;
}

bool Exists(const std::string& path) {
  struct stat st{};
  return ::lstat(path.c_str(), &st) == 0;
}

std::vector<std::string> List(const std::string& path) {
  std::vector<std::string> names;
  DIR* stream = ::opendir(path.c_str());
  EXPECT_NE(stream, nullptr) << "opendir " << path << ": " << std::strerror(errno);
  if (stream == nullptr) return names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  EXPECT_EQ(errno, 0) << "readdir " << path;
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

std::string Pattern(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
  for (size_t i = 0; i < size; i += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(bytes.data() + i, &state, std::min(sizeof state, size - i));
  }
  return bytes;
}

std::string ReadLink(const std::string& path) {
  std::string target(8192, '\0');
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  EXPECT_GE(n, 0) << "readlink " << path << ": " << std::strerror(errno);
  target.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return target;
}

std::string GetXattr(const std::string& path, const char* name) {
  std::string value(65536, '\0');
  const ssize_t n = ::lgetxattr(path.c_str(), name, value.data(), value.size());
  if (n < 0) return "!" + std::string(::strerrorname_np(errno));
  value.resize(static_cast<size_t>(n));
  return value;
}

std::vector<std::string> ListXattr(const std::string& path) {
  std::string list(65536, '\0');
  const ssize_t n = ::llistxattr(path.c_str(), list.data(), list.size());
  EXPECT_GE(n, 0) << "llistxattr " << path << ": " << std::strerror(errno);
  std::vector<std::string> names;
  for (size_t at = 0; n > 0 && at < static_cast<size_t>(n);) {
    names.emplace_back(list.c_str() + at);
    at += names.back().size() + 1;
  }
  std::sort(names.begin(), names.end());
  return names;
}

void WriteAt(int fd, off_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    ASSERT_GT(n, 0) << "pwrite: " << std::strerror(errno);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
}

std::string ReadAt(int fd, off_t offset, size_t size) {
  std::string bytes(size, '\0');
  const ssize_t n = ::pread(fd, bytes.data(), size, offset);
  EXPECT_GE(n, 0) << "pread: " << std::strerror(errno);
  bytes.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return bytes;
}

int64_t Ns(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

void NextTick() {
  timespec start{};
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &start);
  do {
    ::sched_yield();
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  } while (Ns(now) == Ns(start));
}

}  // namespace px::testing
