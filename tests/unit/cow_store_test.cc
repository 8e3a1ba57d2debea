// The engine's promises, one fact a test: abort, counts, ids, reclaim, durability of freed objects,
// diff.
#include "cow/store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/testing/memory_page_table.h"

namespace px::cow {
namespace {

using px::testing::MemoryPageTable;

std::string Key(uint64_t ino) { return ItemKey(Ino{ino}, ItemType::kExtent, "k"); }

std::string FileItem(ObjectId object) {
  InodeItem item;
  item.object = object.value;
  return std::string(AsBytes(item));
}

class CowStoreTest : public ::testing::Test {
 protected:
  CowStoreTest() { Open(); }

  void Open() {
    store_.reset();
    auto opened = Store::Open(&pages_, {});
    ASSERT_TRUE(opened) << opened.error().ToString();
    store_ = std::move(*opened);
  }
  void Update(const std::function<Status(Txn&)>& body) {
    const Status status = store_->Update(body);
    ASSERT_TRUE(status) << status.error().ToString();
  }
  void Fill(VolumeId volume, uint64_t items) {
    Update([&](Txn& txn) -> Status {
      for (uint64_t i = 0; i < items; ++i) PX_TRY(txn.Put(volume, Key(i), "value"));
      return {};
    });
  }
  VolumeId Clone(VolumeId source) {
    VolumeId made;
    Update([&](Txn& txn) -> Status {
      PX_ASSIGN(made, txn.CloneVolume(source, "clone"));
      return {};
    });
    return made;
  }
  ObjectId NewFile(uint64_t ino) {
    ObjectId made;
    Update([&](Txn& txn) -> Status {
      PX_ASSIGN(made, txn.NewObject());
      return txn.Put(kRootVolume, ItemKey(Ino{ino}, ItemType::kInode), FileItem(made));
    });
    return made;
  }
  Result<std::string> Get(VolumeId volume, std::string_view key) {
    Result<std::string> got = Fail(EIO);
    EXPECT_TRUE(store_->View([&](Reader& reader) -> Status {
      got = reader.Get(volume, key);
      return {};
    }));
    return got;
  }
  std::string Check(bool repair = false) {
    std::string text;
    const auto findings =
        store_->Check(repair, [&](const std::string& line) { text += line + "\n"; }, {});
    EXPECT_TRUE(findings);
    return text;
  }
  void ReclaimAll() {
    for (;;) {
      const auto done = store_->ReclaimStep(100);
      ASSERT_TRUE(done);
      if (*done == 0) return;
    }
  }

  MemoryPageTable pages_;
  std::unique_ptr<Store> store_;
};

TEST_F(CowStoreTest, ANewStoreHasTheRootVolume) {
  EXPECT_TRUE(store_->View([](Reader& reader) -> Status {
    PX_TRY(reader.GetVolume(kRootVolume));
    return {};
  }));
  EXPECT_EQ(Get(kRootVolume, "x").error().code(), ENOENT);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, LimitsAreEinvalAndDoNotEndTheTransaction) {
  Update([](Txn& txn) -> Status {
    const std::string long_key(kMaxKey + 1, 'k'), long_value(kMaxValue + 1, 'v');
    EXPECT_EQ(txn.Put(kRootVolume, long_key, "v").error().code(), EINVAL);
    EXPECT_EQ(txn.Put(kRootVolume, "", "v").error().code(), EINVAL);
    EXPECT_EQ(txn.Put(kRootVolume, "k", long_value).error().code(), EINVAL);
    EXPECT_EQ(txn.Erase(kRootVolume, "k").error().code(), ENOENT);
    return txn.Put(kRootVolume, "k", "v");
  });
  EXPECT_EQ(*Get(kRootVolume, "k"), "v");
}

TEST_F(CowStoreTest, AFailedBodyLeavesNothing) {
  Fill(kRootVolume, 500);
  const auto before = pages_.rows().pages;
  VolumeId made;
  const Status status = store_->Update([&](Txn& txn) -> Status {
    for (uint64_t i = 0; i < 500; i += 2) PX_TRY(txn.Erase(kRootVolume, Key(i)));
    PX_ASSIGN(made, txn.CloneVolume(kRootVolume, "c"));
    return Fail(EPERM);
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), EPERM);
  EXPECT_EQ(pages_.rows().pages, before);
  for (uint64_t i = 0; i < 500; ++i) EXPECT_TRUE(Get(kRootVolume, Key(i)));
  EXPECT_EQ(Get(made, Key(1)).error().code(), ENOENT);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, AFailedCommitGivesItsIdsBack) {
  NewFile(1);
  ObjectId object;
  Ino ino;
  const auto body = [&](Txn& txn) -> Status {
    PX_ASSIGN(object, txn.NewObject());
    PX_ASSIGN(ino, txn.NewIno(kRootVolume));
    return txn.Put(kRootVolume, ItemKey(ino, ItemType::kInode), FileItem(object));
  };
  pages_.FailCommits(1, ENOSPC);
  const Status status = store_->Update(body);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ENOSPC);
  const ObjectId first_object = object;
  const Ino first_ino = ino;
  Update(body);
  EXPECT_EQ(object, first_object);
  EXPECT_EQ(ino, first_ino);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, AnExceptionAborts) {
  EXPECT_THROW((void)store_->Update([](Txn& txn) -> Status {
    PX_TRY(txn.Put(kRootVolume, "k", "v"));
    throw std::bad_alloc();
  }),
               std::bad_alloc);
  EXPECT_EQ(Get(kRootVolume, "k").error().code(), ENOENT);
  Fill(kRootVolume, 3);
}

TEST_F(CowStoreTest, AnErrorInsideAChangeCannotBeIgnored) {
  Fill(kRootVolume, 2000);
  Open();
  for (auto& [id, page] : pages_.rows().pages) {
    if (NodeId{id} != pages_.rows().volumes[0].root) page[100] ^= std::byte{1};
  }
  const Status status = store_->Update([](Txn& txn) -> Status {
    EXPECT_EQ(txn.Put(kRootVolume, Key(1), "new").error().code(), EBADMSG);
    return {};
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), EBADMSG);
  EXPECT_EQ(status.error().ToKernel(), EIO);
}

TEST_F(CowStoreTest, ACloneSharesAllAndThenOnlyWhatNobodyChanged) {
  Fill(kRootVolume, 5000);
  const size_t pages = pages_.rows().pages.size();
  const VolumeId clone = Clone(kRootVolume);
  EXPECT_EQ(pages_.rows().pages.size(), pages);
  Update([&](Txn& txn) { return txn.Put(clone, Key(7), "other"); });
  EXPECT_EQ(*Get(kRootVolume, Key(7)), "value");
  EXPECT_EQ(*Get(clone, Key(7)), "other");
  EXPECT_LE(pages_.rows().pages.size(), pages + 4);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, UnsharedNodesAreChangedInPlace) {
  Fill(kRootVolume, 5000);
  const uint64_t shadows = store_->Counters().shadows;
  const size_t pages = pages_.rows().pages.size();
  Update([](Txn& txn) { return txn.Put(kRootVolume, Key(7), "other"); });
  EXPECT_EQ(store_->Counters().shadows, shadows);
  EXPECT_EQ(pages_.rows().pages.size(), pages);
}

TEST_F(CowStoreTest, IsPrivateFollowsSharing) {
  Fill(kRootVolume, 5000);
  const auto is_private = [&](VolumeId volume) {
    bool result = false;
    EXPECT_TRUE(store_->View([&](Reader& reader) -> Status {
      PX_ASSIGN(result, reader.IsPrivate(volume, Key(7)));
      return {};
    }));
    return result;
  };
  EXPECT_TRUE(is_private(kRootVolume));
  const VolumeId clone = Clone(kRootVolume);
  EXPECT_FALSE(is_private(kRootVolume));
  Update([&](Txn& txn) { return txn.MakePrivate(clone, Key(7)); });
  EXPECT_TRUE(is_private(clone));
  Update([&](Txn& txn) { return txn.DropVolume(clone); });
  ReclaimAll();
  EXPECT_TRUE(is_private(kRootVolume));
}

TEST_F(CowStoreTest, ADroppedVolumeIsGoneAtOnceAndItsNodesByAndBy) {
  const size_t before = pages_.rows().pages.size();
  VolumeId volume;
  Update([&](Txn& txn) -> Status {
    PX_ASSIGN(volume, txn.CreateVolume("v"));
    return {};
  });
  Fill(volume, 5000);
  Update([&](Txn& txn) { return txn.DropVolume(volume); });
  EXPECT_EQ(Get(volume, Key(1)).error().code(), ENOENT);
  EXPECT_EQ(*store_->ReclaimStep(3), 3U);
  EXPECT_EQ(Check(), "");
  Open();  // it goes on after a crash
  ReclaimAll();
  EXPECT_EQ(pages_.rows().pages.size(), before);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, AStepOfReclaimThatFailsIsTakenAgain) {
  const size_t before = pages_.rows().pages.size();
  for (int round = 0; round < 3; ++round) {
    VolumeId volume;
    Update([&](Txn& txn) -> Status {
      PX_ASSIGN(volume, txn.CreateVolume("v"));
      return {};
    });
    Fill(volume, 2000);
    Update([&](Txn& txn) { return txn.DropVolume(volume); });
    EXPECT_EQ(*store_->ReclaimStep(1), 1U);
    pages_.FailCommits(1, ENOSPC);
    EXPECT_EQ(store_->ReclaimStep(1).error().code(), ENOSPC);
    EXPECT_EQ(Check(), "");
    // The next volume is dropped while the rows of this one were read ahead.
  }
  ReclaimAll();
  EXPECT_EQ(pages_.rows().pages.size(), before);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, TheRootVolumeCannotBeDropped) {
  Update([](Txn& txn) -> Status {
    EXPECT_EQ(txn.DropVolume(kRootVolume).error().code(), EINVAL);
    return {};
  });
}

TEST_F(CowStoreTest, ErasingAllLeavesOneNode) {
  Fill(kRootVolume, 20'000);
  for (uint64_t base = 0; base < 20'000; base += 1000) {
    Update([&](Txn& txn) -> Status {
      // Every other one of the piece first, then the rest: underfull nodes join and share.
      for (const uint64_t odd : {0U, 1U}) {
        for (uint64_t i = base + odd; i < base + 1000; i += 2) {
          PX_TRY(txn.Erase(kRootVolume, Key(i)));
        }
      }
      return {};
    });
  }
  EXPECT_EQ(pages_.rows().pages.size(), 1U);
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, AscendingInsertsFillTheNodes) {
  Fill(kRootVolume, 20'000);
  const size_t cell = 2 + 4 + 10 + 5;
  EXPECT_LT(pages_.rows().pages.size(), 20'000 * cell / kNodeSize * 105 / 100 + 3);
}

// --- Ids ---

TEST_F(CowStoreTest, AnInodeNumberCostsNoRowEachTime) {
  Update([](Txn& txn) -> Status {
    PX_TRY(txn.NewIno(kRootVolume));
    return {};
  });
  const uint64_t commits = pages_.commits();
  for (int i = 0; i < 200; ++i) {
    Update([](Txn& txn) -> Status {
      PX_TRY(txn.NewIno(kRootVolume));
      return {};
    });
  }
  EXPECT_EQ(pages_.commits(), commits);
}

TEST_F(CowStoreTest, IdsAreNotGivenOutAgainAfterAKill) {
  std::set<uint64_t> inos;
  ObjectId last;
  for (int round = 0; round < 5; ++round) {
    for (uint64_t i = 0; i < 300; ++i) {
      Update([&](Txn& txn) -> Status {
        PX_ASSIGN(const Ino ino, txn.NewIno(kRootVolume));
        EXPECT_TRUE(inos.insert(ino.value).second);
        PX_ASSIGN(const ObjectId object, txn.NewObject());
        EXPECT_EQ(object.value, last.value + 1);
        last = object;
        return txn.Put(kRootVolume, ItemKey(ino, ItemType::kInode), FileItem(object));
      });
    }
    Open();
    EXPECT_EQ(store_->PeekNextObject()->value, last.value + 1);
  }
}

// --- Objects ---

TEST_F(CowStoreTest, ObjectsAreCountedByItemsOfAllTrees) {
  const ObjectId object = NewFile(1);
  const auto refs = [&] {
    uint64_t count = 0;
    EXPECT_TRUE(store_->View([&](Reader& reader) -> Status {
      PX_ASSIGN(count, reader.ObjectRefs(object));
      return {};
    }));
    return count;
  };
  EXPECT_EQ(refs(), 1U);
  const VolumeId clone = Clone(kRootVolume);
  EXPECT_EQ(refs(), 1U);  // one leaf, shared
  const std::string key = ItemKey(Ino{1}, ItemType::kInode);
  Update([&](Txn& txn) { return txn.MakePrivate(clone, key); });
  EXPECT_EQ(refs(), 2U);
  Update([&](Txn& txn) { return txn.Erase(clone, key); });
  EXPECT_EQ(refs(), 1U);
  EXPECT_TRUE(store_->DurablyFreed(10)->empty());
  Update([&](Txn& txn) { return txn.Erase(kRootVolume, key); });
  EXPECT_EQ(*store_->DurablyFreed(10), std::vector<ObjectId>{object});
}

TEST_F(CowStoreTest, AnObjectThatNoItemNamesIsFreed) {
  ObjectId object;
  Update([&](Txn& txn) -> Status {
    PX_ASSIGN(object, txn.NewObject());
    return {};
  });
  EXPECT_EQ(*store_->DurablyFreed(10), std::vector<ObjectId>{object});
  ASSERT_TRUE(store_->ForgetFreed({object}));
  EXPECT_TRUE(store_->DurablyFreed(10)->empty());
  EXPECT_EQ(store_->ForgetFreed({object}).error().code(), EINVAL);
}

TEST_F(CowStoreTest, EachFreedObjectIsHandedOutOnceBesideOthersThatAreFreed) {
  std::set<uint64_t> waiting;
  const auto free_some = [&] {
    Update([&](Txn& txn) -> Status {
      for (int i = 0; i < 300; ++i) {
        PX_ASSIGN(const ObjectId object, txn.NewObject());
        waiting.insert(object.value);
      }
      return {};
    });
  };
  const auto take = [&](size_t limit) {
    const auto freed = store_->DurablyFreed(limit);
    ASSERT_TRUE(freed);
    EXPECT_LE(freed->size(), limit);
    ASSERT_TRUE(store_->ForgetFreed(*freed));
    for (const ObjectId object : *freed) EXPECT_EQ(waiting.erase(object.value), 1U);
  };
  for (int round = 0; round < 5; ++round) {
    free_some();
    take(100);
    take(1);
    take(250);
  }
  for (size_t left = waiting.size() + 1; left > waiting.size();) {
    left = waiting.size();
    take(1000);
  }
  EXPECT_TRUE(waiting.empty());
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, FreedObjectsAreMadeDurableWhereThereAreEnoughOfThem) {
  ObjectId object;
  Update([&](Txn& txn) -> Status {
    PX_ASSIGN(object, txn.NewObject());
    return {};
  });
  const int before = pages_.syncs();
  EXPECT_TRUE(store_->DurablyFreed(10, 100)->empty());
  EXPECT_EQ(pages_.syncs(), before);
  ASSERT_TRUE(store_->Sync());
  EXPECT_EQ(*store_->DurablyFreed(10, 100), std::vector<ObjectId>{object});
}

TEST_F(CowStoreTest, AnObjectMovedBetweenItemsIsNotFreed) {
  const ObjectId object = NewFile(1);
  Update([&](Txn& txn) -> Status {
    PX_TRY(txn.Erase(kRootVolume, ItemKey(Ino{1}, ItemType::kInode)));
    return txn.Put(kRootVolume, ItemKey(Ino{2}, ItemType::kInode), FileItem(object));
  });
  EXPECT_TRUE(store_->DurablyFreed(10)->empty());
  EXPECT_EQ(Check(), "");
}

TEST_F(CowStoreTest, AFreedObjectIsHandedOutOnlyOnceItsReleaseIsDurable) {
  pages_.RememberSyncs();
  const ObjectId object = NewFile(1);
  ASSERT_TRUE(store_->Sync());
  Update([](Txn& txn) { return txn.Erase(kRootVolume, ItemKey(Ino{1}, ItemType::kInode)); });
  pages_.FailSyncs(1);
  EXPECT_FALSE(store_->DurablyFreed(10));
  Open();
  ASSERT_EQ(*store_->DurablyFreed(10), std::vector<ObjectId>{object});
  pages_.PowerCut();
  Open();
  EXPECT_EQ(Get(kRootVolume, ItemKey(Ino{1}, ItemType::kInode)).error().code(), ENOENT);
}

// --- Sync ---

TEST_F(CowStoreTest, AfterAFailedSyncThePageTableIsAskedAgain) {
  pages_.FailSyncs(2);
  EXPECT_EQ(store_->Sync().error().code(), EIO);
  EXPECT_EQ(store_->Sync().error().code(), EIO);
  EXPECT_TRUE(store_->Sync());
}

TEST_F(CowStoreTest, ManySyncsAtOnceAllSucceed) {
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) failed += store_->Sync() ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_LE(pages_.syncs(), 800);
}

// --- Many threads ---

TEST_F(CowStoreTest, ReadersSeeWholeTransactions) {
  // Each transaction sets both keys, in two leaves far apart, to the same value.
  Fill(kRootVolume, 3000);
  const auto set = [&](const std::string& value) {
    Update([&](Txn& txn) -> Status {
      PX_TRY(txn.Put(kRootVolume, Key(1), value));
      return txn.Put(kRootVolume, Key(2999), value);
    });
  };
  set("0");
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const Status status = store_->View([&](Reader& reader) -> Status {
          PX_ASSIGN(const std::string a, reader.Get(kRootVolume, Key(1)));
          PX_ASSIGN(const std::string b, reader.Get(kRootVolume, Key(2999)));
          if (a != b) ++torn;
          return {};
        });
        if (!status) ++torn;
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    set(std::to_string(i));
    if (i % 100 == 0) {
      const VolumeId clone = Clone(kRootVolume);
      Update([&](Txn& txn) { return txn.DropVolume(clone); });
      ReclaimAll();
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0);
}

// --- Diff ---

TEST_F(CowStoreTest, DiffReadsOnlyWhatDiffers) {
  Fill(kRootVolume, 50'000);
  const VolumeId clone = Clone(kRootVolume);
  Update([&](Txn& txn) -> Status {
    PX_TRY(txn.Put(clone, Key(40'000), "other"));
    return txn.Erase(clone, Key(3));
  });
  Open();
  const uint64_t loads = pages_.loads();
  std::vector<std::string> keys;
  ASSERT_TRUE(
      store_->Diff(kRootVolume, clone, {}, [&](std::string_view key, auto before, auto after) {
        keys.emplace_back(key);
        EXPECT_TRUE(before);
        EXPECT_EQ(after.has_value(), key == Key(40'000));
        return true;
      }));
  EXPECT_EQ(keys, (std::vector<std::string>{Key(3), Key(40'000)}));
  EXPECT_LE(pages_.loads() - loads, 12U);
}

TEST_F(CowStoreTest, ALongDiffGoesOnOverManyHoldsOfTheLock) {
  VolumeId volume;
  Update([&](Txn& txn) -> Status {
    PX_ASSIGN(volume, txn.CreateVolume("v"));
    return {};
  });
  Fill(volume, 30'000);
  uint64_t seen = 0;
  ASSERT_TRUE(store_->Diff(kRootVolume, volume, {}, [&](std::string_view key, auto, auto) {
    EXPECT_EQ(key, Key(seen++));
    return true;
  }));
  EXPECT_EQ(seen, 30'000U);
}

// --- Size ---

TEST_F(CowStoreTest, ADirectoryOfAMillionEntries) {
  constexpr uint64_t kEntries = 1'000'000;
  for (uint64_t base = 0; base < kEntries; base += 1000) {
    Update([&](Txn& txn) -> Status {
      for (uint64_t i = base; i < base + 1000; ++i) {
        DentryItem dentry;
        dentry.ino = i;
        PX_TRY(txn.Put(kRootVolume, DentryKey(kRootIno, "file-" + std::to_string(i)),
                       AsBytes(dentry)));
      }
      return {};
    });
  }
  for (uint64_t i = 0; i < kEntries; i += 997) {
    const auto got = Get(kRootVolume, DentryKey(kRootIno, "file-" + std::to_string(i)));
    ASSERT_TRUE(got);
    EXPECT_EQ(FromBytes<DentryItem>(*got)->ino, i);
  }
  uint64_t seen = 0;
  ASSERT_TRUE(store_->View([&](Reader& reader) {
    return reader.Scan(kRootVolume, DentryKeyFrom(kRootIno, 0),
                       ItemKeyEnd(kRootIno, ItemType::kDentry),
                       [&](std::string_view, std::string_view) { return ++seen > 0; });
  }));
  EXPECT_EQ(seen, kEntries);
  EXPECT_EQ(Check(), "");
}

}  // namespace
}  // namespace px::cow
