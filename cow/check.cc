// Check: every count, page and queue row, recomputed from the roots, against what the page table
// says.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "cow/store_impl.h"
#include "cow/txn.h"

namespace px::cow {
namespace {

// Rows of one repairing transaction.
constexpr size_t kRepairRows = 4096;

class Checker {
 public:
  Checker(PageTable* pages, bool repair, const std::function<void(const std::string&)>& report,
          const CheckVisitor& visit)
      : pages_(*pages), repair_(repair), report_(report), visit_(visit) {}

  Result<uint64_t> Run() {
    PX_TRY(LoadCounters());
    PX_TRY(WalkVolumes());
    PX_TRY(WalkQueue());
    PX_TRY(CompareNodeCounts());
    PX_TRY(CompareObjectCounts());
    PX_TRY(FindLostPages());
    PX_TRY(CompareCounters());
    for (const auto& [id, refs] : objects_) visit_.object_seen(ObjectId{id}, false);
    for (const auto& [id, seq] : waiting_) {
      if (!objects_.contains(id)) visit_.object_seen(ObjectId{id}, true);
    }
    PX_TRY(FlushRepairs());
    return findings_;
  }
  bool all_read() const { return !unreadable_; }

 private:
  struct Seen {
    uint64_t refs = 0;
    int level = 0;
  };

  void Find(const std::string& text) {
    ++findings_;
    report_(text);
  }

  // What is damaged is a finding; the check goes on.
  Status Tolerate(const std::string& what, Status status) {
    if (status || status.error().code() != EUCLEAN) return status;
    unreadable_ = true;
    Find(what + ": some cannot be read: " + status.error().ToString());
    return {};
  }

  Status LoadCounters() {
    for (const auto name : {Counter::kNextNode, Counter::kNextObject, Counter::kNextVolume}) {
      PX_ASSIGN(const uint64_t value, pages_.LoadCounter(name));
      counters_[name] = std::max<uint64_t>(value, 1);
      least_[name] = 1;
    }
    return {};
  }

  void Uses(Counter name, uint64_t id) { least_[name] = std::max(least_[name], id + 1); }

  Status WalkVolumes() {
    std::vector<std::pair<VolumeId, NodeId>> roots;
    PX_TRY(Tolerate("volumes", pages_.ScanVolumes(kRootVolume, [&](const VolumeRow& row) {
      roots.emplace_back(row.id, row.root);
      return true;
    })));
    for (const auto& [volume, root] : roots) {
      Uses(Counter::kNextVolume, volume.value);
      where_ = Name(volume);
      PX_TRY(Visit(root, {}));
    }
    for (const auto& [volume, root] : roots) named_volumes_.erase(volume.value);
    for (const uint32_t volume : named_volumes_) {
      unreadable_ = true;  // its nodes are not lost
      Find(Name(VolumeId{volume}) + ": something names it, but it is not there");
    }
    return {};
  }

  Status WalkQueue() {
    where_ = "reclaim queue";
    const auto load = [&](ReclaimRow::Kind kind, std::vector<ReclaimRow>* rows) -> Status {
      auto loaded = pages_.LoadQueue(kind, UINT64_MAX, SIZE_MAX);
      if (!loaded) return Tolerate(where_, Forward(loaded.error()));
      *rows = std::move(*loaded);
      return {};
    };
    std::vector<ReclaimRow> nodes, objects;
    PX_TRY(load(ReclaimRow::Kind::kNode, &nodes));
    for (const ReclaimRow& row : nodes) PX_TRY(Visit(NodeId{row.id}, {}));
    PX_TRY(load(ReclaimRow::Kind::kObject, &objects));
    for (const ReclaimRow& row : objects) {
      const ObjectId id{row.id};
      Uses(Counter::kNextObject, id.value);
      const bool named = objects_.contains(row.id);
      if (!named && waiting_.try_emplace(row.id, row.seq).second) continue;
      Find(Name(id) + (named ? ": waits to be freed, but is in use" : ": waits to be freed twice"));
      if (repair_) PX_TRY(Repair([&](PageBatch* batch) { batch->unqueued.push_back(row.seq); }));
    }
    return {};
  }

  // Counts one reference; the first one also reads the node and all below it.
  Status Visit(NodeId id, const Expected& expected) {
    Uses(Counter::kNextNode, id.value);
    const auto [seen, first] = nodes_.try_emplace(id.value);
    ++seen->second.refs;
    if (!first) {
      if (expected.level >= 0 && seen->second.level != expected.level) {
        Find(where_ + ": " + Name(id) + ": at two levels of the trees");
      }
      return {};
    }
    Seen& entry = seen->second;  // references into the map stay valid while it grows
    auto bytes = std::make_unique<std::array<std::byte, kNodeSize>>();
    PX_ASSIGN(const bool sound, Read(id, expected, *bytes));
    entry.level = std::max(expected.level, 0);
    if (!sound) return {};
    const NodeView node(bytes->data());
    entry.level = node.level();
    for (size_t i = 0; i < node.count(); ++i) {
      if (node.is_leaf()) {
        ForEachObject(node.Key(i), node.Value(i), [&](ObjectId object) {
          ++objects_[object.value];
          Uses(Counter::kNextObject, object.value);
        });
        const uint32_t volume = visit_.volume_of(node.Key(i), node.Value(i));
        if (volume != 0) named_volumes_.insert(volume);
      } else {
        PX_TRY(Visit(node.Child(i), ExpectChild(node, i, expected)));
      }
    }
    return {};
  }

  // False, and reported, if the node cannot be used.
  Result<bool> Read(NodeId id, const Expected& expected, std::span<std::byte> bytes) {
    PX_ASSIGN(const std::string fault, FaultOf(pages_, id, expected, bytes));
    if (fault.empty()) return true;
    unreadable_ = true;
    Find(where_ + ": " + fault);
    return false;
  }

  // What hangs below a node that cannot be read was not counted: then nothing may be lowered or
  // removed.
  bool MayLower() const { return repair_ && !unreadable_; }

  Status CompareNodeCounts() {
    std::unordered_map<uint64_t, uint64_t> rows;
    const Status read = pages_.ScanNodeRefs([&](NodeId id, uint64_t refs) {
      rows[id.value] = refs;
      return true;
    });
    if (!read) return Tolerate("counts of nodes", read);
    for (const auto& [id, seen] : nodes_) {
      const auto row = rows.find(id);
      PX_TRY(CompareCount(NodeId{id}, row == rows.end() ? 1 : row->second, seen.refs));
      if (row != rows.end()) rows.erase(row);
    }
    for (const auto& [id, refs] : rows) PX_TRY(CompareCount(NodeId{id}, refs, 0));
    return {};
  }

  Status CompareObjectCounts() {
    std::unordered_map<uint64_t, uint64_t> rows;
    const Status read = pages_.ScanObjectRefs([&](ObjectId id, uint64_t refs) {
      rows[id.value] = refs;
      return true;
    });
    if (!read) return Tolerate("counts of objects", read);
    for (const auto& [id, refs] : objects_) {
      const auto row = rows.find(id);
      PX_TRY(CompareCount(ObjectId{id}, row == rows.end() ? 1 : row->second, refs));
      if (row != rows.end()) rows.erase(row);
    }
    for (const auto& [id, refs] : rows) PX_TRY(CompareCount(ObjectId{id}, refs, 0));
    return {};
  }

  template <typename IdType>
  Status CompareCount(IdType id, uint64_t row, uint64_t counted) {
    if (row == counted) return {};
    Find(Name(id) + ": its count is " + std::to_string(row) + ", but " + std::to_string(counted) +
         " references were found");
    if (!repair_ || (counted < row && !MayLower())) return {};
    return Repair([&](PageBatch* batch) {
      if constexpr (std::is_same_v<IdType, NodeId>) {
        batch->node_refs.push_back({id, counted});
      } else {
        batch->object_refs.push_back({id, counted});
      }
    });
  }

  Status FindLostPages() {
    std::vector<NodeId> lost;
    PX_TRY(Tolerate("nodes", pages_.ScanPages([&](NodeId id) {
      Uses(Counter::kNextNode, id.value);
      if (!nodes_.contains(id.value)) lost.push_back(id);
      return true;
    })));
    for (const NodeId id : lost) {
      Find(Name(id) + ": lost: no volume leads to it");
      if (MayLower()) PX_TRY(Repair([&](PageBatch* batch) { batch->erased_pages.push_back(id); }));
    }
    return {};
  }

  Status CompareCounters() {
    for (const auto& [name, least] : least_) {
      if (counters_[name] >= least) continue;
      const std::string_view what = name == Counter::kNextNode     ? "node"
                                    : name == Counter::kNextObject ? "object"
                                                                   : "volume";
      Find("the next " + std::string(what) + " id is " + std::to_string(counters_[name]) +
           ", but " + std::to_string(least - 1) + " is in use");
      if (!repair_) continue;
      const std::pair<Counter, uint64_t> row(name, least);
      PX_TRY(Repair([&](PageBatch* batch) { batch->counters.push_back(row); }));
    }
    return {};
  }

  template <typename Change>
  Status Repair(Change change) {
    change(&batch_);
    return ++rows_ >= kRepairRows ? FlushRepairs() : Status();
  }

  Status FlushRepairs() {
    if (rows_ == 0) return {};
    rows_ = 0;
    const PageBatch batch = std::exchange(batch_, {});
    return pages_.Commit(batch);
  }

  PageTable& pages_;
  const bool repair_;
  const std::function<void(const std::string&)>& report_;
  const CheckVisitor& visit_;

  std::unordered_map<uint64_t, Seen> nodes_;
  std::unordered_map<uint64_t, uint64_t> objects_;  // id -> references
  std::unordered_map<uint64_t, uint64_t> waiting_;  // objects in the queue -> seq
  std::set<uint32_t> named_volumes_;
  std::map<Counter, uint64_t> counters_, least_;  // as stored; as what is in use needs them
  std::string where_;
  uint64_t findings_ = 0;
  bool unreadable_ = false;
  PageBatch batch_;
  size_t rows_ = 0;
};

}  // namespace

Result<uint64_t> StoreImpl::Check(bool repair,
                                  const std::function<void(const std::string&)>& report,
                                  const CheckVisitor& visit, bool* all_read) {
  const MutexLock reclaim(reclaim_mutex_);
  const FairWriterLock lock(lock_);
  Checker checker(pages_, repair, report, visit);
  Result<uint64_t> findings = checker.Run();
  if (all_read != nullptr) *all_read = findings && checker.all_read();
  if (repair) {
    // What is in memory may be what was just put right.
    cache_.Clear();
    volumes_.clear();
    ForgetReadAhead();
    PX_TRY(LoadCounters());
  }
  return findings;
}

}  // namespace px::cow
