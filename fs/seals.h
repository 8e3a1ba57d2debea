// Seals: what the daemon knows of the objects whose bytes are known (catalog/seal_table.h), and
// which were found damaged.
//
// A seal is binding: whoever is about to change an object in place says so first (Writing), which
// takes the seal back before the first byte can change. So an object that has one and other bytes
// than it says was not changed by anybody who may. Who reads an object to seal or to verify it
// watches it meanwhile; what came of that counts only if nobody said Writing since.
//
// Without a database (it could not be made, the store is of a read-only filesystem, or a seal could
// not be taken back and so all had to go) nothing is sealed and nothing found; no filesystem
// operation ever fails for it.
//
// Thread safe. Its mutex is one of the leaves, above SealTable's.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "catalog/seal_table.h"
#include "cow/ids.h"

namespace px::fs {

using catalog::Seal;

// The object's file as it is now, with that digest.
Seal MakeSeal(const struct stat& file, const std::array<std::byte, 16>& digest, int64_t now_ns);

enum class Comparison {
  kSame,
  kDamaged,   // other bytes, though nothing else of the file is different
  kChanged,   // other bytes, and times or size that px did not give it: damaged, or changed in the
              // store's directory by somebody
  kDoubtful,  // other bytes, but the machine went down since they were last looked at
  kReplaced,  // the seal is from before that, and says nothing of what is there now
};
Comparison Compare(const Seal& seal, const struct stat& file,
                   const std::array<std::byte, 16>& digest);

class Seals {
 public:
  // Somebody who reads an object. Must not outlive the Seals.
  class Watch {
   public:
    Watch(Seals* seals, cow::ObjectId object);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    cow::ObjectId object() const { return object_; }
    // Nobody said Writing since it began.
    bool clean() const { return clean_; }

   private:
    friend class Seals;
    Seals* const seals_;
    const cow::ObjectId object_;
    std::atomic<bool> clean_ = true;
  };

  // `table` may be null.
  explicit Seals(std::shared_ptr<catalog::SealTable> table);

  // It may change from now on. After the OpenInode says that it is live, before anybody can write.
  void Writing(cow::ObjectId object) PX_EXCLUDES(mutex_);
  void Removed(std::span<const cow::ObjectId> objects) PX_EXCLUDES(mutex_);

  // Opens of it are refused. Costs nothing while nothing is damaged.
  bool IsDamaged(cow::ObjectId object) const PX_EXCLUDES(mutex_);
  bool AnyDamaged() const { return any_damaged_.load(std::memory_order_acquire); }

  bool enabled() const { return enabled_.load(std::memory_order_acquire); }
  // None too where the database cannot be read.
  std::optional<Seal> Find(cow::ObjectId object) PX_EXCLUDES(mutex_);
  // Those whose watch is still clean; the others are left out. One transaction.
  struct Put {
    const Watch* watch;
    Seal seal;
  };
  Status PutAll(std::span<const Put> puts) PX_EXCLUDES(mutex_);

  // For maintenance.
  catalog::SealTable* table() { return table_.get(); }

 private:
  void SetDamaged(cow::ObjectId object, bool damaged) PX_REQUIRES(mutex_);
  // Erases rows; where that fails, all of them: those that stay would accuse sound files.
  void Erase(std::span<const catalog::SealTable::Change> changes) PX_REQUIRES(mutex_);

  const std::shared_ptr<catalog::SealTable> table_;
  std::atomic<bool> enabled_;
  mutable Mutex mutex_;
  std::vector<Watch*> watches_ PX_GUARDED_BY(mutex_);
  uint64_t end_ PX_GUARDED_BY(mutex_) = 0;  // no object from here on has a seal
  std::unordered_set<uint64_t> damaged_ PX_GUARDED_BY(mutex_);
  std::atomic<bool> any_damaged_ = false;
};

}  // namespace px::fs
