// WriteTxn: one transaction. Nodes are changed in the cache, in place; Finish writes each changed
// node once, with counts, volumes, queue and counters, as one batch of the page table.
//
// Nothing that was committed needs a copy to be restored: on abort the changed nodes leave the
// cache, and the page table still has them as they were. Volume states and id counters are put back
// from copies.
//
// An error inside a change poisons the transaction, since a tree may be half changed: Finish then
// aborts even if the body went on and returned success. Used by one thread, which holds the store's
// lock alone.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cow/store_impl.h"

namespace px::cow {

class WriteTxn final : public Txn {
 public:
  explicit WriteTxn(StoreImpl* store) : store_(*store) {}

  void Begin();
  // Commits if `body` is success, else aborts; returns the error of either.
  Status Finish(Status body);
  void Abort() noexcept;

  Result<std::string> Get(VolumeId volume, std::string_view key) override;
  Status Scan(VolumeId volume, std::string_view from, std::string_view to,
              const Visitor& visit) override;
  Result<Volume> GetVolume(VolumeId volume) override;
  Status ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit) override;
  Result<uint64_t> ObjectRefs(ObjectId object) override;
  Result<bool> IsPrivate(VolumeId volume, std::string_view key) override;

  Status Put(VolumeId volume, std::string_view key, std::string_view value) override;
  Status Erase(VolumeId volume, std::string_view key) override;
  Status MakePrivate(VolumeId volume, std::string_view key) override;
  Result<VolumeId> CreateVolume(std::string_view attributes) override;
  Result<VolumeId> CloneVolume(VolumeId source, std::string_view attributes) override;
  Status SetAttributes(VolumeId volume, std::string_view attributes) override;
  Status DropVolume(VolumeId volume) override;
  Result<Ino> NewIno(VolumeId volume) override;
  Result<ObjectId> NewObject() override;
  void SetMark(uint32_t lane, uint64_t request, uint64_t result) override {
    batch_.counters.emplace_back(MarkRequest(lane), request);
    batch_.counters.emplace_back(MarkResult(lane), result);
  }

  // For reclaim.
  Result<uint64_t> NodeRefs(NodeId id);
  Status AddNodeRefs(NodeId id, int64_t delta);
  Status AddObjectRefs(ObjectId id, int64_t delta);
  // Every reference that the node's cells hold: its children's, or its items' objects'.
  Status AddRefsOfCells(NodeView node, int64_t delta);
  ReclaimRow QueueNode(NodeId id);
  // One reference to a shared node goes, and no other takes its place (as in shadowing).
  Status ReleaseNode(NodeId id);
  void Unqueue(uint64_t seq) { batch_.unqueued.push_back(seq); }
  void ErasePage(NodeId id);
  // An empty volume with that id, which must be free.
  void MakeVolume(VolumeId id, NodeId root, uint64_t next_ino, uint64_t ino_limit,
                  std::string_view attributes);
  // A new, empty node, in the cache and with count 1.
  Result<NodePtr> NewNode(int level);

 private:
  struct DirtyNode {
    NodePtr node;
    bool created = false;
    bool erased = false;
  };
  struct DirtyVolume {
    VolumeId id;
    std::optional<VolumeState> before;  // nullopt: it was created
    bool rewrite = false;               // the row changes, not only next_ino in memory
  };
  struct Refs {
    uint64_t before, now;  // before: 0 for an object that this transaction made
  };
  // From the root down to a leaf, all private. `index` is the child taken.
  struct Step {
    NodePtr node;
    size_t index = 0;
  };
  struct Path {
    std::array<Step, kMaxLevel + 1> steps;
    size_t size = 0;
    bool rightmost = true;  // every child taken is its node's last
    Step& leaf() { return steps[size - 1]; }
  };

  Status PutItem(VolumeId volume, std::string_view key, std::string_view value);
  Status EraseItem(VolumeId volume, std::string_view key);
  Status DescendPrivate(VolumeId volume, VolumeState* state, std::string_view key, Path* path);
  Status InsertUp(VolumeId volume, VolumeState* state, Path* path, size_t i, std::string_view key,
                  std::string_view value);
  Status GrowRoot(VolumeId volume, VolumeState* state, NodeId left, std::string_view separator,
                  NodeId right);
  Status Rebalance(VolumeId volume, VolumeState* state, Path* path);
  Status CollapseRoot(VolumeId volume, VolumeState* state, NodePtr root);
  // Merges or balances child `depth` of the path with a neighbour.
  Status JoinNeighbour(Path* path, size_t depth);
  Result<NodePtr> Shadow(const NodePtr& node);
  Status ChangeObjects(std::string_view key, std::string_view before, std::string_view after);

  uint64_t RefsOf(const CachedNode& node) const;
  Result<Refs*> PendingNode(NodeId id);
  Result<Refs*> PendingObject(ObjectId id);
  void Touch(const NodePtr& node);
  void EraseNode(const NodePtr& node);
  DirtyVolume& TouchVolume(VolumeId id, VolumeState* state);
  void SetRoot(VolumeId id, VolumeState* state, NodeId root);
  // Remembers the first error of a change.
  template <typename T>
  T Poison(T result) {
    if (!result && !poison_) poison_ = result.error();
    return result;
  }

  void FillBatch();
  bool BatchEmpty() const;
  void ApplyCommitted();
  void Reset();

  StoreImpl& store_;
  IdCounters before_;
  std::vector<DirtyNode> nodes_;
  std::vector<DirtyVolume> volumes_;
  std::unordered_map<uint64_t, Refs> node_refs_, object_refs_;
  bool releases_ = false;  // see StoreImpl::last_release_
  std::optional<Error> poison_;
  PageBatch batch_;  // kept for its memory; `queued`, `unqueued`, `erased_pages` and marks fill as
                     // the body runs
};

}  // namespace px::cow
