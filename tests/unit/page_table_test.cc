// SqlitePageTable: batches, counts, queue, the log and its checkpoints, versions.
#include "catalog/page_table.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

namespace px::catalog {
namespace {

using cow::Counter;
using cow::kNodeSize;
using cow::NodeId;
using cow::ObjectId;
using cow::PageBatch;
using cow::ReclaimRow;
using cow::ReserveUse;
using cow::VolumeId;
using cow::VolumeRow;
using Page = std::array<std::byte, kNodeSize>;

class PageTableTest : public ::testing::Test {
 protected:
  PageTableTest() : dir_(::testing::TempDir() + "px-page-table-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    Open();
  }
  ~PageTableTest() override {
    table_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Open() {
    table_.reset();
    auto opened = SqlitePageTable::Open(dir_, /*create=*/true);
    ASSERT_TRUE(opened) << opened.error().ToString();
    table_ = std::move(*opened);
  }
  void Commit(const PageBatch& batch) {
    const Status status = table_->Commit(batch);
    ASSERT_TRUE(status) << status.error().ToString();
  }
  static Page Filled(int with) {
    Page page;
    page.fill(static_cast<std::byte>(with));
    return page;
  }
  // Commits one page with that content.
  void Put(uint64_t id, int with) {
    const Page page = Filled(with);
    PageBatch batch;
    batch.pages.push_back({NodeId{id}, page});
    Commit(batch);
  }
  std::string PathOf(const char* name) const { return dir_ + "/" + name; }

  std::string dir_;
  std::unique_ptr<SqlitePageTable> table_;
};

TEST_F(PageTableTest, EmptyTableHasNothing) {
  Page page;
  EXPECT_EQ(table_->Load(NodeId{1}, page).error().code(), ENOENT);
  EXPECT_EQ(*table_->NodeRefs(NodeId{1}), 1U);
  EXPECT_EQ(*table_->ObjectRefs(ObjectId{1}), 1U);
  EXPECT_FALSE(*table_->LoadVolume(VolumeId{0}));
  EXPECT_EQ(*table_->LoadCounter(Counter::kNextNode), 0U);
  EXPECT_TRUE(table_->LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX, 10)->empty());
}

TEST_F(PageTableTest, PagesAreReplacedAndErased) {
  Put(1, 'a');
  Put(2, 'b');
  Put(1, 'c');
  Page page;
  ASSERT_TRUE(table_->Load(NodeId{1}, page));
  EXPECT_EQ(page, Filled('c'));
  PageBatch batch;
  batch.erased_pages.push_back(NodeId{1});
  Commit(batch);
  EXPECT_EQ(table_->Load(NodeId{1}, page).error().code(), ENOENT);
  std::vector<uint64_t> ids;
  ASSERT_TRUE(table_->ScanPages([&](NodeId id) {
    ids.push_back(id.value);
    return true;
  }));
  EXPECT_EQ(ids, std::vector<uint64_t>{2});
}

TEST_F(PageTableTest, CountsOfOneHaveNoRow) {
  PageBatch batch;
  batch.node_refs = {{NodeId{1}, 3}, {NodeId{2}, 2}};
  batch.object_refs = {{ObjectId{1}, 5}};
  Commit(batch);
  EXPECT_EQ(*table_->NodeRefs(NodeId{1}), 3U);
  EXPECT_EQ(*table_->ObjectRefs(ObjectId{1}), 5U);
  batch.node_refs = {{NodeId{1}, 1}, {NodeId{2}, 0}};
  batch.object_refs = {{ObjectId{1}, 1}};
  Commit(batch);
  int rows = 0;
  ASSERT_TRUE(table_->ScanNodeRefs([&](NodeId, uint64_t) { return ++rows > 0; }));
  ASSERT_TRUE(table_->ScanObjectRefs([&](ObjectId, uint64_t) { return ++rows > 0; }));
  EXPECT_EQ(rows, 0);
}

TEST_F(PageTableTest, EverythingIsThereAfterOpeningAnew) {
  PageBatch batch;
  const std::string attributes("a\0b", 3);
  batch.volumes = {{VolumeId{0}, NodeId{9}, 77, attributes}, {VolumeId{5}, NodeId{10}, 1, ""}};
  batch.counters = {{Counter::kNextNode, 12}, {Counter::kNextObject, UINT64_MAX}};
  batch.queued = {{1, ReclaimRow::Kind::kNode, 4}, {2, ReclaimRow::Kind::kObject, 5}};
  Commit(batch);
  Open();
  const auto row = table_->LoadVolume(VolumeId{0});
  ASSERT_TRUE(row && *row);
  EXPECT_EQ((*row)->root, NodeId{9});
  EXPECT_EQ((*row)->next_ino, 77U);
  EXPECT_EQ((*row)->attributes, attributes);
  EXPECT_EQ(*table_->LoadCounter(Counter::kNextNode), 12U);
  EXPECT_EQ(*table_->LoadCounter(Counter::kNextObject), UINT64_MAX);
  EXPECT_EQ(table_->LoadQueue(ReclaimRow::Kind::kObject, UINT64_MAX, 10)->at(0).id, 5U);
  std::vector<uint32_t> ids;
  ASSERT_TRUE(table_->ScanVolumes(VolumeId{1}, [&](const VolumeRow& volume) {
    ids.push_back(volume.id.value);
    return true;
  }));
  EXPECT_EQ(ids, std::vector<uint32_t>{5});
}

TEST_F(PageTableTest, QueueGivesTheNewestFirst) {
  PageBatch batch;
  for (uint64_t seq = 1; seq <= 6; ++seq) {
    batch.queued.push_back({seq, ReclaimRow::Kind::kObject, 100 + seq});
  }
  Commit(batch);
  const auto rows = table_->LoadQueue(ReclaimRow::Kind::kObject, 5, 3);
  ASSERT_EQ(rows->size(), 3U);
  EXPECT_EQ(rows->at(0).id, 105U);
  EXPECT_EQ(rows->at(2).id, 103U);
  batch = {};
  batch.unqueued = {5, 4};
  Commit(batch);
  EXPECT_EQ(table_->LoadQueue(ReclaimRow::Kind::kObject, 5, 3)->at(0).id, 103U);
}

TEST_F(PageTableTest, AFailedCommitChangesNothing) {
  // The last thing that a batch writes is refused.
  const auto database =
      Database::Open(PathOf("meta.db"), SQLITE_OPEN_READWRITE, 1000, kCheckedOneProcessVfs);
  ASSERT_TRUE(database);
  ASSERT_TRUE(
      database->Execute("CREATE TRIGGER refuse BEFORE INSERT ON counter WHEN NEW.value = 2 "
                        "BEGIN SELECT RAISE(ABORT, 'refused'); END"));
  PageBatch batch;
  batch.queued = {{1, ReclaimRow::Kind::kObject, 7}};
  const Page page = Filled('x');
  batch.pages.push_back({NodeId{1}, page});
  batch.counters = {{Counter::kNextNode, 2}};
  const Status status = table_->Commit(batch);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), EEXIST);
  Page loaded;
  EXPECT_EQ(table_->Load(NodeId{1}, loaded).error().code(), ENOENT);
  EXPECT_EQ(*table_->LoadCounter(Counter::kNextNode), 0U);
  EXPECT_TRUE(table_->LoadQueue(ReclaimRow::Kind::kObject, 5, 3)->empty());
  Put(1, 'y');  // and the next one works
}

// Its Sync may have failed, and it comes again.
TEST_F(PageTableTest, TheSameBatchAgainIsNoError) {
  PageBatch batch;
  batch.queued = {{1, ReclaimRow::Kind::kObject, 7}};
  batch.counters = {{Counter::kJournal, 2}};
  Commit(batch);
  Commit(batch);
  EXPECT_EQ(table_->LoadQueue(ReclaimRow::Kind::kObject, 5, 3)->size(), 1U);
}

TEST_F(PageTableTest, APageOfAnotherSizeIsEuclean) {
  ASSERT_TRUE(Database::Open(PathOf("meta.db"), SQLITE_OPEN_READWRITE, 1000, kCheckedOneProcessVfs)
                  ->Execute("INSERT INTO page VALUES(3, x'0102')"));
  Page page;
  EXPECT_EQ(table_->Load(NodeId{3}, page).error().code(), EUCLEAN);
}

TEST_F(PageTableTest, CheckpointEmptiesTheLogAndLosesNothing) {
  for (int i = 0; i < 200; ++i) Put(static_cast<uint64_t>(i), i);
  EXPECT_GE(table_->WalBytes(), 200U * 4096);
  ASSERT_TRUE(table_->Checkpoint());
  EXPECT_EQ(table_->WalBytes(), 0U);
  Put(1, 'z');
  EXPECT_LT(table_->WalBytes(), 20U * 4120);
  ASSERT_TRUE(table_->Sync());
  Open();
  Page page;
  ASSERT_TRUE(table_->Load(NodeId{1}, page));
  EXPECT_EQ(page, Filled('z'));
  ASSERT_TRUE(table_->Load(NodeId{199}, page));
  EXPECT_EQ(page, Filled(199));
}

TEST_F(PageTableTest, ALogThatGrewTooLargeIsGivenBack) {
  const Page page = Filled('p');
  PageBatch batch;
  for (uint64_t id = 0; id < 1000; ++id) batch.pages.push_back({NodeId{id}, page});
  for (int i = 0; i < 70; ++i) Commit(batch);
  ASSERT_GT(std::filesystem::file_size(PathOf("meta.db-wal")), uint64_t{256} << 20);
  ASSERT_TRUE(table_->Checkpoint());
  EXPECT_EQ(std::filesystem::file_size(PathOf("meta.db-wal")), 0U);
  Put(1, 'q');
  ASSERT_TRUE(table_->Sync());
}

TEST_F(PageTableTest, SyncNoticesThatTheLogIsGone) {
  Put(1, 'a');
  ASSERT_TRUE(std::filesystem::remove(PathOf("meta.db-wal")));
  const Status status = table_->Sync();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), EIO);
}

TEST_F(PageTableTest, KeepsSpaceInReserve) {
  const auto allocated = [&] {
    struct stat info{};
    EXPECT_EQ(::stat(PathOf("meta.reserve").c_str(), &info), 0);
    return std::min<off_t>(info.st_size, info.st_blocks * 512);
  };
  ASSERT_TRUE(table_->KeepReserve());
  const off_t whole = allocated();
  EXPECT_GE(whole, off_t{4} << 20);
  const std::pair<ReserveUse, off_t> uses[] = {
      {ReserveUse::kInUse, whole / 2}, {ReserveUse::kOpening, whole / 8}, {ReserveUse::kTable, 0}};
  for (const auto& [use, stays] : uses) {
    EXPECT_TRUE(table_->GiveUpReserve(use));
    EXPECT_EQ(allocated(), stays);
    EXPECT_FALSE(table_->GiveUpReserve(use));
  }
  ASSERT_TRUE(table_->KeepReserve());
  EXPECT_EQ(allocated(), whole);
  // Somebody copied the store, and left holes in the copy.
  ASSERT_EQ(::truncate(PathOf("meta.reserve").c_str(), 0), 0);
  ASSERT_EQ(::truncate(PathOf("meta.reserve").c_str(), whole), 0);
  Open();
  ASSERT_TRUE(table_->KeepReserve());
  EXPECT_EQ(allocated(), whole);
}

TEST_F(PageTableTest, ANewerFormatIsRefused) {
  table_.reset();
  ASSERT_TRUE(Database::Open(PathOf("meta.db"), SQLITE_OPEN_READWRITE, 1000, kCheckedOneProcessVfs)
                  ->Execute("PRAGMA user_version = " + std::to_string(kMetaVersion + 1)));
  const auto opened = SqlitePageTable::Open(dir_, /*create=*/true);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), EPROTONOSUPPORT);
  EXPECT_NE(opened.error().context().find("newer"), std::string::npos);
}

TEST_F(PageTableTest, AForeignDatabaseIsRefused) {
  table_.reset();
  std::filesystem::remove(PathOf("meta.db"));
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  ASSERT_TRUE(Database::Open(PathOf("meta.db"), flags, 1000, kCheckedOneProcessVfs)
                  ->Execute("CREATE TABLE t(x)"));
  EXPECT_EQ(SqlitePageTable::Open(dir_, true).error().code(), EUCLEAN);
}

TEST_F(PageTableTest, GarbageIsRefused) {
  table_.reset();
  std::ofstream(PathOf("meta.db"), std::ios::trunc) << std::string(8192, 'g');
  EXPECT_EQ(SqlitePageTable::Open(dir_, true).error().code(), EUCLEAN);
}

TEST_F(PageTableTest, WithoutCreateAMissingDatabaseIsEnoent) {
  table_.reset();
  std::filesystem::remove(PathOf("meta.db"));
  EXPECT_EQ(SqlitePageTable::Open(dir_, /*create=*/false).error().code(), ENOENT);
}

// --- Sync points ---

// A copy of the open database as a kill leaves it, or a power cut after which all is there.
class SyncPointTest : public PageTableTest {
 protected:
  void OpenCopy(const std::string& boot) {
    const std::string copy = dir_ + "/copy" + std::to_string(++copies_);
    std::filesystem::create_directory(copy);
    for (const char* name : {"meta.db", "meta.db-wal"}) {
      std::filesystem::copy_file(PathOf(name), copy + "/" + name);
    }
    OpenAt(copy, boot);
  }
  void OpenAt(const std::string& dir, const std::string& boot) {
    copy_.reset();
    auto opened = SqlitePageTable::Open(dir, /*create=*/true, boot);
    ASSERT_TRUE(opened) << opened.error().ToString();
    copy_ = std::move(*opened);
  }
  bool CopyHas(uint64_t id) {
    Page page;
    return copy_->Load(NodeId{id}, page).has_value();
  }

  int copies_ = 0;
  std::unique_ptr<SqlitePageTable> copy_;
};

TEST_F(SyncPointTest, AKillLosesNothing) {
  Put(1, 'a');
  OpenCopy({});
  EXPECT_TRUE(copy_->was_killed());
  EXPECT_EQ(copy_->last_use(), LastUse::kKilled);
  EXPECT_TRUE(CopyHas(1));
}

TEST_F(SyncPointTest, APowerCutGoesBackToTheLastSync) {
  Put(1, 'a');
  ASSERT_TRUE(table_->Sync());
  Put(2, 'b');
  OpenCopy("another boot");
  EXPECT_EQ(copy_->last_use(), LastUse::kPowerCut);
  EXPECT_TRUE(CopyHas(1));
  EXPECT_FALSE(CopyHas(2));
}

TEST_F(SyncPointTest, ACommitDuringTheFlushIsNotCovered) {
  Put(1, 'a');
  table_->BeforeSync([this] { return [this]() -> Status { return Put(2, 'b'), Status{}; }; });
  ASSERT_TRUE(table_->Sync());
  table_->BeforeSync({});
  OpenCopy("another boot");
  EXPECT_TRUE(CopyHas(1));
  EXPECT_FALSE(CopyHas(2));
}

TEST_F(SyncPointTest, ACheckpointMovesNoMoreThanWasFlushed) {
  Put(1, 'a');
  table_->BeforeSync([this] { return [this]() -> Status { return Put(2, 'b'), Status{}; }; });
  ASSERT_TRUE(table_->Checkpoint());
  table_->BeforeSync({});
  OpenCopy("another boot");
  EXPECT_TRUE(CopyHas(1));
  EXPECT_FALSE(CopyHas(2));
}

TEST_F(SyncPointTest, ALogThatBeganAfreshSinceTheLastSyncGoesWhole) {
  Put(1, 'a');
  ASSERT_TRUE(table_->Checkpoint());
  Put(2, 'b');
  OpenCopy("another boot");
  EXPECT_TRUE(CopyHas(1));
  EXPECT_FALSE(CopyHas(2));
}

TEST_F(SyncPointTest, WhatFollowsAPowerCutStandsOnIt) {
  Put(1, 'a');
  ASSERT_TRUE(table_->Sync());
  Put(2, 'b');
  OpenCopy("second boot");
  const std::string second = dir_ + "/copy1";
  Page page = Filled('c');
  PageBatch batch;
  batch.pages.push_back({NodeId{3}, page});
  ASSERT_TRUE(copy_->Commit(batch));
  // Killed on that boot, nothing is missing; and the power cut is still to be settled.
  const std::string third = dir_ + "/third";
  std::filesystem::create_directory(third);
  for (const char* name : {"/meta.db", "/meta.db-wal"}) {
    std::filesystem::copy_file(second + name, third + name);
  }
  OpenAt(third, "second boot");
  EXPECT_EQ(copy_->last_use(), LastUse::kPowerCut);
  EXPECT_TRUE(CopyHas(1));
  EXPECT_FALSE(CopyHas(2));
  EXPECT_TRUE(CopyHas(3));
  ASSERT_TRUE(copy_->ForgetPowerCut());
  copy_->ForgetKill();
  OpenAt(third, "fourth boot");
  EXPECT_EQ(copy_->last_use(), LastUse::kClosed);
  EXPECT_TRUE(CopyHas(3));
}

TEST_F(SyncPointTest, NoSyncPointIsMadeWhereTheFlushFails) {
  Put(1, 'a');
  table_->BeforeSync([] { return [] { return Status(Fail(EIO, "no disk")); }; });
  EXPECT_EQ(table_->Sync().error().code(), EIO);
  EXPECT_EQ(table_->Checkpoint().error().code(), EIO);
  table_->BeforeSync({});
  OpenCopy("another boot");
  EXPECT_FALSE(CopyHas(1));
}

TEST_F(SyncPointTest, AnOlderFormatIsMigrated) {
  Put(1, 'a');
  table_.reset();
  ASSERT_TRUE(Database::Open(PathOf("meta.db"), SQLITE_OPEN_READWRITE, 1000, kCheckedOneProcessVfs)
                  ->Execute("DROP TABLE sync_point; PRAGMA user_version = 1"));
  Open();
  Page page;
  ASSERT_TRUE(table_->Load(NodeId{1}, page));
  EXPECT_EQ(page, Filled('a'));
  Put(2, 'b');
  ASSERT_TRUE(table_->Sync());
  Put(3, 'c');
  OpenCopy("another boot");
  EXPECT_TRUE(CopyHas(2));
  EXPECT_FALSE(CopyHas(3));
}

}  // namespace
}  // namespace px::catalog
