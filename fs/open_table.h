// OpenInode and OpenTable: what the daemon knows about the inodes that are open, and about nothing
// else.
//
// The state machine of DESIGN §5: the kernel fixes an inode's I/O mode from its first open to its
// last release, so the mode is chosen at the first open and every later open follows it.
//
//   Closed --open--> passthrough (the kernel reads and writes the object file itself, through one
//   backing id)
//          --open--> cached      (every byte passes the daemon; the kernel caches pages)
//
// After the last release an inode may be *parked*: descriptor, backing id and mode are kept for the
// next open, which then asks neither the tree nor the store's directory. A parked inode is not open
// for anybody. What changes its content or removes it while it is parked must say so (Doom); a
// clone need not: what an inode reads may become shared at any time.
//
// An inode that may be written *owns* its object: one reference, through unshared nodes. While it
// does, the object file has the true size, blocks and mtime (`live`); the tree learns them at
// fsync, at the last writer's release and from a timer. What an inode open only for reading reads
// may be shared, and become private or shared meanwhile.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cow/ids.h"
#include "fs/node.h"
#include "fs/sparse_file.h"

namespace px::fs {

// An inode that is open or parked, as the live table has it (live_table.h): what a daemon that
// takes over cannot find out otherwise. The object is the tree's.
struct LiveInode {
  static constexpr uint32_t kLive = 1, kTemporary = 2, kReplacing = 4, kCompleted = 8,
                            kUnclean = 16, kWasWritable = 32;
  uint64_t node = 0;
  int32_t backing_id = 0;
  uint32_t flags = 0;
  int64_t base_mtime_ns = 0;
  uint64_t file = 0;    // st_ino of what backing_id stands for, in the store's filesystem
  uint64_t object = 0;  // which the inode has now
  uint64_t next = 0;    // which it gets in the transaction that runs, if it gets one
  bool operator==(const LiveInode&) const = default;
};
static_assert(sizeof(LiveInode) == 48);

struct OpenInode {
  explicit OpenInode(NodeKey key) : node(key) {}

  const NodeKey node;

  // Taken before the store's lock and before `io`. Held over a whole open, release or write-back of
  // this inode.
  Mutex mutex;
  uint32_t opens PX_GUARDED_BY(mutex) = 0;
  uint32_t writers PX_GUARDED_BY(mutex) = 0;
  bool gone PX_GUARDED_BY(mutex) = false;       // no longer in the table: look again
  int backing_id PX_GUARDED_BY(mutex) = 0;      // not 0: passthrough
  bool temporary PX_GUARDED_BY(mutex) = false;  // `fd` is a nameless copy of the shared object
  std::optional<uint32_t> slot PX_GUARDED_BY(mutex);
  bool parked PX_GUARDED_BY(mutex) = false;        // as its last release left it
  bool was_writable PX_GUARDED_BY(mutex) = false;  // since the kernel last dropped its pages
  // Somebody had it open for reading and writing, without which there is no mapping that writes,
  // since it was last asked whether it is mapped.
  bool was_mappable PX_GUARDED_BY(mutex) = false;
  bool completed PX_GUARDED_BY(mutex) = false;  // what replaces was closed by a living process
  bool replacing PX_GUARDED_BY(mutex) =
      false;  // an older version waits for this content to be complete
  // What its object was when it was flushed last. While it still is, there is nothing to flush.
  struct Flushed {
    cow::ObjectId object;
    int64_t size = 0, ctime_ns = 0;
    bool operator==(const Flushed&) const = default;
  };
  Flushed flushed PX_GUARDED_BY(mutex);
  // The file's ctime when `live` began, and when the tree was last told what the object is. It
  // moves with every change, also of one who then sets the mtime back, but before a long write has
  // done its work.
  int64_t begun_ctime_ns PX_GUARDED_BY(mutex) = 0;
  int64_t told_ctime_ns PX_GUARDED_BY(mutex) = 0;

  uint64_t file PX_GUARDED_BY(mutex) = 0;             // LiveInode::file
  uint64_t next PX_GUARDED_BY(mutex) = 0;             // LiveInode::next
  std::optional<uint32_t> cell PX_GUARDED_BY(mutex);  // of the live table, which has `noted`
  LiveInode noted PX_GUARDED_BY(mutex);

  // Innermost lock: shared to use the descriptor, exclusive to change what is below.
  mutable SharedMutex io;
  UniqueFd fd PX_GUARDED_BY(io);  // none: no data, reads as nothing
  cow::ObjectId object PX_GUARDED_BY(io);
  std::unique_ptr<SparseFile> sparse
      PX_GUARDED_BY(io);                // over `fd` as its own object; always cached
  bool live PX_GUARDED_BY(io) = false;  // owns its object; the file has the true size and times
  int64_t base_mtime_ns PX_GUARDED_BY(io) = 0;  // the file's mtime when `live` began

  // While it is live: the size that the kernel was told last; -1: nobody knows. Where the file has
  // another, the kernel knows, since nobody but itself could have made it so.
  mutable std::atomic<int64_t> told_size = -1;
  uint64_t truncated = 0;  // what its last truncation left to reclaim; with `mutex`
  // It was given blocks behind its end on purpose (FALLOC_FL_KEEP_SIZE).
  std::atomic<bool> beyond_end = false;
  // A process that was being killed closed it: its content may end anywhere.
  std::atomic<bool> unclean = false;
  std::atomic<bool> passthrough = false;  // backing_id is not 0, for those without the mutex
  // Unlinked while open: the last release removes the inode.
  std::atomic<bool> orphan = false;
};

// Thread safe; its mutex is innermost (nothing is called with it held).
class OpenTable {
 public:
  // How many inodes may be parked.
  void set_capacity(size_t capacity) PX_EXCLUDES(mutex_);
  std::shared_ptr<OpenInode> Find(NodeKey node) const PX_EXCLUDES(mutex_);
  std::shared_ptr<OpenInode> FindOrAdd(NodeKey node) PX_EXCLUDES(mutex_);
  void Erase(NodeKey node) PX_EXCLUDES(mutex_);
  // Takes it out of the table and keeps it, unless somebody else has hold of it. The caller holds
  // its mutex and has set `parked`. What was parked longest is doomed in exchange.
  bool Park(const std::shared_ptr<OpenInode>& open) PX_EXCLUDES(mutex_);
  // No longer parked: its content or name is going. The second form is for a whole volume.
  void Doom(NodeKey node) PX_EXCLUDES(mutex_);
  void Doom(cow::VolumeId volume) PX_EXCLUDES(mutex_);
  // Of what was doomed and not taken yet, that first: at most `limit`, for the caller alone to
  // close.
  std::vector<std::shared_ptr<OpenInode>> TakeDoomed(size_t limit = SIZE_MAX) PX_EXCLUDES(mutex_);
  // How many wait to be taken, and how many may be parked.
  std::pair<size_t, size_t> DoomedAndCapacity() const PX_EXCLUDES(mutex_);
  // Runs `body` on the parked inode, if it is; nobody opens it meanwhile. `body` may call nothing
  // of the table.
  bool WithParked(NodeKey node, const std::function<void(OpenInode&)>& body) const
      PX_EXCLUDES(mutex_);
  // Marks it as an orphan if it is in the table, and says so.
  bool MarkOrphan(NodeKey node) PX_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<OpenInode>> All() const PX_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<OpenInode>> AllAndParked() const PX_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<OpenInode>> OfVolume(cow::VolumeId volume) const PX_EXCLUDES(mutex_);
  // False if some inode of the volume is still open after that long.
  bool WaitUntilClosed(cow::VolumeId volume, std::chrono::milliseconds timeout) const
      PX_EXCLUDES(mutex_);
  bool WaitUntilClosed(NodeKey node, std::chrono::milliseconds timeout) const PX_EXCLUDES(mutex_);

 private:
  bool AnyOf(cow::VolumeId volume) const PX_REQUIRES(mutex_);
  bool WaitWhile(const std::function<bool()>& any, std::chrono::milliseconds timeout) const
      PX_REQUIRES(mutex_);
  // The inode, parked no longer; none if it was not.
  std::shared_ptr<OpenInode> Unpark(uint64_t node) PX_REQUIRES(mutex_);

  mutable Mutex mutex_;
  mutable CondVar closed_;
  mutable int waiters_ PX_GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, std::shared_ptr<OpenInode>> inodes_ PX_GUARDED_BY(mutex_);

  using Parked = std::list<std::shared_ptr<OpenInode>>;
  size_t capacity_ PX_GUARDED_BY(mutex_) = 0;
  Parked parked_ PX_GUARDED_BY(mutex_);  // the one that was parked last in front
  std::unordered_map<uint64_t, Parked::iterator> parked_by_node_ PX_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<OpenInode>> doomed_ PX_GUARDED_BY(mutex_);
};

}  // namespace px::fs
