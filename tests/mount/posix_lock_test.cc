// Locks: flock, POSIX record locks, open file description locks.
#include <sys/file.h>
#include <sys/wait.h>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class LockTest : public PosixTest {
 protected:
  void SetUp() override {
    PosixTest::SetUp();
    Put("f", std::string(100, 'x'));
  }
  static int Lock(int fd, int command, short type, off_t start = 0, off_t size = 0) {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = size;
    return Try(::fcntl(fd, command, &lock));
  }
  // The same by another process, through a handle of its own.
  static int LockInChild(int command, short type, off_t start = 0, off_t size = 0) {
    return InChild([=] {
      const int fd = ::open("f", O_RDWR);
      return fd < 0 ? 255 : Lock(fd, command, type, start, size);
    });
  }
};

TEST_F(LockTest, FlockExcludesAnotherHandle) {
  const UniqueFd a = Open("f", O_RDWR);
  const UniqueFd b = Open("f", O_RDWR);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_EX | LOCK_NB)), 0);
  EXPECT_EQ(Try(::flock(b.get(), LOCK_EX | LOCK_NB)), EWOULDBLOCK);
  EXPECT_EQ(Try(::flock(b.get(), LOCK_SH | LOCK_NB)), EWOULDBLOCK);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_UN)), 0);
  EXPECT_EQ(Try(::flock(b.get(), LOCK_EX | LOCK_NB)), 0);
}

TEST_F(LockTest, FlockSharedIsShared) {
  const UniqueFd a = Open("f", O_RDWR);
  const UniqueFd b = Open("f", O_RDONLY);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_SH | LOCK_NB)), 0);
  EXPECT_EQ(Try(::flock(b.get(), LOCK_SH | LOCK_NB)), 0);
}

TEST_F(LockTest, FlockEndsWithTheHandle) {
  UniqueFd a = Open("f", O_RDWR);
  const UniqueFd b = Open("f", O_RDWR);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_EX | LOCK_NB)), 0);
  a.Reset();
  EXPECT_EQ(Try(::flock(b.get(), LOCK_EX | LOCK_NB)), 0);
}

TEST_F(LockTest, FlockIsInheritedByAFork) {
  const UniqueFd a = Open("f", O_RDWR);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_EX | LOCK_NB)), 0);
  EXPECT_EQ(InChild([&] { return Try(::flock(a.get(), LOCK_EX | LOCK_NB)); }), 0);
}

TEST_F(LockTest, FlockOfADirectory) {
  const UniqueFd a = Open(".", O_RDONLY | O_DIRECTORY);
  const UniqueFd b = Open(".", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Try(::flock(a.get(), LOCK_EX | LOCK_NB)), 0);
  EXPECT_EQ(Try(::flock(b.get(), LOCK_EX | LOCK_NB)), EWOULDBLOCK);
}

TEST_F(LockTest, RecordLockExcludesAnotherProcess) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), EAGAIN);
  EXPECT_EQ(LockInChild(F_SETLK, F_RDLCK), EAGAIN);
}

TEST_F(LockTest, RecordLockOfOtherBytesIsFree) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK, 0, 10), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK, 10, 10), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK, 9, 1), EAGAIN);
}

TEST_F(LockTest, RecordReadLocksAreShared) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_RDLCK), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_RDLCK), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), EAGAIN);
}

TEST_F(LockTest, RecordLocksSplit) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK, 0, 30), 0);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_UNLCK, 10, 10), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK, 10, 10), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK, 0, 10), EAGAIN);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK, 20, 10), EAGAIN);
}

TEST_F(LockTest, RecordLockEndsWithAnyHandleOfTheProcess) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK), 0);
  Open("f", O_RDWR).Reset();
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), 0);
}

TEST_F(LockTest, RecordLockEndsWithTheProcess) {
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), 0);
}

TEST_F(LockTest, GetlkNamesTheHolder) {
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK, 5, 10), 0);
  const pid_t self = ::getpid();
  EXPECT_EQ(InChild([=] {
              const int own = ::open("f", O_RDWR);
              struct flock lock{};
              lock.l_type = F_RDLCK;
              lock.l_whence = SEEK_SET;
              if (::fcntl(own, F_GETLK, &lock) != 0) return 1;
              if (lock.l_type != F_WRLCK || lock.l_start != 5 || lock.l_len != 10) return 2;
              return lock.l_pid == self ? 0 : 3;
            }),
            0);
}

TEST_F(LockTest, BlockedLockIsGrantedOnUnlock) {
  UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK), 0);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const UniqueFd reader(ready[0]);
  const UniqueFd writer(ready[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int own = ::open("f", O_RDWR);
    if (::write(ready[1], "r", 1) != 1) ::_exit(2);
    ::_exit(Lock(own, F_SETLKW, F_WRLCK));
  }
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_UNLCK), 0);
  int status = -1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(LockTest, OfdLockExcludesAnotherHandleOfThisProcess) {
  const UniqueFd a = Open("f", O_RDWR);
  const UniqueFd b = Open("f", O_RDWR);
  EXPECT_EQ(Lock(a.get(), F_OFD_SETLK, F_WRLCK, 0, 10), 0);
  EXPECT_EQ(Lock(b.get(), F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN);
  EXPECT_EQ(Lock(b.get(), F_OFD_SETLK, F_WRLCK, 10, 10), 0);
}

TEST_F(LockTest, OfdLockSurvivesTheCloseOfAnotherHandle) {
  const UniqueFd a = Open("f", O_RDWR);
  EXPECT_EQ(Lock(a.get(), F_OFD_SETLK, F_WRLCK), 0);
  Open("f", O_RDWR).Reset();
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), EAGAIN);
}

TEST_F(LockTest, OfdAndRecordLocksExcludeEachOther) {
  const UniqueFd a = Open("f", O_RDWR);
  EXPECT_EQ(Lock(a.get(), F_OFD_SETLK, F_RDLCK), 0);
  EXPECT_EQ(LockInChild(F_SETLK, F_WRLCK), EAGAIN);
  EXPECT_EQ(LockInChild(F_SETLK, F_RDLCK), 0);
}

TEST_F(LockTest, WriteLockOfAReadOnlyHandleIsEbadf) {
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(Lock(fd.get(), F_SETLK, F_WRLCK), EBADF);
}

}  // namespace
}  // namespace px::testing
