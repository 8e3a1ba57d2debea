// JournaledPageTable and its journal: against the plain table with random batches, after kills, and
// with torn, lost and left-over records.
#include "cow/journaled_page_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "cow/journal_record.h"
#include "tests/testing/memory_page_table.h"

namespace px::testing {
namespace {

using namespace cow;  // NOLINT: the test is about nothing else
namespace fs = std::filesystem;

// Keeps the table below alive, as the disk does.
class Shared final : public PageTable {
 public:
  explicit Shared(MemoryPageTable* table) : table_(*table) {}
  Status Load(NodeId id, std::span<std::byte> out) override { return table_.Load(id, out); }
  Result<uint64_t> NodeRefs(NodeId id) override { return table_.NodeRefs(id); }
  Result<uint64_t> ObjectRefs(ObjectId id) override {
    Result<uint64_t> refs = table_.ObjectRefs(id);
    if (after_object_refs) std::exchange(after_object_refs, nullptr)();
    return refs;
  }
  // Runs once, while somebody has read a count and not returned yet.
  static inline std::function<void()> after_object_refs;
  Result<std::optional<VolumeRow>> LoadVolume(VolumeId id) override {
    return table_.LoadVolume(id);
  }
  Status ScanVolumes(VolumeId from, const std::function<bool(const VolumeRow&)>& visit) override {
    return table_.ScanVolumes(from, visit);
  }
  Result<std::vector<ReclaimRow>> LoadQueue(ReclaimRow::Kind kind, uint64_t max,
                                            size_t limit) override {
    return table_.LoadQueue(kind, max, limit);
  }
  Result<uint64_t> LoadCounter(Counter counter) override { return table_.LoadCounter(counter); }
  Status Commit(const PageBatch& batch) override {
    if (batch.pages.size() > room) return Fail(ENOSPC);
    room -= batch.pages.size();
    return table_.Commit(batch);
  }
  Status Sync() override { return table_.Sync(); }
  Status Settle() override {
    room = most_room;
    return {};
  }
  bool GiveUpReserve(ReserveUse use) override {
    const size_t gives = use == ReserveUse::kInUse ? reserve / 2 : reserve;
    reserve -= gives;
    room += gives;
    most_room += gives;
    return gives > 0;
  }
  bool KeepReserve() override { return reserve > 0; }
  // In pages: what can be committed before the next Settle, and after it.
  static inline size_t room = SIZE_MAX, most_room = SIZE_MAX, reserve = 1;
  static void SetRoom(size_t pages, size_t kept) {
    room = most_room = pages;
    reserve = kept;
  }
  Status ScanPages(const std::function<bool(NodeId)>& visit) override {
    return table_.ScanPages(visit);
  }
  Status ScanNodeRefs(const std::function<bool(NodeId, uint64_t)>& visit) override {
    return table_.ScanNodeRefs(visit);
  }
  Status ScanObjectRefs(const std::function<bool(ObjectId, uint64_t)>& visit) override {
    return table_.ScanObjectRefs(visit);
  }

 private:
  MemoryPageTable& table_;
};

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() : dir_(::testing::TempDir() + "px-journal-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    Open();
  }
  ~JournalTest() override {
    below_.FailCommits(0, 0);
    table_.reset();
    fs::remove_all(dir_);
  }
  void Open(const std::string& boot = "boot", cow::Damage damage = cow::Damage::kRefused) {
    table_.reset();
    auto opened = JournaledPageTable::Open(std::make_unique<Shared>(&below_), dir_, boot, damage);
    ASSERT_TRUE(opened) << opened.error().ToString();
    table_ = std::move(*opened);
  }
  // What lies behind something damaged is neither lost silently nor used.
  void OpenPassingOverDamage() {
    table_.reset();
    for (int i = 0; i < 2; ++i) {
      const auto refused =
          JournaledPageTable::Open(std::make_unique<Shared>(&below_), dir_, "boot");
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code(), EUCLEAN);
    }
    Open("boot", cow::Damage::kPassedOver);
  }
  // What a kill now would leave: the table ends without handing anything over.
  void Kill() {
    below_.FailCommits(1'000'000, EIO);
    const MemoryPageTable::Rows rows = below_.rows();
    table_.reset();
    EXPECT_EQ(below_.rows().counters, rows.counters);
    below_.FailCommits(0, 0);
  }
  Status Put(uint64_t id, int with) {
    std::array<std::byte, kNodeSize> page;
    page.fill(std::byte{0});
    page[100] = static_cast<std::byte>(with);
    page[3000] = static_cast<std::byte>(with);
    PageBatch batch;
    batch.pages.push_back({NodeId{id}, page});
    return table_->Commit(batch);
  }
  // -1: no such page.
  int Get(uint64_t id) {
    std::array<std::byte, kNodeSize> page;
    if (!table_->Load(NodeId{id}, page)) return -1;
    EXPECT_EQ(page[100], page[3000]);
    return static_cast<int>(page[100]);
  }
  std::string File(int i) const { return dir_ + "/meta.log." + std::to_string(i); }
  // The offsets of the batches and sync points at the beginning of a journal file.
  std::vector<size_t> Records(int i) const {
    std::ifstream file(File(i), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const auto bytes = std::as_bytes(std::span(text));
    std::vector<size_t> offsets;
    for (size_t at = 0;;) {
      const auto header = CheckRecord(bytes.subspan(at));
      if (!header) return offsets;
      // The one that an opening begins with tells of what was before it.
      if (SyncPointOf(bytes.subspan(at, header->length)) != header->seq) offsets.push_back(at);
      at += header->length;
    }
  }
  void Damage(int i, size_t at) const {
    const UniqueFd fd(::open(File(i).c_str(), O_RDWR));
    char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(at)), 1);
    byte = static_cast<char>(byte ^ 1);
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(at)), 1);
  }

  std::string dir_;
  MemoryPageTable below_;
  std::unique_ptr<JournaledPageTable> table_;
};

TEST_F(JournalTest, WhatWasCommittedIsThereAfterAKill) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i % 7), i));
  Kill();
  EXPECT_TRUE(below_.rows().pages.empty());
  Open();
  for (int i = 43; i < 50; ++i) EXPECT_EQ(Get(static_cast<uint64_t>(i % 7)), i);
}

TEST_F(JournalTest, KillAfterKillKeepsEverything) {
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(Put(1, round));
    ASSERT_TRUE(Put(static_cast<uint64_t>(round) + 2, round));
    if (round % 3 == 0) {
      ASSERT_TRUE(table_->HandOver());
    }
    ASSERT_TRUE(Put(1, round + 100));
    Kill();
    Open();
    ASSERT_EQ(Get(1), round + 100);
    for (int old = 0; old <= round; ++old) ASSERT_EQ(Get(static_cast<uint64_t>(old) + 2), old);
  }
}

TEST_F(JournalTest, APageThatChangedLittleIsWrittenShort) {
  ASSERT_TRUE(Put(1, 1));
  ASSERT_TRUE(Put(1, 2));
  ASSERT_TRUE(Put(1, 3));
  const std::vector<size_t> records = Records(0);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_GT(records[1] - records[0], kNodeSize);
  EXPECT_LT(records[2] - records[1], 200U);
}

TEST_F(JournalTest, TornLastRecordIsAsIfItWasNeverWritten) {
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  Kill();
  Damage(0, Records(0)[4] + 40);
  Open();
  EXPECT_EQ(Get(4), 4);
  EXPECT_EQ(Get(5), -1);
}

TEST_F(JournalTest, NothingBehindAGapIsReplayed) {
  // The first file's records are handed over only as far as the second's go on.
  below_.FailCommits(1'000'000, ENOSPC);
  ASSERT_TRUE(Put(1, 1));
  EXPECT_FALSE(table_->HandOver());  // now the second file is active
  ASSERT_TRUE(Put(2, 2));
  ASSERT_TRUE(Put(3, 3));
  Kill();
  ASSERT_EQ(Records(0).size(), 1U);
  ASSERT_EQ(Records(1).size(), 2U);
  Damage(0, 40);
  OpenPassingOverDamage();
  EXPECT_EQ(Get(1), -1);
  EXPECT_EQ(Get(2), -1);
  // And what is written now is not mistaken for what led up to it.
  ASSERT_TRUE(Put(9, 9));
  Kill();
  Open();
  EXPECT_EQ(Get(9), 9);
  EXPECT_EQ(Get(2), -1);
  EXPECT_EQ(Get(3), -1);
}

TEST_F(JournalTest, ADamagedHeaderIsNotTheEnd) {
  for (int i = 1; i <= 6; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  Kill();
  for (size_t at = 0; at < sizeof(RecordHeader); ++at) {
    const size_t byte = Records(0)[0] + at;
    Damage(0, byte);
    const auto refused = JournaledPageTable::Open(std::make_unique<Shared>(&below_), dir_, "boot");
    ASSERT_FALSE(refused) << at;
    EXPECT_EQ(refused.error().code(), EUCLEAN);
    Damage(0, byte);
  }
  Open();
  for (int i = 1; i <= 6; ++i) EXPECT_EQ(Get(static_cast<uint64_t>(i)), i);
}

TEST_F(JournalTest, AnOpeningThatWroteNothingIsNotDamage) {
  for (int i = 1; i <= 6; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  ASSERT_TRUE(table_->Sync());
  ASSERT_TRUE(Put(7, 7));
  for (int round = 0; round < 3; ++round) {
    Open();
    Kill();
    Open();
    ASSERT_TRUE(table_->Sync());
  }
  EXPECT_EQ(Get(7), 7);
}

// Nobody can say whether it was ever written.
TEST_F(JournalTest, AGapAfterAPowerCutIsTheEnd) {
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  ASSERT_TRUE(table_->Sync());
  for (int i = 4; i <= 6; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  Kill();
  Damage(0, Records(0)[4] + 40);
  Open("another boot");
  EXPECT_EQ(Get(3), 3);
  EXPECT_EQ(Get(4), -1);
}

TEST_F(JournalTest, LeftOverRecordsOfAnEarlierOpeningAreNotReplayed) {
  for (int i = 1; i <= 6; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i), i));
  Kill();
  Damage(0, Records(0)[2] + 40);  // 3 is torn: 4 to 6 are behind it
  OpenPassingOverDamage();
  EXPECT_EQ(Get(3), -1);
  // Records of the same sizes and numbers now cover the old 1 to 3, so that 4 would come next.
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Put(static_cast<uint64_t>(i) + 10, i));
  Kill();
  Open();
  EXPECT_EQ(Get(13), 3);
  EXPECT_EQ(Get(4), -1);
  EXPECT_EQ(Get(6), -1);
}

TEST_F(JournalTest, OnAnotherBootOnlyWhatASyncPointCoversIsReplayed) {
  ASSERT_TRUE(Put(1, 1));
  // Put while the flush runs: after what the point covers, though before the point.
  int flushes = 0;
  table_->BeforeSync([&]() -> std::function<Status()> {
    return [&]() -> Status {
      ++flushes;
      return Put(2, 2);
    };
  });
  ASSERT_TRUE(table_->Sync());
  EXPECT_EQ(flushes, 1);
  ASSERT_TRUE(Put(3, 3));
  Kill();
  Open("another boot");
  EXPECT_EQ(Get(1), 1);
  EXPECT_EQ(Get(2), -1);
  EXPECT_EQ(Get(3), -1);
}

TEST_F(JournalTest, ASyncWithNothingNewWritesNothing) {
  const auto journal = [this] {
    std::string bytes;
    for (const char* name : {"/meta.log.0", "/meta.log.1"}) {
      std::ifstream file(dir_ + name, std::ios::binary);
      bytes.append(std::istreambuf_iterator<char>(file), {});
    }
    return bytes;
  };
  ASSERT_TRUE(Put(1, 1));
  ASSERT_TRUE(table_->Sync());
  const std::string synced = journal();
  ASSERT_TRUE(table_->Sync());
  EXPECT_TRUE(journal() == synced);
  ASSERT_TRUE(Put(1, 2));
  ASSERT_TRUE(table_->HandOver());
  const std::string handed_over = journal();
  ASSERT_TRUE(table_->Sync());
  EXPECT_TRUE(journal() == handed_over);
  Kill();
  Open("another boot");
  EXPECT_EQ(Get(1), 2);
}

// An object may have been written in a way that leaves the tree as it was.
TEST_F(JournalTest, ASyncWithNothingNewFlushesObjects) {
  ASSERT_TRUE(Put(1, 1));
  ASSERT_TRUE(table_->Sync());
  int flushes = 0;
  Status flushed;
  table_->BeforeSync([&]() -> std::function<Status()> {
    return [&]() -> Status {
      ++flushes;
      return flushed;
    };
  });
  ASSERT_TRUE(table_->Sync());
  EXPECT_EQ(flushes, 1);
  flushed = Fail(EIO, "a failure that the test asked for");
  EXPECT_EQ(table_->Sync().error().code(), EIO);
}

TEST_F(JournalTest, AFailedFlushMakesNoSyncPoint) {
  table_->BeforeSync([]() -> std::function<Status()> {
    return []() -> Status { return Fail(EIO, "a failure that the test asked for"); };
  });
  ASSERT_TRUE(Put(1, 1));
  EXPECT_EQ(table_->Sync().error().code(), EIO);
  Kill();
  Open("another boot");
  EXPECT_EQ(Get(1), -1);
}

TEST_F(JournalTest, FullTableBelowIsReportedWhenTheJournalIsFullAndNothingIsLost) {
  below_.FailCommits(1'000'000, ENOSPC);
  Status status;
  uint64_t put = 0;
  while (status && put < 100'000) {
    status = Put(put + 1, static_cast<int>(put % 250));
    if (status) ++put;
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ENOSPC);
  EXPECT_GT(put, Journal::kCapacity / (kNodeSize + 200));
  EXPECT_EQ(Get(put + 1), -1);
  below_.FailCommits(0, 0);
  ASSERT_TRUE(Put(put + 1, 7));
  ASSERT_TRUE(table_->HandOver());
  for (uint64_t id = 1; id <= put; ++id) ASSERT_EQ(Get(id), static_cast<int>((id - 1) % 250));
}

// As a log has it: its space is there again when it was settled.
TEST_F(JournalTest, IsReplayedInPiecesThatALogHasRoomFor) {
  constexpr uint64_t kPages = 1700;
  below_.FailCommits(1'000'000, EIO);
  for (uint64_t id = 1; id <= kPages; ++id) {
    ASSERT_TRUE(Put(id, static_cast<int>(id % 200)));
    ASSERT_TRUE(Put(1, static_cast<int>(id % 100)));
  }
  Kill();
  Shared::SetRoom(600, 1);
  Open();
  for (uint64_t id = 2; id <= kPages; ++id) ASSERT_EQ(Get(id), static_cast<int>(id % 200)) << id;
  EXPECT_EQ(Get(1), static_cast<int>(kPages % 100));
  EXPECT_EQ(Shared::reserve, 1U);
  Shared::SetRoom(SIZE_MAX, 1);
}

TEST_F(JournalTest, WhatIsKeptInReserveIsForWhoOpensIt) {
  for (uint64_t id = 1; id <= 100; ++id) ASSERT_TRUE(Put(id, 1));
  Kill();
  Shared::SetRoom(50, 80);
  Open();
  EXPECT_EQ(Get(100), 1);
  EXPECT_EQ(Shared::reserve, 0U);
  EXPECT_TRUE(table_->OutOfSpace());
  Shared::reserve = 1;
  EXPECT_FALSE(table_->OutOfSpace());

  for (uint64_t id = 101; id <= 200; ++id) ASSERT_TRUE(Put(id, 2));
  Kill();
  Shared::SetRoom(50, 20);  // not enough
  table_.reset();
  const auto refused = JournaledPageTable::Open(std::make_unique<Shared>(&below_), dir_, "boot");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ENOSPC);
  Shared::SetRoom(SIZE_MAX, 1);
  Open();
  EXPECT_EQ(Get(200), 2);
}

TEST_F(JournalTest, HalfOfTheReserveIsForWhoNeedsRoomInAFullJournal) {
  Shared::SetRoom(0, 100'000);
  uint64_t put = 0;
  while (put < 10'000 && Shared::reserve == 100'000) ASSERT_TRUE(Put(++put, 3)) << put;
  EXPECT_EQ(Shared::reserve, 50'000U);
  Shared::SetRoom(SIZE_MAX, 1);
  ASSERT_TRUE(table_->HandOver());
  EXPECT_EQ(Get(put), 3);
}

// Pages 100 to 99 + kLarge.
constexpr size_t kLarge = Journal::kCapacity / kNodeSize + 10;
PageBatch LargeBatch(const std::vector<std::byte>& bytes) {
  PageBatch batch;
  for (size_t i = 0; i < kLarge; ++i) batch.pages.push_back({NodeId{100 + i}, bytes});
  return batch;
}

TEST_F(JournalTest, ABatchLargerThanTheJournalThatIsNotDurableYetIsCommitted) {
  const std::vector<std::byte> bytes(kNodeSize, std::byte{5});
  below_.RememberSyncs();
  below_.FailSyncs(2);
  ASSERT_TRUE(table_->Commit(LargeBatch(bytes)));
  EXPECT_EQ(Get(99 + kLarge), 5);
  ASSERT_TRUE(Put(1, 1));
  EXPECT_FALSE(table_->Sync());
  ASSERT_TRUE(table_->Sync());
  Kill();
  below_.PowerCut();
  Open("another boot");
  EXPECT_EQ(Get(99 + kLarge), 5);
  EXPECT_EQ(Get(1), 1);
}

TEST_F(JournalTest, ABatchLargerThanTheJournalGoesBelow) {
  ASSERT_TRUE(Put(1, 1));
  const std::vector<std::byte> bytes(kNodeSize, std::byte{5});
  ASSERT_TRUE(table_->Commit(LargeBatch(bytes)));
  ASSERT_TRUE(Put(2, 2));
  Kill();
  Open();
  EXPECT_EQ(Get(1), 1);
  EXPECT_EQ(Get(99 + kLarge), 5);
  EXPECT_EQ(Get(2), 2);
}

TEST_F(JournalTest, OldBatchesAreHandedOverByThemselves) {
  ASSERT_TRUE(Put(1, 1));
  for (int i = 0; i < 2000 && below_.commits() == 0; ++i) ::usleep(10'000);
  EXPECT_EQ(below_.rows().counters[Counter::kJournal], 1U);
}

TEST_F(JournalTest, ACountReadBesideACommitIsNotRemembered) {
  const ObjectId object{7};
  Shared::after_object_refs = [&] {
    PageBatch batch;
    batch.object_refs.push_back({object, 2});
    ASSERT_TRUE(table_->Commit(batch));
  };
  EXPECT_EQ(*table_->ObjectRefs(object), 1U);
  EXPECT_EQ(*table_->ObjectRefs(object), 2U);
  ASSERT_TRUE(table_->HandOver());
  EXPECT_EQ(*table_->ObjectRefs(object), 2U);
}

// Random batches on a journaled and a plain table: every question has the same answer.
TEST_F(JournalTest, AnswersAsTheTableBelowWould) {
  std::mt19937_64 rng(20261124);
  MemoryPageTable plain;
  uint64_t next_seq = 1, erased_before = 0;
  std::vector<std::array<std::byte, kNodeSize>> storage;
  for (int step = 0; step < 4000 && !HasFailure(); ++step) {
    PageBatch batch;
    storage.assign(rng() % 4, {});
    std::vector<uint64_t> ids;
    for (auto& page : storage) {
      const uint64_t id = erased_before + 1 + rng() % 40;
      if (std::find(ids.begin(), ids.end(), id) != ids.end()) continue;
      ids.push_back(id);
      if (!plain.Load(NodeId{id}, page)) page.fill(std::byte{0});
      for (uint64_t i = rng() % 6; i-- > 0;) {
        const size_t at = rng() % kNodeSize;
        for (size_t k = at; k < std::min(at + rng() % 90, kNodeSize); ++k) {
          page[k] = static_cast<std::byte>(rng());
        }
      }
      batch.pages.push_back({NodeId{id}, page});
    }
    if (rng() % 10 == 0) batch.erased_pages.push_back(NodeId{++erased_before});
    std::erase_if(batch.pages, [&](const auto& page) { return page.id.value <= erased_before; });
    if (rng() % 3 == 0) batch.node_refs.push_back({NodeId{1 + rng() % 20}, rng() % 4});
    if (rng() % 3 == 0) batch.object_refs.push_back({ObjectId{1 + rng() % 20}, rng() % 4});
    const auto volume = static_cast<uint32_t>(rng() % 12);
    if (rng() % 4 == 0) {
      batch.volumes.push_back(
          {VolumeId{volume}, NodeId{rng()}, rng(), std::string(rng() % 99, 'x')});
    } else if (rng() % 6 == 0) {
      batch.erased_volumes.push_back(VolumeId{volume});
    }
    for (uint64_t i = rng() % 3; i-- > 0;) {
      batch.queued.push_back({next_seq++,
                              rng() % 2 == 0 ? ReclaimRow::Kind::kNode : ReclaimRow::Kind::kObject,
                              rng() % 1000});
    }
    const auto queue = plain.LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX >> 1, 100);
    if (!queue->empty() && rng() % 2 == 0)
      batch.unqueued.push_back((*queue)[rng() % queue->size()].seq);
    if (rng() % 5 == 0) batch.counters.emplace_back(Counter::kNextObject, rng());
    ASSERT_TRUE(plain.Commit(batch));
    ASSERT_TRUE(table_->Commit(batch));
    switch (rng() % 60) {
      case 0:
        ASSERT_TRUE(table_->HandOver());
        break;
      case 1:
        Kill();
        Open();
        break;
      case 2:
        Open();
        break;
      default:
        break;
    }
    std::array<std::byte, kNodeSize> a{}, b{};
    const NodeId id{erased_before + rng() % 41};
    const Status in_plain = plain.Load(id, a), in_table = table_->Load(id, b);
    ASSERT_EQ(in_plain.has_value(), in_table.has_value()) << step << " page " << id.value;
    ASSERT_EQ(a, b) << step;
    ASSERT_EQ(*plain.NodeRefs(NodeId{volume + 1}), *table_->NodeRefs(NodeId{volume + 1}));
    ASSERT_EQ(*plain.ObjectRefs(ObjectId{volume + 1}), *table_->ObjectRefs(ObjectId{volume + 1}));
    ASSERT_EQ(plain.LoadVolume(VolumeId{volume})->has_value(),
              table_->LoadVolume(VolumeId{volume})->has_value());
    const auto volumes_of = [&](PageTable& table) {
      std::string text;
      const uint64_t most = 1 + step % 12;
      uint64_t seen = 0;
      EXPECT_TRUE(table.ScanVolumes(VolumeId{volume}, [&](const VolumeRow& row) {
        text +=
            std::to_string(row.id.value) + ":" + std::to_string(row.root.value) + row.attributes;
        return ++seen < most;
      }));
      return text;
    };
    ASSERT_EQ(volumes_of(plain), volumes_of(*table_)) << step;
    const auto queue_of = [&](PageTable& table) {
      std::string text;
      const auto rows =
          table.LoadQueue(step % 2 == 0 ? ReclaimRow::Kind::kNode : ReclaimRow::Kind::kObject,
                          next_seq - static_cast<uint64_t>(step % 20),
                          step % 31 == 0 ? SIZE_MAX : static_cast<size_t>(step % 31));
      for (const ReclaimRow& row : *rows) text += std::to_string(row.seq) + " ";
      return text;
    };
    ASSERT_EQ(queue_of(plain), queue_of(*table_)) << step;
    ASSERT_EQ(*plain.LoadCounter(Counter::kNextObject), *table_->LoadCounter(Counter::kNextObject));
  }
}

}  // namespace
}  // namespace px::testing
