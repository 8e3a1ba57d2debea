// Kills a process that updates a store over the journal and SQLite, at random moments: whatever it
// had acknowledged must be there.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/unique_fd.h"
#include "catalog/page_table.h"
#include "cow/journaled_page_table.h"
#include "cow/store.h"
#include "tests/model/cow_model.h"

namespace px::testing {
namespace {

using namespace cow;  // NOLINT: the test is about nothing else

constexpr uint64_t kKeys = 400;

std::string Key(uint64_t i) { return ItemKey(Ino{i % kKeys}, ItemType::kInode); }

// Update number n puts n under one key and a twin in the second volume, or clones and drops.
Status OneUpdate(Store* store, uint64_t n) {
  PX_TRY(store->Update([&](Txn& txn) -> Status {
    PX_ASSIGN(const ObjectId object, txn.NewObject());
    InodeItem item;
    item.size = n;
    item.object = object.value;
    PX_TRY(txn.Put(kRootVolume, Key(n), AsBytes(item)));
    PX_TRY(txn.Put(VolumeId{1}, Key(n), AsBytes(item)));
    if (n % 7 != 0) return {};
    PX_ASSIGN(const VolumeId clone, txn.CloneVolume(kRootVolume, std::to_string(n)));
    return n < 14 ? Status() : txn.DropVolume(VolumeId{clone.value - 1});
  }));
  if (n % 5 == 0) PX_TRY(store->ReclaimStep(4));
  if (n % 50 != 0) return {};
  PX_ASSIGN(const std::vector<ObjectId> freed, store->DurablyFreed(100));
  return store->ForgetFreed(freed);
}

[[noreturn]] void Child(const std::string& dir, uint64_t first, int acknowledge) {
  const auto run = [&]() -> Status {
    PX_ASSIGN(auto below, catalog::SqlitePageTable::Open(dir, true));
    auto* const sqlite = below.get();
    PX_ASSIGN(const auto pages, JournaledPageTable::Open(std::move(below), dir, "boot"));
    PX_ASSIGN(const auto store, Store::Open(pages.get(), {}));
    for (uint64_t n = first;; ++n) {
      if (n == 1) {
        PX_TRY(store->Update([](Txn& txn) -> Status {
          PX_TRY(txn.CreateVolume("twin"));
          return {};
        }));
      }
      PX_TRY(OneUpdate(store.get(), n));
      if (::write(acknowledge, &n, sizeof n) != sizeof n) return Fail(EPIPE);
      if (n % 40 == 0) PX_TRY(pages->HandOver());
      if (n % 100 == 0) PX_TRY(sqlite->Checkpoint());
    }
  };
  ::_exit(run() ? 0 : 1);
}

// The last number that the child acknowledged before it was killed.
uint64_t RunAndKill(const std::string& dir, uint64_t first, uint64_t kill_after, int delay_us) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  UniqueFd reading(ends[0]), writing(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) Child(dir, first, writing.get());
  writing.Reset();
  uint64_t last = first - 1, n = 0;
  while (::read(reading.get(), &n, sizeof n) == sizeof n) {
    last = n;
    if (n != first + kill_after) continue;
    ::usleep(static_cast<useconds_t>(delay_us));  // so that it dies anywhere within an update
    ::kill(child, SIGKILL);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
  return last;
}

void Verify(const std::string& dir, uint64_t last) {
  auto below = catalog::SqlitePageTable::Open(dir, true);
  ASSERT_TRUE(below);
  const auto pages = JournaledPageTable::Open(std::move(*below), dir, "boot");
  ASSERT_TRUE(pages) << pages.error().ToString();
  const auto store = Store::Open(pages->get(), {});
  ASSERT_TRUE(store);
  std::string text;
  const auto findings =
      (*store)->Check(false, [&](const std::string& line) { text += line + "\n"; }, {});
  ASSERT_TRUE(findings);
  EXPECT_EQ(*findings, 0U) << text;
  const Status status = (*store)->View([&](Reader& reader) -> Status {
    for (uint64_t n = last > kKeys ? last - kKeys + 1 : 1; n <= last; ++n) {
      PX_ASSIGN(const std::string value, reader.Get(kRootVolume, Key(n)));
      PX_ASSIGN(const std::string twin, reader.Get(VolumeId{1}, Key(n)));
      EXPECT_EQ(value, twin);
      // One update more than was acknowledged may have been committed.
      const uint64_t size = FromBytes<InodeItem>(value)->size;
      EXPECT_TRUE(size == n || (size == last + 1 && size % kKeys == n % kKeys)) << size << " " << n;
    }
    return {};
  });
  EXPECT_TRUE(status) << status.error().ToString();
}

TEST(CowKillTest, WhatWasAcknowledgedIsThereAfterAKill) {
  std::mt19937_64 rng(ModelSeed());
  std::string dir = ::testing::TempDir() + "px-cow-kill-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  uint64_t last = 0;
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    last = RunAndKill(dir, last + 1, rng() % 150, static_cast<int>(rng() % 300));
    Verify(dir, last);
  }
  EXPECT_GT(last, 100U);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace px::testing
