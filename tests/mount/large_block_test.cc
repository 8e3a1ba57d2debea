// A store whose filesystem tells data from holes only in pieces larger than a block of px's: what a
// file that it shares has of its own must be known all the same after a crash. Needs root and loop
// devices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/mount/volume.h"
#include "tests/testing/small_disk.h"
#include "tests/testing/small_disk_files.h"

namespace px::testing {
namespace {

constexpr size_t kSize = 2 << 20;
constexpr size_t kPiece = 16'384;  // of the disk

class LargeBlockTest : public OnSmallDisk<int> {
 protected:
  void SetUp() override {
    auto disk = SmallDisk::Create("large-blocks", 400);
    if (!disk) GTEST_SKIP() << disk.error().context();
    disk_ = std::move(*disk);
    ASSERT_TRUE(disk_->Mount());
    ASSERT_EQ(CreateVolume(In("v")), 0);
    original_.resize(kSize);
    for (size_t i = 0; i < kSize; ++i) original_[i] = static_cast<char>('a' + i / 1000 % 26);
    ASSERT_EQ(WriteFile(In("v/f"), original_, /*sync=*/true), 0);
    ASSERT_EQ(CloneVolume(In("v"), In("w")), 0);
    fd_ = UniqueFd(::open(In("w/f").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(fd_);
    expected_ = original_;
  }

  void Write(size_t offset, const std::string& bytes) {
    ASSERT_EQ(::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
    expected_.replace(offset, bytes.size(), bytes);
  }
  void Punch(size_t offset, size_t length) {
    ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(offset), static_cast<off_t>(length)),
              0);
    std::fill_n(expected_.begin() + static_cast<ptrdiff_t>(offset), length, '\0');
  }
  // Everything that makes a block the file's own, without touching what else is in its piece.
  void ChangeIt() {
    Write(5, "five");
    Write(kPiece * 3 + 4096, std::string(4096, 'X'));
    Write(kPiece * 5 + 4096, std::string(4096, '\0'));
    Punch(kPiece * 7 + 100, 8192);
    ASSERT_EQ(::fallocate(fd_.get(), 0, kPiece * 9, 4096), 0);
    ASSERT_EQ(::ftruncate(fd_.get(), kPiece * 100 + 4096 + 7), 0);
    ASSERT_EQ(::ftruncate(fd_.get(), kSize), 0);
    std::fill(expected_.begin() + kPiece * 100 + 4096 + 7, expected_.end(), '\0');
    Write(kPiece * 110 + 9, "behind");
  }
  void ExpectIt() {
    EXPECT_TRUE(ReadFile(In("v/f")) == original_);
    const std::string found = ReadFile(In("w/f"));
    ASSERT_EQ(found.size(), expected_.size());
    const auto wrong = std::mismatch(found.begin(), found.end(), expected_.begin());
    EXPECT_EQ(wrong.first - found.begin(), static_cast<ptrdiff_t>(kSize));
  }

  void KillOnlyDaemon() {
    const RunResult status = SmallDisk::PxFs({"status", "--json", disk_->root()});
    ASSERT_EQ(status.exit_code, 0) << status.output;
    const pid_t pid = nlohmann::json::parse(status.output).at("pid");
    ASSERT_GT(pid, 1);
    KillAndAwait(pid);
  }

  UniqueFd fd_;
  std::string original_, expected_;
};

TEST_F(LargeBlockTest, AMountAfterAKillKnowsWhatIsOwn) {
  ChangeIt();
  disk_->KillDaemon();
  fd_.Reset();
  ASSERT_TRUE(disk_->Mount());
  ExpectIt();
}

TEST_F(LargeBlockTest, ADaemonThatTakesOverKnowsWhatIsOwn) {
  ChangeIt();
  KillOnlyDaemon();
  ExpectIt();
  Write(kPiece * 20 + 8192, "once more");
  KillOnlyDaemon();
  ExpectIt();
  fd_.Reset();
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
