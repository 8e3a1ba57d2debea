// CowModel: random operations on a cow::Store and on its model side by side.
//
// The model of a volume is a std::map, of a clone a whole copy of it. A difference throws
// std::runtime_error, which fails the test that runs it. What happens is a function of the seed
// alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cow/store.h"

namespace px::testing {

// From PX_SEED if it is set, else a new one; printed either way.
uint64_t ModelSeed();
// `otherwise`, or PX_MODEL_OPS if it is set.
uint64_t ModelOps(uint64_t otherwise);

struct CowModelOptions {
  size_t max_volumes = 12;
  size_t max_items = 400;  // of a volume; at that size, more is erased than put
  size_t cache_bytes = size_t{1} << 20;
  // Opens the page table anew where the store is opened anew; may return the same one again.
  std::function<cow::PageTable*()> reopen;
  // Makes the next commit fail with ENOSPC; empty: cannot be done.
  std::function<void()> fail_next_commit;
};

class CowModel {
 public:
  CowModel(CowModelOptions options, uint64_t seed);
  ~CowModel();

  // Runs at least `ops` operations and compares everything at the end.
  void Run(uint64_t ops);
  // Drops all volumes, empties the root volume, reclaims all; then only the root volume's node may
  // be left.
  void DropAll();
  cow::Store& store() { return *store_; }
  uint64_t ops() const { return ops_; }

 private:
  using Items = std::map<std::string, std::string>;
  struct VolumeModel {
    Items items;
    std::string attributes;
    uint64_t next_ino = cow::kFirstIno.value;  // at least
  };
  using Undo = std::vector<std::function<void()>>;

  uint64_t Random(uint64_t below) { return rng_() % below; }
  bool Chance(uint64_t percent) { return Random(100) < percent; }
  VolumeModel& Pick(cow::VolumeId* id);
  std::string RandomKey();
  std::string RandomValue(std::string_view key, cow::Txn* txn, Undo* undo);

  void Transaction();
  void Step(cow::Txn& txn, Undo* undo);
  void StepPut(cow::Txn& txn, Undo* undo);
  void StepErase(cow::Txn& txn, Undo* undo);
  void StepGet(cow::Reader& reader);
  void StepVolumes(cow::Txn& txn, Undo* undo);
  void StepIds(cow::Txn& txn, Undo* undo);

  void Between();
  void Reopen();
  void CompareVolumes();
  void CompareDiff();
  void Freed();
  void CheckStore();
  std::set<uint64_t> NamedObjects() const;

  CowModelOptions options_;
  std::mt19937_64 rng_;
  cow::PageTable* pages_ = nullptr;
  std::unique_ptr<cow::Store> store_;
  std::map<uint32_t, VolumeModel> volumes_;
  std::set<uint64_t>
      objects_;  // every one that a committed transaction made and that was not freed
  uint64_t next_object_ = 1;
  uint64_t ops_ = 0;
};

}  // namespace px::testing
