// Diff: two trees walked side by side in key order. Where both stand before one and the same node,
// all of it is skipped, so the cost is in the nodes that differ. The trees may differ in height and
// shape.
#include <algorithm>
#include <array>

#include "cow/store_impl.h"

namespace px::cow {
namespace {

// What one hold of the lock may do.
constexpr size_t kMaxNodes = 128;
constexpr size_t kMaxChanges = 1024;

struct Change {
  std::string key;
  std::optional<std::string> before, after;
};

// What a side stands before: a subtree that was not opened (keys in [low, high)), or an item (key
// `low`).
struct Element {
  int level = -1;  // -1: an item
  NodeId id;
  std::string_view low, high, value;
  bool is_item() const { return level < 0; }
  bool EntirelyBefore(const Element& other) const {
    return is_item() ? low < other.low : !high.empty() && high <= other.low;
  }
};

// One tree's position: the opened nodes from the root down.
class Side {
 public:
  Side(StoreImpl* store, std::string_view from) : store_(*store), from_(from) {}

  Status Start(NodeId root) {
    PX_ASSIGN(root_, store_.GetNode(root, {}));
    return {};
  }

  bool at_end() const { return ended_; }
  size_t opened() const { return opened_; }

  Element Current() const {
    if (depth_ == 0) return {NodeView(root_->bytes.data()).level(), root_->id, {}, {}, {}};
    const Level& top = levels_[depth_ - 1];
    const NodeView node(top.node->bytes.data());
    if (node.is_leaf()) return {-1, {}, node.Key(top.index), {}, node.Value(top.index)};
    const Expected child = ExpectChild(node, top.index, top.expected);
    return {child.level, node.Child(top.index), child.low, child.high, {}};
  }

  // Goes into the subtree that it stands before.
  Status Open() {
    NodePtr node = root_;
    Expected expected;
    if (depth_ > 0) {
      const Level& top = levels_[depth_ - 1];
      const NodeView parent(top.node->bytes.data());
      expected = ExpectChild(parent, top.index, top.expected);
      PX_ASSIGN(node, store_.GetNode(parent.Child(top.index), expected));
    }
    const NodeView view(node->bytes.data());
    bool found = false;
    const size_t first = view.is_leaf() ? view.LowerBound(from_, &found) : view.ChildIndex(from_);
    levels_[depth_++] = {std::move(node), first, expected};
    ++opened_;
    LeaveExhausted();
    return {};
  }

  // Goes past what it stands before.
  void Next() {
    if (depth_ == 0) {
      ended_ = true;
      return;
    }
    ++levels_[depth_ - 1].index;
    LeaveExhausted();
  }

 private:
  struct Level {
    NodePtr node;
    size_t index = 0;
    Expected expected;
  };

  void LeaveExhausted() {
    while (depth_ > 0) {
      const Level& top = levels_[depth_ - 1];
      if (top.index < NodeView(top.node->bytes.data()).count()) return;
      if (--depth_ > 0) ++levels_[depth_ - 1].index;
    }
    ended_ = true;
  }

  StoreImpl& store_;
  const std::string_view from_;
  NodePtr root_;
  std::array<Level, kMaxLevel + 1> levels_;
  size_t depth_ = 0;
  size_t opened_ = 0;
  bool ended_ = false;
};

class DiffStep {
 public:
  DiffStep(StoreImpl* store, std::string_view from, std::vector<Change>* changes)
      : before_(store, from), after_(store, from), from_(from), changes_(*changes) {}

  // Returns where to go on, or nothing at the end.
  Result<std::optional<std::string>> Run(NodeId before, NodeId after) {
    PX_TRY(before_.Start(before));
    PX_TRY(after_.Start(after));
    while (!before_.at_end() || !after_.at_end()) {
      if (before_.opened() + after_.opened() >= kMaxNodes || changes_.size() >= kMaxChanges) {
        // One hold of the lock always gets further than where it began.
        const std::string_view next = Position();
        if (next > from_) return std::optional<std::string>(next);
      }
      PX_TRY(Advance());
    }
    return std::optional<std::string>();
  }

 private:
  std::string_view Position() const {
    if (before_.at_end()) return after_.Current().low;
    if (after_.at_end()) return before_.Current().low;
    return std::min(before_.Current().low, after_.Current().low);
  }

  Status Advance() {
    if (before_.at_end()) return TakeAfter(after_.Current());
    if (after_.at_end()) return TakeBefore(before_.Current());
    const Element a = before_.Current(), b = after_.Current();
    if (!a.is_item() && !b.is_item() && a.id == b.id) {
      SkipBoth();
      return {};
    }
    if (a.EntirelyBefore(b)) return TakeBefore(a);
    if (b.EntirelyBefore(a)) return TakeAfter(b);
    if (a.is_item() && b.is_item()) {  // of the same key
      if (a.value != b.value) {
        changes_.push_back({std::string(a.low), std::string(a.value), std::string(b.value)});
      }
      SkipBoth();
      return {};
    }
    const int level = std::max(a.level, b.level);
    if (a.level == level) PX_TRY(before_.Open());
    if (b.level == level) PX_TRY(after_.Open());
    return {};
  }

  Status TakeBefore(const Element& element) {
    if (!element.is_item()) return before_.Open();
    changes_.push_back({std::string(element.low), std::string(element.value), std::nullopt});
    before_.Next();
    return {};
  }

  Status TakeAfter(const Element& element) {
    if (!element.is_item()) return after_.Open();
    changes_.push_back({std::string(element.low), std::nullopt, std::string(element.value)});
    after_.Next();
    return {};
  }

  void SkipBoth() {
    before_.Next();
    after_.Next();
  }

  Side before_, after_;
  const std::string_view from_;
  std::vector<Change>& changes_;
};

}  // namespace

Status StoreImpl::Diff(VolumeId before, VolumeId after, std::string_view from,
                       const DiffVisitor& visit) {
  std::optional<std::string> next = std::string(from);
  std::vector<Change> changes;
  while (next) {
    const std::string start = std::move(*next);
    changes.clear();
    {
      const FairReaderLock lock(lock_);
      PX_ASSIGN(const VolumeState* a, FindVolume(before));
      PX_ASSIGN(const VolumeState* b, FindVolume(after));
      DiffStep step(this, start, &changes);
      PX_ASSIGN(next, step.Run(a->root, b->root));
    }
    for (const Change& change : changes) {
      if (!visit(change.key, change.before, change.after)) return {};
    }
  }
  return {};
}

}  // namespace px::cow
