// open and its flags; reads and writes through handles.
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class OpenTest : public PosixTest {};
class OpenRootTest : public OpenTest {};

TEST_F(OpenTest, MissingIsEnoent) { EXPECT_EQ(OpenErrno("a", O_RDONLY), ENOENT); }

TEST_F(OpenTest, CreateHonoursUmask) {
  ::umask(027);
  Put("a", "", 0666);
  EXPECT_EQ(ModeOf("a"), 0640U);
}

TEST_F(OpenTest, CreateOfAReadOnlyFileGivesAWritableHandle) {
  const UniqueFd fd = Open("a", O_CREAT | O_WRONLY | O_EXCL, 0444);
  WriteAt(fd.get(), 0, "1");
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(OpenTest, ModeZeroCreateGivesAWorkingHandle) {
  const UniqueFd fd = Open("a", O_CREAT | O_RDWR, 0);
  WriteAt(fd.get(), 0, "1");
  EXPECT_EQ(GetFd(fd.get()), "1");
  EXPECT_EQ(ModeOf("a"), 0U);
}

TEST_F(OpenTest, ExclOfAnExistingIsEexist) {
  Put("a");
  EXPECT_EQ(OpenErrno("a", O_CREAT | O_EXCL | O_WRONLY), EEXIST);
}

TEST_F(OpenTest, ExclOfADanglingSymlinkIsEexist) {
  ASSERT_EQ(Try(::symlink("nowhere", "s")), 0);
  EXPECT_EQ(OpenErrno("s", O_CREAT | O_EXCL | O_WRONLY), EEXIST);
}

TEST_F(OpenTest, NofollowOfASymlinkIsEloop) {
  Put("a");
  ASSERT_EQ(Try(::symlink("a", "s")), 0);
  EXPECT_EQ(OpenErrno("s", O_RDONLY | O_NOFOLLOW), ELOOP);
}

TEST_F(OpenTest, DirectoryFlagOfAFileIsEnotdir) {
  Put("a");
  EXPECT_EQ(OpenErrno("a", O_RDONLY | O_DIRECTORY), ENOTDIR);
}

TEST_F(OpenTest, WritingADirectoryIsEisdir) {
  MkDir("d");
  EXPECT_EQ(OpenErrno("d", O_WRONLY), EISDIR);
}

TEST_F(OpenTest, ReadingADirectoryIsEisdir) {
  MkDir("d");
  const UniqueFd fd = Open("d", O_RDONLY);
  char byte = 0;
  EXPECT_EQ(Try(::read(fd.get(), &byte, 1)), EISDIR);
}

TEST_F(OpenTest, PathOnlyHandleStatsButDoesNotRead) {
  Put("a", "1");
  const UniqueFd fd = Open("a", O_PATH);
  char byte = 0;
  EXPECT_EQ(Try(::read(fd.get(), &byte, 1)), EBADF);
  EXPECT_EQ(FStat(fd.get()).st_size, 1);
}

TEST_F(OpenTest, PathOnlyHandleOfASymlinkIsTheSymlink) {
  ASSERT_EQ(Try(::symlink("x", "s")), 0);
  const UniqueFd fd = Open("s", O_PATH | O_NOFOLLOW);
  EXPECT_TRUE(S_ISLNK(FStat(fd.get()).st_mode));
}

TEST_F(OpenTest, AccessModesAreEnforced) {
  Put("a", "1");
  char byte = 0;
  const UniqueFd reader = Open("a", O_RDONLY);
  const UniqueFd writer = Open("a", O_WRONLY);
  EXPECT_EQ(Try(::write(reader.get(), "x", 1)), EBADF);
  EXPECT_EQ(Try(::read(writer.get(), &byte, 1)), EBADF);
}

TEST_F(OpenRootTest, PermissionsAreChecked) {
  Put("a", "", 0640);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return OpenErrno("a", O_RDONLY); }), EACCES);
  EXPECT_EQ(AsUser(kAlice, kAlice, {0}, [] { return OpenErrno("a", O_RDONLY); }), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {0}, [] { return OpenErrno("a", O_WRONLY); }), EACCES);
}

TEST_F(OpenRootTest, SearchPermissionIsChecked) {
  MkDir("d", 0700);
  Put("d/a", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return OpenErrno("d/a", O_RDONLY); }), EACCES);
}

TEST_F(OpenRootTest, PermissionChangesCountAtOnce) {
  Put("a", "", 0644);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return OpenErrno("a", O_RDONLY); }), 0);
  ASSERT_EQ(Try(::chmod("a", 0600)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return OpenErrno("a", O_RDONLY); }), EACCES);
}

TEST_F(OpenRootTest, CreatesAsTheCaller) {
  MkDir("d", 0777);
  EXPECT_EQ(AsUser(kAlice, kBob, {}, [] { return OpenErrno("d/a", O_CREAT | O_WRONLY); }), 0);
  EXPECT_EQ(LStat("d/a").st_uid, kAlice);
  EXPECT_EQ(LStat("d/a").st_gid, kBob);
}

TEST_F(OpenTest, ExecutesAProgram) {
  Put("script", "#!/bin/sh\nexit 7\n", 0755);
  EXPECT_EQ(Execute({"./script"}).exit_code, 7);
}

TEST_F(OpenTest, ExecutesABinary) {
  ASSERT_EQ(Execute({"cp", "/bin/true", "binary"}).exit_code, 0);
  EXPECT_EQ(Execute({"./binary"}).exit_code, 0);
}

TEST_F(OpenTest, WritingARunningBinaryIsEtxtbsy) {
  ASSERT_EQ(Execute({"cp", "/bin/cat", "binary"}).exit_code, 0);
  ASSERT_EQ(Try(::mkfifo("gate", 0600)), 0);
  auto reader = Background::Start({"./binary", "gate"}, TheMount().scratch() + "/log");
  ASSERT_TRUE(reader);
  const UniqueFd gate = Open("gate", O_WRONLY);  // returns once the program runs and has opened it
  EXPECT_EQ(OpenErrno("binary", O_WRONLY), ETXTBSY);
}

TEST_F(OpenTest, ManyHandlesOfOneFile) {
  Put("a", "0123456789");
  std::vector<UniqueFd> handles;
  for (int i = 0; i < 200; ++i) handles.push_back(Open("a", i % 2 == 0 ? O_RDONLY : O_RDWR));
  WriteAt(handles[199].get(), 0, "x");
  EXPECT_EQ(ReadAt(handles[0].get(), 0, 3), "x12");
}

TEST_F(OpenTest, FirstReadOnlyThenWritable) {
  Put("a", Pattern(2 << 20));
  const UniqueFd reader = Open("a", O_RDONLY);
  EXPECT_EQ(ReadAt(reader.get(), 0, 10), Pattern(2 << 20).substr(0, 10));
  const UniqueFd writer = Open("a", O_RDWR);
  WriteAt(writer.get(), 5, "XYZ");
  EXPECT_EQ(ReadAt(reader.get(), 4, 5),
            Pattern(2 << 20)[4] + std::string("XYZ") + Pattern(2 << 20)[8]);
}

class WriteTest : public PosixTest {};

TEST_F(WriteTest, IsReadBackInAnySize) {
  for (const size_t size : {1, 511, 4095, 4096, 4097, 65537, 1048577}) {
    Put("a", Pattern(size, size));
    EXPECT_EQ(Get("a"), Pattern(size, size)) << size;
  }
}

TEST_F(WriteTest, UnalignedOverwrites) {
  std::string expected = Pattern(100'000);
  Put("a", expected);
  const UniqueFd fd = Open("a", O_RDWR);
  for (size_t i = 1; i < 50; ++i) {
    const std::string piece = Pattern(i * 37, i);
    WriteAt(fd.get(), static_cast<off_t>(i * 1'999), piece);
    expected.replace(i * 1'999, piece.size(), piece);
  }
  EXPECT_EQ(Get("a"), expected);
}

TEST_F(WriteTest, OfNothingChangesNothing) {
  Put("a", "1");
  const UniqueFd fd = Open("a", O_RDWR);
  EXPECT_EQ(::pwrite(fd.get(), "x", 0, 100), 0);
  EXPECT_EQ(LStat("a").st_size, 1);
}

TEST_F(WriteTest, VectoredIsInOrder) {
  const UniqueFd fd = Open("a", O_CREAT | O_RDWR);
  char one[] = "one";
  char two[] = "two";
  const iovec parts[2] = {{one, 3}, {two, 3}};
  EXPECT_EQ(::pwritev(fd.get(), parts, 2, 0), 6);
  EXPECT_EQ(Get("a"), "onetwo");
}

TEST_F(WriteTest, SizeIsSeenAtOnceByStat) {
  const UniqueFd fd = Open("a", O_CREAT | O_RDWR);
  for (int i = 1; i <= 20; ++i) {
    ASSERT_EQ(::write(fd.get(), "0123456789", 10), 10);
    ASSERT_EQ(LStat("a").st_size, 10 * i);
  }
}

TEST_F(WriteTest, TouchesMtimeAndCtime) {
  Put("a", "1");
  const int64_t before = MTimeNs("a");
  NextTick();
  {
    const UniqueFd fd = Open("a", O_WRONLY);
    WriteAt(fd.get(), 0, "2");
  }
  EXPECT_GT(MTimeNs("a"), before);
  EXPECT_GE(CTimeNs("a"), MTimeNs("a"));
}

TEST_F(WriteTest, TouchesMtimeWhileOpen) {
  Put("a", "1");
  const UniqueFd fd = Open("a", O_RDWR);
  const int64_t before = MTimeNs("a");
  NextTick();
  WriteAt(fd.get(), 0, "2");
  EXPECT_GT(MTimeNs("a"), before);
}

TEST_F(WriteTest, MtimeNeverGoesBack) {
  for (int i = 0; i < 50; ++i) {
    const UniqueFd fd = Open("a", O_CREAT | O_RDWR | O_TRUNC);
    const int64_t created = MTimeNs("a");
    WriteAt(fd.get(), 0, "x");
    const int64_t written = MTimeNs("a");
    ASSERT_GE(written, created);
    ASSERT_EQ(Try(::ftruncate(fd.get(), 7)), 0);
    ASSERT_GE(MTimeNs("a"), written);
  }
}

TEST_F(WriteTest, MtimeDoesNotChangeOnClose) {
  UniqueFd fd = Open("a", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "1");
  const int64_t before = MTimeNs("a");
  NextTick();
  fd.Reset();
  EXPECT_EQ(MTimeNs("a"), before);
}

TEST_F(WriteTest, TimesSetWhileOpenStayAfterClose) {
  UniqueFd fd = Open("a", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "1");
  const timespec times[2] = {{1'000, 1}, {2'000, 2}};
  EXPECT_EQ(Try(::futimens(fd.get(), times)), 0);
  fd.Reset();
  EXPECT_EQ(MTimeNs("a"), 2'000'000'000'002);
}

TEST_F(WriteTest, AppendFromSeveralProcessesLosesNothing) {
  constexpr int kProcesses = 4;
  constexpr int kLines = 500;
  Put("log");
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const int fd = ::open("log", O_WRONLY | O_APPEND);
      char line[16];
      for (int i = 0; i < kLines; ++i) {
        const int n = std::snprintf(line, sizeof line, "%02d-%05d\n", p, i);
        if (::write(fd, line, static_cast<size_t>(n)) != n) ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const std::string log = Get("log");
  std::multiset<std::string> lines;
  for (size_t at = 0; at + 9 <= log.size(); at += 9) lines.insert(log.substr(at, 9));
  EXPECT_EQ(log.size(), size_t{9} * kProcesses * kLines);
  for (int p = 0; p < kProcesses; ++p) {
    for (int i = 0; i < kLines; ++i) {
      char line[16];
      std::snprintf(line, sizeof line, "%02d-%05d\n", p, i);
      ASSERT_EQ(lines.count(line), 1U) << line;
    }
  }
}

TEST_F(WriteTest, AppendIgnoresTheOffset) {
  Put("a", "123");
  const UniqueFd fd = Open("a", O_RDWR | O_APPEND);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
  EXPECT_EQ(::write(fd.get(), "4", 1), 1);
  EXPECT_EQ(Get("a"), "1234");
}

TEST_F(WriteTest, ConcurrentThreadsWriteTheirOwnRanges) {
  constexpr size_t kPart = 256 << 10;
  Put("a");
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const UniqueFd fd(::open("a", O_RDWR | O_CLOEXEC));
      const std::string bytes = Pattern(kPart, t);
      for (size_t at = 0; at < kPart; at += 1'000) {
        const std::string_view piece = std::string_view(bytes).substr(at, 1'000);
        WriteAt(fd.get(), static_cast<off_t>(t * kPart + at), piece);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::string expected;
  for (size_t t = 0; t < 4; ++t) expected += Pattern(kPart, t);
  EXPECT_EQ(Get("a"), expected);
}

class TmpfileTest : public PosixTest {};

TEST_F(TmpfileTest, HasNoNameAndNoLinks) {
  const UniqueFd fd = Open(".", O_TMPFILE | O_RDWR, 0600);
  WriteAt(fd.get(), 0, "1");
  EXPECT_EQ(GetFd(fd.get()), "1");
  EXPECT_EQ(FStat(fd.get()).st_nlink, 0U);
  EXPECT_TRUE(List(".").empty());
}

TEST_F(TmpfileTest, IsLinkedIntoPlace) {
  const UniqueFd fd = Open(".", O_TMPFILE | O_RDWR, 0640);
  WriteAt(fd.get(), 0, Pattern(10'000));
  const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  EXPECT_EQ(Try(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, "f", AT_SYMLINK_FOLLOW)), 0);
  EXPECT_EQ(Get("f"), Pattern(10'000));
  EXPECT_EQ(ModeOf("f"), 0640U);
  EXPECT_EQ(LStat("f").st_nlink, 1U);
}

TEST_F(TmpfileTest, LinkedSurvivesARemount) {
  {
    const UniqueFd fd = Open(".", O_TMPFILE | O_RDWR, 0640);
    WriteAt(fd.get(), 0, Pattern(10'000));
    const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
    EXPECT_EQ(Try(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, "f", AT_SYMLINK_FOLLOW)), 0);
  }
  Remount();
  EXPECT_EQ(Get("f"), Pattern(10'000));
}

TEST_F(TmpfileTest, WithExclCannotBeLinked) {
  const UniqueFd fd = Open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640);
  const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  EXPECT_EQ(Try(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, "f", AT_SYMLINK_FOLLOW)), ENOENT);
}

class DirectTest : public PosixTest {
 protected:
  static constexpr size_t kSize = 1 << 16;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> buffer_{static_cast<char*>(std::aligned_alloc(4096, kSize))};
};

TEST_F(DirectTest, WriteIsReadByABufferedHandle) {
  const UniqueFd direct = Open("a", O_CREAT | O_RDWR | O_DIRECT);
  std::memcpy(buffer_.get(), Pattern(kSize).data(), kSize);
  ASSERT_EQ(::pwrite(direct.get(), buffer_.get(), kSize, 0), ssize_t{kSize});
  EXPECT_EQ(Get("a"), Pattern(kSize));
}

TEST_F(DirectTest, ReadSeesABufferedWrite) {
  Put("a", Pattern(kSize));
  const UniqueFd direct = Open("a", O_RDONLY | O_DIRECT);
  ASSERT_EQ(::pread(direct.get(), buffer_.get(), kSize, 0), ssize_t{kSize});
  EXPECT_EQ(std::string(buffer_.get(), kSize), Pattern(kSize));
}

TEST_F(DirectTest, MixesWithBufferedOnOpenHandles) {
  const UniqueFd direct = Open("a", O_CREAT | O_RDWR | O_DIRECT);
  const UniqueFd buffered = Open("a", O_RDWR);
  for (uint64_t i = 0; i < 20; ++i) {
    const std::string bytes = Pattern(kSize, i);
    if (i % 2 == 0) {
      std::memcpy(buffer_.get(), bytes.data(), kSize);
      ASSERT_EQ(::pwrite(direct.get(), buffer_.get(), kSize, 0), ssize_t{kSize});
      ASSERT_EQ(GetFd(buffered.get()), bytes);
    } else {
      WriteAt(buffered.get(), 0, bytes);
      ASSERT_EQ(::pread(direct.get(), buffer_.get(), kSize, 0), ssize_t{kSize});
      ASSERT_EQ(std::string(buffer_.get(), kSize), bytes);
    }
  }
}

TEST_F(DirectTest, ShortReadAtTheEnd) {
  Put("a", Pattern(5'000));
  const UniqueFd direct = Open("a", O_RDONLY | O_DIRECT);
  EXPECT_EQ(::pread(direct.get(), buffer_.get(), kSize, 4'096), 904);
}

// Who reads through the page cache beside an asynchronous direct write sees it once it has ended.
TEST_F(DirectTest, AsynchronousWritesAreSeenByOthers) {
  constexpr size_t kBlock = 4096;
  Put("f", std::string(kBlock, '\0'));
  aio_context_t context = 0;
  ASSERT_EQ(Try(::syscall(SYS_io_setup, 1, &context)), 0);
  {
    const UniqueFd direct = Open("f", O_RDWR | O_DIRECT);
    const std::unique_ptr<char, void (*)(void*)> block(
        static_cast<char*>(std::aligned_alloc(kBlock, kBlock)), &std::free);
    std::atomic<bool> stop = false;
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i) {
      readers.emplace_back([&] {
        const UniqueFd fd = Open("f", O_RDONLY);
        while (!stop) EXPECT_EQ(ReadAt(fd.get(), 0, kBlock).size(), kBlock);
      });
    }
    const UniqueFd fd = Open("f", O_RDONLY);
    for (int round = 0; round < 300 && !HasFailure(); ++round) {
      const char byte = static_cast<char>('a' + round % 26);
      std::memset(block.get(), byte, kBlock);
      iocb request{};
      request.aio_fildes = static_cast<uint32_t>(direct.get());
      request.aio_lio_opcode = IOCB_CMD_PWRITE;
      request.aio_buf = reinterpret_cast<uintptr_t>(block.get());
      request.aio_nbytes = kBlock;
      iocb* requests[] = {&request};
      io_event event{};
      EXPECT_EQ(::syscall(SYS_io_submit, context, 1, requests), 1);
      EXPECT_EQ(::syscall(SYS_io_getevents, context, 1, 1, &event, nullptr), 1);
      EXPECT_EQ(event.res, static_cast<int64_t>(kBlock));
      EXPECT_EQ(ReadAt(fd.get(), 0, kBlock), std::string(kBlock, byte)) << round;
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
  }
  ::syscall(SYS_io_destroy, context);
}

class HandleRootTest : public PosixTest {
 protected:
  using Handle = std::vector<uint64_t>;
  static file_handle* Of(Handle& handle) { return reinterpret_cast<file_handle*>(handle.data()); }
  static Handle HandleOf(const std::string& path) {
    Handle handle((sizeof(file_handle) + MAX_HANDLE_SZ) / sizeof(uint64_t) + 1);
    Of(handle)->handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    EXPECT_EQ(Try(::name_to_handle_at(AT_FDCWD, path.c_str(), Of(handle), &mount_id, 0)), 0);
    return handle;
  }
  static UniqueFd OpenHandle(Handle handle, int flags) {
    const UniqueFd mount = Open(".", O_RDONLY | O_DIRECTORY);
    return UniqueFd(::open_by_handle_at(mount.get(), Of(handle), flags | O_CLOEXEC));
  }
};

// As an NFS server does it, also after it was started anew.
TEST_F(HandleRootTest, LeadsToItsFileWhoeverKnowsItNoMore) {
  MkDir("d");
  MkDir("d/e");
  Put("d/e/f", "content");
  const Handle file = HandleOf("d/e/f");
  const Handle directory = HandleOf("d/e");
  Remount();
  {
    const UniqueFd fd = OpenHandle(file, O_RDWR);
    ASSERT_TRUE(fd) << strerrorname_np(errno);
    EXPECT_EQ(GetFd(fd.get()), "content");
    WriteAt(fd.get(), 0, "CON");
  }
  const UniqueFd dir = OpenHandle(directory, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(dir) << strerrorname_np(errno);
  const UniqueFd inside(::openat(dir.get(), "f", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(GetFd(inside.get()), "CONtent");
  const UniqueFd above(::openat(dir.get(), "../../d/e/f", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(GetFd(above.get()), "CONtent");
}

TEST_F(HandleRootTest, OfAFileThatIsGoneIsStale) {
  Put("f", "1");
  const Handle handle = HandleOf("f");
  ASSERT_EQ(Try(::unlink("f")), 0);
  Remount();
  Put("g", "2");
  EXPECT_FALSE(OpenHandle(handle, O_RDONLY));
  EXPECT_EQ(errno, ESTALE);
}

}  // namespace
}  // namespace px::testing
