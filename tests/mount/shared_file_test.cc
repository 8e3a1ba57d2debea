// Files that two volumes share: written, cut, mapped, on either side, open or not at the time.
#include <linux/falloc.h>
#include <sys/mman.h>

#include <array>
#include <cstring>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

// Below and above the size from which a shared file is read in passthrough.
constexpr std::array<size_t, 3> kSizes = {100, 70'000, 3 << 20};

// "a/f" holds Pattern(size) and "b" is a clone of "a"; each size in turn.
class SharedFileTest : public VolumeTest {
 protected:
  static std::string Original(size_t size) { return Pattern(size); }

  // Runs `body(size)` on a fresh pair of volumes for each size.
  template <typename Body>
  void ForEachSize(Body body) {
    for (const size_t size : kSizes) {
      SCOPED_TRACE("size " + std::to_string(size));
      Create("a");
      Put("a/f", Original(size));
      body(size);
      if (HasFailure()) return;
      ASSERT_EQ(DropVolume("a"), 0);
      ASSERT_EQ(DropVolume("b"), 0);
    }
  }

  static std::string Overwritten(std::string content, size_t offset, std::string_view bytes) {
    if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
    return content.replace(offset, bytes.size(), bytes);
  }
};

TEST_F(SharedFileTest, FirstByteWrittenInTheSource) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    WriteAt(Open("a/f", O_RDWR).get(), 50, "X");
    EXPECT_EQ(Get("b/f"), Original(size));
    EXPECT_EQ(Get("a/f"), Overwritten(Original(size), 50, "X"));
  });
}

TEST_F(SharedFileTest, FirstByteWrittenInTheClone) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    WriteAt(Open("b/f", O_RDWR).get(), 50, "X");
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 50, "X"));
  });
}

TEST_F(SharedFileTest, BytesWrittenOnBothSides) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    const UniqueFd a = Open("a/f", O_RDWR);
    const UniqueFd b = Open("b/f", O_RDWR);
    WriteAt(a.get(), 10, "AA");
    WriteAt(b.get(), 20, "BB");
    EXPECT_EQ(GetFd(a.get()), Overwritten(Original(size), 10, "AA"));
    EXPECT_EQ(GetFd(b.get()), Overwritten(Original(size), 20, "BB"));
  });
}

TEST_F(SharedFileTest, Truncated) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    ASSERT_EQ(Try(::truncate("a/f", 33)), 0);
    EXPECT_EQ(Get("b/f"), Original(size));
    EXPECT_EQ(Get("a/f"), Original(size).substr(0, 33));
    ASSERT_EQ(Try(::truncate("b/f", 77)), 0);
    EXPECT_EQ(Get("b/f"), Original(size).substr(0, 77));
    EXPECT_EQ(Get("a/f"), Original(size).substr(0, 33));
  });
}

TEST_F(SharedFileTest, TruncatedThenExtendedReadsZeros) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    ASSERT_EQ(Try(::truncate("a/f", 33)), 0);
    ASSERT_EQ(Try(::truncate("a/f", 90)), 0);
    EXPECT_EQ(Get("a/f"), Original(size).substr(0, 33) + std::string(57, '\0'));
    EXPECT_EQ(Get("b/f"), Original(size));
  });
}

TEST_F(SharedFileTest, Extended) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    ASSERT_EQ(Try(::truncate("b/f", static_cast<off_t>(size) + 5'000)), 0);
    EXPECT_EQ(Get("b/f"), Original(size) + std::string(5'000, '\0'));
    EXPECT_EQ(Get("a/f"), Original(size));
  });
}

TEST_F(SharedFileTest, ReplacedWithOtrunc) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    Put("a/f", "fresh");
    EXPECT_EQ(Get("b/f"), Original(size));
    EXPECT_EQ(Get("a/f"), "fresh");
  });
}

TEST_F(SharedFileTest, ReplacedWithOtruncWhileTheOtherReads) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    const UniqueFd reader = Open("b/f", O_RDONLY);
    EXPECT_EQ(ReadAt(reader.get(), 0, 10), Original(size).substr(0, 10));
    Put("a/f", "fresh");
    EXPECT_EQ(GetFd(reader.get()), Original(size));
  });
}

TEST_F(SharedFileTest, HolePunched) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    const UniqueFd fd = Open("a/f", O_RDWR);
    ASSERT_EQ(Try(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50)), 0);
    EXPECT_EQ(Get("b/f"), Original(size));
    EXPECT_EQ(Get("a/f"), Overwritten(Original(size), 0, std::string(50, '\0')));
  });
}

TEST_F(SharedFileTest, RangeZeroed) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    const UniqueFd fd = Open("b/f", O_RDWR);
    ASSERT_EQ(Try(::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 10, 50)), 0);
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 10, std::string(50, '\0')));
  });
}

TEST_F(SharedFileTest, WrittenThroughAMap) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    for (const char* name : {"a/f", "b/f"}) {
      const UniqueFd fd = Open(name, O_RDWR);
      void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      ASSERT_NE(map, MAP_FAILED);
      std::memcpy(static_cast<char*>(map) + 40, name, 3);
      ASSERT_EQ(::msync(map, size, MS_SYNC), 0);
      ::munmap(map, size);
    }
    EXPECT_EQ(Get("a/f"), Overwritten(Original(size), 40, "a/f"));
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 40, "b/f"));
  });
}

TEST_F(SharedFileTest, AppendedTo) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    const UniqueFd fd = Open("b/f", O_WRONLY | O_APPEND);
    EXPECT_EQ(::write(fd.get(), "tail", 4), 4);
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_EQ(Get("b/f"), Original(size) + "tail");
  });
}

TEST_F(SharedFileTest, OpenForWritingAtTheTimeOfTheClone) {
  ForEachSize([](size_t size) {
    const UniqueFd fd = Open("a/f", O_RDWR);
    WriteAt(fd.get(), 10, "before");
    Clone("a", "b");
    WriteAt(fd.get(), 20, "after");
    const std::string at_clone = Overwritten(Original(size), 10, "before");
    EXPECT_EQ(Get("b/f"), at_clone);
    EXPECT_EQ(GetFd(fd.get()), Overwritten(at_clone, 20, "after"));
    EXPECT_EQ(Get("a/f"), Overwritten(at_clone, 20, "after"));
  });
}

TEST_F(SharedFileTest, OpenForWritingAndGrowingAtTheTimeOfTheClone) {
  ForEachSize([](size_t size) {
    const UniqueFd fd = Open("a/f", O_RDWR);
    WriteAt(fd.get(), static_cast<off_t>(size), "grown");
    Clone("a", "b");
    WriteAt(fd.get(), static_cast<off_t>(size) + 5, "more");
    EXPECT_EQ(LStat("b/f").st_size, static_cast<off_t>(size) + 5);
    EXPECT_EQ(Get("b/f"), Original(size) + "grown");
    EXPECT_EQ(Get("a/f"), Original(size) + "grownmore");
  });
}

TEST_F(SharedFileTest, AppendHandleOpenAtTheTimeOfTheClone) {
  ForEachSize([](size_t size) {
    const UniqueFd fd = Open("a/f", O_WRONLY | O_APPEND);
    ASSERT_EQ(::write(fd.get(), "1", 1), 1);
    Clone("a", "b");
    ASSERT_EQ(::write(fd.get(), "2", 1), 1);
    EXPECT_EQ(Get("b/f"), Original(size) + "1");
    EXPECT_EQ(Get("a/f"), Original(size) + "12");
  });
}

TEST_F(SharedFileTest, MappedForWritingAtTheTimeOfTheClone) {
  ForEachSize([](size_t size) {
    UniqueFd fd = Open("a/f", O_RDWR);
    void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    auto* bytes = static_cast<char*>(map);
    std::memcpy(bytes, "before", 6);
    ASSERT_EQ(::msync(map, size, MS_SYNC), 0);
    Clone("a", "b");
    std::memcpy(bytes + 20, "after", 5);
    ASSERT_EQ(::msync(map, size, MS_SYNC), 0);
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 0, "before"));
    fd.Reset();
    std::memcpy(bytes + 40, "later", 5);
    ::munmap(map, size);
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 0, "before"));
    EXPECT_EQ(Get("a/f").substr(20, 5) + Get("a/f").substr(40, 5), "afterlater");
  });
}

// In passthrough, the mapping holds the backing file and the handle is released though it still
// lives.
TEST_F(SharedFileTest, MappedForWritingWithoutAHandleAtTheTimeOfTheClone) {
  ForEachSize([](size_t size) {
    UniqueFd fd = Open("a/f", O_RDWR);
    void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    auto* bytes = static_cast<char*>(map);
    std::memcpy(bytes, "before", 6);
    fd.Reset();
    // The release is on its way to the daemon; a call that it answers after lets it arrive.
    for (int i = 0; i < 50; ++i) Put("a/other", std::to_string(i));
    Clone("a", "b");
    std::memcpy(bytes + 20, "after", 5);
    ASSERT_EQ(::msync(map, size, MS_SYNC), 0);
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 0, "before"));
    const std::string changed = Get("a/f");
    EXPECT_EQ(changed.substr(0, 6) + changed.substr(20, 5), "beforeafter");
    ::munmap(map, size);
  });
}

// Who opens it for writing alone cannot map it, and so is not asked about; who did before, is.
TEST_F(SharedFileTest, MappedForWritingByOneAndThenOnlyWrittenByOthers) {
  ForEachSize([](size_t size) {
    UniqueFd fd = Open("a/f", O_RDWR);
    void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    char* bytes = static_cast<char*>(map);
    UniqueFd beside = Open("a/f", O_WRONLY);
    fd.Reset();
    WriteAt(beside.get(), 1, "1");
    beside.Reset();
    WriteAt(Open("a/f", O_WRONLY).get(), 2, "2");
    bytes[0] = '0';
    Clone("a", "b");
    bytes[3] = '3';
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 0, "012"));
    ::munmap(map, size);
    EXPECT_EQ(Get("a/f"), Overwritten(Original(size), 0, "0123"));
  });
}

TEST_F(SharedFileTest, MappedForReadingStaysTheSameFile) {
  ForEachSize([](size_t size) {
    const UniqueFd fd = Open("a/f", O_RDONLY);
    void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    const auto* bytes = static_cast<const char*>(map);
    EXPECT_EQ(std::string(bytes, size), Original(size));
    Clone("a", "b");
    WriteAt(Open("b/f", O_RDWR).get(), 5, "theirs");
    EXPECT_EQ(std::string(bytes, size), Original(size));
    WriteAt(Open("a/f", O_RDWR).get(), 30, "ours");
    EXPECT_EQ(std::string(bytes + 30, 4), "ours");
    ::munmap(map, size);
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 5, "theirs"));
  });
}

TEST_F(SharedFileTest, ReadersAndWritersInAnyOrderSeeTheirOwnVolume) {
  // Who reads first decides which volume's reads go past the daemon; then each side writes.
  for (const std::string first : {"a", "b", "ab", "ba"}) {
    for (const std::string writer : {"a", "b"}) {
      SCOPED_TRACE("opened first: " + first + ", written: " + writer);
      ForEachSize([&](size_t size) {
        Clone("a", "b");
        std::vector<std::pair<std::string, UniqueFd>> readers;
        for (const char volume : first) {
          const std::string name = std::string(1, volume) + "/f";
          readers.emplace_back(std::string(1, volume), Open(name, O_RDONLY));
          ASSERT_EQ(ReadAt(readers.back().second.get(), 0, 20), Original(size).substr(0, 20));
        }
        const UniqueFd fd = Open(writer + "/f", O_RDWR);
        ASSERT_TRUE(fd);
        WriteAt(fd.get(), 7, writer + "-wrote");
        const std::string changed = Overwritten(Original(size), 7, writer + "-wrote");
        for (const auto& [volume, reader] : readers) {
          EXPECT_EQ(GetFd(reader.get()), volume == writer ? changed : Original(size)) << volume;
        }
        EXPECT_EQ(Get("a/f"), writer == "a" ? changed : Original(size));
        EXPECT_EQ(Get("b/f"), writer == "b" ? changed : Original(size));
      });
      if (HasFailure()) return;
    }
  }
}

TEST_F(SharedFileTest, ManySharersEachGetTheirOwn) {
  constexpr int kClones = 10;
  Create("a");
  Put("a/f", Original(2 << 20));
  std::vector<UniqueFd> readers;
  for (int i = 0; i < kClones; ++i) {
    const std::string clone = "c" + std::to_string(i);
    Clone("a", clone);
    readers.push_back(Open(clone + "/f", O_RDONLY));
    EXPECT_EQ(ReadAt(readers.back().get(), 0, 8), Original(2 << 20).substr(0, 8));
  }
  for (int i = 0; i < kClones; i += 2) {
    WriteAt(Open("c" + std::to_string(i) + "/f", O_RDWR).get(), 0, std::to_string(i));
  }
  for (size_t i = 0; i < kClones; ++i) {
    const std::string start = i % 2 == 0 ? std::to_string(i) : Original(8).substr(0, 1);
    EXPECT_EQ(ReadAt(readers[i].get(), 0, 1), start) << i;
  }
  EXPECT_EQ(Get("a/f"), Original(2 << 20));
}

TEST_F(SharedFileTest, HardLinksInsideAreOneFileThere) {
  Create("a");
  Put("a/f", Original(5'000));
  ASSERT_EQ(Try(::link("a/f", "a/g")), 0);
  Clone("a", "b");
  WriteAt(Open("b/g", O_RDWR).get(), 0, "both");
  EXPECT_EQ(Get("b/f"), Overwritten(Original(5'000), 0, "both"));
  EXPECT_EQ(Get("a/g"), Original(5'000));
  ASSERT_EQ(Try(::unlink("b/f")), 0);
  EXPECT_EQ(LStat("b/g").st_nlink, 1U);
  EXPECT_EQ(LStat("a/g").st_nlink, 2U);
}

TEST_F(SharedFileTest, UnlinkedButOpenAtTheTimeOfTheClone) {
  Create("a");
  const UniqueFd fd = Open("a/f", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, Original(9'000));
  ASSERT_EQ(Try(::unlink("a/f")), 0);
  Clone("a", "b");
  EXPECT_TRUE(List("b").empty());
  WriteAt(fd.get(), 0, "still");
  EXPECT_EQ(GetFd(fd.get()), Overwritten(Original(9'000), 0, "still"));
}

TEST_F(SharedFileTest, CopyFileRangeIntoASharedFile) {
  ForEachSize([](size_t size) {
    Clone("a", "b");
    Put("b/from", "source bytes");
    const UniqueFd from = Open("b/from", O_RDONLY);
    const UniqueFd to = Open("b/f", O_RDWR);
    off_t in = 0;
    off_t out = 9;
    EXPECT_EQ(::copy_file_range(from.get(), &in, to.get(), &out, 12, 0), 12);
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 9, "source bytes"));
  });
}

TEST_F(SharedFileTest, DirectWriteLeavesTheClone) {
  Create("a");
  Put("a/f", Original(1 << 20));
  Clone("a", "b");
  const UniqueFd fd = Open("a/f", O_RDWR | O_DIRECT);
  alignas(4096) static char block[4096];
  std::memset(block, 'D', sizeof block);
  EXPECT_EQ(::pwrite(fd.get(), block, sizeof block, 8192), ssize_t{sizeof block});
  EXPECT_EQ(Get("b/f"), Original(1 << 20));
  EXPECT_EQ(Get("a/f"), Overwritten(Original(1 << 20), 8192, std::string(4096, 'D')));
}

TEST_F(SharedFileTest, WrittenSideSurvivesAKilledDaemon) {
  ForEachSize([this](size_t size) {
    Clone("a", "b");
    {
      const UniqueFd fd = Open("b/f", O_RDWR);
      WriteAt(fd.get(), 11, "kept");
      WriteAt(fd.get(), static_cast<off_t>(size), "and grown");
      KillAndRemount();
    }
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 11, "kept") + "and grown");
  });
}

// As rsync and tar do. Nothing but the data in it says then that a block is the file's own.
TEST_F(SharedFileTest, WhatWasWrittenBeforeTheTimeWasSetBackSurvivesAKilledDaemon) {
  ForEachSize([this](size_t size) {
    Clone("a", "b");
    WriteAt(Open("b/f", O_RDWR).get(), 11, "kept");
    const struct stat before = Stat("b/f");
    {
      const UniqueFd fd = Open("b/f", O_RDWR);
      WriteAt(fd.get(), static_cast<off_t>(size / 2), "too");
      const timespec times[] = {before.st_atim, before.st_mtim};
      ASSERT_EQ(Try(::futimens(fd.get(), times)), 0);
      KillAndRemount();
    }
    EXPECT_EQ(Get("a/f"), Original(size));
    EXPECT_TRUE(Get("b/f") ==
                Overwritten(Overwritten(Original(size), 11, "kept"), size / 2, "too"));
  });
}

TEST_F(SharedFileTest, UnwrittenBytesComeFromTheSharedFileAfterARemount) {
  ForEachSize([this](size_t size) {
    Clone("a", "b");
    WriteAt(Open("b/f", O_RDWR).get(), 60, "B");
    Remount();
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 60, "B"));
    ASSERT_EQ(Try(::unlink("a/f")), 0);
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 60, "B"));
    Remount();
    EXPECT_EQ(Get("b/f"), Overwritten(Original(size), 60, "B"));
  });
}

}  // namespace
}  // namespace px::testing
