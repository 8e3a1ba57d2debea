// A store whose filesystem is full, out of inodes, or read-only below. Needs root and loop devices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <thread>

#include "tests/mount/volume.h"
#include "tests/testing/small_disk.h"
#include "tests/testing/small_disk_files.h"

namespace px::testing {
namespace {

struct DiskKind {
  const char* type;
  const char* options;
};

class FullDiskTest : public OnSmallDisk<DiskKind> {
 protected:
  void SetUp() override {
    auto disk = SmallDisk::Create(GetParam().type, 320);
    if (!disk) GTEST_SKIP() << disk.error().context();
    disk_ = std::move(*disk);
    ASSERT_TRUE(disk_->Mount(GetParam().options));
    ASSERT_EQ(CreateVolume(In("v")), 0);
    ASSERT_EQ(CreateVolume(In("ballast")), 0);
  }

  // Fills what is left, with files of `size` below `dir`, until not one byte more fits.
  void Fill(const std::string& dir) {
    size_t number = 0;
    for (const size_t size : {size_t{8} << 20, size_t{1} << 20, size_t{64} << 10, size_t{4096}}) {
      for (;;) {
        const std::string path = In(dir + "/f" + std::to_string(++number));
        const std::string content = Content(number, size);
        const int error = WriteFile(path, content, /*sync=*/true);
        if (error == 0) {
          acknowledged_[path] = number;
          sizes_[path] = size;
          continue;
        }
        ASSERT_TRUE(error == ENOSPC || error == EDQUOT) << strerrorname_np(error);
        ::unlink(path.c_str());
        break;
      }
    }
  }
  void ExpectAllThere() {
    for (const auto& [path, number] : acknowledged_) {
      ASSERT_EQ(ReadFile(path) == Content(number, sizes_[path]), true) << path;
    }
  }
  // Of a new file; 0 or the errno.
  static int Allocate(const std::string& path, uint64_t bytes) {
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (!fd) return errno;
    return ::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  }
  static int Write(const std::string& path, uint64_t bytes) {
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (!fd) return errno;
    const std::string piece(size_t{1} << 20, 'x');
    for (uint64_t done = 0; done < bytes; done += piece.size()) {
      if (::write(fd.get(), piece.data(), piece.size()) < 0) return errno;
    }
    return 0;
  }
  void WaitForSpace(uint64_t bytes) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (disk_->FreeBytes() < bytes) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit)
          << disk_->FreeBytes() << " of " << bytes << "\n"
          << disk_->Log();
      std::this_thread::yield();
    }
  }

  std::map<std::string, size_t> acknowledged_, sizes_;
};

// In passthrough the kernel writes: whom it refuses no daemon can help.
TEST_P(FullDiskTest, TwoWhoWriteAndRemoveHaveRoomForBoth) {
  const uint64_t part = disk_->FreeBytes() * 3 / 10;
  std::atomic<bool> stop = false;
  std::thread allocates([&] {
    while (!stop) {
      EXPECT_EQ(Allocate(In("v/allocated"), part), 0);
      EXPECT_EQ(::unlink(In("v/allocated").c_str()), 0);
    }
  });
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(Write(In("v/written"), part), 0) << i;
    EXPECT_EQ(::unlink(In("v/written").c_str()), 0);
  }
  stop = true;
  allocates.join();
}

// The last close of a file arrives after the call has returned: one that is removed then is in use
// for a moment more.
TEST_P(FullDiskTest, SpaceOfWhatWasJustClosedAndRemovedCanBeAllocated) {
  // XFS allocates as much ahead of a file that grows.
  const bool ahead = std::string_view(GetParam().type) == "xfs";
  const uint64_t part = ahead ? disk_->FreeBytes() / 3 : disk_->FreeBytes() * 2 / 5;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      (void)Write(In("v/written"), part);  // in passthrough nobody waits for space
      ::unlink(In("v/written").c_str());
    }
  });
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(Allocate(In("v/allocated"), part), 0) << i;
    EXPECT_EQ(::unlink(In("v/allocated").c_str()), 0);
  }
  stop = true;
  writer.join();
}

TEST_P(FullDiskTest, WhatWasAcknowledgedStaysAndUnlinkGivesSpaceBack) {
  Fill("v");
  ASSERT_GT(acknowledged_.size(), 10U);
  ExpectAllThere();
  // Half of it goes.
  size_t i = 0;
  uint64_t bytes = 0;
  for (auto file = acknowledged_.begin(); file != acknowledged_.end();) {
    if (++i % 2 == 0) {
      ++file;
      continue;
    }
    ASSERT_EQ(::unlink(file->first.c_str()), 0) << strerrorname_np(errno);
    bytes += sizes_[file->first];
    file = acknowledged_.erase(file);
  }
  WaitForSpace(bytes * 9 / 10);
  ExpectAllThere();
  EXPECT_EQ(WriteFile(In("v/again"), Content(1, 1 << 20), true), 0);
}

// As `rm old && save new` does, with nothing in between.
TEST_P(FullDiskTest, WhatWasRemovedIsFreeAtOnce) {
  ASSERT_EQ(WriteFile(In("v/old"), Content(1, size_t{100} << 20), true), 0);
  Fill("ballast");
  // Some is for what px itself writes meanwhile.
  const std::string content = Content(2, size_t{80} << 20);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(::unlink(In("v/old").c_str()), 0) << strerrorname_np(errno);
    ASSERT_EQ(WriteFile(In("v/old"), content, true), 0) << round;
  }
  EXPECT_EQ(ReadFile(In("v/old")) == content, true);
  ExpectAllThere();
}

// A save over the one before works, as elsewhere, though nothing can be kept of that one meanwhile.
TEST_P(FullDiskTest, WhatIsTruncatedIsFreeAtOnceWhereThereIsNoRoomForBoth) {
  ASSERT_EQ(WriteFile(In("v/model"), Content(1, size_t{100} << 20), true), 0);
  Fill("ballast");
  const size_t size = size_t{80} << 20;
  for (size_t round = 2; round < 5; ++round) {
    ASSERT_EQ(WriteFile(In("v/model"), Content(round, size), true, O_TRUNC), 0) << round;
    EXPECT_EQ(ReadFile(In("v/model")) == Content(round, size), true);
  }
  ASSERT_EQ(::truncate(In("v/model").c_str(), 0), 0);
  EXPECT_EQ(WriteFile(In("v/other"), Content(9, size), true), 0);
  ExpectAllThere();
}

TEST_P(FullDiskTest, RemovingAVolumeGivesSpaceBack) {
  Fill("ballast");
  EXPECT_EQ(WriteFile(In("v/small"), std::string(1 << 20, 'x'), true), ENOSPC);
  const RunResult rm = SmallDisk::PxFs({"rm", "--now", In("ballast")});
  ASSERT_EQ(rm.exit_code, 0) << rm.output;
  acknowledged_.clear();
  WaitForSpace(uint64_t{150} << 20);
  // New names are taken once the tree, too, has got what it had no room for.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  int error = 0;
  while ((error = WriteFile(In("v/again"), Content(1, 1 << 20), true)) == ENOSPC) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << disk_->Log();
  }
  EXPECT_EQ(error, 0);
}

TEST_P(FullDiskTest, TheTrashMakesRoom) {
  Fill("ballast");
  const RunResult rm = SmallDisk::PxFs({"rm", In("ballast")});
  ASSERT_EQ(rm.exit_code, 0) << rm.output;
  WaitForSpace(uint64_t{150} << 20);
}

// Names, directories and attributes need no data blocks of their own: they go on until metadata has
// no room, and then deleting still works.
TEST_P(FullDiskTest, DeletingWorksHoweverMuchMetadataWasMade) {
  Fill("ballast");
  int error = 0;
  size_t made = 0;
  const std::string value(900, 'v');
  for (; made < 60'000 && error == 0; ++made) {
    const std::string path = In("v/d" + std::to_string(made));
    error = ::mkdir(path.c_str(), 0755) == 0 ? 0 : errno;
  }
  EXPECT_TRUE(error == 0 || error == ENOSPC) << strerrorname_np(error);
  const RunResult rm = SmallDisk::PxFs({"rm", "--now", In("ballast")});
  ASSERT_EQ(rm.exit_code, 0) << rm.output << disk_->Log();
  acknowledged_.clear();
  WaitForSpace(uint64_t{120} << 20);
  for (size_t i = 0; i < std::min<size_t>(made, 1000); ++i) {
    ASSERT_EQ(::rmdir(In("v/d" + std::to_string(i)).c_str()), 0) << i << strerrorname_np(errno);
  }
}

TEST_P(FullDiskTest, AFullStoreMountsAgainAfterAKill) {
  Fill("v");
  disk_->KillDaemon();
  const Status mounted = disk_->Mount(GetParam().options);
  ASSERT_TRUE(mounted) << mounted.error().ToString() << disk_->Log();
  ExpectAllThere();
  ASSERT_EQ(::unlink(acknowledged_.begin()->first.c_str()), 0);
  acknowledged_.erase(acknowledged_.begin());
  ASSERT_TRUE(disk_->Unmount());
  ASSERT_TRUE(disk_->Mount(GetParam().options)) << disk_->Log();
  ExpectAllThere();
}

// The journal then holds more than its log and database have room for. Each time some more is
// tried.
TEST_P(FullDiskTest, AStoreFullOfSmallFilesMountsAgainHoweverOften) {
  ASSERT_EQ(Allocate(In("ballast/big"), disk_->FreeBytes() - (uint64_t{20} << 20)), 0);
  const std::string value(1500, 'v');
  size_t tried = 0;
  for (int round = 0; round < 3; ++round) {
    for (int refused = 0; refused < 100;) {
      const std::string path = In("v/f" + std::to_string(++tried));
      const int error = WriteFile(path, Content(tried, 4096), /*sync=*/false);
      ASSERT_TRUE(error == 0 || error == ENOSPC) << strerrorname_np(error);
      if (error != 0) {
        ++refused;
        continue;
      }
      acknowledged_[path] = tried;
      sizes_[path] = 4096;
      ::setxattr(path.c_str(), "user.a", value.data(), value.size(), 0);
    }
    if (round % 2 == 0) {
      ASSERT_TRUE(disk_->Unmount());
    } else {
      disk_->KillDaemon();
    }
    const Status mounted = disk_->Mount(GetParam().options);
    ASSERT_TRUE(mounted) << round << ": " << mounted.error().ToString() << disk_->Log();
    ExpectAllThere();
  }
  ASSERT_GT(acknowledged_.size(), 300U);
  for (const auto& [path, number] : acknowledged_) ASSERT_EQ(::unlink(path.c_str()), 0) << path;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (CloneVolume(In("v"), In("w")) != 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << disk_->FreeBytes() << disk_->Log();
    std::this_thread::yield();
  }
  EXPECT_EQ(WriteFile(In("v/again"), Content(1, 1 << 20), true), 0);
  ASSERT_TRUE(disk_->Unmount());
  const RunResult fsck = SmallDisk::PxFs({"fsck", disk_->store()});
  EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
}

// As after an error of the disk, or a power cut: what was not flushed is gone, nothing can be
// written any more.
TEST_P(FullDiskTest, ADiskThatStopsGivesErrorsAndKeepsWhatWasSynced) {
  for (size_t i = 0; i < 20; ++i) {
    const std::string path = In("v/f" + std::to_string(i));
    ASSERT_EQ(WriteFile(path, Content(i, 50'000), /*sync=*/i < 10), 0);
    if (i < 10) acknowledged_[path] = i;
    sizes_[path] = 50'000;
  }
  disk_->StopDisk();
  const int error = WriteFile(In("v/g"), Content(1, 100'000), true);
  EXPECT_TRUE(error == EIO || error == EROFS || error == ENOSPC) << strerrorname_np(error);
  disk_->KillDaemon();
  ASSERT_TRUE(disk_->RestartDisk());
  ASSERT_TRUE(disk_->Mount(GetParam().options)) << disk_->Log();
  ExpectAllThere();
  EXPECT_EQ(WriteFile(In("v/g2"), Content(1, 100'000), true), 0);
}

INSTANTIATE_TEST_SUITE_P(OnDisk, FullDiskTest,
                         ::testing::Values(DiskKind{"ext4", "passthrough"},
                                           DiskKind{"ext4", "nopassthrough"},
                                           DiskKind{"xfs", "passthrough"}),
                         [](const auto& kind) {
                           return std::string(kind.param.type) + "_" + kind.param.options;
                         });

class FewInodesTest : public ::testing::Test {};

TEST_F(FewInodesTest, WithoutAnyLeftCreatingIsEnospcAndUnlinkingHelps) {
  auto disk = SmallDisk::Create("few-inodes", 320);
  if (!disk) GTEST_SKIP() << disk.error().context();
  ASSERT_TRUE((*disk)->Mount());
  const std::string volume = (*disk)->root() + "/v";
  ASSERT_EQ(CreateVolume(volume), 0);
  const auto path = [&](size_t number) { return volume + "/f" + std::to_string(number); };
  size_t made = 0;
  int error = 0;
  while (made < 5000 && (error = WriteFile(path(made), Content(made, 100), false)) == 0) ++made;
  ASSERT_EQ(error, ENOSPC) << strerrorname_np(error) << " after " << made;
  for (size_t i = 0; i < made; ++i) ASSERT_TRUE(ReadFile(path(i)) == Content(i, 100)) << i;
  const auto free_before = (*disk)->Space().f_ffree;
  for (size_t i = 0; i < made; i += 2) ASSERT_EQ(::unlink(path(i).c_str()), 0);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while ((*disk)->Space().f_ffree < free_before + made / 4) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << (*disk)->Log();
    std::this_thread::yield();
  }
  EXPECT_EQ(WriteFile(path(made + 1), Content(1, 100), true), 0);
  for (size_t i = 1; i < made; i += 2) ASSERT_TRUE(ReadFile(path(i)) == Content(i, 100)) << i;
  ASSERT_TRUE((*disk)->Unmount());
  const RunResult fsck = SmallDisk::PxFs({"fsck", (*disk)->store()});
  EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
