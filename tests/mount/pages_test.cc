// The memory in which the kernel keeps the content of files that are gone.
#include <fcntl.h>
#include <sys/mman.h>

#include <filesystem>
#include <vector>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

constexpr size_t kSize = 4 << 20;

class PagesTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped()) return;
    Create("v");
    Save("v/checkpoint", 1);
    object_ = OpenObject();
  }

  static void Save(const std::string& path, uint64_t seed) {
    const UniqueFd fd = Open(path, O_CREAT | O_EXCL | O_WRONLY);
    WriteAt(fd.get(), 0, Pattern(kSize, seed));
    ASSERT_EQ(Try(::fsync(fd.get())), 0);
  }
  // Of the youngest file that large; older ones may wait to be reclaimed.
  static UniqueFd OpenObject() {
    std::filesystem::path youngest;
    std::filesystem::file_time_type latest{};
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(TheMount().store() + "/objects")) {
      std::error_code gone;  // reclaim goes on
      if (entry.file_size(gone) != kSize || gone) continue;
      const auto time = entry.last_write_time(gone);
      if (gone || (!youngest.empty() && time <= latest)) continue;
      youngest = entry.path();
      latest = time;
    }
    return youngest.empty() ? UniqueFd() : Open(youngest, O_RDONLY);
  }
  // Pages of the object that are in memory.
  size_t Resident() const {
    void* map = ::mmap(nullptr, kSize, PROT_READ, MAP_SHARED, object_.get(), 0);
    EXPECT_NE(map, MAP_FAILED);
    std::vector<unsigned char> pages(kSize / 4096);
    EXPECT_EQ(Try(::mincore(map, kSize, pages.data())), 0);
    ::munmap(map, kSize);
    size_t resident = 0;
    for (const unsigned char page : pages) resident += page & 1;
    return resident;
  }

  UniqueFd object_;
};

TEST_F(PagesTest, ASaveOverAnotherGivesTheMemoryOfThatBack) {
  ASSERT_TRUE(object_);
  EXPECT_GT(Resident(), 0U);
  Save("v/temporary", 2);
  ASSERT_EQ(Try(::rename("v/temporary", "v/checkpoint")), 0);
  EXPECT_EQ(Resident(), 0U);
  EXPECT_EQ(Get("v/checkpoint"), Pattern(kSize, 2));
}

TEST_F(PagesTest, SoDoesARemoval) {
  ASSERT_TRUE(object_);
  ASSERT_EQ(Try(::unlink("v/checkpoint")), 0);
  EXPECT_EQ(Resident(), 0U);
}

TEST_F(PagesTest, WhatACloneHasStaysInMemory) {
  ASSERT_TRUE(object_);
  Clone("v", "w");
  ASSERT_EQ(Try(::unlink("v/checkpoint")), 0);
  EXPECT_GT(Resident(), 0U);
  EXPECT_EQ(Get("w/checkpoint"), Pattern(kSize, 1));
}

}  // namespace
}  // namespace px::testing
