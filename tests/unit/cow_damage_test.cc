// Damaged stores: what is broken is named, what is not still works, repair puts counts right,
// nothing crashes.
#include <gtest/gtest.h>

#include <random>

#include "cow/node.h"
#include "cow/store.h"
#include "tests/model/cow_model.h"
#include "tests/testing/memory_page_table.h"

namespace px::cow {
namespace {

using px::testing::MemoryPageTable;

std::string Key(uint64_t ino) { return ItemKey(Ino{ino}, ItemType::kInode); }

class CowDamageTest : public ::testing::Test {
 protected:
  // A root volume of a few levels and two clones that differ from it.
  CowDamageTest() {
    Open();
    std::mt19937_64 rng(3);
    EXPECT_TRUE(store_->Update([&](Txn& txn) -> Status {
      for (uint64_t i = 0; i < 1500; ++i) {
        InodeItem item;
        PX_ASSIGN(const ObjectId object, txn.NewObject());
        item.object = object.value;
        PX_TRY(txn.Put(kRootVolume, Key(i), AsBytes(item)));
        PX_TRY(txn.Put(kRootVolume, ItemKey(Ino{i}, ItemType::kXattr, std::string(200, 'x')), "v"));
      }
      PX_ASSIGN(clone_, txn.CloneVolume(kRootVolume, "a"));
      PX_TRY(txn.Put(clone_, ItemKey(Ino{700}, ItemType::kXattr), "changed"));
      PX_TRY(txn.CloneVolume(clone_, "b"));
      return {};
    }));
    sound_ = pages_.rows();
  }

  void Open() {
    store_.reset();
    auto opened = Store::Open(&pages_, {});
    ASSERT_TRUE(opened);
    store_ = std::move(*opened);
  }
  // A leaf of the root volume that has that key.
  NodeId LeafOf(std::string_view key) {
    NodeId id = pages_.rows().volumes[0].root;
    for (;;) {
      const NodeView node(pages_.rows().pages[id.value].data());
      if (node.is_leaf()) return id;
      id = node.Child(node.ChildIndex(key));
    }
  }
  int GetError(uint64_t ino, std::string* context = nullptr) {
    int code = 0;
    const Status status = store_->View([&](Reader& reader) -> Status {
      PX_TRY(reader.Get(kRootVolume, Key(ino)));
      return {};
    });
    if (!status) code = status.error().code();
    if (!status && context != nullptr) *context = status.error().context();
    return code;
  }
  uint64_t Check(bool repair = false) {
    text_.clear();
    const auto findings =
        store_->Check(repair, [&](const std::string& line) { text_ += line + "\n"; }, {});
    EXPECT_TRUE(findings);
    return findings ? *findings : 0;
  }

  MemoryPageTable pages_;
  MemoryPageTable::Rows sound_;
  std::unique_ptr<Store> store_;
  VolumeId clone_;
  std::string text_;
};

TEST_F(CowDamageTest, AFlippedBitSpoilsItsNodeAlone) {
  const NodeId leaf = LeafOf(Key(700));
  pages_.rows().pages[leaf.value][2000] ^= std::byte{4};
  Open();
  std::string context;
  EXPECT_EQ(GetError(700, &context), EBADMSG);
  EXPECT_NE(context.find("node " + std::to_string(leaf.value)), std::string::npos) << context;
  EXPECT_EQ(GetError(1), 0);
  EXPECT_EQ(GetError(1499), 0);
  EXPECT_GE(Check(), 1U);
  EXPECT_NE(text_.find("node " + std::to_string(leaf.value) + ": wrong checksum"),
            std::string::npos);
}

TEST_F(CowDamageTest, ASwappedNodeIsSeen) {
  std::swap(pages_.rows().pages[LeafOf(Key(700)).value], pages_.rows().pages[LeafOf(Key(1)).value]);
  Open();
  EXPECT_EQ(GetError(700), EUCLEAN);
}

TEST_F(CowDamageTest, ALeafOfAnotherRangeIsSeen) {
  // As if a lost write had left the id and checksum right.
  auto& bytes = pages_.rows().pages[LeafOf(Key(700)).value];
  const NodeId id = LeafOf(Key(700));
  bytes = pages_.rows().pages[LeafOf(Key(1)).value];
  Node node(bytes.data());
  node.SetId(id);
  node.UpdateChecksum();
  Open();
  std::string context;
  EXPECT_EQ(GetError(700, &context), EUCLEAN);
  EXPECT_NE(context.find("range"), std::string::npos) << context;
}

TEST_F(CowDamageTest, AMissingNodeIsSeen) {
  pages_.rows().pages.erase(LeafOf(Key(700)).value);
  Open();
  EXPECT_EQ(GetError(700), EUCLEAN);
  EXPECT_GE(Check(), 1U);
}

TEST_F(CowDamageTest, WithAnUnreadableNodeRepairRemovesNothing) {
  const NodeId root = pages_.rows().volumes[0].root;
  pages_.rows().pages[root.value][2000] ^= std::byte{4};
  Open();
  const auto pages = pages_.rows().pages;
  const auto refs = pages_.rows().node_refs;
  EXPECT_GE(Check(/*repair=*/true), 1U);
  EXPECT_EQ(pages_.rows().pages, pages);
  EXPECT_EQ(pages_.rows().node_refs, refs);
}

TEST_F(CowDamageTest, RepairPutsCountsRightAndRemovesLostNodes) {
  auto& rows = pages_.rows();
  ASSERT_FALSE(rows.node_refs.empty());
  ASSERT_FALSE(rows.object_refs.empty());
  rows.node_refs.begin()->second += 5;
  rows.node_refs.erase(std::prev(rows.node_refs.end()));
  rows.object_refs.begin()->second = 9;
  rows.object_refs[999'999] = 3;
  rows.pages[5'000] = rows.pages.begin()->second;
  rows.counters[Counter::kNextObject] = 2;
  Open();
  EXPECT_GE(Check(/*repair=*/true), 6U);
  EXPECT_EQ(Check(), 0U) << text_;
  EXPECT_EQ(rows.node_refs, sound_.node_refs);
  EXPECT_EQ(rows.object_refs, sound_.object_refs);
  EXPECT_FALSE(rows.pages.contains(5'000));
  EXPECT_GT(store_->PeekNextObject()->value, 1500U);
}

TEST_F(CowDamageTest, ReclaimGoesOnPastANodeItCannotRead) {
  const NodeId leaf = LeafOf(Key(700));
  ASSERT_TRUE(store_->Update([&](Txn& txn) -> Status {
    PX_TRY(txn.DropVolume(VolumeId{1}));
    return txn.DropVolume(VolumeId{2});
  }));
  pages_.rows().pages[leaf.value][2000] ^= std::byte{4};
  Open();
  for (int steps = 0; steps < 1000; ++steps) {
    const auto done = store_->ReclaimStep(50);
    ASSERT_TRUE(done);
    if (*done == 0) return;
  }
  FAIL() << "reclaim does not come to an end";
}

// Random bytes in random nodes, their checksums put right: every call must return, with whatever
// result.
TEST_F(CowDamageTest, NothingCrashesOnAnyBytes) {
  std::mt19937_64 rng(px::testing::ModelSeed());
  std::vector<uint64_t> ids;
  for (const auto& [id, page] : sound_.pages) ids.push_back(id);
  for (int round = 0; round < 150; ++round) {
    pages_.rows() = sound_;
    for (uint64_t hits = 1 + rng() % 6; hits > 0; --hits) {
      const auto volume = static_cast<uint32_t>(rng() % 3);
      const uint64_t id =
          rng() % 3 == 0 ? pages_.rows().volumes[volume].root.value : ids[rng() % ids.size()];
      auto& bytes = pages_.rows().pages[id];
      Node node(bytes.data());
      if (!node.is_leaf() && rng() % 2 == 0) {
        node.SetChild(rng() % node.count(), NodeId{ids[rng() % ids.size()]});
      } else if (rng() % 4 == 0) {
        bytes = pages_.rows().pages[ids[rng() % ids.size()]];
        node.SetId(NodeId{id});
      } else {
        bytes[16 + rng() % (rng() % 2 == 0 ? 100 : kNodeSize - 16)] = static_cast<std::byte>(rng());
      }
      node.UpdateChecksum();
      if (!ValidateNode(bytes, NodeId{id})) bytes = sound_.pages[id];
    }
    Open();
    for (int call = 0; call < 30; ++call) {
      const VolumeId volume{static_cast<uint32_t>(rng() % 3)};
      (void)store_->Update([&](Txn& txn) -> Status {
        for (int i = 0; i < 10; ++i) {
          const std::string key = Key(rng() % 1500);
          if (rng() % 2 == 0) {
            PX_TRY(txn.Put(volume, key, std::string(rng() % 400, 'n')));
          } else {
            (void)txn.Erase(volume, key);
          }
        }
        return {};
      });
      (void)store_->View([&](Reader& reader) {
        return reader.Scan(volume, Key(rng() % 1500), {},
                           [left = 200](auto, auto) mutable { return --left > 0; });
      });
    }
    int left = 2000;
    (void)store_->Diff(VolumeId{0}, VolumeId{1}, {}, [&](auto, auto, auto) { return --left > 0; });
    (void)store_->Update([&](Txn& txn) { return txn.DropVolume(VolumeId{1}); });
    for (int i = 0; i < 20; ++i) (void)store_->ReclaimStep(100);
    (void)Check(/*repair=*/true);
  }
}

}  // namespace
}  // namespace px::cow
