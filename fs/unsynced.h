// Unsynced: which objects, and which of their directories, the tree may name while the disk may not
// have them yet. A sync point of the page table has them flushed first (see catalog/page_table.h).
//
// An object is added before the transaction commits that says something of its content: its size,
// its own blocks, or, for a copy, all of it.
//
// Thread safe. A sync point may still run when the ObjectStore is gone: it is shared.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/ids.h"

namespace px::fs {

// Objects lie in objects/00 to objects/ff.
inline constexpr size_t kObjectDirs = 256;
std::string ObjectDirName(size_t number);
// objects/xx/ID without the first part.
std::string ObjectName(cow::ObjectId id);

class Unsynced {
 public:
  // `dir` is STORE/objects.
  explicit Unsynced(UniqueFd dir) : dir_(std::move(dir)) {}

  void Add(cow::ObjectId id) PX_EXCLUDES(mutex_);
  // The object's name is new, or gone.
  void AddName(cow::ObjectId id) PX_EXCLUDES(mutex_);
  // False: what the tree says of the object's content is durable.
  bool Has(cow::ObjectId id) const PX_EXCLUDES(mutex_);
  // What an earlier daemon left is not known.
  void AddEverything() PX_EXCLUDES(mutex_);

  // Flushed(id, mark): the object's file was flushed after `mark` was taken.
  uint64_t Mark() const PX_EXCLUDES(mutex_);
  void Flushed(cow::ObjectId id, uint64_t mark) PX_EXCLUDES(mutex_);
  // Makes new names durable now. EIO…
  Status SyncNames() PX_EXCLUDES(mutex_);
  // That the names of those objects are gone is durable then. EIO…
  Status SyncRemoved(const std::vector<cow::ObjectId>& ids) PX_EXCLUDES(mutex_);

  // Takes what is there; the function, which must be called, makes it durable, and waits until what
  // was taken before is durable too, since several sync points may be made at a time. None: there
  // is nothing to do. EIO of a flush: the kernel may have forgotten what it could not write, so
  // every later call fails too. After anything else (ENOSPC and EDQUOT of a flush, a file that
  // could not be opened to be flushed) a later call tries again.
  std::function<Status()> Prepare() PX_EXCLUDES(mutex_);

 private:
  struct Work {
    std::unordered_map<uint64_t, uint64_t> objects;
    std::array<bool, kObjectDirs> dirs{};
    bool names = false;
    bool everything = false;
  };
  Status Run(uint64_t number, uint64_t oldest, const Work& work) PX_EXCLUDES(mutex_);
  // *lost: the kernel may have forgotten something.
  Status FlushObjects(const Work& work, bool* lost) const;
  Status FlushDirs(const Work& work, bool* lost) const;
  Status FlushDirsNow(const Work& work) PX_EXCLUDES(mutex_);

  const UniqueFd dir_;
  mutable Mutex mutex_;
  uint64_t mark_ PX_GUARDED_BY(mutex_) = 0;
  Work work_ PX_GUARDED_BY(mutex_);
  uint64_t taken_ PX_GUARDED_BY(mutex_) = 0;  // pieces of work are numbered
  std::set<uint64_t> running_ PX_GUARDED_BY(mutex_);
  CondVar finished_;
  std::optional<Error> broken_ PX_GUARDED_BY(mutex_);
  std::map<uint64_t, Error> failed_ PX_GUARDED_BY(mutex_);  // that others may be waiting for
};

}  // namespace px::fs
