// Random operations on the engine against std::map and whole-copy clones. A failure prints its
// seed: run again with PX_SEED=that. PX_MODEL_OPS sets the number of operations of each test.
#include <gtest/gtest.h>

#include <filesystem>

#include "catalog/page_table.h"
#include "cow/journaled_page_table.h"
#include "tests/model/cow_model.h"
#include "tests/testing/memory_page_table.h"

namespace px::testing {
namespace {

void RunInMemory(uint64_t ops, CowModelOptions options, uint64_t seed) {
  MemoryPageTable pages;
  options.reopen = [&] { return &pages; };
  options.fail_next_commit = [&] { pages.FailCommits(1, ENOSPC); };
  CowModel model(std::move(options), seed);
  model.Run(ops);
  model.DropAll();
}

TEST(CowModelTest, SmallTreesInMemory) {
  RunInMemory(ModelOps(300'000), {.max_volumes = 6, .max_items = 40}, ModelSeed());
}

TEST(CowModelTest, ManyVolumesInMemory) {
  RunInMemory(ModelOps(350'000), {.max_volumes = 30, .max_items = 150}, ModelSeed());
}

TEST(CowModelTest, DeepTreesInMemory) {
  RunInMemory(ModelOps(300'000), {.max_volumes = 8, .max_items = 1500}, ModelSeed());
}

TEST(CowModelTest, CacheOfAFewNodes) {
  RunInMemory(ModelOps(50'000), {.max_volumes = 10, .max_items = 800, .cache_bytes = 1},
              ModelSeed());
}

TEST(CowModelTest, OverTheJournalAndSqlite) {
  std::string dir = ::testing::TempDir() + "px-cow-model-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  {
    std::unique_ptr<cow::JournaledPageTable> pages;
    catalog::SqlitePageTable* sqlite = nullptr;
    CowModelOptions options;
    options.reopen = [&]() -> cow::PageTable* {
      pages.reset();
      auto opened = catalog::SqlitePageTable::Open(dir, /*create=*/true);
      if (!opened) throw std::runtime_error(opened.error().ToString());
      sqlite = opened->get();
      auto journaled = cow::JournaledPageTable::Open(std::move(*opened), dir, "boot");
      if (!journaled) throw std::runtime_error(journaled.error().ToString());
      pages = std::move(*journaled);
      return pages.get();
    };
    CowModel model(std::move(options), ModelSeed());
    const uint64_t ops = ModelOps(60'000);
    while (model.ops() < ops) {
      model.Run(5'000);
      ASSERT_TRUE(sqlite->Checkpoint());
    }
    model.DropAll();
  }
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace px::testing
