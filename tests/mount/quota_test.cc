// A store over its quota, and one whose filesystem turns read-only while it is mounted. Needs root
// and loop devices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <thread>

#include "tests/mount/volume.h"
#include "tests/testing/small_disk.h"
#include "tests/testing/small_disk_files.h"

namespace px::testing {
namespace {

constexpr auto kLimit = std::chrono::seconds(60);

class SmallDiskTest : public OnSmallDisk<const char*> {
 protected:
  void Make(const std::string& type, uint64_t megabytes) {
    auto disk = SmallDisk::Create(type, megabytes);
    if (!disk) GTEST_SKIP() << disk.error().context();
    disk_ = std::move(*disk);
    ASSERT_TRUE(disk_->Mount(GetParam()));
    ASSERT_EQ(CreateVolume(In("v")), 0);
  }
  std::string Name(const std::string& dir, size_t number) const {
    return In(dir + "/f" + std::to_string(number));
  }
  // Until one does not fit; gives its errno. Files that fit are noted.
  int Fill(const std::string& dir, size_t size) {
    for (;; ++next_) {
      const std::string path = Name(dir, next_);
      const int error = WriteFile(path, Content(next_, size), /*sync=*/true);
      if (error != 0) {
        ++next_;
        return error;
      }
      files_[path] = {next_, size};
    }
  }
  void ExpectAllThere() {
    for (const auto& [path, file] : files_) {
      ASSERT_TRUE(ReadFile(path) == Content(file.first, file.second)) << path;
    }
  }
  // Space comes back when the filesystem below gives it.
  int WriteAgain(size_t size) {
    const auto end = std::chrono::steady_clock::now() + kLimit;
    for (;;) {
      const int error = WriteFile(In("v/again" + std::to_string(next_++)), Content(1, size), true);
      if (error == 0 || std::chrono::steady_clock::now() > end) return error;
      std::this_thread::yield();
    }
  }

  std::map<std::string, std::pair<size_t, size_t>> files_;
  size_t next_ = 0;
};

class QuotaTest : public SmallDiskTest {};

// btrfs writes nothing in place, so over quota nothing at all can be changed there, not even by
// unlink (on ext4 and XFS the journal needs no new space).
TEST_P(QuotaTest, OverQuotaIsEdquotAndNothingIsLost) {
  Make("btrfs-quota", 360);
  if (disk_ == nullptr) return;
  EXPECT_EQ(Fill("v", 4 << 20), EDQUOT) << disk_->Log();
  ASSERT_GT(files_.size(), 4U);
  const int error = Fill("v", 40'000);
  EXPECT_EQ(error, EDQUOT) << strerrorname_np(error) << disk_->Log();
  ExpectAllThere();
  ASSERT_TRUE(disk_->LiftQuota());
  const int again = WriteAgain(1 << 20);
  EXPECT_EQ(again, 0) << strerrorname_np(again) << disk_->Log();
  ASSERT_EQ(::unlink(files_.begin()->first.c_str()), 0) << strerrorname_np(errno);
  files_.erase(files_.begin());
  ExpectAllThere();
}

TEST_P(QuotaTest, AStoreOverQuotaThatWasKilledComesBack) {
  Make("btrfs-quota", 360);
  if (disk_ == nullptr) return;
  EXPECT_EQ(Fill("v", 4 << 20), EDQUOT) << disk_->Log();
  disk_->KillDaemon();
  ASSERT_TRUE(disk_->LiftQuota());
  const Status mounted = disk_->Mount(GetParam());
  ASSERT_TRUE(mounted) << mounted.error().ToString() << disk_->Log();
  ExpectAllThere();
}

class ReadOnlyBelowTest : public SmallDiskTest {};

TEST_P(ReadOnlyBelowTest, AMountedStoreKeepsItsFilesystemWritable) {
  Make("ext4", 200);
  if (disk_ == nullptr) return;
  EXPECT_NE(::mount(nullptr, disk_->disk().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  EXPECT_EQ(errno, EBUSY);
  EXPECT_EQ(WriteFile(In("v/f"), Content(1, 10'000), true), 0);
}

TEST_P(ReadOnlyBelowTest, WhatTurnsReadOnlyGivesErrorsAndLosesNothing) {
  Make("ext4", 200);
  if (disk_ == nullptr) return;
  for (; next_ < 20; ++next_) {
    ASSERT_EQ(WriteFile(Name("v", next_), Content(next_, 50'000), true), 0);
    files_[Name("v", next_)] = {next_, 50'000};
  }
  UniqueFd open(::open(In("v/f3").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(open);
  const Status triggered = disk_->TriggerError();
  ASSERT_TRUE(triggered) << triggered.error().ToString();
  const auto is_refused = [](int error) { return error == EROFS || error == EIO; };
  int error = WriteFile(In("v/new"), Content(1, 10'000), true);
  EXPECT_TRUE(is_refused(error)) << strerrorname_np(error);
  error = ::pwrite(open.get(), "3", 1, 0) < 0 || ::fsync(open.get()) != 0 ? errno : 0;
  EXPECT_TRUE(is_refused(error)) << strerrorname_np(error);
  error = ::mkdir(In("v/dir").c_str(), 0755) == 0 ? 0 : errno;
  EXPECT_TRUE(is_refused(error)) << strerrorname_np(error);
  error = ::unlink(In("v/f0").c_str()) == 0 ? 0 : errno;
  EXPECT_TRUE(is_refused(error)) << strerrorname_np(error);
  error = CloneVolume(In("v"), In("w"));
  EXPECT_TRUE(is_refused(error)) << strerrorname_np(error);
  ExpectAllThere();  // and the daemon is there, too
  open.Reset();
  ASSERT_TRUE(disk_->Unmount());
  ASSERT_TRUE(disk_->RestartDisk());
}

// The filesystem below must be mounted anew before it takes anything; so must the store.
TEST_P(ReadOnlyBelowTest, AfterItWasMountedAnewAllGoesOn) {
  Make("ext4", 200);
  if (disk_ == nullptr) return;
  for (; next_ < 20; ++next_) {
    ASSERT_EQ(WriteFile(Name("v", next_), Content(next_, 50'000), true), 0);
    files_[Name("v", next_)] = {next_, 50'000};
  }
  const Status triggered = disk_->TriggerError();
  ASSERT_TRUE(triggered) << triggered.error().ToString();
  EXPECT_NE(WriteFile(In("v/new"), Content(1, 10'000), true), 0);
  const Status unmounted = disk_->Unmount();
  ASSERT_TRUE(unmounted) << unmounted.error().ToString() << disk_->Log();
  const Status restarted = disk_->RestartDisk();
  ASSERT_TRUE(restarted) << restarted.error().ToString();
  const Status mounted = disk_->Mount(GetParam());
  ASSERT_TRUE(mounted) << mounted.error().ToString() << disk_->Log();
  ExpectAllThere();
  EXPECT_EQ(WriteFile(In("v/again"), Content(1, 10'000), true), 0);
}

INSTANTIATE_TEST_SUITE_P(InMode, QuotaTest, ::testing::Values("passthrough", "nopassthrough"),
                         [](const auto& mode) { return std::string(mode.param); });
INSTANTIATE_TEST_SUITE_P(InMode, ReadOnlyBelowTest,
                         ::testing::Values("passthrough", "nopassthrough"),
                         [](const auto& mode) { return std::string(mode.param); });

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
