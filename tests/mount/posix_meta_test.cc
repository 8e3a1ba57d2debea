// Modes, owners, times, special files, statfs, fsync, inotify.
#include <linux/falloc.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cstring>
#include <functional>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class ModeTest : public PosixTest {};
class ModeRootTest : public ModeTest {};

TEST_F(ModeTest, ChmodSetsAllTwelveBits) {
  Put("f");
  for (const mode_t mode : {0U, 0777U, 01777U, 0400U}) {
    EXPECT_EQ(Try(::chmod("f", mode)), 0);
    EXPECT_EQ(ModeOf("f"), mode);
  }
}

TEST_F(ModeTest, SetuidAndSetgidAreKept) {
  Put("f");
  EXPECT_EQ(Try(::chmod("f", 06755)), 0);
  EXPECT_EQ(ModeOf("f"), 06755U);
}

TEST_F(ModeTest, ChmodTouchesCtimeNotMtime) {
  Put("f");
  const int64_t ctime = CTimeNs("f");
  const int64_t mtime = MTimeNs("f");
  NextTick();
  EXPECT_EQ(Try(::chmod("f", 0600)), 0);
  EXPECT_GT(CTimeNs("f"), ctime);
  EXPECT_EQ(MTimeNs("f"), mtime);
}

TEST_F(ModeRootTest, ChmodByAnotherIsEperm) {
  Put("f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::chmod("f", 0600)); }), EPERM);
}

TEST_F(ModeRootTest, ChownChangesOwnerAndGroup) {
  Put("f");
  EXPECT_EQ(Try(::chown("f", kAlice, kBob)), 0);
  EXPECT_EQ(LStat("f").st_uid, kAlice);
  EXPECT_EQ(LStat("f").st_gid, kBob);
}

TEST_F(ModeRootTest, ChownOfMinusOneKeepsThem) {
  Put("f");
  EXPECT_EQ(Try(::chown("f", kAlice, kBob)), 0);
  EXPECT_EQ(Try(::chown("f", static_cast<uid_t>(-1), static_cast<gid_t>(-1))), 0);
  EXPECT_EQ(LStat("f").st_uid, kAlice);
  EXPECT_EQ(LStat("f").st_gid, kBob);
}

TEST_F(ModeRootTest, ChownAwayByAnOwnerIsEperm) {
  Put("f");
  ASSERT_EQ(Try(::chown("f", kAlice, kAlice)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::chown("f", kBob, kAlice)); }), EPERM);
}

TEST_F(ModeRootTest, ChgrpToAnOwnGroupIsAllowed) {
  Put("f");
  ASSERT_EQ(Try(::chown("f", kAlice, kAlice)), 0);
  const gid_t none = static_cast<gid_t>(-1);
  EXPECT_EQ(AsUser(kAlice, kAlice, {kBob}, [&] { return Try(::chown("f", none, kBob)); }), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [&] { return Try(::chown("f", none, 7)); }), EPERM);
}

TEST_F(ModeRootTest, ChownByAnOwnerClearsSetuid) {
  Put("f");
  ASSERT_EQ(Try(::chown("f", kAlice, kAlice)), 0);
  ASSERT_EQ(Try(::chmod("f", 06755)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {kBob}, [] { return Try(::chown("f", kAlice, kBob)); }), 0);
  EXPECT_EQ(ModeOf("f"), 0755U);
}

TEST_F(ModeRootTest, WriteByAnotherClearsSetuid) {
  Put("f", "1");
  ASSERT_EQ(Try(::chmod("f", 06777)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {},
                   [] {
                     const int fd = ::open("f", O_WRONLY);
                     return ::write(fd, "x", 1) == 1 ? 0 : errno;
                   }),
            0);
  EXPECT_EQ(ModeOf("f"), 0777U);
}

TEST_F(ModeRootTest, WriteByRootKeepsSetuid) {
  Put("f", "1");
  ASSERT_EQ(Try(::chmod("f", 06777)), 0);
  const UniqueFd fd = Open("f", O_WRONLY);
  WriteAt(fd.get(), 0, "x");
  EXPECT_EQ(ModeOf("f"), 06777U);
}

TEST_F(ModeRootTest, TruncateByAnotherClearsSetuid) {
  Put("f", "1");
  ASSERT_EQ(Try(::chmod("f", 06777)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::truncate("f", 0)); }), 0);
  EXPECT_EQ(ModeOf("f"), 0777U);
}

TEST_F(ModeRootTest, ChmodByAnOwnerOutsideTheGroupDropsSetgid) {
  Put("f");
  ASSERT_EQ(Try(::chown("f", kAlice, kBob)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::chmod("f", 02755)); }), 0);
  EXPECT_EQ(ModeOf("f"), 0755U);
}

TEST_F(ModeRootTest, SetuidProgramRunsAsItsOwner) {
  ASSERT_EQ(Execute({"cp", "/usr/bin/id", "id"}).exit_code, 0);
  ASSERT_EQ(Try(::chown("id", kBob, 0)), 0);
  ASSERT_EQ(Try(::chmod("id", 04755)), 0);
  const RunResult result =
      Execute({"setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "./id", "-u"});
  EXPECT_EQ(result.output, std::to_string(kBob) + "\n");
}

TEST_F(ModeRootTest, AccessUsesTheRealUser) {
  Put("f", "", 0600);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::access("f", R_OK)); }), EACCES);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::access("f", F_OK)); }), 0);
}

TEST_F(ModeRootTest, AllocatingAndCopyingByOthersEndsSetuid) {
  Put("from", Pattern(100'000));
  const auto tried = [](const std::function<int(int)>& change, mode_t before = 06777) {
    Put("f", Pattern(200'000));
    EXPECT_EQ(Try(::chmod("f", before)), 0);
    EXPECT_EQ(AsUser(kAlice, kAlice, {},
                     [&] {
                       const UniqueFd fd = Open("f", O_RDWR);
                       return change(fd.get());
                     }),
              0);
    return ModeOf("f");
  };
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  for (const int mode : {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, kPunch}) {
    EXPECT_EQ(tried([&](int fd) { return Try(::fallocate(fd, mode, 0, 65'536)); }), 0777U) << mode;
  }
  // setgid of a file that its group may not execute: where the writer is not of the group.
  EXPECT_EQ(tried([](int fd) { return Try(::fallocate(fd, 0, 0, 65'536)); }, 06666), 0666U);
  EXPECT_EQ(tried([](int fd) {
              const UniqueFd from = Open("from", O_RDONLY);
              off_t in = 0, out = 0;
              return Try(::copy_file_range(from.get(), &in, fd, &out, 100'000, 0));
            }),
            0777U);
  ASSERT_EQ(Try(::chmod("f", 06777)), 0);
  const UniqueFd fd = Open("f", O_RDWR);
  ASSERT_EQ(Try(::fallocate(fd.get(), 0, 0, 65'536)), 0);
  EXPECT_EQ(ModeOf("f"), 06777U);  // root may
}

class TimeTest : public PosixTest {
 protected:
  static int SetTimes(const char* path, timespec atime, timespec mtime) {
    const timespec times[2] = {atime, mtime};
    return Try(::utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
  }
};
class TimeRootTest : public TimeTest {};

TEST_F(TimeTest, NanosecondsAreKept) {
  Put("f");
  EXPECT_EQ(SetTimes("f", {1'500'000'000, 123'456'789}, {1'600'000'000, 987'654'321}), 0);
  EXPECT_EQ(Ns(LStat("f").st_atim), 1'500'000'000'123'456'789);
  EXPECT_EQ(MTimeNs("f"), 1'600'000'000'987'654'321);
}

TEST_F(TimeTest, OfBirthIsWhenItWasMadeAndStays) {
  const auto birth_of = [](const char* path) -> int64_t {
    struct statx info{};
    EXPECT_EQ(
        Try(::statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &info)),
        0);
    EXPECT_NE(info.stx_mask & STATX_BTIME, 0U) << path;
    EXPECT_EQ(info.stx_ino, LStat(path).st_ino);
    EXPECT_EQ(info.stx_size, static_cast<uint64_t>(LStat(path).st_size));
    return info.stx_btime.tv_sec * int64_t{1'000'000'000} + info.stx_btime.tv_nsec;
  };
  Put("f", "1");
  MkDir("d");
  const int64_t file = birth_of("f");
  EXPECT_LE(file, MTimeNs("f"));
  EXPECT_LE(file, birth_of("d"));
  EXPECT_EQ(SetTimes("f", {1, 0}, {1, 0}), 0);
  Put("f", "other");
  EXPECT_EQ(Try(::rename("f", "g")), 0);
  EXPECT_EQ(birth_of("g"), file);
}

TEST_F(TimeTest, BeforeTheEpochIsKept) {
  Put("f");
  EXPECT_EQ(SetTimes("f", {-1'000, 1}, {-2'000, 2}), 0);
  EXPECT_EQ(MTimeNs("f"), -2'000 * int64_t{1'000'000'000} + 2);
}

TEST_F(TimeTest, AfterTheYear2038IsKept) {
  Put("f");
  EXPECT_EQ(SetTimes("f", {5'000'000'000, 0}, {6'000'000'000, 0}), 0);
  EXPECT_EQ(LStat("f").st_mtim.tv_sec, 6'000'000'000);
}

TEST_F(TimeTest, OmitKeepsOne) {
  Put("f");
  EXPECT_EQ(SetTimes("f", {1, 1}, {2, 2}), 0);
  EXPECT_EQ(SetTimes("f", {0, UTIME_OMIT}, {3, 3}), 0);
  EXPECT_EQ(Ns(LStat("f").st_atim), 1'000'000'001);
  EXPECT_EQ(MTimeNs("f"), 3'000'000'003);
}

TEST_F(TimeTest, NowIsTheTimeNow) {
  Put("f");
  const int64_t created = CTimeNs("f");
  EXPECT_EQ(SetTimes("f", {1, 1}, {2, 2}), 0);
  NextTick();
  EXPECT_EQ(SetTimes("f", {0, UTIME_NOW}, {0, UTIME_NOW}), 0);
  EXPECT_GT(MTimeNs("f"), created);
  EXPECT_GT(Ns(LStat("f").st_atim), created);
}

TEST_F(TimeTest, OmitBothChangesNothing) {
  Put("f");
  const int64_t ctime = CTimeNs("f");
  NextTick();
  EXPECT_EQ(SetTimes("f", {0, UTIME_OMIT}, {0, UTIME_OMIT}), 0);
  EXPECT_EQ(CTimeNs("f"), ctime);
}

TEST_F(TimeTest, SettingThemTouchesCtime) {
  Put("f");
  const int64_t ctime = CTimeNs("f");
  NextTick();
  EXPECT_EQ(SetTimes("f", {1, 1}, {2, 2}), 0);
  EXPECT_GT(CTimeNs("f"), ctime);
}

TEST_F(TimeRootTest, SetByAnotherIsEperm) {
  Put("f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return SetTimes("f", {1, 1}, {2, 2}); }), EPERM);
}

TEST_F(TimeRootTest, NowByAWriterIsAllowed) {
  Put("f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::utimensat(AT_FDCWD, "f", nullptr, 0)); }),
            0);
}

TEST_F(TimeTest, OfADirectorySurviveARemount) {
  MkDir("d");
  EXPECT_EQ(SetTimes("d", {1, 11}, {2, 22}), 0);
  Remount();
  EXPECT_EQ(MTimeNs("d"), 2'000'000'022);
}

TEST_F(TimeTest, OfAFileSurviveARemount) {
  Put("f", "1");
  EXPECT_EQ(SetTimes("f", {1, 11}, {2, 22}), 0);
  Remount();
  EXPECT_EQ(MTimeNs("f"), 2'000'000'022);
}

TEST_F(TimeTest, NewFileHasAllTimesTheSame) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  const struct stat st = FStat(fd.get());
  EXPECT_EQ(Ns(st.st_mtim), Ns(st.st_ctim));
  EXPECT_EQ(Ns(st.st_mtim), Ns(st.st_atim));
}

class SpecialTest : public PosixTest {};
class SpecialRootTest : public SpecialTest {};

TEST_F(SpecialTest, FifoCarriesBytes) {
  ASSERT_EQ(Try(::mkfifo("p", 0600)), 0);
  EXPECT_TRUE(S_ISFIFO(LStat("p").st_mode));
  const UniqueFd both = Open("p", O_RDWR);
  EXPECT_EQ(::write(both.get(), "hi", 2), 2);
  char buffer[2];
  EXPECT_EQ(::read(both.get(), buffer, 2), 2);
  EXPECT_EQ(std::string(buffer, 2), "hi");
}

TEST_F(SpecialTest, SocketIsBoundAndConnected) {
  const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "socket");
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(Try(::bind(server.get(), where, sizeof address)), 0);
  EXPECT_TRUE(S_ISSOCK(LStat("socket").st_mode));
  EXPECT_EQ(Try(::listen(server.get(), 1)), 0);
  EXPECT_EQ(Try(::connect(client.get(), where, sizeof address)), 0);
}

TEST_F(SpecialRootTest, CharacterDeviceWorks) {
  ASSERT_EQ(Try(::mknod("zero", S_IFCHR | 0666, ::makedev(1, 5))), 0);
  EXPECT_EQ(LStat("zero").st_rdev, ::makedev(1, 5));
  const UniqueFd fd = Open("zero", O_RDONLY);
  char byte = 'x';
  EXPECT_EQ(::read(fd.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 0);
}

TEST_F(SpecialRootTest, BlockDeviceKeepsItsNumbers) {
  ASSERT_EQ(Try(::mknod("b", S_IFBLK | 0600, ::makedev(259, 65'537))), 0);
  Remount();
  EXPECT_TRUE(S_ISBLK(LStat("b").st_mode));
  EXPECT_EQ(LStat("b").st_rdev, ::makedev(259, 65'537));
}

TEST_F(SpecialRootTest, DeviceByAnOrdinaryUserIsEperm) {
  MkDir("d", 0777);
  EXPECT_EQ(AsUser(kAlice, kAlice, {},
                   [] { return Try(::mknod("d/z", S_IFCHR | 0666, ::makedev(1, 5))); }),
            EPERM);
}

TEST_F(SpecialTest, MknodOfARegularFile) {
  ASSERT_EQ(Try(::mknod("f", S_IFREG | 0644, 0)), 0);
  Put("f", "1");
  EXPECT_EQ(Get("f"), "1");
}

class SyncTest : public PosixTest {};

TEST_F(SyncTest, FileDirAndFilesystem) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, Pattern(100'000));
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
  WriteAt(fd.get(), 0, "x");
  EXPECT_EQ(Try(::fdatasync(fd.get())), 0);
  const UniqueFd dir = Open(".", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Try(::fsync(dir.get())), 0);
  EXPECT_EQ(Try(::syncfs(dir.get())), 0);
}

TEST_F(SyncTest, OfAReadOnlyHandle) {
  Put("f", "1");
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
}

TEST_F(SyncTest, OfAnUnlinkedFile) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  ASSERT_EQ(Try(::unlink("f")), 0);
  WriteAt(fd.get(), 0, "1");
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
}

TEST_F(SyncTest, SyncFileRangeWorks) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, Pattern(100'000));
  const unsigned flags = SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  EXPECT_EQ(Try(::sync_file_range(fd.get(), 0, 100'000, flags)), 0);
}

TEST_F(SyncTest, StatvfsMakesSense) {
  struct statvfs info{};
  EXPECT_EQ(Try(::statvfs(".", &info)), 0);
  EXPECT_EQ(info.f_namemax, 255U);
  EXPECT_GT(info.f_blocks, 0U);
  EXPECT_LE(info.f_bavail, info.f_bfree);
  EXPECT_LE(info.f_bfree, info.f_blocks);
  EXPECT_GE(info.f_frsize, 512U);
}

TEST_F(SyncTest, BlocksCountDataWritten) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, Pattern(1 << 20));
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
  EXPECT_GE(FStat(fd.get()).st_blocks * 512, 1 << 20);
}

class InotifyTest : public PosixTest {
 protected:
  // The names of the events that have come, "create:f " and so on.
  static std::string Events(const UniqueFd& fd) {
    std::string text;
    alignas(inotify_event) char buffer[8192];
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    for (ssize_t at = 0; at < n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      if (event->mask & IN_CREATE) text += "create:";
      if (event->mask & IN_MODIFY) text += "modify:";
      if (event->mask & IN_CLOSE_WRITE) text += "close:";
      if (event->mask & IN_MOVED_TO) text += "moved:";
      if (event->mask & IN_DELETE) text += "delete:";
      if (event->len > 0) text += event->name;
      text += ' ';
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    return text;
  }
};

TEST_F(InotifyTest, TellsOfLocalChanges) {
  const UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const uint32_t mask = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE;
  ASSERT_GE(::inotify_add_watch(fd.get(), ".", mask), 0);
  Put("f", "1");
  EXPECT_EQ(Events(fd), "create:f modify:f close:f ");
  ASSERT_EQ(Try(::rename("f", "g")), 0);
  EXPECT_EQ(Events(fd), "moved:g ");
  ASSERT_EQ(Try(::unlink("g")), 0);
  EXPECT_EQ(Events(fd), "delete:g ");
}

}  // namespace
}  // namespace px::testing
