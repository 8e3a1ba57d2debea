// The changing side of WriteTxn: shadowing, inserts with splits, erases with merges.
#include <algorithm>

#include "base/log.h"
#include "cow/txn.h"

namespace px::cow {
namespace {

NodeView ViewOf(const NodePtr& node) { return NodeView(node->bytes.data()); }
Node EditOf(const NodePtr& node) { return Node(node->bytes.data()); }

std::string_view ChildValue(const uint64_t& id) {
  return {reinterpret_cast<const char*>(&id), sizeof id};
}

// The objects one item names; at most two for every kind of item there is.
struct ObjectList {
  std::array<ObjectId, 4> ids;
  size_t size = 0;

  ObjectList(std::string_view key, std::string_view value) {
    ForEachObject(key, value, [this](ObjectId id) {
      PX_CHECK(size < ids.size());
      ids[size++] = id;
    });
  }
  friend bool operator==(const ObjectList& a, const ObjectList& b) {
    return std::equal(a.ids.begin(), a.ids.begin() + a.size, b.ids.begin(), b.ids.begin() + b.size);
  }
};

}  // namespace

Result<NodePtr> WriteTxn::NewNode(int level) {
  NodePtr node = std::make_shared<CachedNode>();
  node->id = NodeId{store_.ids_.next_node++};
  EditOf(node).Init(node->id, level);
  nodes_.push_back({node, /*created=*/true});
  node->dirty = static_cast<uint32_t>(nodes_.size());
  store_.cache_.Insert(node);
  return node;
}

Result<NodePtr> WriteTxn::Shadow(const NodePtr& node) {
  PX_ASSIGN(NodePtr copy, NewNode(ViewOf(node).level()));
  copy->bytes = node->bytes;
  EditOf(copy).SetId(copy->id);
  PX_TRY(AddNodeRefs(node->id, -1));
  PX_TRY(AddRefsOfCells(ViewOf(copy), +1));
  store_.counters_.shadows.fetch_add(1, std::memory_order_relaxed);
  return copy;
}

Status WriteTxn::AddRefsOfCells(NodeView node, int64_t delta) {
  Status status;
  const std::function<void(ObjectId)> add = [&](ObjectId object) {
    if (status) status = AddObjectRefs(object, delta);
  };
  for (size_t i = 0; i < node.count() && status; ++i) {
    if (node.is_leaf()) {
      ForEachObject(node.Key(i), node.Value(i), add);
    } else {
      status = AddNodeRefs(node.Child(i), delta);
    }
  }
  return status;
}

Status WriteTxn::DescendPrivate(VolumeId volume, VolumeState* state, std::string_view key,
                                Path* path) {
  PX_ASSIGN(NodePtr node, store_.GetNode(state->root, {}));
  if (RefsOf(*node) > 1) {
    PX_ASSIGN(node, Shadow(node));
    SetRoot(volume, state, node->id);
  }
  Expected expected;
  for (;;) {
    Step& step = path->steps[path->size++];
    step.node = node;
    const NodeView view = ViewOf(step.node);
    if (view.is_leaf()) return {};
    step.index = view.ChildIndex(key);
    path->rightmost &= step.index + 1 == view.count();
    expected = ExpectChild(view, step.index, expected);
    PX_ASSIGN(node, store_.GetNode(view.Child(step.index), expected));
    if (RefsOf(*node) > 1) {
      PX_ASSIGN(node, Shadow(node));
      Touch(step.node);
      EditOf(step.node).SetChild(step.index, node->id);
    }
  }
}

Status WriteTxn::ChangeObjects(std::string_view key, std::string_view before,
                               std::string_view after) {
  const ObjectList old_list(key, before), new_list(key, after);
  if (old_list == new_list) return {};
  // Taken first, so that a count never passes through zero.
  for (size_t i = 0; i < new_list.size; ++i) PX_TRY(AddObjectRefs(new_list.ids[i], +1));
  for (size_t i = 0; i < old_list.size; ++i) PX_TRY(AddObjectRefs(old_list.ids[i], -1));
  return {};
}

Status WriteTxn::PutItem(VolumeId volume, std::string_view key, std::string_view value) {
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  Path path;
  PX_TRY(DescendPrivate(volume, state, key, &path));
  const NodePtr& leaf = path.leaf().node;
  bool found = false;
  const size_t i = ViewOf(leaf).LowerBound(key, &found);
  if (!found) {
    PX_TRY(ChangeObjects(key, {}, value));
    return InsertUp(volume, state, &path, i, key, value);
  }
  const std::string_view before = ViewOf(leaf).Value(i);
  if (before == value) return {};
  PX_TRY(ChangeObjects(key, before, value));
  Touch(leaf);
  if (EditOf(leaf).ReplaceValue(i, value)) return {};
  EditOf(leaf).Erase(i);
  return InsertUp(volume, state, &path, i, key, value);
}

Status WriteTxn::InsertUp(VolumeId volume, VolumeState* state, Path* path, size_t i,
                          std::string_view key, std::string_view value) {
  std::string separator;
  uint64_t child = 0;
  for (size_t depth = path->size - 1;; --depth) {
    const NodePtr& node = path->steps[depth].node;
    Touch(node);
    if (EditOf(node).Insert(i, key, value)) return {};
    PX_ASSIGN(const NodePtr right, NewNode(ViewOf(node).level()));
    separator = SplitInsert(EditOf(node), EditOf(right), i, key, value,
                            path->rightmost ? SplitAt::kEnd : SplitAt::kMiddle);
    if (depth == 0) return GrowRoot(volume, state, node->id, separator, right->id);
    child = right->id.value;
    key = separator;
    value = ChildValue(child);
    i = path->steps[depth - 1].index + 1;
  }
}

Status WriteTxn::GrowRoot(VolumeId volume, VolumeState* state, NodeId left,
                          std::string_view separator, NodeId right) {
  PX_ASSIGN(const NodePtr old_root, store_.GetNode(left, {}));
  const int level = ViewOf(old_root).level() + 1;
  if (level > kMaxLevel) return Fail(EUCLEAN, "node " + std::to_string(left.value) + ": too deep");
  PX_ASSIGN(const NodePtr root, NewNode(level));
  PX_CHECK(EditOf(root).Insert(0, {}, ChildValue(left.value)));
  PX_CHECK(EditOf(root).Insert(1, separator, ChildValue(right.value)));
  SetRoot(volume, state, root->id);
  return {};
}

Status WriteTxn::EraseItem(VolumeId volume, std::string_view key) {
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  Path path;
  PX_TRY(DescendPrivate(volume, state, key, &path));
  const NodePtr& leaf = path.leaf().node;
  bool found = false;
  const size_t i = ViewOf(leaf).LowerBound(key, &found);
  if (!found)
    return Fail(EUCLEAN, "node " + std::to_string(leaf->id.value) + ": an item went missing");
  PX_TRY(ChangeObjects(key, ViewOf(leaf).Value(i), {}));
  Touch(leaf);
  EditOf(leaf).Erase(i);
  return Rebalance(volume, state, &path);
}

Status WriteTxn::Rebalance(VolumeId volume, VolumeState* state, Path* path) {
  for (size_t depth = path->size - 1; depth > 0; --depth) {
    if (ViewOf(path->steps[depth].node).used() >= kUnderfull) return {};
    if (ViewOf(path->steps[depth - 1].node).count() > 1) PX_TRY(JoinNeighbour(path, depth));
  }
  return CollapseRoot(volume, state, path->steps[0].node);
}

Status WriteTxn::CollapseRoot(VolumeId volume, VolumeState* state, NodePtr root) {
  while (!ViewOf(root).is_leaf() && ViewOf(root).count() == 1) {
    // The volume takes over the reference that the root held.
    PX_ASSIGN(NodePtr child,
              store_.GetNode(ViewOf(root).Child(0), ExpectChild(ViewOf(root), 0, {})));
    SetRoot(volume, state, child->id);
    EraseNode(root);
    root = std::move(child);
    if (RefsOf(*root) > 1) return {};
  }
  return {};
}

Status WriteTxn::JoinNeighbour(Path* path, size_t depth) {
  const Step& above = path->steps[depth - 1];
  const NodePtr& parent = above.node;
  const NodePtr& node = path->steps[depth].node;
  const size_t at = above.index;
  const size_t other = at > 0 ? at - 1 : at + 1;
  PX_ASSIGN(NodePtr sibling,
            store_.GetNode(ViewOf(parent).Child(other), ExpectChild(ViewOf(parent), other, {})));
  Touch(parent);
  if (RefsOf(*sibling) > 1) {
    PX_ASSIGN(sibling, Shadow(sibling));
    EditOf(parent).SetChild(other, sibling->id);
  }
  Touch(sibling);
  Touch(node);
  const NodePtr& left = at > 0 ? sibling : node;
  const NodePtr& right = at > 0 ? node : sibling;
  const size_t right_index = std::max(at, other);
  const std::string separator(ViewOf(parent).Key(right_index));
  if (MergeNodes(EditOf(left), ViewOf(right), separator)) {
    EditOf(parent).Erase(right_index);
    EraseNode(right);
    return {};
  }
  const size_t max_separator =
      std::min(kMaxKey, kNodeRoom - ViewOf(parent).used() + separator.size());
  const std::string balanced = BalanceNodes(EditOf(left), EditOf(right), separator, max_separator);
  if (balanced.empty()) return {};
  const uint64_t right_id = right->id.value;
  EditOf(parent).Erase(right_index);
  PX_CHECK(EditOf(parent).Insert(right_index, balanced, ChildValue(right_id)));
  return {};
}

}  // namespace px::cow
