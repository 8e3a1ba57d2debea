// What the trash and gc do to the space of the store's filesystem. Needs root and loop devices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/mount/volume.h"
#include "tests/testing/small_disk.h"

namespace px::testing {
namespace {

class RetentionTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto disk = SmallDisk::Create(GetParam(), 400);
    if (!disk) GTEST_SKIP() << disk.error().context();
    disk_ = std::move(*disk);
  }
  std::string In(const std::string& name) const { return disk_->root() + "/" + name; }
  static void Write(const std::string& path, size_t megabytes, char with) {
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644));
    ASSERT_TRUE(fd) << path;
    const std::string block(size_t{1} << 20, with);
    for (size_t i = 0; i < megabytes; ++i) {
      ASSERT_EQ(::write(fd.get(), block.data(), block.size()), static_cast<ssize_t>(block.size()));
    }
    ASSERT_EQ(::fsync(fd.get()), 0);
  }
  // On disk, of meta.db and its log: they change while volumes are dropped.
  uint64_t MetaBytes() const {
    uint64_t bytes = 0;
    for (const char* name : {"/meta.db", "/meta.db-wal", "/px-fs.log"}) {
      struct stat info{};
      if (::stat((disk_->store() + name).c_str(), &info) == 0) {
        bytes += static_cast<uint64_t>(info.st_blocks) * 512;
      }
    }
    return bytes;
  }
  uint64_t FreeOfMeta() const {
    ::sync();
    return disk_->FreeBytes() + MetaBytes();
  }
  nlohmann::json Gc(const std::vector<std::string>& more) const {
    std::vector<std::string> args{"gc", "--json", disk_->root()};
    args.insert(args.end(), more.begin(), more.end());
    const RunResult result = SmallDisk::PxFs(args);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return nlohmann::json::parse(result.output, nullptr, false);
  }

  std::unique_ptr<SmallDisk> disk_;
};

TEST_P(RetentionTest, GcFreesToTheByteWhatItSaid) {
  ASSERT_TRUE(disk_->Mount());
  ASSERT_EQ(CreateVolume(In("a")), 0);
  Write(In("a/shared"), 20, 's');
  Write(In("a/alone"), 7, 'a');
  ASSERT_EQ(CloneVolume(In("a"), In("b")), 0);
  // Held by the volume and its own snapshot, so that neither has it alone.
  Write(In("a/kept"), 5, 'k');
  ASSERT_EQ(SnapshotVolume(In("a"), "s"), 0);
  ASSERT_EQ(::unlink(In("a/kept").c_str()), 0);
  ASSERT_EQ(::unlink(In("b/alone").c_str()), 0);
  ASSERT_EQ(SmallDisk::PxFs({"gc", disk_->root()}).exit_code, 0);  // reclaims what went already
  ASSERT_EQ(SmallDisk::PxFs({"rm", In("a")}).exit_code, 0);
  const auto said = Gc({"--all", "--dry-run"});
  const uint64_t before = FreeOfMeta();
  const auto did = Gc({"--all"});
  EXPECT_EQ(said["bytes"], did["bytes"]);
  EXPECT_EQ(said["bytes"], uint64_t{12} << 20);
  EXPECT_EQ(FreeOfMeta() - before, said["bytes"].get<uint64_t>());
  struct stat info{};
  EXPECT_EQ(::stat(In("b/shared").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, 20 << 20);
}

TEST_P(RetentionTest, WhatIsPastItsAgeGoesByItself) {
  ASSERT_TRUE(disk_->Mount("trash=0"));
  ASSERT_EQ(CreateVolume(In("a")), 0);
  Write(In("a/f"), 50, 'x');
  const uint64_t before = disk_->FreeBytes();
  ASSERT_EQ(SmallDisk::PxFs({"rm", In("a")}).exit_code, 0);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (disk_->FreeBytes() < before + (uint64_t{45} << 20)) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << "the space does not come back";
    std::this_thread::yield();
  }
}

TEST_P(RetentionTest, TheOldestGoesEarlyWhenSpaceRunsShort) {
  ASSERT_TRUE(disk_->Mount());
  for (const char* name : {"old", "young"}) {
    ASSERT_EQ(CreateVolume(In(name)), 0);
    Write(In(std::string(name) + "/f"), 100, 'x');
    ASSERT_EQ(SmallDisk::PxFs({"rm", In(name)}).exit_code, 0);
  }
  ASSERT_EQ(CreateVolume(In("c")), 0);
  // Until less than a twentieth is left.
  const uint64_t size = uint64_t{disk_->Space().f_blocks} * disk_->Space().f_frsize;
  Write(In("c/f"), (disk_->FreeBytes() - size / 40) >> 20, 'y');
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (disk_->FreeBytes() < uint64_t{90} << 20) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << "the space does not come back";
    std::this_thread::yield();
  }
  const std::string left = SmallDisk::PxFs({"trash", "--json", disk_->root()}).output;
  EXPECT_EQ(left.find("\"old\""), std::string::npos) << left;
  EXPECT_NE(left.find("\"young\""), std::string::npos) << left;
}

INSTANTIATE_TEST_SUITE_P(OnDisk, RetentionTest, ::testing::Values("ext4", "xfs"),
                         [](const auto& type) { return std::string(type.param); });

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
