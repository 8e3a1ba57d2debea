// OpenSlots: which inodes are open for writing, in a file of the store (STORE/open.slots).
//
// The kernel writes such files without the daemon (passthrough), so the tree's size and times of
// them are behind. A slot is set before the open is answered and cleared once the tree has the
// final values, so that after a crash the daemon knows whose true size it has to read back. The
// file survives a kill of the process; after a power cut its slots are hints only (every use is
// checked against the tree).
//
// Thread safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/ids.h"
#include "fs/node.h"

namespace px::fs {

class OpenSlots {
 public:
  // Opens or makes the file. What it held before the call is in `left_over`.
  struct Entry {
    NodeKey node;
    cow::ObjectId object;
    int64_t base_mtime_ns;  // the object file's mtime when it was opened
  };
  static Result<std::unique_ptr<OpenSlots>> Open(const std::string& path,
                                                 std::vector<Entry>* left_over);

  // Grows the file where it is full. ENOSPC, EDQUOT, EIO, EROFS. The slot is visible to a later
  // Open when this returned.
  Result<uint32_t> Set(const Entry& entry) PX_EXCLUDES(mutex_);
  void Clear(uint32_t slot) PX_EXCLUDES(mutex_);
  // Clears what an earlier process left, once it is in the tree, or has slots of its own.
  void ForgetLeftOver() PX_EXCLUDES(mutex_);

 private:
  // Bytes: 0 node (8), 8 object (8), 16 base_mtime_ns (8), 24 check (8).
  struct Slot {
    uint64_t node;
    uint64_t object;
    int64_t base_mtime_ns;
    uint64_t check;  // 0: free
  };
  static_assert(sizeof(Slot) == 32);
  static constexpr size_t kChunkSlots = 4096;
  static constexpr size_t kChunkBytes = kChunkSlots * sizeof(Slot);

  explicit OpenSlots(UniqueFd fd) : fd_(std::move(fd)) {}
  Status AddChunk() PX_REQUIRES(mutex_);
  Status ReadChunk(size_t chunk, std::vector<Entry>* left_over) PX_REQUIRES(mutex_);
  // Written, not stored through a mapping: where the filesystem is full, over quota, read-only or
  // broken, a store is a SIGBUS, and a write an errno.
  Status Write(uint32_t index, const Slot& slot) const;
  void Erase(uint32_t index) const;
  static uint64_t CheckOf(const Slot& slot);

  const UniqueFd fd_;
  Mutex mutex_;
  size_t chunks_ PX_GUARDED_BY(mutex_) = 0;
  std::vector<uint32_t> used_ PX_GUARDED_BY(mutex_);  // by an earlier process: not free yet
  std::vector<uint32_t> free_ PX_GUARDED_BY(mutex_);
};

}  // namespace px::fs
