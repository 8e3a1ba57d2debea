// Unsynced: what a sync point waits for.
#include "fs/unsynced.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

namespace px::fs {
namespace {

class UnsyncedTest : public ::testing::Test {
 protected:
  UnsyncedTest() : dir_(::testing::TempDir() + "px-unsynced-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    ::mkdir((dir_ + "/00").c_str(), 0700);
    unsynced_ = std::make_unique<Unsynced>(
        UniqueFd(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  }
  ~UnsyncedTest() override { std::filesystem::remove_all(dir_); }
  void MakeObject(uint64_t id) {
    const std::string path = dir_ + "/" + ObjectName(cow::ObjectId{id});
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_TRUE(fd);
  }

  std::string dir_;
  std::unique_ptr<Unsynced> unsynced_;
};

TEST_F(UnsyncedTest, NothingToDoIsNoWork) { EXPECT_FALSE(unsynced_->Prepare()); }

TEST_F(UnsyncedTest, WorkIsTakenOnce) {
  MakeObject(1);
  unsynced_->Add(cow::ObjectId{1});
  unsynced_->AddName(cow::ObjectId{1});
  const auto flush = unsynced_->Prepare();
  ASSERT_TRUE(flush);
  EXPECT_TRUE(flush());
  EXPECT_FALSE(unsynced_->Prepare());
}

TEST_F(UnsyncedTest, AnObjectThatIsGoneNeedsNoFlush) {
  unsynced_->Add(cow::ObjectId{7});
  EXPECT_TRUE(unsynced_->Prepare()());
}

TEST_F(UnsyncedTest, FlushedByItselfIsLeftOutUnlessItChangedSince) {
  unsynced_->Add(cow::ObjectId{1});
  const uint64_t mark = unsynced_->Mark();
  unsynced_->Flushed(cow::ObjectId{1}, mark);
  EXPECT_FALSE(unsynced_->Prepare());
  unsynced_->Add(cow::ObjectId{1});
  const uint64_t early = unsynced_->Mark();
  unsynced_->Add(cow::ObjectId{1});
  unsynced_->Flushed(cow::ObjectId{1}, early);
  const auto flush = unsynced_->Prepare();
  ASSERT_TRUE(flush);
  EXPECT_TRUE(flush());
}

// A second sync point finds nothing to flush, but what the first took is not durable yet.
TEST_F(UnsyncedTest, ALaterOneWaitsForAnEarlierOne) {
  MakeObject(1);
  unsynced_->Add(cow::ObjectId{1});
  const auto first = unsynced_->Prepare();
  const auto second = unsynced_->Prepare();
  ASSERT_TRUE(second);
  std::atomic<bool> entered = false, first_began = false, in_order = false;
  std::thread other([&] {
    entered = true;
    const Status done = second();
    in_order = done.has_value() && first_began;
  });
  while (!entered) std::this_thread::yield();
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  first_began = true;
  EXPECT_TRUE(first());
  other.join();
  EXPECT_TRUE(in_order);
}

TEST_F(UnsyncedTest, RemovedNamesAreNobodyElsesWork) {
  EXPECT_TRUE(unsynced_->SyncRemoved({cow::ObjectId{1}, cow::ObjectId{2}}));
  EXPECT_FALSE(unsynced_->Prepare());
}

TEST_F(UnsyncedTest, WhatOneCouldNotFlushFailsAllOthers) {
  unsynced_->AddName(cow::ObjectId{0x300});  // in a directory that is not there
  const auto first = unsynced_->Prepare();
  const auto second = unsynced_->Prepare();
  EXPECT_FALSE(first());
  EXPECT_FALSE(second());
  const auto third = unsynced_->Prepare();
  ASSERT_TRUE(third);
  EXPECT_FALSE(third());
}

}  // namespace
}  // namespace px::fs
