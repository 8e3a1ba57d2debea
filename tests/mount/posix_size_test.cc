// Sizes and holes: truncate, fallocate, lseek, copy_file_range, sendfile.
#include <linux/falloc.h>
#include <sys/sendfile.h>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

constexpr off_t kMiB = 1 << 20;

class TruncateTest : public PosixTest {};
class TruncateRootTest : public TruncateTest {};

TEST_F(TruncateTest, ShorterCuts) {
  Put("f", "123456");
  EXPECT_EQ(Try(::truncate("f", 3)), 0);
  EXPECT_EQ(Get("f"), "123");
}

TEST_F(TruncateTest, LongerAddsZeros) {
  Put("f", "123");
  EXPECT_EQ(Try(::truncate("f", 6)), 0);
  EXPECT_EQ(Get("f"), std::string("123\0\0\0", 6));
}

TEST_F(TruncateTest, ShorterThenLongerForgetsTheOldBytes) {
  Put("f", Pattern(10'000));
  EXPECT_EQ(Try(::truncate("f", 5'001)), 0);
  EXPECT_EQ(Try(::truncate("f", 10'000)), 0);
  EXPECT_EQ(Get("f"), Pattern(10'000).substr(0, 5'001) + std::string(4'999, '\0'));
}

TEST_F(TruncateTest, OfAnOpenFileIsSeenThroughTheHandle) {
  Put("f", "123456");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(ReadAt(fd.get(), 0, 6), "123456");
  EXPECT_EQ(Try(::truncate("f", 2)), 0);
  EXPECT_EQ(ReadAt(fd.get(), 0, 6), "12");
  EXPECT_EQ(FStat(fd.get()).st_size, 2);
}

TEST_F(TruncateTest, ByHandleIsSeenByPath) {
  Put("f", "123456");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Try(::ftruncate(fd.get(), 4)), 0);
  EXPECT_EQ(LStat("f").st_size, 4);
  EXPECT_EQ(Get("f"), "1234");
}

TEST_F(TruncateTest, OfAReadOnlyHandleIsEinval) {
  Put("f", "1");
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(Try(::ftruncate(fd.get(), 0)), EINVAL);
}

TEST_F(TruncateTest, OfADirectoryIsEisdir) {
  MkDir("d");
  EXPECT_EQ(Try(::truncate("d", 0)), EISDIR);
}

TEST_F(TruncateTest, NegativeIsEinval) {
  Put("f");
  EXPECT_EQ(Try(::truncate("f", -1)), EINVAL);
}

TEST_F(TruncateRootTest, WithoutPermissionIsEacces) {
  Put("f", "1", 0644);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::truncate("f", 0)); }), EACCES);
}

TEST_F(TruncateTest, TouchesMtimeAndCtime) {
  Put("f", "123");
  const int64_t mtime = MTimeNs("f");
  NextTick();
  EXPECT_EQ(Try(::truncate("f", 1)), 0);
  EXPECT_GT(MTimeNs("f"), mtime);
  EXPECT_GE(CTimeNs("f"), MTimeNs("f"));
}

TEST_F(TruncateTest, OtruncEmptiesAnOpenFile) {
  Put("f", "123456");
  const UniqueFd reader = Open("f", O_RDONLY);
  Put("f", "x");
  EXPECT_EQ(GetFd(reader.get()), "x");
}

TEST_F(TruncateTest, OtruncTouchesMtimeOfAnEmptyFile) {
  Put("f");
  const int64_t mtime = MTimeNs("f");
  NextTick();
  Put("f");
  EXPECT_GT(MTimeNs("f"), mtime);
}

TEST_F(TruncateTest, SizeSurvivesARemount) {
  Put("f", Pattern(9'000));
  EXPECT_EQ(Try(::truncate("f", 4'097)), 0);
  Remount();
  EXPECT_EQ(Get("f"), Pattern(9'000).substr(0, 4'097));
}

class SparseTest : public PosixTest {
 protected:
  static int Allocate(const UniqueFd& fd, int mode, off_t offset, off_t size) {
    return Try(::fallocate(fd.get(), mode, offset, size));
  }
  // That what SEEK_DATA and SEEK_HOLE say does not contradict the content, as any granularity may.
  static void ExpectHolesAreZeros(int fd) {
    const off_t size = FStat(fd).st_size;
    for (off_t at = 0; at < size;) {
      off_t data = ::lseek(fd, at, SEEK_DATA);
      if (data < 0) {
        ASSERT_EQ(errno, ENXIO);
        data = size;
      }
      const std::string hole = ReadAt(fd, at, static_cast<size_t>(data - at));
      ASSERT_EQ(hole.find_first_not_of('\0'), std::string::npos) << "in a hole at " << at;
      if (data == size) break;
      at = ::lseek(fd, data, SEEK_HOLE);
      ASSERT_GT(at, data);
    }
  }
};

TEST_F(SparseTest, WriteBeyondTheEndLeavesZeros) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  WriteAt(fd.get(), 3 * kMiB, "end");
  EXPECT_EQ(Get("f"), std::string(3 * kMiB, '\0') + "end");
}

TEST_F(SparseTest, HolesTakeNoSpace) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  WriteAt(fd.get(), 64 * kMiB, "end");
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
  EXPECT_LT(LStat("f").st_blocks * 512, kMiB);
}

TEST_F(SparseTest, OffsetsBeyond4GiB) {
  const off_t far = (off_t{1} << 40) + 12'345;
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  WriteAt(fd.get(), far, "far");
  EXPECT_EQ(ReadAt(fd.get(), far, 3), "far");
  EXPECT_EQ(LStat("f").st_size, far + 3);
  EXPECT_EQ(ReadAt(fd.get(), far - 5, 5), std::string(5, '\0'));
}

TEST_F(SparseTest, SeekDataAndHoleAgreeWithTheContent) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  WriteAt(fd.get(), 1 * kMiB, Pattern(10'000));
  WriteAt(fd.get(), 4 * kMiB, Pattern(5'000));
  ASSERT_EQ(Try(::ftruncate(fd.get(), 8 * kMiB)), 0);
  ExpectHolesAreZeros(fd.get());
}

// Through a reader: while a file is open for writing, px may say that all of it is data, since what
// a mapping has written is not yet known to it.
TEST_F(SparseTest, SeekDataFindsDataInALargeHole) {
  {
    const UniqueFd writer = Open("f", O_RDWR | O_CREAT);
    WriteAt(writer.get(), 16 * kMiB, Pattern(4096));
    ASSERT_EQ(Try(::ftruncate(writer.get(), 32 * kMiB)), 0);
  }
  const UniqueFd fd = Open("f", O_RDONLY);
  // The news that the writer is gone may come a little after it is.
  const auto limit = std::chrono::steady_clock::now() + kTestLimit;
  while (::lseek(fd.get(), 0, SEEK_DATA) == 0 && std::chrono::steady_clock::now() < limit) {
  }
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_DATA), 16 * kMiB);
  EXPECT_EQ(::lseek(fd.get(), 16 * kMiB, SEEK_HOLE), 16 * kMiB + 4096);
  EXPECT_EQ(Try(::lseek(fd.get(), 17 * kMiB, SEEK_DATA)), ENXIO);
}

TEST_F(SparseTest, SeekHoleOfAFullFileIsItsEnd) {
  Put("f", Pattern(10'000));
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 10'000);
}

TEST_F(SparseTest, SeekAtOrBeyondTheEndIsEnxio) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(Try(::lseek(fd.get(), 3, SEEK_DATA)), ENXIO);
  EXPECT_EQ(Try(::lseek(fd.get(), 4, SEEK_HOLE)), ENXIO);
}

TEST_F(SparseTest, FallocateExtends) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  EXPECT_EQ(Allocate(fd, 0, 0, 2 * kMiB), 0);
  EXPECT_EQ(Get("f"), std::string(2 * kMiB, '\0'));
  EXPECT_GE(FStat(fd.get()).st_blocks * 512, 2 * kMiB);
}

TEST_F(SparseTest, FallocateKeepSizeDoesNotExtend) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_KEEP_SIZE, 0, kMiB), 0);
  EXPECT_EQ(Get("f"), "123");
}

// What the filesystem below gives a file that grows, and takes back later, is not the file's.
TEST_F(SparseTest, AFileThatGrewTakesNoMoreThanItsSize) {
  constexpr off_t kStep = 100'000;
  constexpr int kSteps = 100;
  {
    const UniqueFd fd = Open("f", O_WRONLY | O_CREAT | O_APPEND);
    for (int i = 0; i < kSteps; ++i) WriteAt(fd.get(), i * kStep, Pattern(kStep));
    EXPECT_EQ(Try(::fsync(fd.get())), 0);
    EXPECT_GE(FStat(fd.get()).st_blocks * 512, kSteps * kStep);
  }
  // A plain filesystem may need a moment.
  const auto limit = std::chrono::steady_clock::now() + kTestLimit;
  constexpr off_t kMost = (kSteps * kStep + 4095) / 4096 * 4096;
  while (LStat("f").st_blocks * 512 > kMost && std::chrono::steady_clock::now() < limit) {
  }
  EXPECT_LE(LStat("f").st_blocks * 512, kMost);
  EXPECT_GE(LStat("f").st_blocks * 512, kSteps * kStep);
}

TEST_F(SparseTest, BlocksThatWereAskedForBehindTheEndCount) {
  {
    const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
    EXPECT_EQ(Allocate(fd, FALLOC_FL_KEEP_SIZE, 0, kMiB), 0);
  }
  EXPECT_GE(LStat("f").st_blocks * 512, kMiB);
  EXPECT_EQ(LStat("f").st_size, 0);
  {
    const UniqueFd fd = Open("f", O_RDWR);
    WriteAt(fd.get(), 0, "123");
  }
  EXPECT_GE(LStat("f").st_blocks * 512, kMiB);
}

TEST_F(SparseTest, FallocateKeepsContent) {
  Put("f", Pattern(5'000));
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, 0, 0, 10'000), 0);
  EXPECT_EQ(Get("f"), Pattern(5'000) + std::string(5'000, '\0'));
}

TEST_F(SparseTest, PunchHoleZeroesAnyRange) {
  Put("f", Pattern(3 * kMiB));
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1'000'001, 777'777), 0);
  std::string expected = Pattern(3 * kMiB);
  std::fill_n(expected.begin() + 1'000'001, 777'777, '\0');
  EXPECT_EQ(Get("f"), expected);
  ExpectHolesAreZeros(fd.get());
}

TEST_F(SparseTest, PunchHoleFreesSpace) {
  Put("f", Pattern(4 * kMiB));
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Try(::fsync(fd.get())), 0);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * kMiB), 0);
  EXPECT_LT(FStat(fd.get()).st_blocks * 512, kMiB);
}

TEST_F(SparseTest, PunchHoleBeyondTheEndKeepsTheSize) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, kMiB), 0);
  EXPECT_EQ(Get("f"), std::string("12\0", 3));
}

TEST_F(SparseTest, PunchHoleWithoutKeepSizeIsEopnotsupp) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
}

TEST_F(SparseTest, ZeroRangeZeroesAndExtends) {
  Put("f", Pattern(10'000));
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_ZERO_RANGE, 5'000, 10'000), 0);
  EXPECT_EQ(Get("f"), Pattern(10'000).substr(0, 5'000) + std::string(10'000, '\0'));
}

TEST_F(SparseTest, ZeroRangeKeepSizeDoesNotExtend) {
  Put("f", Pattern(10'000));
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 5'000, 10'000), 0);
  EXPECT_EQ(Get("f"), Pattern(10'000).substr(0, 5'000) + std::string(5'000, '\0'));
}

// FUSE has no message for it; where there is one, it must do what it says.
TEST_F(SparseTest, CollapseRangeWorksOrIsEopnotsupp) {
  Put("f", Pattern(16'384));
  const UniqueFd fd = Open("f", O_RDWR);
  const int error = Allocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4'096, 4'096);
  std::string expected = Pattern(16'384);
  if (error == 0) expected.erase(4'096, 4'096);
  EXPECT_TRUE(error == 0 || error == EOPNOTSUPP) << error;
  EXPECT_EQ(Get("f"), expected);
}

TEST_F(SparseTest, FallocateOfNothingIsEinval) {
  Put("f");
  const UniqueFd fd = Open("f", O_RDWR);
  EXPECT_EQ(Allocate(fd, 0, 0, 0), EINVAL);
  EXPECT_EQ(Allocate(fd, 0, -1, 1), EINVAL);
}

TEST_F(SparseTest, FallocateOfAReadOnlyHandleIsEbadf) {
  Put("f");
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(Allocate(fd, 0, 0, 1), EBADF);
}

TEST_F(SparseTest, SurvivesARemount) {
  {
    const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
    WriteAt(fd.get(), 1 * kMiB, Pattern(10'000));
    ASSERT_EQ(Try(::ftruncate(fd.get(), 4 * kMiB)), 0);
  }
  const std::string before = Get("f");
  Remount();
  EXPECT_EQ(Get("f"), before);
  const UniqueFd fd = Open("f", O_RDONLY);
  ExpectHolesAreZeros(fd.get());
}

class CopyRangeTest : public PosixTest {
 protected:
  // Copies `size` bytes and gives how many were copied, or -errno.
  static int64_t Copy(int from, off_t from_at, int to, off_t to_at, size_t size) {
    int64_t copied = 0;
    while (size > 0) {
      const ssize_t n = ::copy_file_range(from, &from_at, to, &to_at, size, 0);
      if (n < 0) return -errno;
      if (n == 0) break;
      copied += n;
      size -= static_cast<size_t>(n);
    }
    return copied;
  }
};

TEST_F(CopyRangeTest, WholeFile) {
  Put("a", Pattern(3 * kMiB + 7));
  const UniqueFd from = Open("a", O_RDONLY);
  const UniqueFd to = Open("b", O_RDWR | O_CREAT);
  EXPECT_EQ(Copy(from.get(), 0, to.get(), 0, 4 * kMiB), 3 * kMiB + 7);
  EXPECT_EQ(Get("b"), Pattern(3 * kMiB + 7));
}

TEST_F(CopyRangeTest, WholeFileStaysIndependent) {
  Put("a", Pattern(2 * kMiB));
  {
    const UniqueFd from = Open("a", O_RDONLY);
    const UniqueFd to = Open("b", O_RDWR | O_CREAT);
    EXPECT_EQ(Copy(from.get(), 0, to.get(), 0, 2 * kMiB), 2 * kMiB);
  }
  const UniqueFd a = Open("a", O_RDWR);
  WriteAt(a.get(), 100, "changed");
  EXPECT_EQ(Get("b"), Pattern(2 * kMiB));
  const UniqueFd b = Open("b", O_RDWR);
  WriteAt(b.get(), 200, "other");
  EXPECT_EQ(ReadAt(a.get(), 100, 7), "changed");
  EXPECT_EQ(ReadAt(a.get(), 200, 5), Pattern(2 * kMiB).substr(200, 5));
}

TEST_F(CopyRangeTest, MiddleIntoMiddle) {
  Put("a", Pattern(50'000, 1));
  Put("b", Pattern(50'000, 2));
  const UniqueFd from = Open("a", O_RDONLY);
  const UniqueFd to = Open("b", O_RDWR);
  EXPECT_EQ(Copy(from.get(), 11'111, to.get(), 22'222, 3'333), 3'333);
  std::string expected = Pattern(50'000, 2);
  expected.replace(22'222, 3'333, Pattern(50'000, 1), 11'111, 3'333);
  EXPECT_EQ(Get("b"), expected);
}

TEST_F(CopyRangeTest, BeyondTheEndCopiesNothing) {
  Put("a", "123");
  const UniqueFd from = Open("a", O_RDONLY);
  const UniqueFd to = Open("b", O_RDWR | O_CREAT);
  EXPECT_EQ(Copy(from.get(), 3, to.get(), 0, 10), 0);
}

TEST_F(CopyRangeTest, WithinOneFile) {
  Put("a", Pattern(100'000));
  const UniqueFd fd = Open("a", O_RDWR);
  EXPECT_EQ(Copy(fd.get(), 0, fd.get(), 60'000, 30'000), 30'000);
  EXPECT_EQ(Get("a").substr(60'000, 30'000), Pattern(100'000).substr(0, 30'000));
}

TEST_F(CopyRangeTest, OverlapIsEinval) {
  Put("a", Pattern(10'000));
  const UniqueFd fd = Open("a", O_RDWR);
  EXPECT_EQ(Copy(fd.get(), 0, fd.get(), 5'000, 6'000), -EINVAL);
}

TEST_F(CopyRangeTest, SeesBytesJustWritten) {
  const UniqueFd from = Open("a", O_RDWR | O_CREAT);
  WriteAt(from.get(), 0, Pattern(70'000));
  const UniqueFd to = Open("b", O_RDWR | O_CREAT);
  EXPECT_EQ(Copy(from.get(), 0, to.get(), 0, 70'000), 70'000);
  EXPECT_EQ(GetFd(to.get()), Pattern(70'000));
}

TEST_F(CopyRangeTest, TouchesTheTargetsMtime) {
  Put("a", Pattern(5'000));
  Put("b");
  const int64_t mtime = MTimeNs("b");
  NextTick();
  {
    const UniqueFd from = Open("a", O_RDONLY);
    const UniqueFd to = Open("b", O_RDWR);
    EXPECT_EQ(Copy(from.get(), 0, to.get(), 0, 5'000), 5'000);
  }
  EXPECT_GT(MTimeNs("b"), mtime);
}

TEST_F(CopyRangeTest, GnuCpMakesTheSameFile) {
  Put("a", Pattern(5 * kMiB));
  const RunResult copied = Execute({"cp", "-a", "a", "b"});
  EXPECT_EQ(copied.exit_code, 0) << copied.output;
  EXPECT_EQ(Get("b"), Pattern(5 * kMiB));
  EXPECT_EQ(MTimeNs("b"), MTimeNs("a"));
}

TEST_F(CopyRangeTest, SendfileOutAndIn) {
  Put("a", Pattern(300'000));
  const UniqueFd from = Open("a", O_RDONLY);
  const UniqueFd to = Open("b", O_RDWR | O_CREAT);
  off_t at = 0;
  while (at < 300'000) ASSERT_GT(::sendfile(to.get(), from.get(), &at, 300'000), 0);
  EXPECT_EQ(GetFd(to.get()), Pattern(300'000));
}

TEST_F(CopyRangeTest, SpliceThroughAPipe) {
  Put("a", Pattern(30'000));
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const UniqueFd reader(pipe_fds[0]);
  const UniqueFd writer(pipe_fds[1]);
  const UniqueFd from = Open("a", O_RDONLY);
  const UniqueFd to = Open("b", O_RDWR | O_CREAT);
  for (size_t done = 0; done < 30'000;) {
    const ssize_t in = ::splice(from.get(), nullptr, writer.get(), nullptr, 30'000, 0);
    ASSERT_GT(in, 0);
    for (ssize_t out = 0; out < in;) {
      const ssize_t n =
          ::splice(reader.get(), nullptr, to.get(), nullptr, static_cast<size_t>(in), 0);
      ASSERT_GT(n, 0);
      out += n;
    }
    done += static_cast<size_t>(in);
  }
  EXPECT_EQ(GetFd(to.get()), Pattern(30'000));
}

}  // namespace
}  // namespace px::testing
