// Regrow: puts nodes in the place of those that cannot be read.
//
// A leaf that is lost takes its items with it: an empty one takes its place. A branch takes nothing
// with it but the way to what hangs below, and that can be found: nodes to which nothing leads any
// more, or less than their count says (a clone shares them), and whose keys lie in the range that
// the branch had. They are ordered by their keys, and branches are made over them until one is
// left.
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cow/store_impl.h"

namespace px::cow {
namespace {

using NodeBytes = std::array<std::byte, kNodeSize>;

// No store gets there: a higher id, or a counter that is higher, is damage.
constexpr uint64_t kLastNode = uint64_t{1} << 62;

// A node that something names and that cannot be used.
struct Lost {
  NodeId id;
  int level = -1;         // -1: of a root nobody knows
  std::string low, high;  // the range of its keys; an empty `high`: no bound
  NodeId parent;          // none: a root
  size_t index = 0;       // in it
  bool sound = false;     // a node, but not the one that should be there: it stays as it is
};

// A tree whose root nothing names, or fewer than its count says.
struct Top {
  NodeId id;
  int level = 0;
  std::string first, last;  // keys
};

class Regrower {
 public:
  Regrower(PageTable* pages, const std::function<void(const std::string&)>& report,
           const CheckVisitor& visit)
      : pages_(*pages), report_(report), visit_(visit) {}

  // How many were put in place.
  Result<uint64_t> Run() {
    PX_ASSIGN(const uint64_t next, pages_.LoadCounter(Counter::kNextNode));
    next_ = next <= kLastNode ? std::max<uint64_t>(next, 1) : 1;
    PX_TRY(FindLost());
    if (lost_.empty() && done_ == 0) return 0;
    if (!whole_) {
      report_("nothing is put in the place of lost nodes: what is below others is not known");
      return 0;
    }
    PX_TRY(FindTops());
    // Those first of which the range is known: a root could have had any node.
    for (const Lost& lost : lost_) {
      if (lost.level >= 0) PX_TRY(Replace(lost));
    }
    for (const Lost& lost : lost_) {
      if (lost.level < 0) PX_TRY(Replace(lost));
    }
    if (done_ == 0) return 0;
    for (const auto& [id, bytes] : made_) {
      Node(bytes->data()).UpdateChecksum();
      batch_.pages.push_back({id, *bytes});
    }
    batch_.counters.emplace_back(Counter::kNextNode, next_);
    PX_TRY(pages_.Commit(batch_));
    return done_;
  }

 private:
  Status FindLost() {
    std::vector<std::pair<VolumeId, NodeId>> roots;
    PX_TRY(Whole(pages_.ScanVolumes(kRootVolume, [&](const VolumeRow& row) {
      roots.emplace_back(row.id, row.root);
      return true;
    })));
    for (const auto& [volume, root] : roots) PX_TRY(Visit({root}));
    for (const auto& [volume, root] : roots) named_volumes_.erase(volume.value);
    if (!named_volumes_.empty()) whole_ = false;
    auto queue = pages_.LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX, SIZE_MAX);
    if (!queue) return Whole(Forward(queue.error()));
    for (const ReclaimRow& row : *queue) {
      const size_t before = lost_.size();
      PX_TRY(Visit({NodeId{row.id}}));
      // What was to be given back, and cannot be read, needs no other in its place.
      const auto own = std::find_if(lost_.begin() + static_cast<std::ptrdiff_t>(before),
                                    lost_.end(), [&](const Lost& lost) { return !lost.parent; });
      if (own == lost_.end()) continue;
      batch_.unqueued.push_back(row.seq);
      report_(Name(own->id) + ": waits to be given back, and cannot be read: forgotten");
      lost_.erase(own);
      ++done_;
    }
    return {};
  }

  // What cannot be read may lead to nodes that would seem to be nobody's.
  Status Whole(Status status) {
    if (status || (status.error().code() != EUCLEAN && status.error().code() != EIO)) return status;
    whole_ = false;
    return {};
  }

  // All that hangs below it, once.
  Status Visit(const Lost& place) {
    Seen& seen = seen_[place.id.value];
    if (++seen.refs > 1) return {};
    NodeBytes bytes;
    Status status = pages_.Load(place.id, bytes);
    if (!status && status.error().code() == ENOMEM) return status;
    if (!status && status.error().code() == EIO) return Whole(std::move(status));
    if (status) status = ValidateNode(bytes, place.id);
    const NodeView node(bytes.data());
    const Expected expected{place.level, place.low, place.high};
    if (!status || !CheckExpected(node, expected)) {
      lost_.push_back(place);
      lost_.back().sound = status.has_value();
      return {};
    }
    seen.level = node.level();
    for (size_t i = 0; node.is_leaf() && i < node.count(); ++i) {
      const uint32_t volume = visit_.volume_of(node.Key(i), node.Value(i));
      if (volume != 0) named_volumes_.insert(volume);
    }
    for (size_t i = 0; !node.is_leaf() && i < node.count(); ++i) {
      const Expected child = ExpectChild(node, i, expected);
      PX_TRY(Visit({node.Child(i), child.level, std::string(child.low), std::string(child.high),
                    place.id, i}));
    }
    return {};
  }

  Status FindTops() {
    std::vector<NodeId> ids;
    const Status scanned = pages_.ScanPages([&](NodeId id) {
      if (!id || id.value > kLastNode) return true;
      next_ = std::max(next_, id.value + 1);
      if (!seen_.contains(id.value)) ids.push_back(id);
      return true;
    });
    PX_TRY(scanned);
    std::unordered_set<uint64_t> children;
    std::vector<Top> found;
    for (const NodeId id : ids) {
      NodeBytes bytes;
      if (!pages_.Load(id, bytes) || !ValidateNode(bytes, id)) continue;
      const NodeView node(bytes.data());
      found.push_back({id, node.level(), {}, {}});
      for (size_t i = 0; !node.is_leaf() && i < node.count(); ++i) {
        children.insert(node.Child(i).value);
      }
    }
    std::erase_if(found, [&](const Top& top) { return children.contains(top.id.value); });
    // What has more references than were found is named by what was lost, too.
    for (const auto& [id, seen] : seen_) {
      if (seen.level < 0) continue;
      const auto refs = pages_.NodeRefs(NodeId{id});
      if (!refs && refs.error().code() != EUCLEAN) return Forward(refs.error());
      if (refs && *refs > seen.refs) found.push_back({NodeId{id}, seen.level, {}, {}});
    }
    for (Top& top : found) {
      // Without the keys at its ends nobody knows where it belongs.
      if (!EndKey(top.id, top.level, /*last=*/false, &top.first) ||
          !EndKey(top.id, top.level, /*last=*/true, &top.last)) {
        continue;
      }
      tops_.push_back(std::move(top));
    }
    std::sort(tops_.begin(), tops_.end(),
              [](const Top& a, const Top& b) { return a.first < b.first; });
    return {};
  }

  // The first or last key below a node; false if it cannot be read, or there is none.
  bool EndKey(NodeId id, int level, bool last, std::string* key) {
    NodeBytes bytes;
    for (;; --level) {
      if (level < 0 || !pages_.Load(id, bytes) || !ValidateNode(bytes, id)) return false;
      const NodeView node(bytes.data());
      if (node.level() != level || node.count() == 0) return false;
      const size_t i = last ? node.count() - 1 : 0;
      if (node.is_leaf()) {
        *key = node.Key(i);
        return true;
      }
      id = node.Child(i);
    }
  }

  static bool Fits(const Top& top, const Lost& lost) {
    return (lost.level < 0 || top.level < lost.level) && top.first >= lost.low &&
           (lost.high.empty() || top.last < lost.high);
  }

  Status Replace(const Lost& lost) {
    std::vector<Top> below;
    for (const Top& top : tops_) {
      if (lost.level != 0 && Fits(top, lost)) below.push_back(top);
    }
    for (size_t i = 0; i < below.size(); ++i) {
      const bool overlap = i > 0 && below[i].first <= below[i - 1].last;
      const bool others = std::any_of(lost_.begin(), lost_.end(), [&](const Lost& other) {
        return other.id != lost.id && other.level != 0 && (other.level >= 0 || lost.level < 0) &&
               Fits(below[i], other);
      });
      if (!overlap && !others) continue;
      report_(Name(lost.id) +
              ": what hung below it cannot be told from other trees: left as it is");
      return {};
    }
    const NodeId id = lost.sound ? NewId() : lost.id;
    if (below.empty()) {
      MakeEmpty(id, std::max(lost.level, 0));
      report_(Name(lost.id) + ": an empty one takes its place: what stood in it is lost");
    } else if (MakeBranches(id, lost.level, below)) {
      report_(Name(lost.id) + ": made anew over " + std::to_string(below.size()) +
              " that it led to");
      std::erase_if(tops_, [&](const Top& top) { return Fits(top, lost); });
    } else {
      report_(Name(lost.id) + ": what hung below it does not fit below one node: left as it is");
      return {};
    }
    ++done_;
    return lost.sound ? Repoint(lost, id) : Status{};
  }

  // Has the parent name another node.
  Status Repoint(const Lost& lost, NodeId id) {
    auto& bytes = made_[lost.parent];
    if (bytes == nullptr) {
      bytes = std::make_unique<NodeBytes>();
      PX_TRY(pages_.Load(lost.parent, *bytes));
    }
    Node(bytes->data()).SetChild(lost.index, id);
    return {};
  }

  NodeId NewId() { return NodeId{next_++}; }

  Node Make(NodeId id, int level) {
    auto& bytes = made_[id];
    bytes = std::make_unique<NodeBytes>();
    Node node(bytes->data());
    node.Init(id, level);
    return node;
  }

  static bool Append(Node node, std::string_view separator, NodeId child) {
    const std::string_view value(reinterpret_cast<const char*>(&child.value), sizeof child.value);
    return node.Insert(node.count(), node.count() == 0 ? std::string_view() : separator, value);
  }

  void MakeEmpty(NodeId id, int level) {
    Node node = Make(id, level);
    if (level == 0) return;
    const NodeId child = NewId();
    Append(node, {}, child);
    MakeEmpty(child, level - 1);
  }

  // Over `nodes`, in the order of their keys. False, and nothing was made, if they are too many for
  // one node of that level.
  bool MakeBranches(NodeId id, int level, const std::vector<Top>& nodes) {
    const uint64_t next = next_;
    if (TryBranches(id, level, nodes)) return true;
    std::erase_if(made_,
                  [&](const auto& one) { return one.first == id || one.first.value >= next; });
    return false;
  }

  bool TryBranches(NodeId id, int level, std::vector<Top> nodes) {
    for (;;) {
      const auto [low, high] = std::minmax_element(
          nodes.begin(), nodes.end(), [](const Top& a, const Top& b) { return a.level < b.level; });
      const int wanted = level < 0 ? high->level : level - 1;
      if (low->level == wanted) {
        Node node = Make(id, wanted + 1);
        const bool all = std::all_of(nodes.begin(), nodes.end(), [&](const Top& one) {
          return Append(node, one.first, one.id);
        });
        if (all || level >= 0) return all;
        made_.erase(id);
      }
      if (low->level + 1 >= kMaxLevel) return false;
      nodes = MakeLevel(std::move(nodes), low->level);
    }
  }

  // Those of that level get parents, each run of neighbours its own.
  std::vector<Top> MakeLevel(std::vector<Top> nodes, int level) {
    std::vector<Top> made;
    bool open = false;  // the last of `made` takes more
    for (Top& node : nodes) {
      if (node.level != level) {
        made.push_back(std::move(node));
        open = false;
        continue;
      }
      if (open && Append(Node(made_[made.back().id]->data()), node.first, node.id)) {
        made.back().last = node.last;
        continue;
      }
      const NodeId id = NewId();
      Append(Make(id, level + 1), {}, node.id);
      made.push_back({id, level + 1, node.first, node.last});
      open = true;
    }
    return made;
  }

  PageTable& pages_;
  const std::function<void(const std::string&)>& report_;
  const CheckVisitor& visit_;
  uint64_t next_ = 1;
  bool whole_ = true;  // all that can lead to a node was read
  struct Seen {
    uint64_t refs = 0;
    int level = -1;  // of one that can be used
  };
  std::unordered_map<uint64_t, Seen> seen_;
  std::unordered_set<uint32_t> named_volumes_;
  std::vector<Lost> lost_;
  std::vector<Top> tops_;  // by key
  std::unordered_map<NodeId, std::unique_ptr<NodeBytes>> made_;
  PageBatch batch_;
  uint64_t done_ = 0;
};

}  // namespace

Result<uint64_t> StoreImpl::Regrow(const std::function<void(const std::string&)>& report,
                                   const CheckVisitor& visit) {
  const MutexLock reclaim(reclaim_mutex_);
  const FairWriterLock lock(lock_);
  Result<uint64_t> done = Regrower(pages_, report, visit).Run();
  cache_.Clear();
  volumes_.clear();
  ForgetReadAhead();
  PX_TRY(LoadCounters());
  return done;
}

}  // namespace px::cow
