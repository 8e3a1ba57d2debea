#include "cow/verify.h"

#include <array>
#include <memory>

#include "cow/store_impl.h"

namespace px::cow {
namespace {

using NodeBytes = std::array<std::byte, kNodeSize>;

class VerifyWalk {
 public:
  VerifyWalk(PageTable* pages, VerifyState* state, const VerifyVisitor& visit, size_t budget)
      : pages_(*pages), state_(*state), visit_(visit), budget_(budget) {}

  // From the first key >= `from` on. True if the end was reached; else where to go on.
  Result<bool> Run(NodeId root, std::string* from) {
    from_ = *from;
    const bool seek = !from_.empty();
    if (!seek) ++state_.node_refs[root.value];
    PX_ASSIGN(const bool done, Walk(root, {}, seek));
    if (!done) *from = next_;
    return done;
  }

 private:
  // False if the budget was spent.
  Result<bool> Walk(NodeId id, const Expected& expected, bool seek) {
    if (!seek && state_.done.contains(id.value)) return true;
    auto bytes = std::make_unique<NodeBytes>();
    if (!seek) ++state_.nodes;
    if (budget_ > 0) --budget_;
    PX_ASSIGN(const bool sound, Read(id, expected, *bytes));
    if (sound) {
      const NodeView node(bytes->data());
      if (node.is_leaf()) {
        Visit(node);
      } else {
        PX_ASSIGN(const bool all, WalkChildren(node, expected, seek));
        if (!all) return false;
      }
    }
    state_.done.insert(id.value);
    return true;
  }

  Result<bool> WalkChildren(NodeView node, const Expected& expected, bool seek) {
    const size_t first = seek ? node.ChildIndex(from_) : 0;
    for (size_t i = first; i < node.count(); ++i) {
      const bool again = seek && i == first;
      if (budget_ == 0 && i > first) {
        next_ = node.Key(i);
        return false;
      }
      if (!again || from_ == node.Key(i)) ++state_.node_refs[node.Child(i).value];
      // The key it stopped at was the first of that child: nothing of it was walked.
      const bool below = again && from_ != node.Key(i);
      PX_ASSIGN(const bool all, Walk(node.Child(i), ExpectChild(node, i, expected), below));
      if (!all) return false;
    }
    return true;
  }

  void Visit(NodeView leaf) {
    for (size_t i = 0; i < leaf.count(); ++i) {
      ForEachObject(leaf.Key(i), leaf.Value(i),
                    [&](ObjectId object) { ++state_.object_refs[object.value]; });
      visit_.item(leaf.Key(i), leaf.Value(i));
    }
  }

  // False, and reported, if the node cannot be used.
  Result<bool> Read(NodeId id, const Expected& expected, std::span<std::byte> bytes) {
    PX_ASSIGN(const std::string fault, FaultOf(pages_, id, expected, bytes));
    if (fault.empty()) return true;
    state_.steady = false;
    visit_.finding(fault);
    return false;
  }

  PageTable& pages_;
  VerifyState& state_;
  const VerifyVisitor& visit_;
  size_t budget_;
  std::string from_, next_;
};

}  // namespace

Result<bool> StoreImpl::VerifyStep(VolumeId volume, std::string* from, size_t max_nodes,
                                   VerifyState* state, const VerifyVisitor& visit) {
  const FairReaderLock lock(lock_);
  const uint64_t commits = counters_.commits.load(std::memory_order_relaxed);
  if (commits != state->commits) state->steady = false;
  PX_ASSIGN(const VolumeState* found, FindVolume(volume));
  return VerifyWalk(pages_, state, visit, max_nodes).Run(found->root, from);
}

// Some at a time, so that writers are not kept out; one of them ends it.
Result<bool> StoreImpl::VerifyCounts(VerifyState* state,
                                     const std::function<void(const std::string&)>& finding) {
  constexpr size_t kAtOnce = 256;
  const auto still_steady = [&] {
    return state->steady && counters_.commits.load(std::memory_order_relaxed) == state->commits;
  };
  {
    const FairReaderLock lock(lock_);
    PX_ASSIGN(const std::vector<ReclaimRow> queue,
              pages_->LoadQueue(ReclaimRow::Kind::kNode, UINT64_MAX >> 1, 1));
    if (!queue.empty()) return false;  // it holds references of its own
  }
  const auto compare = [&](const auto& counts, const auto& count_of) -> Result<bool> {
    for (auto one = counts.begin(); one != counts.end();) {
      const FairReaderLock lock(lock_);
      if (!still_steady()) return false;
      for (size_t i = 0; i < kAtOnce && one != counts.end(); ++i, ++one) {
        PX_TRY(count_of(one->first, one->second));
      }
    }
    return still_steady();
  };
  const auto tell = [&](const std::string& name, const Result<uint64_t>& row,
                        uint64_t counted) -> Status {
    if (!row && row.error().code() != EUCLEAN) return Forward(row.error());
    if (!row) {
      finding(name + ": its count cannot be read");
    } else if (*row != counted) {
      finding(name + ": its count is " + std::to_string(*row) + ", but " + std::to_string(counted) +
              " references were found");
    }
    return {};
  };
  PX_ASSIGN(const bool nodes,
            compare(state->node_refs, [&](uint64_t id, uint64_t counted) -> Status {
              return tell(Name(NodeId{id}), pages_->NodeRefs(NodeId{id}), counted);
            }));
  if (!nodes) return false;
  return compare(state->object_refs, [&](uint64_t id, uint64_t counted) -> Status {
    return tell(Name(ObjectId{id}), pages_->ObjectRefs(ObjectId{id}), counted);
  });
}

Result<bool> Store::VerifyStep(VolumeId volume, std::string* from, size_t max_nodes,
                               VerifyState* state, const VerifyVisitor& visit) {
  return impl_->VerifyStep(volume, from, max_nodes, state, visit);
}
Result<bool> Store::VerifyCounts(VerifyState* state,
                                 const std::function<void(const std::string&)>& finding) {
  return impl_->VerifyCounts(state, finding);
}

}  // namespace px::cow
