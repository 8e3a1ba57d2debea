// The reading side of StoreImpl: nodes through the cache, lookups, scans.
#include <array>

#include "cow/store_impl.h"

namespace px::cow {
namespace {

// The walk of a scan: the nodes from the root to a leaf and what each is expected to be.
struct Level {
  NodePtr node;
  size_t index = 0;
  Expected expected;
};

}  // namespace

Expected ExpectChild(NodeView parent, size_t i, const Expected& of_parent) {
  return {parent.level() - 1, i == 0 ? of_parent.low : parent.Key(i),
          i + 1 < parent.count() ? parent.Key(i + 1) : of_parent.high};
}

Status CheckExpected(NodeView node, const Expected& expected) {
  if (expected.level >= 0 && node.level() != expected.level) {
    return Fail(EUCLEAN, Name(node.id()) + ": level " + std::to_string(node.level()) + ", not " +
                             std::to_string(expected.level) + " as its parent says");
  }
  if (node.count() == 0) return {};
  // The first key of an internal node is empty and says nothing.
  const size_t first = node.is_leaf() ? 0 : 1;
  const bool low_ok = node.count() <= first || node.Key(first) >= expected.low;
  const bool high_ok = expected.high.empty() || node.Key(node.count() - 1) < expected.high;
  if (!low_ok || !high_ok)
    return Fail(EUCLEAN, Name(node.id()) + ": keys outside its parent's range");
  return {};
}

Result<std::string> FaultOf(PageTable& pages, NodeId id, const Expected& expected,
                            std::span<std::byte> bytes) {
  Status status = pages.Load(id, bytes);
  if (status) status = ValidateNode(bytes, id);
  if (status) status = CheckExpected(NodeView(bytes.data()), expected);
  if (status) return std::string();
  if (status.error().code() == ENOMEM) return Forward(std::move(status).error());
  const std::string& context = status.error().context();
  if (context.starts_with(Name(id))) return context;
  return Name(id) + ": cannot be read: " + status.error().ToString();
}

Status CheckKey(std::string_view key) {
  if (key.empty() || key.size() > kMaxKey) return Fail(EINVAL, "key of a wrong size");
  return {};
}

Result<NodePtr> StoreImpl::LoadNode(NodeId id) {
  NodePtr node = std::make_shared<CachedNode>();
  node->id = id;
  if (const Status loaded = pages_->Load(id, node->bytes); !loaded) {
    // A node that is named must be there.
    const int code = loaded.error().code() == ENOENT ? EUCLEAN : loaded.error().code();
    return Fail(code, Name(id) + ": " + loaded.error().ToString());
  }
  PX_TRY(ValidateNode(node->bytes, id));
  const Result<uint64_t> refs = pages_->NodeRefs(id);
  if (!refs && refs.error().code() != EUCLEAN) return Forward(refs.error());
  node->refs = refs.value_or(kUnknownRefs);  // what is below it can be read all the same
  counters_.node_reads.fetch_add(1, std::memory_order_relaxed);
  return node;
}

Result<NodePtr> StoreImpl::GetNode(NodeId id, const Expected& expected) {
  if (NodePtr node = cache_.Find(id)) {
    // The level keeps every walk finite, so it is checked each time; the range was, when it was
    // loaded.
    const NodeView view(node->bytes.data());
    if (expected.level >= 0 && view.level() != expected.level)
      PX_TRY(CheckExpected(view, expected));
    return node;
  }
  PX_ASSIGN(NodePtr node, LoadNode(id));
  PX_TRY(CheckExpected(NodeView(node->bytes.data()), expected));
  return cache_.Insert(std::move(node));
}

Result<NodePtr> StoreImpl::PeekNode(NodeId id) {
  if (NodePtr node = cache_.Find(id)) return node;
  return LoadNode(id);
}

Result<VolumeState*> StoreImpl::FindVolume(VolumeId id) {
  {
    const MutexLock lock(volumes_mutex_);
    const auto found = volumes_.find(id.value);
    if (found != volumes_.end()) {
      if (found->second.dropped) return Fail(ENOENT, "volume " + std::to_string(id.value));
      return &found->second;
    }
  }
  PX_ASSIGN(std::optional<VolumeRow> row, pages_->LoadVolume(id));
  if (!row) return Fail(ENOENT, "volume " + std::to_string(id.value));
  VolumeState state;
  state.root = row->root;
  state.next_ino = state.ino_limit = row->next_ino;
  state.attributes = std::move(row->attributes);
  const MutexLock lock(volumes_mutex_);
  return &volumes_.try_emplace(id.value, std::move(state)).first->second;
}

Result<std::string> StoreImpl::Get(VolumeId volume, std::string_view key) {
  PX_TRY(CheckKey(key));
  PX_ASSIGN(VolumeState * state, FindVolume(volume));
  Expected expected;
  NodeId next = state->root;
  std::array<NodePtr, kMaxLevel + 1> held;  // `expected` names keys in their bytes
  for (size_t depth = 0; depth < held.size(); ++depth) {
    PX_ASSIGN(held[depth], GetNode(next, expected));
    const NodeView node(held[depth]->bytes.data());
    if (node.is_leaf()) {
      bool found = false;
      const size_t i = node.LowerBound(key, &found);
      if (!found) return Fail(ENOENT);
      return std::string(node.Value(i));
    }
    const size_t i = node.ChildIndex(key);
    expected = ExpectChild(node, i, expected);
    next = node.Child(i);
  }
  return Fail(EUCLEAN, Name(next) + ": too deep");
}

Status StoreImpl::Scan(VolumeId volume, std::string_view from, std::string_view to,
                       const Visitor& visit) {
  PX_ASSIGN(VolumeState * state, FindVolume(volume));
  std::array<Level, kMaxLevel + 1> levels;
  size_t depth = 0;
  PX_ASSIGN(levels[0].node, GetNode(state->root, {}));
  bool seek = true;  // on the way down to `from`
  for (;;) {
    Level& level = levels[depth];
    const NodeView node(level.node->bytes.data());
    if (node.is_leaf()) {
      bool found = false;
      size_t i = seek ? node.LowerBound(from, &found) : 0;
      for (; i < node.count(); ++i) {
        if (!to.empty() && node.Key(i) >= to) return {};
        if (!visit(node.Key(i), node.Value(i))) return {};
      }
      seek = false;
    } else {
      if (seek) level.index = node.ChildIndex(from);
      if (level.index < node.count()) {
        Level& child = levels[depth + 1];
        child.expected = ExpectChild(node, level.index, level.expected);
        child.index = 0;
        if (!to.empty() && !child.expected.low.empty() && child.expected.low >= to) return {};
        PX_ASSIGN(child.node, GetNode(node.Child(level.index), child.expected));
        ++depth;
        continue;
      }
    }
    if (depth == 0) return {};
    --depth;
    ++levels[depth].index;
  }
}

Result<Volume> StoreImpl::GetVolume(VolumeId volume) {
  PX_ASSIGN(VolumeState * state, FindVolume(volume));
  return Volume{volume, state->attributes};
}

Status StoreImpl::ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit) {
  // In pieces, so that `visit` may use the reader: the page table is not busy while it runs.
  constexpr size_t kPiece = 256;
  for (;;) {
    std::vector<Volume> piece;
    PX_TRY(pages_->ScanVolumes(from, [&](const VolumeRow& row) {
      piece.push_back({row.id, row.attributes});
      return piece.size() < kPiece;
    }));
    for (const Volume& volume : piece) {
      Result<Volume> present = GetVolume(volume.id);
      if (!present && present.error().code() == ENOENT) continue;  // dropped by this transaction
      if (!present) return Forward(std::move(present).error());
      if (!visit(*present)) return {};
    }
    if (piece.size() < kPiece) return {};
    from = VolumeId{piece.back().id.value + 1};
  }
}

Result<bool> StoreImpl::IsPrivate(VolumeId volume, std::string_view key,
                                  const std::function<uint64_t(const CachedNode&)>& refs_of) {
  PX_TRY(CheckKey(key));
  PX_ASSIGN(VolumeState * state, FindVolume(volume));
  std::array<NodePtr, kMaxLevel + 1> held;
  Expected expected;
  NodeId next = state->root;
  for (NodePtr& at : held) {
    PX_ASSIGN(at, GetNode(next, expected));
    if (refs_of(*at) > 1) return false;
    const NodeView node(at->bytes.data());
    if (node.is_leaf()) return true;
    const size_t i = node.ChildIndex(key);
    expected = ExpectChild(node, i, expected);
    next = node.Child(i);
  }
  return Fail(EUCLEAN, Name(next) + ": too deep");
}

}  // namespace px::cow
