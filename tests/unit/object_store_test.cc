// ObjectStore: the pool of files made ahead of use.
#include "fs/object_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

namespace px::fs {
namespace {

class ObjectStoreTest : public ::testing::Test {
 protected:
  ObjectStoreTest() : dir_(::testing::TempDir() + "px-objects-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    Reopen();
  }
  ~ObjectStoreTest() override { std::filesystem::remove_all(dir_); }

  void Reopen() {
    store_.reset();
    auto opened = ObjectStore::Open(dir_);
    if (!opened) throw std::runtime_error(opened.error().ToString());
    store_ = std::move(*opened);
  }
  // Of the file that goes by that id's name.
  ino_t FileOf(uint64_t id) const {
    struct stat info{};
    const std::string path = dir_ + "/" + ObjectName(cow::ObjectId{id});
    return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
  }
  static struct stat Attributes(int fd) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) throw std::runtime_error("fstat");
    return info;
  }

  std::string dir_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(ObjectStoreTest, TakesWhatWasMadeAhead) {
  ASSERT_TRUE(store_->Fill(cow::ObjectId{1}, 4));
  EXPECT_EQ(store_->PoolSize(), 4U);
  const ino_t made = FileOf(2);
  const auto second = store_->Take(cow::ObjectId{2});
  ASSERT_TRUE(second);
  EXPECT_EQ(Attributes(second->get()).st_ino, made);
  EXPECT_EQ(store_->PoolSize(), 2U);
}

TEST_F(ObjectStoreTest, ASyncPointWaitsForTheNamesOfThoseThatWereTaken) {
  ASSERT_TRUE(store_->Fill(cow::ObjectId{1}, 4));
  EXPECT_FALSE(store_->unsynced()->Prepare());
  ASSERT_TRUE(store_->Take(cow::ObjectId{1}));
  const auto flush = store_->unsynced()->Prepare();
  ASSERT_TRUE(flush);
  EXPECT_TRUE(flush());
  ASSERT_TRUE(store_->FillOne(4));
  EXPECT_FALSE(store_->unsynced()->Prepare());
}

// A sync point that came between would have flushed a directory that did not have it yet.
TEST_F(ObjectStoreTest, ANameIsNotedOnlyOnceItIsThere) {
  const cow::ObjectId id{0x500};
  const std::string sub = dir_ + "/" + ObjectDirName(5);
  ASSERT_EQ(::rename(sub.c_str(), (sub + "-away").c_str()), 0);
  EXPECT_FALSE(store_->Take(id));
  EXPECT_FALSE(store_->unsynced()->Prepare());
  ASSERT_EQ(::rename((sub + "-away").c_str(), sub.c_str()), 0);
  EXPECT_TRUE(store_->Take(id));
  const auto flush = store_->unsynced()->Prepare();
  ASSERT_TRUE(flush);
  EXPECT_TRUE(flush());
}

TEST_F(ObjectStoreTest, MakesOneMoreOnlyBehindThoseThatWait) {
  ASSERT_TRUE(store_->FillOne(4));
  EXPECT_EQ(store_->PoolSize(), 0U) << "nobody said where to begin";
  ASSERT_TRUE(store_->Fill(cow::ObjectId{7}, 1));
  ASSERT_TRUE(store_->FillOne(2));
  ASSERT_TRUE(store_->FillOne(2));
  EXPECT_EQ(store_->PoolSize(), 2U);
  EXPECT_NE(FileOf(8), 0U);
  EXPECT_EQ(FileOf(9), 0U);
}

TEST_F(ObjectStoreTest, AnIdThatWasGivenBackGetsAnEmptyFileAgain) {
  ASSERT_TRUE(store_->Fill(cow::ObjectId{1}, 2));
  {
    const auto aborted = store_->Take(cow::ObjectId{1});
    ASSERT_TRUE(aborted);
    ASSERT_EQ(::pwrite(aborted->get(), "x", 1, 0), 1);
  }
  const auto again = store_->Take(cow::ObjectId{1});
  ASSERT_TRUE(again);
  EXPECT_EQ(Attributes(again->get()).st_size, 0);
}

TEST_F(ObjectStoreTest, AdoptsInThePlaceOfWhatWasMadeAhead) {
  ASSERT_TRUE(store_->Fill(cow::ObjectId{1}, 3));
  const auto temp = store_->TempFile();
  ASSERT_TRUE(temp);
  ASSERT_TRUE(store_->Adopt(temp->get(), cow::ObjectId{1}));
  EXPECT_EQ(FileOf(1), Attributes(temp->get()).st_ino);
  EXPECT_EQ(store_->PoolSize(), 2U);
}

// Each id gets a file that nobody else has, and that its name leads to, whoever makes it.
TEST_F(ObjectStoreTest, ManyTakeWhileOthersMakeThem) {
  constexpr uint64_t kIds = 3000;
  constexpr size_t kPool = 8;  // runs dry now and then
  std::atomic<uint64_t> next = 1;
  std::atomic<bool> done = false;
  std::thread filler([&] {
    while (!done) EXPECT_TRUE(store_->Fill(cow::ObjectId{next}, kPool));
  });
  std::thread idle([&] {
    while (!done) EXPECT_TRUE(store_->FillOne(kPool));
  });
  std::set<ino_t> files;
  std::vector<UniqueFd> held;
  for (uint64_t id = 1; id <= kIds; ++id) {
    next = id;
    UniqueFd fd;
    if (id % 5 == 0) {
      auto temp = store_->TempFile();
      ASSERT_TRUE(temp);
      EXPECT_TRUE(store_->Adopt(temp->get(), cow::ObjectId{id}));
      fd = std::move(*temp);
    } else {
      auto taken = store_->Take(cow::ObjectId{id});
      if (taken) fd = std::move(*taken);
    }
    EXPECT_TRUE(fd) << id;
    if (!fd) break;
    const struct stat info = Attributes(fd.get());
    EXPECT_EQ(info.st_size, 0) << id;
    EXPECT_TRUE(files.insert(info.st_ino).second) << id;
    EXPECT_EQ(FileOf(id), info.st_ino) << id;
    EXPECT_EQ(::pwrite(fd.get(), &id, sizeof id, 0), static_cast<ssize_t>(sizeof id));
    held.push_back(std::move(fd));
    if (held.size() > 100) held.erase(held.begin(), held.begin() + 50);
  }
  done = true;
  filler.join();
  idle.join();
  for (uint64_t id = 1; id <= kIds; ++id) {
    const auto fd = store_->OpenObject(cow::ObjectId{id}, O_RDONLY);
    ASSERT_TRUE(fd) << id;
    uint64_t content = 0;
    ASSERT_EQ(::pread(fd->get(), &content, sizeof content, 0),
              static_cast<ssize_t>(sizeof content));
    ASSERT_EQ(content, id);
  }
}

// Also in a store that was made, or copied, without what keeps access times away.
TEST_F(ObjectStoreTest, ReadingChangesNoAccessTime) {
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    const auto fd = store_->Take(cow::ObjectId{static_cast<uint64_t>(1 + round)});
    ASSERT_TRUE(fd);
    ASSERT_EQ(::pwrite(fd->get(), "x", 1, 0), 1);
    const timespec before = Attributes(fd->get()).st_atim;
    char byte = 0;
    ASSERT_EQ(::pread(fd->get(), &byte, 1, 0), 1);
    const timespec after = Attributes(fd->get()).st_atim;
    EXPECT_EQ(before.tv_sec, after.tv_sec);
    EXPECT_EQ(before.tv_nsec, after.tv_nsec);
    store_.reset();
    std::filesystem::rename(dir_, dir_ + ".old");
    std::filesystem::copy(dir_ + ".old", dir_, std::filesystem::copy_options::recursive);
    std::filesystem::remove_all(dir_ + ".old");
    Reopen();
  }
}

}  // namespace
}  // namespace px::fs
