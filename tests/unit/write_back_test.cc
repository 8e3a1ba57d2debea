// What the tree is told of files that are open for writing.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::fs {
namespace {

using testing::kRoot;
using testing::kTop;

class CountingKernel final : public KernelSide {
 public:
  Result<int> RegisterBacking(int) override { return Fail(EPERM); }
  void UnregisterBacking(int) override {}
  void InvalidateEntry(NodeKey, const std::string&) override {}
  void InvalidateAttributes(NodeKey) override { ++told_; }
  void InvalidateData(NodeKey) override {}
  uint64_t told() const { return told_; }

 private:
  std::atomic<uint64_t> told_ = 0;
};

class WriteBackTest : public ::testing::Test {
 protected:
  WriteBackTest() : dir_(::testing::TempDir() + "px-write-back-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    const auto store = StoreDir::Open(dir_, /*create=*/true);
    FilesystemOptions options;
    options.pool_objects = 4;
    options.parked_inodes = kParked;
    options.tick = std::chrono::hours(1);
    fs_ = std::move(*Filesystem::Open(std::move(*store->OpenParts()), options, &kernel_, &clock_));
  }
  ~WriteBackTest() override {
    fs_.reset();
    std::filesystem::remove_all(dir_);
  }

  static constexpr size_t kParked = 8;
  std::string dir_;
  CountingKernel kernel_;
  SystemClock clock_;
  std::unique_ptr<Filesystem> fs_;
};

// One process closed it after it had replaced the content; another has it open still.
TEST_F(WriteBackTest, ACompleteContentIsMarkedOnce) {
  const NodeKey node = fs_->Create(kTop, "file", 0644, O_RDWR, kRoot)->entry.node;
  ASSERT_TRUE(fs_->Write(node, std::string(8192, 'a'), 0, false));
  fs_->Release(node, O_RDWR);
  ASSERT_TRUE(fs_->Open(node, O_WRONLY | O_TRUNC, false));
  ASSERT_TRUE(fs_->Open(node, O_WRONLY, false));
  ASSERT_TRUE(fs_->Write(node, std::string(8192, 'b'), 0, false));
  fs_->Flush(node, /*killed=*/false);
  ASSERT_TRUE(fs_->Fsync(node, false));
  const uint64_t told = kernel_.told();
  ASSERT_TRUE(fs_->Fsync(node, false));
  EXPECT_EQ(kernel_.told(), told);
}

size_t CountDescriptors() {
  const std::filesystem::directory_iterator begin("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
}

// Quicker than the background closes them, which is not even awake.
TEST_F(WriteBackTest, FilesThatAreClosedHoldNoMoreDescriptorsThanMayBeParked) {
  std::vector<NodeKey> nodes;
  for (int i = 0; i < 200; ++i) {
    const NodeKey node =
        fs_->Create(kTop, "file" + std::to_string(i), 0644, O_WRONLY, kRoot)->entry.node;
    ASSERT_TRUE(fs_->Write(node, "x", 0, false));
    fs_->Release(node, O_WRONLY);
    nodes.push_back(node);
  }
  const size_t before = CountDescriptors();
  for (int round = 0; round < 3; ++round) {
    for (const NodeKey node : nodes) {
      ASSERT_TRUE(fs_->Open(node, O_RDONLY, false));
      fs_->Release(node, O_RDONLY);
      EXPECT_LE(CountDescriptors(), before + 2 * kParked + 1);
    }
  }
}

}  // namespace
}  // namespace px::fs
