// Giving back dropped trees, and the objects that nothing names any more.
#include "base/log.h"
#include "cow/items.h"
#include "cow/txn.h"

namespace px::cow {
namespace {

bool IsCorruption(const Error& error) { return error.code() == EBADMSG || error.code() == EUCLEAN; }

// Depth first, so that what is left over when the budget is spent is a few rows for each level.
class Reclaimer {
 public:
  Reclaimer(StoreImpl* store, WriteTxn* txn) : store_(*store), txn_(*txn) {}

  Status Run(NodeId root, size_t* budget) {
    std::vector<NodeId> stack{root};
    while (!stack.empty() && *budget > 0) {
      const NodeId id = stack.back();
      stack.pop_back();
      --*budget;
      PX_TRY(GiveBack(id, &stack));
    }
    for (const NodeId id : stack) txn_.QueueNode(id);
    return {};
  }

  uint64_t erased() const { return erased_; }

 private:
  Status GiveBack(NodeId id, std::vector<NodeId>* stack) {
    Status given = GiveBackSound(id, stack);
    if (given || !IsCorruption(given.error())) return given;
    // The queue must go on. What hangs below is lost until a check finds it; nothing in use is
    // touched.
    LogError("reclaim: left behind: {}", given.error().ToString());
    return {};
  }

  // Gives back one reference to the node; its children join the stack if that was the last.
  Status GiveBackSound(NodeId id, std::vector<NodeId>* stack) {
    PX_ASSIGN(const uint64_t refs, txn_.NodeRefs(id));
    if (refs > 1) return txn_.ReleaseNode(id);
    PX_ASSIGN(const NodePtr node, store_.PeekNode(id));
    const NodeView view(node->bytes.data());
    if (view.is_leaf()) {
      PX_TRY(txn_.AddRefsOfCells(view, -1));
    } else {
      for (size_t i = view.count(); i-- > 0;) stack->push_back(view.Child(i));
    }
    txn_.ErasePage(id);
    ++erased_;
    return {};
  }

  StoreImpl& store_;
  WriteTxn& txn_;
  uint64_t erased_ = 0;
};

}  // namespace

Result<size_t> StoreImpl::ReclaimStep(size_t max_nodes) {
  size_t budget = max_nodes;
  uint64_t erased = 0;
  Status written = Write([&](WriteTxn& txn) -> Status {
    PX_ASSIGN(const std::vector<ReclaimRow> rows,
              pages_->LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX >> 1, max_nodes));
    Reclaimer reclaimer(this, &txn);
    for (const ReclaimRow& row : rows) {
      if (budget == 0) break;
      PX_TRY(reclaimer.Run(NodeId{row.id}, &budget));
      txn.Unqueue(row.seq);
    }
    erased = reclaimer.erased();
    return {};
  });
  PX_TRY(std::move(written));
  counters_.reclaimed_nodes.fetch_add(erased, std::memory_order_relaxed);
  return max_nodes - budget;
}

// Goes the way of reclaim, with the counts it would change in memory.
Status StoreImpl::WouldFree(const std::vector<VolumeId>& volumes,
                            const std::function<void(ObjectId)>& visit) {
  const FairReaderLock lock(lock_);
  std::unordered_map<uint64_t, uint64_t> nodes, objects;  // references left
  std::vector<NodeId> stack;
  for (const VolumeId id : volumes) {
    PX_ASSIGN(const VolumeState* volume, FindVolume(id));
    stack.push_back(volume->root);
  }
  // One reference less; true if none is left.
  const auto release = [](auto* left, uint64_t id, const auto& load) -> Result<bool> {
    auto found = left->find(id);
    if (found == left->end()) {
      PX_ASSIGN(const uint64_t refs, load());
      found = left->try_emplace(id, refs).first;
    }
    if (found->second > 0) --found->second;
    return found->second == 0;
  };
  while (!stack.empty()) {
    const NodeId id = stack.back();
    stack.pop_back();
    PX_ASSIGN(const bool last, release(&nodes, id.value, [&] { return pages_->NodeRefs(id); }));
    if (!last) continue;
    Result<NodePtr> node = PeekNode(id);
    if (!node && IsCorruption(node.error())) continue;  // as reclaim: left behind
    PX_TRY(node);
    const NodeView view((*node)->bytes.data());
    Status released;
    for (size_t i = 0; i < view.count(); ++i) {
      if (!view.is_leaf()) {
        stack.push_back(view.Child(i));
        continue;
      }
      ForEachObject(view.Key(i), view.Value(i), [&](ObjectId object) {
        const Result<bool> gone =
            release(&objects, object.value, [&] { return pages_->ObjectRefs(object); });
        if (!gone && released) released = Forward(gone.error());
        if (gone && *gone) visit(object);
      });
    }
    PX_TRY(released);
  }
  return {};
}

Result<std::vector<ObjectId>> StoreImpl::DurablyFreed(size_t limit) {
  std::vector<ReclaimRow> rows;
  const auto load = [&](uint64_t below) -> Status {
    const FairReaderLock lock(lock_);
    if (below == 0) return {};
    PX_ASSIGN(rows, pages_->LoadQueue(ReclaimRow::Kind::kObject, below - 1, limit));
    return {};
  };
  PX_TRY(load(durable_seq_.load(std::memory_order_acquire)));
  if (rows.empty()) {
    const uint64_t committed = committed_seq_.load(std::memory_order_acquire);
    PX_TRY(load(committed));
    if (rows.empty()) return std::vector<ObjectId>{};
    PX_TRY(Sync());
  }
  std::vector<ObjectId> objects;
  objects.reserve(rows.size());
  const MutexLock lock(freed_mutex_);
  for (const ReclaimRow& row : rows) {
    freed_[row.id] = row.seq;
    objects.push_back(ObjectId{row.id});
  }
  return objects;
}

Status StoreImpl::ForgetFreed(const std::vector<ObjectId>& objects) {
  if (objects.empty()) return {};
  std::vector<uint64_t> seqs;
  {
    const MutexLock lock(freed_mutex_);
    for (const ObjectId object : objects) {
      const auto found = freed_.find(object.value);
      if (found == freed_.end()) {
        return Fail(EINVAL,
                    "object " + std::to_string(object.value) + " was not reported as freed");
      }
      seqs.push_back(found->second);
    }
  }
  PX_TRY(Write([&](WriteTxn& txn) -> Status {
    for (const uint64_t seq : seqs) txn.Unqueue(seq);
    return {};
  }));
  const MutexLock lock(freed_mutex_);
  for (const ObjectId object : objects) freed_.erase(object.value);
  return {};
}

}  // namespace px::cow
