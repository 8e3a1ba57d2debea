// What the tests of a mount share: PosixTest, and short names for what nearly each of them does.
//
// A PosixTest runs in a fresh, empty directory of the filesystem under test, which is the working
// directory, so that a test names its files "a" and "d/b". umask is 0.
//
// Suites whose name ends in RootTest need root and are left out in the modes of an ordinary user;
// those that end in PxTest need more than a plain ext4 directory gives and are left out there.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "tests/testing/mount_fixture.h"

namespace px::testing {

// An ordinary user that owns nothing, and another.
inline constexpr uid_t kAlice = 4242;
inline constexpr uid_t kBob = 4343;

// The mount of this program (see main.cc); valid while tests run. Where the machine cannot serve
// the mode there is none: WhyNoMount() says why, else it is empty.
MountFixture& TheMount();
const std::string& WhyNoMount();

// Kills the daemon if a test takes longer, so that a hang is a failure and not a hang.
inline constexpr auto kTestLimit = std::chrono::seconds(180);

class PosixTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // The working directory, absolute.
  const std::string& dir() const { return dir_; }
  static bool px() { return TheMount().px(); }
  static bool root() { return ::geteuid() == 0; }
  // Unmounts and mounts again, and comes back to the working directory.
  void Remount();
  // kill -9 and mount again; the same.
  void KillAndRemount();

  // Where a test's directory is made: a volume on px.
  virtual std::string Parent();

 private:
  std::string dir_;
};

// The volume that PosixTests work in.
std::string TestVolume();

// 0, or the errno of a system call that failed.
inline int Try(int64_t rc) { return rc < 0 ? errno : 0; }

// Creates or overwrites a file, in one write.
void Put(const std::string& path, std::string_view content = "", mode_t mode = 0644);
// A file's whole content, read until read() gives 0.
std::string Get(const std::string& path);
std::string GetFd(int fd);  // the same, with pread from 0
void MkDir(const std::string& path, mode_t mode = 0755);
UniqueFd Open(const std::string& path, int flags, mode_t mode = 0644);
int OpenErrno(const std::string& path, int flags, mode_t mode = 0644);
struct stat Stat(const std::string& path);
struct stat LStat(const std::string& path);
struct stat FStat(int fd);
inline mode_t ModeOf(const std::string& path) { return LStat(path).st_mode & 07777; }
bool Exists(const std::string& path);  // lstat works
// Names in a directory, sorted, without "." and "..".
std::vector<std::string> List(const std::string& path);
// `size` bytes that depend on `seed` and on the offset.
std::string Pattern(size_t size, uint64_t seed = 1);
std::string ReadLink(const std::string& path);
std::string GetXattr(const std::string& path, const char* name);  // "!ERRNO" if it fails
std::vector<std::string> ListXattr(const std::string& path);      // sorted
void WriteAt(int fd, off_t offset, std::string_view bytes);
std::string ReadAt(int fd, off_t offset, size_t size);

// Nanoseconds since 1970.
int64_t Ns(const timespec& time);
inline int64_t MTimeNs(const std::string& path) { return Ns(LStat(path).st_mtim); }
inline int64_t CTimeNs(const std::string& path) { return Ns(LStat(path).st_ctim); }

// Returns once the clock that timestamps files come from has moved on, so that a change made now
// cannot have the same time as one made before.
void NextTick();

}  // namespace px::testing
