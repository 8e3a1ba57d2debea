// A daemon that is killed or replaced under whoever works in the mount: nobody notices but by a
// pause.
#include <dirent.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "tests/mount/volume_fixture.h"
#include "tests/testing/fault_injector.h"
#include "tests/testing/takeovers.h"
#include "uapi/px_ioctl.h"

namespace px::testing {
namespace {

// Readable and writable; nullptr if it fails.
char* MapShared(int fd, size_t size) {
  void* const map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return map == MAP_FAILED ? nullptr : static_cast<char*>(map);
}

namespace fs = std::filesystem;

class KeeperTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Create("v");
  }

  // Returns when the next daemon answers.
  void Kill() const {
    const pid_t daemon = SettledDaemon();
    ASSERT_EQ(Signal(daemon, SIGKILL), 0);
    struct statfs info{};
    ASSERT_EQ(Try(::statfs(TheMount().root().c_str(), &info)), 0);
    ASSERT_NE(SettledDaemon(), daemon);
  }
  // That the keeper knows of: status is answered by the daemon itself.
  static pid_t SettledDaemon() {
    const RunResult status = TheMount().PxFs({"status", TheMount().root()});
    EXPECT_EQ(status.exit_code, 0) << status.output;
    return NumberOf(status.output, "pid");
  }
  // Never to a group of processes, which is what numbers below 1 stand for.
  static int Signal(pid_t pid, int signal) { return pid > 1 ? Try(::kill(pid, signal)) : ESRCH; }
  // 0 if it is not there.
  static pid_t NumberOf(const std::string& status, const std::string& name) {
    const size_t line = status.find("\n" + name + " ");
    const size_t at = status.starts_with(name + " ") ? 0
                      : line == std::string::npos    ? line
                                                     : line + 1;
    if (at == std::string::npos) return 0;
    return static_cast<pid_t>(std::strtol(status.c_str() + at + name.size(), nullptr, 10));
  }
  static int NumberNow(const std::string& name) {
    return NumberOf(TheMount().PxFs({"status", TheMount().root()}).output, name);
  }
};

TEST_F(KeeperTest, FilesThatAreOpenGoOn) {
  const UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  const std::string bytes = Pattern(3 << 20);
  WriteAt(fd.get(), 0, bytes);
  Kill();
  WriteAt(fd.get(), static_cast<off_t>(bytes.size()), "more");
  EXPECT_EQ(FStat(fd.get()).st_size, static_cast<off_t>(bytes.size() + 4));
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
  Kill();
  EXPECT_EQ(GetFd(fd.get()), bytes + "more");
  const UniqueFd again = Open("v/f", O_RDWR | O_APPEND);
  EXPECT_EQ(::write(again.get(), "!", 1), 1);
  EXPECT_EQ(Get("v/f"), bytes + "more!");
}

TEST_F(KeeperTest, FilesClosedAfterwardsHaveTheirSize) {
  {
    const UniqueFd fd = Open("v/f", O_CREAT | O_WRONLY);
    WriteAt(fd.get(), 0, "before");
    Kill();
    WriteAt(fd.get(), 6, " after");
  }
  EXPECT_EQ(Get("v/f"), "before after");
  Remount();
  EXPECT_EQ(Get("v/f"), "before after");
}

TEST_F(KeeperTest, MappingsGoOn) {
  const UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, std::string(8192, 'a'));
  char* const map = MapShared(fd.get(), 8192);
  ASSERT_NE(map, nullptr);
  map[0] = 'b';
  Kill();
  map[4096] = 'c';
  EXPECT_EQ(map[0], 'b');
  EXPECT_EQ(Try(::msync(map, 8192, MS_SYNC)), 0);
  ::munmap(map, 8192);
  EXPECT_EQ(ReadAt(fd.get(), 0, 1) + ReadAt(fd.get(), 4096, 1), "bc");
}

TEST_F(KeeperTest, AMappingWithoutADescriptorIsInTheClone) {
  UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, std::string(4096, 'a'));
  char* const map = MapShared(fd.get(), 4096);
  ASSERT_NE(map, nullptr);
  fd.Reset();
  Kill();
  map[0] = 'b';
  ASSERT_EQ(CloneVolume("v", "w"), 0);
  map[1] = 'c';
  EXPECT_EQ(Get("w/f").substr(0, 3), "baa");
  ::munmap(map, 4096);
  EXPECT_EQ(Get("v/f").substr(0, 3), "bca");
}

TEST_F(KeeperTest, AMappingOfOneWhoClosedBeforeIsInTheClone) {
  UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, std::string(4096, 'a'));
  char* const map = MapShared(fd.get(), 4096);
  ASSERT_NE(map, nullptr);
  UniqueFd beside = Open("v/f", O_WRONLY);
  fd.Reset();
  Kill();
  WriteAt(beside.get(), 1, "c");
  beside.Reset();
  map[0] = 'b';
  ASSERT_EQ(CloneVolume("v", "w"), 0);
  map[2] = 'd';
  EXPECT_EQ(Get("w/f").substr(0, 3), "bca");
  ::munmap(map, 4096);
  EXPECT_EQ(Get("v/f").substr(0, 3), "bcd");
}

// Space that was allocated where the clone's bytes still are is not taken for written after a kill.
TEST_F(KeeperTest, AllocatingInASharedFileHidesNothingOfIt) {
  const std::string content = Pattern(2 << 20);
  Put("v/f", content);
  ASSERT_EQ(CloneVolume("v", "w"), 0);
  const UniqueFd fd = Open("w/f", O_RDWR);
  WriteAt(fd.get(), 0, content.substr(0, 4096));
  ASSERT_EQ(Try(::fallocate(fd.get(), 0, 0, 1 << 20)), 0);
  ASSERT_EQ(Try(::fsync(fd.get())), 0);
  Execute({"sh", "-c", "sync; echo 1 > /proc/sys/vm/drop_caches"});
  EXPECT_EQ(ReadAt(fd.get(), 0, 4096), content.substr(0, 4096));
  Kill();
  ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_TRUE(GetFd(fd.get()) == content);
}

TEST_F(KeeperTest, RemovedFilesThatAreOpenStayUntilTheyAreClosed) {
  UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "gone but here");
  ASSERT_EQ(Try(::unlink("v/f")), 0);
  Kill();
  EXPECT_EQ(GetFd(fd.get()), "gone but here");
  EXPECT_EQ(FStat(fd.get()).st_nlink, 0U);
  WriteAt(fd.get(), 0, "GONE");
  Kill();
  EXPECT_EQ(GetFd(fd.get()), "GONE but here");
  fd.Reset();
  EXPECT_FALSE(Exists("v/f"));
}

TEST_F(KeeperTest, AFileWithoutANameCanStillGetOne) {
  const UniqueFd fd = Open("v", O_TMPFILE | O_RDWR);
  WriteAt(fd.get(), 0, "named later");
  Kill();
  const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  ASSERT_EQ(Try(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, "v/f", AT_SYMLINK_FOLLOW)), 0);
  EXPECT_EQ(Get("v/f"), "named later");
}

TEST_F(KeeperTest, LocksStay) {
  const UniqueFd fd = Open("v/f", O_CREAT | O_RDWR), other = Open("v/f", O_RDWR);
  ASSERT_EQ(Try(::flock(fd.get(), LOCK_EX)), 0);
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_len = 10;
  ASSERT_EQ(Try(::fcntl(fd.get(), F_OFD_SETLK, &range)), 0);
  Kill();
  EXPECT_EQ(Try(::flock(other.get(), LOCK_EX | LOCK_NB)), EWOULDBLOCK);
  EXPECT_EQ(Try(::fcntl(other.get(), F_OFD_SETLK, &range)), EAGAIN);
}

TEST_F(KeeperTest, AListingGoesOnWhereItWas) {
  std::set<std::string> names;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "f" + std::to_string(i);
    Put("v/" + name);
    names.insert(name);
  }
  DIR* dir = ::opendir("v");
  ASSERT_NE(dir, nullptr);
  for (int seen = 1; const dirent* entry = ::readdir(dir); ++seen) {
    if (seen == 1000 || seen == 2000) Kill();
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    EXPECT_EQ(names.erase(name), 1U) << name;
  }
  ::closedir(dir);
  EXPECT_TRUE(names.empty());
}

TEST_F(KeeperTest, AWorkingDirectoryStays) {
  MkDir("v/d");
  ASSERT_EQ(Try(::chdir("v/d")), 0);
  Kill();
  Put("f", "here");
  EXPECT_EQ(Get("../d/f"), "here");
  ASSERT_EQ(Try(::chdir(dir().c_str())), 0);
}

TEST_F(KeeperTest, CloneTokensStay) {
  Put("v/f", "1");
  const UniqueFd source = Open("v", O_RDONLY | O_DIRECTORY);
  px_ioc_token token{};
  ASSERT_EQ(Try(::ioctl(source.get(), PX_IOC_TOKEN, &token)), 0);
  Kill();
  px_ioc_clone clone{};
  clone.source = token;
  std::strcpy(clone.name, "w");
  const UniqueFd target = Open(".", O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(Try(::ioctl(target.get(), PX_IOC_CLONE, &clone)), 0);
  EXPECT_EQ(Get("w/f"), "1");
}

TEST_F(KeeperTest, WhatACloneSharesStaysApart) {
  Put("v/f", Pattern(2 << 20));
  ASSERT_EQ(CloneVolume("v", "w"), 0);
  const UniqueFd reader = Open("v/f", O_RDONLY), writer = Open("w/f", O_RDWR);
  EXPECT_EQ(ReadAt(reader.get(), 0, 4), Pattern(4));
  WriteAt(writer.get(), 0, "mine");
  Kill();
  EXPECT_EQ(ReadAt(reader.get(), 0, 4), Pattern(4));
  WriteAt(writer.get(), 1 << 20, "also");
  const UniqueFd owner = Open("v/f", O_RDWR);
  WriteAt(owner.get(), 0, "yours");
  Kill();
  EXPECT_EQ(ReadAt(reader.get(), 0, 5), "yours");
  EXPECT_EQ(ReadAt(writer.get(), 0, 4) + ReadAt(writer.get(), 1 << 20, 4), "minealso");
  EXPECT_EQ(ReadAt(writer.get(), 8, 100), Pattern(108).substr(8));
}

TEST_F(KeeperTest, AnOverwrittenCheckpointIsKeptUntilTheNewOneIsComplete) {
  Put("v/model", Pattern(1 << 20));
  {
    const UniqueFd fd = Open("v/model", O_WRONLY | O_TRUNC);
    WriteAt(fd.get(), 0, "half");
    Kill();
    const RunResult versions = TheMount().PxFs({"versions", dir() + "/v/model"});
    EXPECT_NE(versions.output.find("1.0 MiB"), std::string::npos) << versions.output;
    WriteAt(fd.get(), 4, " and whole");
  }
  EXPECT_EQ(Get("v/model"), "half and whole");
}

TEST_F(KeeperTest, RestartReplacesTheDaemon) {
  const UniqueFd fd = Open("v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "1");
  const pid_t before = SettledDaemon();
  const int restarts = NumberNow("restarts"), crashes = NumberNow("crashes");
  const RunResult restart = TheMount().PxFs({"restart", TheMount().root()});
  EXPECT_EQ(restart.exit_code, 0) << restart.output;
  EXPECT_NE(SettledDaemon(), before);
  EXPECT_EQ(NumberNow("restarts"), restarts + 1);
  EXPECT_EQ(NumberNow("crashes"), crashes);
  WriteAt(fd.get(), 1, "2");
  EXPECT_EQ(Get("v/f"), "12");
}

TEST_F(KeeperTest, StatusSaysWhoKilledTheLastOne) {
  const int crashes = NumberNow("crashes");
  Kill();
  EXPECT_EQ(NumberNow("crashes"), crashes + 1);
  EXPECT_EQ(NumberNow("last_signal"), SIGKILL);
}

// Of the programs that people run in a mount.
class KeptJobTest : public KeeperTest {
 protected:
  void RunUnderTakeovers(const std::string& script) {
    ASSERT_EQ(Try(::chdir("v")), 0);
    Takeovers takeovers(TheMount(), 1, std::chrono::milliseconds(60));
    const RunResult run = Execute({"sh", "-euc", script}, std::chrono::minutes(2));
    takeovers.Stop();
    ASSERT_EQ(Try(::chdir(dir().c_str())), 0);
    EXPECT_EQ(run.exit_code, 0) << run.output;
    EXPECT_EQ(takeovers.failure(), "");
    EXPECT_GT(takeovers.kills(), 0);
  }
};

TEST_F(KeptJobTest, GitNoticesNothing) {
  RunUnderTakeovers(R"sh(
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
    export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    git init -q repo; cd repo
    for i in $(seq 1 15); do
      for f in $(seq 1 10); do echo "$i $f" >> file$f; done
      git add -A; git commit -qm "commit $i"
    done
    git gc -q
    git fsck --strict
    git clone -q . ../copy
    test -z "$(git -C ../copy status --porcelain)"
    test 15 = "$(git -C ../copy rev-list --count HEAD)"
)sh");
}

TEST_F(KeptJobTest, SqliteNoticesNothing) {
  RunUnderTakeovers(R"sh(exec python3 - <<'END'
import sqlite3
for mode in ("wal", "delete"):
    db = sqlite3.connect(f"{mode}.db")
    assert db.execute(f"pragma journal_mode={mode}").fetchone()[0] == mode
    db.execute("create table t (n integer primary key, text)")
    for n in range(120):
        with db:
            db.execute("insert into t values (?, ?)", (n, "x" * 500))
    assert db.execute("select count(*), max(n) from t").fetchone() == (120, 119)
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    db.close()
END
)sh");
}

TEST_F(KeptJobTest, CheckpointsAreSavedAndRead) {
  RunUnderTakeovers(R"sh(exec python3 - <<'END'
import os
data = [os.urandom(1 << 20) for _ in range(4)]
for step in range(60):
    content = data[step % 4]
    if step % 2:
        with open("model", "wb") as file:
            file.write(content)
    else:
        with open("model.tmp", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename("model.tmp", "model")
    with open("model", "rb") as file:
        assert file.read() == content, step
    with open("log", "a") as log:
        log.write(f"{step}\n")
assert open("log").read() == "".join(f"{step}\n" for step in range(60))
END
)sh");
}

// A directory for a store and a mount of its own.
class OwnPlaceTest : public KeeperTest {
 protected:
  void SetUp() override {
    KeeperTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    base_ = fmt::format("{}/own{}", TheMount().scratch(), ++made_);
    ASSERT_EQ(Try(::mkdir(base_.c_str(), 0755)), 0);
    ASSERT_EQ(Try(::mkdir(mnt().c_str(), 0755)), 0);
  }

  std::string mnt() const { return base_ + "/mnt"; }
  static bool Becomes(const std::function<bool()>& what) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!what()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      std::this_thread::yield();
    }
    return true;
  }
  // It is a child of init's, not ours.
  static bool WaitForEnd(pid_t pid) {
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    pollfd ended{process.get(), POLLIN, 0};
    return !process || ::poll(&ended, 1, 60'000) == 1;
  }

  static inline int made_ = 0;
  std::string base_;
};

// A mount of a copy of the program, which can be exchanged.
class OwnMountTest : public OwnPlaceTest {
 protected:
  void SetUp() override {
    OwnPlaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    fs::copy_file(MountFixture::PxFsProgram(), program());
    std::vector<std::string> words = {program(), "mount", "--store", base_ + "/store"};
    if (!TheMount().mode().options.empty()) {
      words.insert(words.end(), {"-o", std::string(TheMount().mode().options)});
    }
    words.push_back(mnt());
    const RunResult mounted = Execute(words);
    ASSERT_EQ(mounted.exit_code, 0) << mounted.output;
    keeper_ = Word("keeper");
    ASSERT_GT(keeper_, 1);
  }
  void TearDown() override {
    if (keeper_ > 0) {
      Execute({MountFixture::PxFsProgram(), "umount", mnt()});
      EXPECT_TRUE(WaitForEnd(keeper_));
    }
    OwnPlaceTest::TearDown();
  }

  std::string program() const { return base_ + "/px-fs"; }
  std::string StateText() const { return Get(base_ + "/store/keeper"); }
  // Of STORE/keeper.
  pid_t Word(const std::string& name) const { return NumberOf(StateText(), name); }
  // Another file under the program's name, as a package manager does it.
  void ReplaceProgram(const std::string& by) const {
    const std::string fresh = base_ + "/px-fs.new";
    fs::copy_file(by, fresh);
    ASSERT_EQ(Try(::chmod(fresh.c_str(), 0755)), 0);
    ASSERT_EQ(Try(::rename(fresh.c_str(), program().c_str())), 0);
  }
  bool StateIs(const std::string& state) const {
    return StateText().find("\nstate " + state) != std::string::npos;
  }

  pid_t keeper_ = 0;
};

TEST_F(OwnMountTest, RestartTakesTheProgramThatIsInstalledNow) {
  Put(mnt() + "/f", "1");
  const UniqueFd fd = Open(mnt() + "/f", O_RDWR);
  ReplaceProgram(MountFixture::PxFsProgram());
  const RunResult restart = Execute({program(), "restart", mnt()});
  ASSERT_EQ(restart.exit_code, 0) << restart.output;
  ASSERT_TRUE(Becomes([&] { return StateIs("serving") && Word("restarts") == 1; }));
  const std::string running = fmt::format("/proc/{}/exe", Word("daemon"));
  EXPECT_EQ(Stat(running).st_ino, Stat(program()).st_ino);
  WriteAt(fd.get(), 1, "2");
  EXPECT_EQ(Get(mnt() + "/f"), "12");
}

TEST_F(OwnMountTest, TheStoreItMadeIsClosedToOthers) {
  EXPECT_EQ(Stat(base_ + "/store").st_mode & 077, 0U);
  for (const auto& entry : std::filesystem::directory_iterator(base_ + "/store")) {
    EXPECT_EQ(Stat(entry.path()).st_mode & 077, 0U) << entry.path();
  }
}

TEST_F(OwnMountTest, ADaemonThatKeepsFailingIsGivenUpAndTheStateSaysSo) {
  const std::string broken = base_ + "/broken";
  Put(broken, "#!/bin/sh\nexit 3\n", 0755);
  ReplaceProgram(broken);
  ASSERT_EQ(Signal(Word("daemon"), SIGKILL), 0);
  ASSERT_TRUE(Becomes([&] { return StateIs("waiting"); }));
  const RunResult waiting = Execute({MountFixture::PxFsProgram(), "status", mnt()});
  EXPECT_NE(waiting.output.find("waiting"), std::string::npos) << waiting.output;
  ASSERT_TRUE(Becomes([&] { return StateIs("gave up"); }));
  ASSERT_TRUE(WaitForEnd(keeper_));
  EXPECT_EQ(OpenErrno(mnt() + "/f", O_RDONLY), ENOTCONN);
  const RunResult status = Execute({MountFixture::PxFsProgram(), "status", mnt()});
  EXPECT_EQ(status.exit_code, 1) << status.output;
  EXPECT_NE(status.output.find("px-fs umount"), std::string::npos) << status.output;
  const RunResult umount = Execute({MountFixture::PxFsProgram(), "umount", mnt()});
  EXPECT_EQ(umount.exit_code, 0) << umount.output;
  EXPECT_NE(Get(base_ + "/store/px-fs.log").find("giving up"), std::string::npos);
}

TEST_F(OwnMountTest, ADaemonThatFailsForAWhileIsWaitedFor) {
  Put(mnt() + "/f", "1");
  const UniqueFd fd = Open(mnt() + "/f", O_RDWR);
  const std::string broken = base_ + "/broken";
  Put(broken, "#!/bin/sh\nexit 3\n", 0755);
  ReplaceProgram(broken);
  ASSERT_EQ(Signal(Word("daemon"), SIGKILL), 0);
  ASSERT_TRUE(Becomes([&] { return StateIs("waiting"); }));
  ReplaceProgram(MountFixture::PxFsProgram());
  EXPECT_EQ(Get(mnt() + "/f"), "1");
  WriteAt(fd.get(), 1, "2");
  EXPECT_EQ(GetFd(fd.get()), "12");
}

TEST_F(OwnMountTest, WithoutItsKeeperTheDaemonServesOnAndUnmounts) {
  Put(mnt() + "/f", "1");
  ASSERT_EQ(Signal(keeper_, SIGKILL), 0);
  ASSERT_TRUE(WaitForEnd(keeper_));
  keeper_ = Word("daemon");
  EXPECT_EQ(Get(mnt() + "/f"), "1");
  ASSERT_TRUE(Becomes([&] {
    return Execute({program(), "status", mnt()}).output.find("\"none\"") != std::string::npos;
  }));
  const RunResult restart = Execute({program(), "restart", mnt()});
  EXPECT_EQ(restart.exit_code, 1) << restart.output;
  const RunResult umount = Execute({program(), "umount", mnt()});
  EXPECT_EQ(umount.exit_code, 0) << umount.output;
}

TEST_F(OwnMountTest, SigtermEndsTheMountInOrder) {
  for (const char* whom : {"daemon", "keeper"}) {
    Put(mnt() + "/f", whom);
    ASSERT_EQ(Signal(Word(whom), SIGTERM), 0);
    ASSERT_TRUE(WaitForEnd(keeper_));
    EXPECT_EQ(OpenErrno(mnt() + "/f", O_RDONLY), ENOENT);
    const RunResult fsck = Execute({program(), "fsck", base_ + "/store"});
    EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
    ASSERT_EQ(Execute({program(), "mount", "--store", base_ + "/store", mnt()}).exit_code, 0);
    keeper_ = Word("keeper");
    EXPECT_EQ(Get(mnt() + "/f"), whom);
  }
}

// unmount(2), which does not wait for the daemon.
TEST_F(OwnMountTest, CanBeMountedAndCheckedAtOnceAfterItWasUnmounted) {
  for (const bool check : {true, false, false, false}) {
    for (int i = 0; i < 200; ++i) Put(fmt::format("{}/f{}", mnt(), i), "some");
    const pid_t before = keeper_;
    ASSERT_EQ(Execute({"/usr/bin/fusermount3", "-u", mnt()}).exit_code, 0);
    const std::string store = base_ + "/store";
    if (check) {
      const RunResult fsck = Execute({program(), "fsck", store});
      EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
    }
    const RunResult mounted = Execute({program(), "mount", "--store", store, mnt()});
    ASSERT_EQ(mounted.exit_code, 0) << mounted.output;
    ASSERT_TRUE(Becomes([&] { return Word("keeper") != before; }));
    keeper_ = Word("keeper");
    EXPECT_EQ(Get(mnt() + "/f199"), "some");
  }
  const std::string elsewhere = base_ + "/elsewhere";
  ASSERT_EQ(Try(::mkdir(elsewhere.c_str(), 0755)), 0);
  const RunResult twice = Execute({program(), "mount", "--store", base_ + "/store", elsewhere});
  EXPECT_EQ(twice.exit_code, 11) << twice.output;
  EXPECT_NE(twice.output.find(" is in use by "), std::string::npos) << twice.output;
}

TEST_F(OwnMountTest, WhatIsWrittenAfterTheMountWasEndedByForceIsThere) {
  const UniqueFd fd = Open(mnt() + "/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "1");
  ASSERT_EQ(Signal(keeper_, SIGTERM), 0);
  ASSERT_TRUE(WaitForEnd(keeper_));
  const bool written = ::pwrite(fd.get(), "23", 2, 1) == 2;  // past any daemon, or not at all
  ASSERT_EQ(Execute({program(), "mount", "--store", base_ + "/store", mnt()}).exit_code, 0);
  keeper_ = Word("keeper");
  EXPECT_EQ(Get(mnt() + "/f"), written ? "123" : "1");
}

TEST_F(OwnMountTest, NokeeperIsAMountThatDiesWithItsDaemon) {
  ASSERT_EQ(Execute({program(), "umount", mnt()}).exit_code, 0);
  ASSERT_EQ(
      Execute({program(), "mount", "--store", base_ + "/store", "-o", "nokeeper", mnt()}).exit_code,
      0);
  const RunResult status = Execute({program(), "status", mnt()});
  const pid_t daemon = NumberOf(status.output, "pid");
  ASSERT_GT(daemon, 0) << status.output;
  ASSERT_EQ(Signal(daemon, SIGKILL), 0);
  ASSERT_TRUE(WaitForEnd(daemon));
  EXPECT_EQ(OpenErrno(mnt() + "/f", O_RDONLY), ENOTCONN);
  keeper_ = daemon;
}

// A daemon that is killed while the kernel waits, for its sake, for a page that another of its
// threads should write: no signal ends such a wait.
class StuckDaemonTest : public OwnPlaceTest {
 protected:
  void SetUp() override {
    OwnPlaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto faults = FaultInjector::Create(base_, base_ + "/store");
    if (!faults) GTEST_SKIP() << faults.error().ToString();
    faults_ = std::move(*faults);
  }
  void TearDown() override {
    if (mapped_ != nullptr) ::munmap(mapped_, 4096);
    if (daemon_ > 0) Execute({MountFixture::PxFsProgram(), "umount", mnt()});
    OwnPlaceTest::TearDown();
  }

  void MountWithFaults(const std::vector<std::string>& options) {
    std::vector<std::string> words = {"env"};
    words.insert(words.end(), faults_->environment().begin(), faults_->environment().end());
    words.insert(words.end(), {MountFixture::PxFsProgram(), "mount", "--store", base_ + "/store"});
    for (const std::string& option : options) words.insert(words.end(), {"-o", option});
    words.push_back(mnt());
    const RunResult mounted = Execute(words);
    ASSERT_EQ(mounted.exit_code, 0) << mounted.output;
    daemon_ = DaemonPid();
    ASSERT_GT(daemon_, 1);
    ASSERT_EQ(Execute({MountFixture::PxFsProgram(), "create", mnt() + "/v"}).exit_code, 0);
  }
  pid_t DaemonPid() const {
    return NumberOf(Execute({MountFixture::PxFsProgram(), "status", mnt()}).output, "pid");
  }
  // Kills the daemon in that state; the clone that led to it runs on.
  void MountAndKill(const std::vector<std::string>& options) {
    ASSERT_NO_FATAL_FAILURE(MountWithFaults(options));
    UniqueFd fd = Open(mnt() + "/v/f", O_CREAT | O_RDWR);
    WriteAt(fd.get(), 0, std::string(4096, 'a'));
    mapped_ = MapShared(fd.get(), 4096);
    ASSERT_NE(mapped_, nullptr);
    // A child that closes its copy of either would have the page written by that.
    ASSERT_EQ(Try(::madvise(mapped_, 4096, MADV_DONTFORK)), 0);
    fd.Reset();
    mapped_[0] = 'b';
    faults_->Arm(Fault::kStall, SiteOf(StoreCall::kWrite, StoreFile::kObject, false));
    auto clone = Background::Start(
        {MountFixture::PxFsProgram(), "clone", mnt() + "/v", mnt() + "/w"}, base_ + "/clone.log");
    ASSERT_TRUE(clone);
    clone_ = std::move(*clone);
    ASSERT_TRUE(Becomes([&] { return faults_->hits() > 0; })) << "no page was written";
    ASSERT_EQ(Signal(daemon_, SIGKILL), 0);
    ASSERT_TRUE(WaitForEnd(daemon_)) << "it does not end";
  }

  std::unique_ptr<FaultInjector> faults_;
  pid_t daemon_ = 0;
  char* mapped_ = nullptr;
  Background clone_;
};

TEST_F(StuckDaemonTest, TheNextOneWritesThePageAndTheCloneHasIt) {
  MountAndKill({"nopassthrough"});
  ASSERT_TRUE(clone_.Wait(std::chrono::seconds(60))) << Get(base_ + "/clone.log");
  EXPECT_EQ(Get(mnt() + "/w/f").substr(0, 2), "ba");
  mapped_[1] = 'c';
  ASSERT_EQ(Try(::msync(mapped_, 4096, MS_SYNC)), 0);
  EXPECT_EQ(Get(mnt() + "/v/f").substr(0, 3), "bca");
  EXPECT_EQ(Get(mnt() + "/w/f").substr(0, 3), "baa");
}

// The next one ends the life of a file as a written one before it serves anything, and tells the
// kernel to ask for its attributes again.
TEST_F(StuckDaemonTest, WhatTheNextOneSaysBeforeItServesDoesNotEndIt) {
  MountWithFaults({});
  UniqueFd fd = Open(mnt() + "/v/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "known to the object alone");
  // In the release, when the open is gone already.
  faults_->Arm(Fault::kKillBefore, SiteOf(StoreCall::kWrite, StoreFile::kJournal, false));
  fd.Reset();
  ASSERT_TRUE(WaitForEnd(daemon_));
  EXPECT_EQ(Get(mnt() + "/v/f"), "known to the object alone");
  const RunResult status = Execute({MountFixture::PxFsProgram(), "status", mnt()});
  EXPECT_EQ(NumberOf(status.output, "crashes"), 1) << status.output;
}

// The daemon dies when the object is cut already, and the map of what is its own is not saved. What
// was cut off must not come back from the file that it shares with the clone.
TEST_F(StuckDaemonTest, WhatWasCutOffASharedFileStaysCutOff) {
  constexpr size_t kSize = 2 << 20, kCut = 100'000;
  MountWithFaults({});
  const std::string content = Pattern(kSize);
  Put(mnt() + "/v/f", content);
  ASSERT_EQ(CloneVolume(mnt() + "/v", mnt() + "/w"), 0);
  const UniqueFd fd = Open(mnt() + "/w/f", O_RDWR);
  WriteAt(fd.get(), 0, "own");
  faults_->Arm(Fault::kKillAfter, SiteOf(StoreCall::kTruncate, StoreFile::kObject, false));
  ASSERT_EQ(Try(::ftruncate(fd.get(), kCut)), 0);
  ASSERT_TRUE(WaitForEnd(daemon_));
  ASSERT_EQ(Try(::ftruncate(fd.get(), kSize)), 0);
  const pid_t next = DaemonPid();
  ASSERT_EQ(Signal(next, SIGKILL), 0);
  ASSERT_TRUE(WaitForEnd(next));
  const std::string cut = Get(mnt() + "/w/f");
  EXPECT_EQ(cut.size(), kSize);
  EXPECT_EQ(cut.substr(3, kCut - 3), content.substr(3, kCut - 3));
  EXPECT_EQ(cut.find_first_not_of('\0', kCut), cut.npos);
  EXPECT_EQ(Get(mnt() + "/v/f"), content);
}

using StuckDaemonRootTest = StuckDaemonTest;

// What was written to a shared file, then punched by a call that never returned, is there or is
// zeros: it is not what the clone has.
TEST_F(StuckDaemonRootTest, AHolePunchedHalfWayShowsNothingOfTheClone) {
  constexpr size_t kSize = 2 << 20, kOwn = 65'536;
  MountWithFaults({"nokeeper"});
  Put(mnt() + "/v/f", std::string(kSize, 'a'));
  ASSERT_EQ(CloneVolume(mnt() + "/v", mnt() + "/w"), 0);
  UniqueFd fd = Open(mnt() + "/w/f", O_RDWR);
  WriteAt(fd.get(), 0, std::string(kOwn, 'b'));
  faults_->Arm(Fault::kKillAfter, SiteOf(StoreCall::kAllocate, StoreFile::kObject, false));
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  EXPECT_NE(Try(::fallocate(fd.get(), mode, 0, kOwn)), 0);
  ASSERT_TRUE(WaitForEnd(daemon_));
  fd.Reset();
  ASSERT_EQ(Execute({MountFixture::PxFsProgram(), "umount", mnt()}).exit_code, 0);
  const RunResult again =
      Execute({MountFixture::PxFsProgram(), "mount", "--store", base_ + "/store", mnt()});
  ASSERT_EQ(again.exit_code, 0) << again.output;
  const std::string content = Get(mnt() + "/w/f");
  EXPECT_EQ(content.substr(0, kOwn).find('a'), content.npos);
  EXPECT_EQ(content.substr(kOwn), std::string(kSize - kOwn, 'a'));
}

TEST_F(StuckDaemonRootTest, WithoutAKeeperTheMountCanBeTakenAway) {
  MountAndKill({"nopassthrough", "nokeeper"});
  const RunResult umount = Execute({MountFixture::PxFsProgram(), "umount", mnt()});
  EXPECT_EQ(umount.exit_code, 0) << umount.output;
  EXPECT_TRUE(clone_.Wait(std::chrono::seconds(60)));
  EXPECT_FALSE(Exists(mnt() + "/v"));
}

}  // namespace
}  // namespace px::testing
