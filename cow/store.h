// Store: volumes as persistent copy-on-write B+trees that share nodes, with exact reference counts.
//
// After Ohad Rodeh, "B-trees, Shadowing, and Clones" (ACM Transactions on Storage 3(4), 2008). A
// volume is a root node. A clone is one more reference to it. A writer shadows each shared node on
// its path: copies it, gives back one reference to the old one and takes one on each child (for a
// leaf: on each object that its items name). An unshared node is changed in place. Counts of 1 have
// no row.
//
// Threads: any thread may call anything. View bodies run beside each other; an Update body runs
// alone. A body must not call back into View, Update or anything else of Store but the Txn or
// Reader it was given, and must not block on the kernel's FUSE side.
//
// Durability: when Update returned, a kill of the process cannot undo it. Sync makes it survive
// power loss. A failed Update (its body's error, or ENOSPC, EDQUOT, EIO from the page table) leaves
// nothing of itself.
//
// Errors of every call: ENOENT no such volume or key, EIO, ENOMEM; EBADMSG a node with a wrong
// checksum and EUCLEAN a broken structure, with the node named in the context; EINVAL a key or
// value over its limit.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cow/ids.h"
#include "cow/items.h"
#include "cow/page_table.h"
#include "cow/verify.h"

namespace px::cow {

class StoreImpl;

struct Volume {
  VolumeId id;
  std::string attributes;
};

// Keys and values passed to a visitor are valid during that call only. False ends the scan.
using Visitor = std::function<bool(std::string_view key, std::string_view value)>;

// What can be read. Valid during the body it was given to.
class Reader {
 public:
  virtual ~Reader() = default;
  virtual Result<std::string> Get(VolumeId volume, std::string_view key) = 0;
  // Items with from <= key < to in ascending order; an empty `to` is the end.
  virtual Status Scan(VolumeId volume, std::string_view from, std::string_view to,
                      const Visitor& visit) = 0;
  virtual Result<Volume> GetVolume(VolumeId volume) = 0;
  virtual Status ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit) = 0;
  // How many items of all trees name that object. Exact only where the path to the caller's own
  // item is unshared (see Txn::MakePrivate): a shared leaf stands for several volumes and counts
  // once.
  virtual Result<uint64_t> ObjectRefs(ObjectId object) = 0;
  // True if the path from the volume's root to that key has no shared node, so that ObjectRefs is
  // exact.
  virtual Result<bool> IsPrivate(VolumeId volume, std::string_view key) = 0;
};

class Txn : public Reader {
 public:
  // Inserts or replaces. References to objects that the value names and the old one did not are
  // taken, those that the old one named and this one does not are given back.
  virtual Status Put(VolumeId volume, std::string_view key, std::string_view value) = 0;
  // ENOENT if there is no such key.
  virtual Status Erase(VolumeId volume, std::string_view key) = 0;
  // Shadows what is shared on the path to the key (which need not exist).
  virtual Status MakePrivate(VolumeId volume, std::string_view key) = 0;

  // An empty volume; a volume that shares all of `source`. O(1) both.
  virtual Result<VolumeId> CreateVolume(std::string_view attributes) = 0;
  virtual Result<VolumeId> CloneVolume(VolumeId source, std::string_view attributes) = 0;
  virtual Status SetAttributes(VolumeId volume, std::string_view attributes) = 0;
  // The volume is gone for everybody; what it alone held is reclaimed in the background. O(1).
  virtual Status DropVolume(VolumeId volume) = 0;

  virtual Result<Ino> NewIno(VolumeId volume) = 0;
  // The next object id, in sequence: `objects` (the pool) makes files in that order ahead of use.
  // An id that no item names at commit is queued to be freed. An aborted transaction gives its ids
  // back.
  virtual Result<ObjectId> NewObject() = 0;

  // Part of the transaction: the request it was made for, and what came of it, as the last ones of
  // that lane (below kLanes). A lane is whatever does one request after the other. After a kill,
  // Store::Marks says by them what was committed but perhaps not answered.
  virtual void SetMark(uint32_t lane, uint64_t request, uint64_t result) = 0;
};

struct Mark {
  uint64_t request = 0;
  uint64_t result = 0;
};

struct StoreOptions {
  size_t cache_bytes = size_t{64} << 20;
};

struct StoreCounters {
  uint64_t commits = 0, node_reads = 0, node_writes = 0, shadows = 0, reclaimed_nodes = 0,
           cache_bytes = 0;
};

// What a check is told, and asks.
struct CheckVisitor {
  // Every object that is named (once) or waits to be freed (its file may be gone already).
  std::function<void(ObjectId, bool waits)> object_seen = [](ObjectId, bool) {};
  // The volume that an item names; 0: none.
  std::function<uint32_t(std::string_view key, std::string_view value)> volume_of =
      [](std::string_view, std::string_view) { return uint32_t{0}; };
};

// One difference between two volumes. An absent side is nullopt.
using DiffVisitor = std::function<bool(std::string_view key, std::optional<std::string_view> before,
                                       std::optional<std::string_view> after)>;

class Store {
 public:
  // The page table must outlive the store. An empty one gets the root volume 0 with an empty tree.
  static Result<std::unique_ptr<Store>> Open(PageTable* pages, StoreOptions options);
  explicit Store(std::unique_ptr<StoreImpl> impl);  // for Open
  ~Store();

  Status View(const std::function<Status(Reader&)>& body);
  Status Update(const std::function<Status(Txn&)>& body);

  // Every Update that had returned before the call survives power loss. Callers at the same time
  // share one flush.
  Status Sync();

  // Every release that made a shared object somebody's own again survives power loss: to be called
  // before such an object is changed in place. Else a power cut could bring back the other owner,
  // whose content was changed. Costs nothing where there was none since the last Sync.
  Status SyncReleases();

  // Items that differ, in key order from the first key >= `from`; skips whole subtrees that both
  // share. Holds off writers for a bounded number of nodes at a time (so between them the volumes
  // may change).
  Status Diff(VolumeId before, VolumeId after, std::string_view from, const DiffVisitor& visit);

  // Gives back up to `max_nodes` nodes of dropped trees in one transaction; returns how many rows
  // it took off the queue (0: nothing left). Call it in a loop from a background thread; safe to
  // stop at any time.
  Result<size_t> ReclaimStep(size_t max_nodes);

  // Calls `visit` with each object that nothing would name if those volumes were dropped. Changes
  // nothing; holds off writers. Cost: the nodes that only they reach.
  Status WouldFree(const std::vector<VolumeId>& volumes,
                   const std::function<void(ObjectId)>& visit);

  // Objects that nothing names any more and whose release is durable: at most `limit`. The caller
  // removes their files and then says so with ForgetFreed. Where no release is durable it syncs, if
  // there may be `sync_for` that are not.
  Result<std::vector<ObjectId>> DurablyFreed(size_t limit, size_t sync_for = 1);
  Status ForgetFreed(const std::vector<ObjectId>& objects);

  // Every lane's mark, by lane; request 0: none.
  Result<std::vector<Mark>> Marks();
  // Requests get their numbers anew: no mark means anything any more.
  Status ForgetMarks();

  // The id the next NewObject will give, to fill the pool ahead.
  Result<ObjectId> PeekNextObject();

  StoreCounters Counters() const;

  // Recomputes everything from the roots. Each finding is one line of `report`. With `repair`,
  // wrong counts and lost nodes are put right. No other call may run. Returns the number of
  // findings. `all_read`, where given, says whether everything could be read: else more may be
  // named than was seen, and only counts that are too low were put right.
  Result<uint64_t> Check(bool repair, const std::function<void(const std::string&)>& report,
                         const CheckVisitor& visit, bool* all_read = nullptr);

  // After a Check that could not read everything: puts nodes in the place of those that cannot be
  // used, so that all of the trees can be read again (cow/regrow.cc). What stood in a lost leaf is
  // lost; what hung below a lost branch is found again, but for what cannot be told from
  // other lost trees. Counts are wrong until the next Check. Each line
  // of `report` is about one node. Returns how many were put in place or given up; 0: nothing has
  // changed, as where the disk or another table does not say all of what leads to nodes. There may
  // be more once those can be read. No other call may run.
  Result<uint64_t> Regrow(const std::function<void(const std::string&)>& report,
                          const CheckVisitor& visit);

  // Beside other calls (cow/verify.h): reads about `max_nodes` nodes of the volume from the page
  // table, from the first item with key >= `from` on, and then sets `from` to where to go on; true
  // at the end. ENOENT: it was dropped meanwhile. Nothing that is found to be wrong is an error.
  Result<bool> VerifyStep(VolumeId volume, std::string* from, size_t max_nodes, VerifyState* state,
                          const VerifyVisitor& visit);
  // After all volumes: false if counts could not be compared, because the store was in use.
  Result<bool> VerifyCounts(VerifyState* state,
                            const std::function<void(const std::string&)>& finding);

 private:
  std::unique_ptr<StoreImpl> impl_;
};

}  // namespace px::cow
