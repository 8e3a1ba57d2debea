// Giving back dropped trees, and the objects that nothing names any more.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "cow/items.h"
#include "cow/txn.h"

namespace px::cow {
namespace {

// Rows of the queue that are read at once.
constexpr size_t kRowsAhead = 256;

bool IsCorruption(const Error& error) { return error.code() == EBADMSG || error.code() == EUCLEAN; }

// Depth first, so that what is left over when the budget is spent is a few rows for each level.
class Reclaimer {
 public:
  Reclaimer(StoreImpl* store, WriteTxn* txn) : store_(*store), txn_(*txn) {}

  // `node`: as read ahead, or null.
  Status Run(NodeId root, NodePtr node, size_t* budget) {
    std::vector<NodeId> stack{root};
    while (!stack.empty() && *budget > 0) {
      const NodeId id = stack.back();
      stack.pop_back();
      --*budget;
      PX_TRY(GiveBack(id, std::exchange(node, nullptr), &stack));
    }
    for (const NodeId id : stack) queued_.push_back(txn_.QueueNode(id));
    return {};
  }

  uint64_t erased() const { return erased_; }
  // What is left of the trees.
  const std::vector<ReclaimRow>& queued() const { return queued_; }

 private:
  Status GiveBack(NodeId id, NodePtr node, std::vector<NodeId>* stack) {
    Status given = GiveBackSound(id, std::move(node), stack);
    if (given || !IsCorruption(given.error())) return given;
    // The queue must go on. What hangs below is lost until a check finds it; nothing in use is
    // touched.
    LogError("reclaim: left behind: {}", given.error().ToString());
    return {};
  }

  // Gives back one reference to the node; its children join the stack if that was the last.
  Status GiveBackSound(NodeId id, NodePtr node, std::vector<NodeId>* stack) {
    PX_ASSIGN(const uint64_t refs, txn_.NodeRefs(id));
    if (refs > 1) return txn_.ReleaseNode(id);
    if (node == nullptr) {
      PX_ASSIGN(node, store_.PeekNode(id));
    }
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
  std::vector<ReclaimRow> queued_;
};

}  // namespace

NodePtr StoreImpl::ReadAhead(NodeId id) {
  // An error is met again by the transaction. A node that nothing but the queue refers to is
  // changed by nobody, and one that others share only once it is theirs alone.
  const Result<uint64_t> refs = pages_->NodeRefs(id);
  if (!refs || *refs > 1) return nullptr;
  Result<NodePtr> node = PeekNode(id);
  if (!node) return nullptr;
  const NodeView view((*node)->bytes.data());
  if (!view.is_leaf()) return std::move(*node);
  for (size_t i = 0; i < view.count(); ++i) {
    ForEachObject(view.Key(i), view.Value(i),
                  [this](ObjectId object) { (void)pages_->ObjectRefs(object); });
  }
  return std::move(*node);
}

void StoreImpl::ForgetReadAhead() {
  waiting_nodes_.clear();
  freed_.clear();
  freed_from_ = UINT64_MAX;
}

Result<size_t> StoreImpl::ReclaimStep(size_t max_nodes) {
  const MutexLock reclaim(reclaim_mutex_);
  if (waiting_nodes_.empty()) {
    PX_ASSIGN(waiting_nodes_, pages_->LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX >> 1,
                                                std::max(max_nodes, kRowsAhead)));
    std::reverse(waiting_nodes_.begin(), waiting_nodes_.end());
    if (waiting_nodes_.empty()) return 0;
  }
  const NodePtr first = ReadAhead(NodeId{waiting_nodes_.back().id});
  size_t budget = max_nodes;
  uint64_t erased = 0;
  size_t taken = 0;
  std::vector<ReclaimRow> queued;
  PX_TRY(Write([&](WriteTxn& txn) PX_NO_TSA -> Status {
    Reclaimer reclaimer(this, &txn);
    for (auto row = waiting_nodes_.rbegin(); row != waiting_nodes_.rend() && budget > 0; ++row) {
      PX_TRY(reclaimer.Run(NodeId{row->id}, taken == 0 ? first : nullptr, &budget));
      txn.Unqueue(row->seq);
      ++taken;
    }
    erased = reclaimer.erased();
    queued = reclaimer.queued();
    return {};
  }));
  waiting_nodes_.resize(waiting_nodes_.size() - taken);
  waiting_nodes_.insert(waiting_nodes_.end(), queued.begin(), queued.end());
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

// Rows of objects with a seq below `below`. Those that were read before were taken off since, and
// to pass over them, where the table below the journal still has them, would cost as much each
// time: so it goes on where it was.
Status StoreImpl::ReadFreed(uint64_t below, size_t limit) {
  const auto read = [&](uint64_t end) PX_NO_TSA -> Status {
    if (end == 0) return {};
    PX_ASSIGN(freed_, pages_->LoadQueue(ReclaimRow::Kind::kObject, end - 1, limit));
    return {};
  };
  if (freed_from_ < below) PX_TRY(read(freed_from_));
  if (freed_.empty()) PX_TRY(read(below));
  freed_from_ = freed_.empty() ? UINT64_MAX : freed_.back().seq;
  std::reverse(freed_.begin(), freed_.end());
  return {};
}

Result<std::vector<ObjectId>> StoreImpl::DurablyFreed(size_t limit, size_t sync_for) {
  const MutexLock reclaim(reclaim_mutex_);
  if (freed_.empty()) {
    const uint64_t durable = durable_seq_.load(std::memory_order_acquire);
    PX_TRY(ReadFreed(durable, std::max(limit, kRowsAhead)));
    if (freed_.empty()) {
      const uint64_t committed = committed_seq_.load(std::memory_order_acquire);
      if (committed < durable + sync_for) return std::vector<ObjectId>{};
      PX_TRY(Sync());
      PX_TRY(ReadFreed(committed, std::max(limit, kRowsAhead)));
    }
  }
  std::vector<ObjectId> objects;
  for (auto row = freed_.rbegin(); row != freed_.rend() && objects.size() < limit; ++row) {
    objects.push_back(ObjectId{row->id});
  }
  return objects;
}

Status StoreImpl::ForgetFreed(const std::vector<ObjectId>& objects) {
  if (objects.empty()) return {};
  const MutexLock reclaim(reclaim_mutex_);
  std::unordered_map<uint64_t, uint64_t> seqs;  // by object
  for (const ReclaimRow& row : freed_) seqs[row.id] = row.seq;
  std::unordered_set<uint64_t> forgotten;
  for (const ObjectId object : objects) {
    const auto found = seqs.find(object.value);
    if (found == seqs.end()) {
      return Fail(EINVAL, "object " + std::to_string(object.value) + " was not reported as freed");
    }
    forgotten.insert(found->second);
  }
  PX_TRY(Write([&](WriteTxn& txn) -> Status {
    for (const uint64_t seq : forgotten) txn.Unqueue(seq);
    return {};
  }));
  std::erase_if(freed_, [&](const ReclaimRow& row) { return forgotten.contains(row.seq); });
  return {};
}

}  // namespace px::cow
