// StoreImpl: the state behind Store, and everything that reads trees.
//
// Locks, in order: the reclaim mutex, the sync mutex, `lock_`, `volumes_mutex_`, a cache shard's.
// Nodes, volume states and counters change only under `lock_` held alone; loads into the cache and
// into `volumes_` happen under it shared. The write side is WriteTxn (txn.h); the store owns one
// and uses it for every transaction in turn.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cow/cache.h"
#include "cow/fair_lock.h"
#include "cow/node.h"
#include "cow/store.h"

namespace px::cow {

class WriteTxn;

struct VolumeState {
  NodeId root;
  uint64_t next_ino = 0;  // the next one to give out
  uint64_t ino_limit =
      0;  // as in the volume's row: those below may be given out without writing it
  std::string attributes;
  bool dropped = false;  // by the transaction that is running
  uint32_t dirty = 0;    // 1 + index among the volumes the transaction touched
};

struct IdCounters {
  uint64_t next_node = 1;
  uint64_t next_object = 1;
  uint64_t next_volume = 1;
  uint64_t next_seq = 1;  // of the reclaim queue
};

// What the parent says of a node. An empty `high` is no bound.
struct Expected {
  int level = -1;  // any, for a root
  std::string_view low, high;
};
// What node `parent`, of which `of_parent` is expected, says of its child i.
Expected ExpectChild(NodeView parent, size_t i, const Expected& of_parent);
// EUCLEAN if the node is not as its parent says.
Status CheckExpected(NodeView node, const Expected& expected);
// Reads a node past the cache. Empty if it is sound and as its parent says; else what is wrong, in
// words that name it. ENOMEM.
Result<std::string> FaultOf(PageTable& pages, NodeId id, const Expected& expected,
                            std::span<std::byte> bytes);

Status CheckKey(std::string_view key);

class StoreImpl {
 public:
  StoreImpl(PageTable* pages, StoreOptions options);
  ~StoreImpl();
  StoreImpl(const StoreImpl&) = delete;
  StoreImpl& operator=(const StoreImpl&) = delete;

  Status Open();
  Status View(const std::function<Status(Reader&)>& body);
  Status Update(const std::function<Status(Txn&)>& body);
  // As Update, for the engine's own transactions.
  Status Write(const std::function<Status(WriteTxn&)>& body);
  Status Sync();
  Status SyncReleases();
  Status Diff(VolumeId before, VolumeId after, std::string_view from, const DiffVisitor& visit);
  Result<size_t> ReclaimStep(size_t max_nodes) PX_EXCLUDES(reclaim_mutex_);
  Status WouldFree(const std::vector<VolumeId>& volumes,
                   const std::function<void(ObjectId)>& visit);
  Result<std::vector<ObjectId>> DurablyFreed(size_t limit, size_t sync_for)
      PX_EXCLUDES(reclaim_mutex_);
  Status ForgetFreed(const std::vector<ObjectId>& objects) PX_EXCLUDES(reclaim_mutex_);
  Result<std::vector<Mark>> Marks();
  Status ForgetMarks();
  Result<ObjectId> PeekNextObject();
  StoreCounters Counters() const;
  Result<uint64_t> Check(bool repair, const std::function<void(const std::string&)>& report,
                         const CheckVisitor& visit, bool* all_read);
  Result<uint64_t> Regrow(const std::function<void(const std::string&)>& report,
                          const CheckVisitor& visit);
  Result<bool> VerifyStep(VolumeId volume, std::string* from, size_t max_nodes, VerifyState* state,
                          const VerifyVisitor& visit);
  Result<bool> VerifyCounts(VerifyState* state,
                            const std::function<void(const std::string&)>& finding);

  // The rest needs `lock_`, shared at least.

  // The node from the cache or the page table, checked.
  Result<NodePtr> GetNode(NodeId id, const Expected& expected);
  // The same without filling the cache, for walks that pass each node once.
  Result<NodePtr> PeekNode(NodeId id);
  // Never null; it stays where it is until the volume is dropped. ENOENT for one dropped by the
  // transaction.
  Result<VolumeState*> FindVolume(VolumeId id);
  Result<std::string> Get(VolumeId volume, std::string_view key);
  Status Scan(VolumeId volume, std::string_view from, std::string_view to, const Visitor& visit);
  Result<Volume> GetVolume(VolumeId volume);
  Status ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit);
  // `refs_of` gives the count of a node as the caller sees it.
  Result<bool> IsPrivate(VolumeId volume, std::string_view key,
                         const std::function<uint64_t(const CachedNode&)>& refs_of);

 private:
  friend class WriteTxn;
  friend class DiffWalk;

  Result<NodePtr> LoadNode(NodeId id);
  Status LoadCounters();
  Status CreateRootVolume();

  // What a transaction that gives back that node will ask for, without holding anybody off: the
  // node, if it will be needed, and for a leaf the counts of its objects, which the page table then
  // has at hand.
  NodePtr ReadAhead(NodeId id);
  Status ReadFreed(uint64_t below, size_t limit) PX_REQUIRES(reclaim_mutex_);
  void ForgetReadAhead() PX_REQUIRES(reclaim_mutex_);

  PageTable* const pages_;
  FairSharedMutex lock_;

  NodeCache cache_;
  Mutex volumes_mutex_;  // of the map itself; the states in it are under `lock_`
  std::unordered_map<uint32_t, VolumeState> volumes_;
  IdCounters ids_;  // as the running transaction left them
  std::unique_ptr<WriteTxn> txn_;

  // Reclaim rows below it were committed; those below durable_seq_ survive power loss as well.
  std::atomic<uint64_t> committed_seq_{0};
  std::atomic<uint64_t> durable_seq_{0};
  // Numbers of commits (counters_.commits): the last one that released an object or a node which
  // others still refer to, and the last durable one.
  std::atomic<uint64_t> last_release_{1};  // what an earlier daemon released counts
  std::atomic<uint64_t> durable_commits_{0};
  // Rows of the reclaim queue, read ahead: only ReclaimStep and ForgetFreed take rows off it, so
  // they stay true. The next one last.
  Mutex reclaim_mutex_;
  std::vector<ReclaimRow> waiting_nodes_ PX_GUARDED_BY(reclaim_mutex_);
  std::vector<ReclaimRow> freed_ PX_GUARDED_BY(reclaim_mutex_);
  uint64_t freed_from_ PX_GUARDED_BY(reclaim_mutex_) = UINT64_MAX;  // read down to that seq

  Mutex sync_mutex_;
  CondVar sync_done_;
  uint64_t syncs_started_ PX_GUARDED_BY(sync_mutex_) = 0;
  uint64_t syncs_done_ PX_GUARDED_BY(sync_mutex_) = 0;
  bool sync_running_ PX_GUARDED_BY(sync_mutex_) = false;

  struct {
    std::atomic<uint64_t> commits{0}, node_reads{0}, node_writes{0}, shadows{0}, reclaimed_nodes{0};
  } counters_;
};

}  // namespace px::cow
