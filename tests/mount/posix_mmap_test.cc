// mmap, shared and private, together with reads and writes.
#include <sys/mman.h>
#include <sys/xattr.h>

#include <csignal>
#include <cstring>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

constexpr size_t kPage = 4096;

// A mapping, and its end.
class Mapping {
 public:
  Mapping(int fd, size_t size, int protection, int flags)
      : size_(size), at_(::mmap(nullptr, size, protection, flags, fd, 0)) {
    EXPECT_NE(at_, MAP_FAILED) << std::strerror(errno);
  }
  ~Mapping() {
    if (at_ != MAP_FAILED) ::munmap(at_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool ok() const { return at_ != MAP_FAILED; }
  char* data() const { return static_cast<char*>(at_); }
  std::string Text() const { return {data(), size_}; }
  void Write(size_t offset, std::string_view bytes) const {
    std::memcpy(data() + offset, bytes.data(), bytes.size());
  }
  int Sync() const { return Try(::msync(at_, size_, MS_SYNC)); }

 private:
  size_t size_;
  void* at_;
};

class MmapTest : public PosixTest {
 protected:
  static constexpr int kReadWrite = PROT_READ | PROT_WRITE;
};

TEST_F(MmapTest, SharedReadsTheFile) {
  Put("f", Pattern(10 * kPage));
  const UniqueFd fd = Open("f", O_RDONLY);
  const Mapping map(fd.get(), 10 * kPage, PROT_READ, MAP_SHARED);
  EXPECT_EQ(map.Text(), Pattern(10 * kPage));
}

TEST_F(MmapTest, PrivateReadsTheFile) {
  Put("f", Pattern(10 * kPage));
  const UniqueFd fd = Open("f", O_RDONLY);
  const Mapping map(fd.get(), 10 * kPage, kReadWrite, MAP_PRIVATE);
  EXPECT_EQ(map.Text(), Pattern(10 * kPage));
}

TEST_F(MmapTest, PrivateWritesStayPrivate) {
  Put("f", Pattern(kPage));
  const UniqueFd fd = Open("f", O_RDONLY);
  const Mapping map(fd.get(), kPage, kReadWrite, MAP_PRIVATE);
  map.Write(0, "mine");
  EXPECT_EQ(Get("f"), Pattern(kPage));
}

TEST_F(MmapTest, SharedWriteIsReadAfterMsync) {
  Put("f", Pattern(4 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 4 * kPage, kReadWrite, MAP_SHARED);
  map.Write(kPage + 10, "through the map");
  EXPECT_EQ(map.Sync(), 0);
  EXPECT_EQ(ReadAt(fd.get(), kPage + 10, 15), "through the map");
}

TEST_F(MmapTest, SharedWriteIsReadWithoutMsync) {
  Put("f", Pattern(4 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 4 * kPage, kReadWrite, MAP_SHARED);
  map.Write(100, "through the map");
  EXPECT_EQ(ReadAt(fd.get(), 100, 15), "through the map");
}

TEST_F(MmapTest, WriteIsSeenInTheMap) {
  Put("f", Pattern(4 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 4 * kPage, PROT_READ, MAP_SHARED);
  EXPECT_EQ(map.Text(), Pattern(4 * kPage));
  WriteAt(fd.get(), 2 * kPage, "through the handle");
  EXPECT_EQ(std::string(map.data() + 2 * kPage, 18), "through the handle");
}

TEST_F(MmapTest, WriteThroughAnotherHandleIsSeenInTheMap) {
  Put("f", Pattern(kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), kPage, PROT_READ, MAP_SHARED);
  EXPECT_EQ(map.Text(), Pattern(kPage));
  const UniqueFd other = Open("f", O_RDWR);
  WriteAt(other.get(), 0, "other");
  EXPECT_EQ(std::string(map.data(), 5), "other");
}

TEST_F(MmapTest, TwoMapsAreOneMemory) {
  Put("f", Pattern(kPage));
  const UniqueFd a = Open("f", O_RDWR);
  const UniqueFd b = Open("f", O_RDWR);
  const Mapping map_a(a.get(), kPage, kReadWrite, MAP_SHARED);
  const Mapping map_b(b.get(), kPage, kReadWrite, MAP_SHARED);
  map_a.Write(7, "A");
  EXPECT_EQ(map_b.data()[7], 'A');
  map_b.Write(8, "B");
  EXPECT_EQ(map_a.data()[8], 'B');
}

TEST_F(MmapTest, AnotherProcessSeesSharedWrites) {
  Put("f", Pattern(kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(InChild([&] {
              map.Write(0, "child");
              return 0;
            }),
            0);
  EXPECT_EQ(std::string(map.data(), 5), "child");
}

TEST_F(MmapTest, MapOutlivesItsHandle) {
  Put("f", Pattern(kPage));
  UniqueFd fd = Open("f", O_RDWR);
  {
    const Mapping map(fd.get(), kPage, kReadWrite, MAP_SHARED);
    fd.Reset();
    map.Write(0, "late");
  }
  EXPECT_EQ(Get("f").substr(0, 4), "late");
}

TEST_F(MmapTest, MapOfAClosedFileThatGotAnXattrIsWhatOthersSee) {
  Put("f", Pattern(3 * kPage));
  UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 3 * kPage, kReadWrite, MAP_SHARED);
  map.Write(0, "mapped");
  fd.Reset();
  ASSERT_EQ(Try(::setxattr("f", "user.x", "1", 1, 0)), 0);
  std::string expected = Pattern(3 * kPage);
  expected.replace(0, 6, "mapped");
  const UniqueFd again = Open("f", O_RDWR);
  EXPECT_EQ(ReadAt(again.get(), 0, 3 * kPage), expected);
  map.Write(kPage + 10, "through the map");
  ASSERT_EQ(::pwrite(again.get(), "by a call", 9, kPage + 100), 9);
  map.Write(kPage + 200, "again");
  expected.replace(kPage + 10, 15, "through the map");
  expected.replace(kPage + 100, 9, "by a call");
  expected.replace(kPage + 200, 5, "again");
  EXPECT_EQ(map.Text(), expected);
  EXPECT_EQ(ReadAt(again.get(), 0, 3 * kPage), expected);
  EXPECT_EQ(Get("f"), expected);
}

TEST_F(MmapTest, WriteThenCloseThenMapReadsIt) {
  Put("f", Pattern(300'000));
  const UniqueFd fd = Open("f", O_RDONLY);
  const Mapping map(fd.get(), 300'000, PROT_READ, MAP_SHARED);
  EXPECT_EQ(map.Text(), Pattern(300'000));
}

TEST_F(MmapTest, TailOfTheLastPageIsZero) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(map.Text(), "123" + std::string(kPage - 3, '\0'));
}

TEST_F(MmapTest, WritesBeyondTheEndAreNotInTheFile) {
  Put("f", "123");
  {
    const UniqueFd fd = Open("f", O_RDWR);
    const Mapping map(fd.get(), kPage, kReadWrite, MAP_SHARED);
    map.Write(100, "nowhere");
    EXPECT_EQ(map.Sync(), 0);
  }
  EXPECT_EQ(Get("f"), "123");
  ASSERT_EQ(Try(::truncate("f", 200)), 0);
  EXPECT_EQ(Get("f"), "123" + std::string(197, '\0'));
}

TEST_F(MmapTest, AccessBeyondTheLastPageIsSigbus) {
  Put("f", "123");
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 2 * kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(InChild([&] { return map.data()[kPage]; }), 128 + SIGBUS);
}

TEST_F(MmapTest, TruncateTakesPagesAway) {
  Put("f", Pattern(2 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 2 * kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(map.Text(), Pattern(2 * kPage));
  ASSERT_EQ(Try(::ftruncate(fd.get(), 10)), 0);
  EXPECT_EQ(map.data()[9], Pattern(2 * kPage)[9]);
  EXPECT_EQ(map.data()[11], 0);
  EXPECT_EQ(InChild([&] { return map.data()[kPage]; }), 128 + SIGBUS);
}

TEST_F(MmapTest, ExtendedFileIsWritableInTheMap) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  const Mapping map(fd.get(), 4 * kPage, kReadWrite, MAP_SHARED);
  ASSERT_EQ(Try(::ftruncate(fd.get(), 4 * kPage)), 0);
  map.Write(3 * kPage, "grown");
  EXPECT_EQ(ReadAt(fd.get(), 3 * kPage, 5), "grown");
}

TEST_F(MmapTest, SparseFileFilledThroughTheMap) {
  constexpr size_t kSize = 8 << 20;
  {
    const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
    ASSERT_EQ(Try(::ftruncate(fd.get(), kSize)), 0);
    const Mapping map(fd.get(), kSize, kReadWrite, MAP_SHARED);
    for (size_t at = 0; at < kSize; at += 64 << 10) map.Write(at, "here");
  }
  Remount();
  const std::string content = Get("f");
  ASSERT_EQ(content.size(), kSize);
  for (size_t at = 0; at < kSize; at += 64 << 10)
    ASSERT_EQ(content.substr(at, 5), std::string("here\0", 5));
}

TEST_F(MmapTest, SeekDataFindsWhatTheMapWrote) {
  const UniqueFd fd = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(Try(::ftruncate(fd.get(), 1 << 20)), 0);
  const Mapping map(fd.get(), 1 << 20, kReadWrite, MAP_SHARED);
  map.Write(512 << 10, "data");
  const off_t data = ::lseek(fd.get(), 0, SEEK_DATA);
  EXPECT_GE(data, 0);
  EXPECT_LE(data, 512 << 10);
}

TEST_F(MmapTest, SharedWriteTouchesMtimeByMsync) {
  Put("f", Pattern(kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const int64_t before = MTimeNs("f");
  NextTick();
  const Mapping map(fd.get(), kPage, kReadWrite, MAP_SHARED);
  map.Write(0, "x");
  EXPECT_EQ(map.Sync(), 0);
  EXPECT_GT(MTimeNs("f"), before);
}

TEST_F(MmapTest, SharedWritableMapOfAReadOnlyHandleIsEacces) {
  Put("f", Pattern(kPage));
  const UniqueFd fd = Open("f", O_RDONLY);
  EXPECT_EQ(::mmap(nullptr, kPage, kReadWrite, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
}

TEST_F(MmapTest, ReadIntoAMapOfTheSameFile) {
  Put("f", Pattern(2 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 2 * kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(::pread(fd.get(), map.data(), kPage, kPage), ssize_t{kPage});
  EXPECT_EQ(ReadAt(fd.get(), 0, kPage), Pattern(2 * kPage).substr(kPage));
}

TEST_F(MmapTest, WriteFromAMapOfTheSameFile) {
  Put("f", Pattern(2 * kPage));
  const UniqueFd fd = Open("f", O_RDWR);
  const Mapping map(fd.get(), 2 * kPage, kReadWrite, MAP_SHARED);
  EXPECT_EQ(::pwrite(fd.get(), map.data() + kPage, kPage, 0), ssize_t{kPage});
  EXPECT_EQ(Get("f").substr(0, kPage), Pattern(2 * kPage).substr(kPage));
}

TEST_F(MmapTest, StoreBehindTheEndIsGoneOnceTheFileWasReopenedAndGrew) {
  Put("f", Pattern(kPage + 100));
  {
    const UniqueFd fd = Open("f", O_RDWR);
    const Mapping map(fd.get(), 2 * kPage, kReadWrite, MAP_SHARED);
    map.Write(kPage + 200, "behind the end");
  }
  const UniqueFd fd = Open("f", O_RDWR);
  ASSERT_EQ(Try(::ftruncate(fd.get(), 2 * kPage)), 0);
  EXPECT_EQ(Get("f").substr(kPage + 100), std::string(kPage - 100, '\0'));
}

TEST_F(MmapTest, SqliteStyleWalIndexWorks) {
  // The pattern of SQLite's -shm file: grow by ftruncate, map shared, lock ranges, from two
  // handles.
  const UniqueFd a = Open("db-shm", O_RDWR | O_CREAT);
  ASSERT_EQ(Try(::ftruncate(a.get(), 32'768)), 0);
  const UniqueFd b = Open("db-shm", O_RDWR);
  const Mapping map_a(a.get(), 32'768, kReadWrite, MAP_SHARED);
  const Mapping map_b(b.get(), 32'768, kReadWrite, MAP_SHARED);
  for (size_t i = 0; i < 1'000; ++i) {
    const Mapping& writer = i % 2 == 0 ? map_a : map_b;
    const Mapping& reader = i % 2 == 0 ? map_b : map_a;
    writer.Write(i * 32, std::to_string(i));
    ASSERT_EQ(std::string(reader.data() + i * 32), std::to_string(i));
  }
}

}  // namespace
}  // namespace px::testing
