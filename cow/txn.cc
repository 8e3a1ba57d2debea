// WriteTxn apart from the trees: volumes, ids, counts, commit and abort.
#include "cow/txn.h"

#include <algorithm>

#include "base/log.h"

namespace px::cow {
namespace {

// How many inode numbers one write of the volume's row covers.
constexpr uint64_t kInoChunk = 256;
// A map that grew beyond it in a large transaction is given up, since clearing it costs its
// buckets.
constexpr size_t kKeepBuckets = 1024;

template <typename Map>
void ClearMap(Map* map) {
  if (map->bucket_count() > kKeepBuckets) {
    *map = Map();
  } else if (!map->empty()) {
    map->clear();
  }
}

}  // namespace

// --- Reading ---

Result<std::string> WriteTxn::Get(VolumeId volume, std::string_view key) {
  return store_.Get(volume, key);
}

Status WriteTxn::Scan(VolumeId volume, std::string_view from, std::string_view to,
                      const Visitor& visit) {
  return store_.Scan(volume, from, to, visit);
}

Result<Volume> WriteTxn::GetVolume(VolumeId volume) { return store_.GetVolume(volume); }

Status WriteTxn::ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit) {
  bool go_on = true;
  PX_TRY(store_.ScanVolumes(from, [&](const Volume& volume) {
    go_on = visit(volume);
    return go_on;
  }));
  // New ids are above all others and were given out in order.
  for (size_t i = 0; i < volumes_.size() && go_on; ++i) {
    if (volumes_[i].before || volumes_[i].id < from) continue;
    const Result<Volume> volume = GetVolume(volumes_[i].id);
    if (volume) go_on = visit(*volume);
  }
  return {};
}

Result<uint64_t> WriteTxn::ObjectRefs(ObjectId object) {
  PX_ASSIGN(const Refs* refs, PendingObject(object));
  return refs->now;
}

Result<bool> WriteTxn::IsPrivate(VolumeId volume, std::string_view key) {
  return store_.IsPrivate(volume, key, [this](const CachedNode& node) { return RefsOf(node); });
}

// --- Changing ---

Status WriteTxn::Put(VolumeId volume, std::string_view key, std::string_view value) {
  PX_TRY(CheckKey(key));
  if (value.size() > kMaxValue) return Fail(EINVAL, "value of a wrong size");
  return Poison(PutItem(volume, key, value));
}

Status WriteTxn::Erase(VolumeId volume, std::string_view key) {
  PX_TRY(Get(volume, key));  // nothing is shadowed for a key that is not there
  return Poison(EraseItem(volume, key));
}

Status WriteTxn::MakePrivate(VolumeId volume, std::string_view key) {
  PX_TRY(CheckKey(key));
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  Path path;
  return Poison(DescendPrivate(volume, state, key, &path));
}

Result<VolumeId> WriteTxn::CreateVolume(std::string_view attributes) {
  if (store_.ids_.next_volume > kMaxVolume) return Fail(ENOSPC, "no volume id is left");
  PX_ASSIGN(const NodePtr root, NewNode(0));
  const VolumeId id{static_cast<uint32_t>(store_.ids_.next_volume++)};
  MakeVolume(id, root->id, kFirstIno.value, kFirstIno.value, attributes);
  return id;
}

Result<VolumeId> WriteTxn::CloneVolume(VolumeId source, std::string_view attributes) {
  if (store_.ids_.next_volume > kMaxVolume) return Fail(ENOSPC, "no volume id is left");
  PX_ASSIGN(const VolumeState* from, store_.FindVolume(source));
  PX_TRY(Poison(AddNodeRefs(from->root, +1)));
  const VolumeId id{static_cast<uint32_t>(store_.ids_.next_volume++)};
  MakeVolume(id, from->root, from->next_ino, from->ino_limit, attributes);
  return id;
}

void WriteTxn::MakeVolume(VolumeId id, NodeId root, uint64_t next_ino, uint64_t ino_limit,
                          std::string_view attributes) {
  VolumeState state;
  state.root = root;
  state.next_ino = next_ino;
  state.ino_limit = ino_limit;
  state.attributes = attributes;
  volumes_.push_back({id, std::nullopt, /*rewrite=*/true});
  state.dirty = static_cast<uint32_t>(volumes_.size());
  const MutexLock lock(store_.volumes_mutex_);
  store_.volumes_.insert_or_assign(id.value, std::move(state));
}

Status WriteTxn::SetAttributes(VolumeId volume, std::string_view attributes) {
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  TouchVolume(volume, state).rewrite = true;
  state->attributes = attributes;
  return {};
}

Status WriteTxn::DropVolume(VolumeId volume) {
  if (volume == kRootVolume) return Fail(EINVAL, "the root volume cannot be dropped");
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  PX_ASSIGN(const uint64_t refs, NodeRefs(state->root));
  if (refs > 1) {
    PX_TRY(Poison(ReleaseNode(state->root)));
  } else {
    QueueNode(state->root);
  }
  TouchVolume(volume, state);
  state->dropped = true;
  return {};
}

Result<Ino> WriteTxn::NewIno(VolumeId volume) {
  PX_ASSIGN(VolumeState * state, store_.FindVolume(volume));
  if (state->next_ino > kMaxIno) return Fail(ENOSPC, "no inode number is left in the volume");
  DirtyVolume& dirty = TouchVolume(volume, state);
  if (state->next_ino >= state->ino_limit) {
    state->ino_limit = state->next_ino + kInoChunk;
    dirty.rewrite = true;
  }
  return Ino{state->next_ino++};
}

Result<ObjectId> WriteTxn::NewObject() {
  const ObjectId id{store_.ids_.next_object};
  object_refs_[id.value] = {0, 0};
  ++store_.ids_.next_object;
  return id;
}

// --- Counts ---

uint64_t WriteTxn::RefsOf(const CachedNode& node) const {
  if (node_refs_.empty()) return node.refs;
  const auto found = node_refs_.find(node.id.value);
  return found == node_refs_.end() ? node.refs : found->second.now;
}

Result<WriteTxn::Refs*> WriteTxn::PendingNode(NodeId id) {
  const auto found = node_refs_.find(id.value);
  if (found != node_refs_.end()) return &found->second;
  uint64_t refs = 0;
  if (const NodePtr node = store_.cache_.Find(id)) {
    refs = node->refs;
  } else {
    PX_ASSIGN(refs, store_.pages_->NodeRefs(id));
  }
  if (refs == kUnknownRefs) return Fail(EUCLEAN, Name(id) + ": its count cannot be read");
  return &node_refs_.try_emplace(id.value, Refs{refs, refs}).first->second;
}

Result<WriteTxn::Refs*> WriteTxn::PendingObject(ObjectId id) {
  const auto found = object_refs_.find(id.value);
  if (found != object_refs_.end()) return &found->second;
  PX_ASSIGN(const uint64_t refs, store_.pages_->ObjectRefs(id));
  return &object_refs_.try_emplace(id.value, Refs{refs, refs}).first->second;
}

Result<uint64_t> WriteTxn::NodeRefs(NodeId id) {
  PX_ASSIGN(const Refs* refs, PendingNode(id));
  return refs->now;
}

Status WriteTxn::AddNodeRefs(NodeId id, int64_t delta) {
  PX_ASSIGN(Refs * refs, PendingNode(id));
  const uint64_t now = refs->now + static_cast<uint64_t>(delta);
  if (delta < 0 && refs->now <= 1) {
    return Fail(EUCLEAN, "node " + std::to_string(id.value) + ": its count is too low");
  }
  refs->now = now;
  return {};
}

Status WriteTxn::AddObjectRefs(ObjectId id, int64_t delta) {
  PX_ASSIGN(Refs * refs, PendingObject(id));
  if (delta < 0 && refs->now == 0) {
    return Fail(EUCLEAN, "object " + std::to_string(id.value) + ": its count is too low");
  }
  refs->now += static_cast<uint64_t>(delta);
  return {};
}

Status WriteTxn::ReleaseNode(NodeId id) {
  releases_ = true;
  return AddNodeRefs(id, -1);
}

ReclaimRow WriteTxn::QueueNode(NodeId id) {
  batch_.queued.push_back({store_.ids_.next_seq++, ReclaimRow::Kind::kNode, id.value});
  return batch_.queued.back();
}

// --- What changed ---

void WriteTxn::Touch(const NodePtr& node) {
  if (node->dirty != 0) return;
  nodes_.push_back({node});
  node->dirty = static_cast<uint32_t>(nodes_.size());
}

void WriteTxn::EraseNode(const NodePtr& node) {
  Touch(node);
  nodes_[node->dirty - 1].erased = true;
  store_.cache_.Remove(node->id);
}

void WriteTxn::ErasePage(NodeId id) {
  store_.cache_.Remove(id);
  batch_.erased_pages.push_back(id);
}

WriteTxn::DirtyVolume& WriteTxn::TouchVolume(VolumeId id, VolumeState* state) {
  if (state->dirty == 0) {
    volumes_.push_back({id, *state});
    state->dirty = static_cast<uint32_t>(volumes_.size());
  }
  return volumes_[state->dirty - 1];
}

void WriteTxn::SetRoot(VolumeId id, VolumeState* state, NodeId root) {
  TouchVolume(id, state).rewrite = true;
  state->root = root;
}

// --- The transaction ---

void WriteTxn::Begin() {
  PX_CHECK(nodes_.empty() && volumes_.empty());
  before_ = store_.ids_;
}

Status WriteTxn::Finish(Status body) {
  if (body && poison_) body = Forward(*poison_);
  if (body) {
    FillBatch();
    if (!BatchEmpty()) body = store_.pages_->Commit(batch_);
  }
  if (!body) {
    Abort();
    return body;
  }
  ApplyCommitted();
  Reset();
  return {};
}

void WriteTxn::FillBatch() {
  for (const DirtyNode& dirty : nodes_) {
    if (!dirty.erased) {
      Node(dirty.node->bytes.data()).UpdateChecksum();
      batch_.pages.push_back({dirty.node->id, dirty.node->bytes});
    } else if (!dirty.created) {
      batch_.erased_pages.push_back(dirty.node->id);
    }
  }
  for (const auto& [id, refs] : node_refs_) {
    if (refs.now != refs.before) batch_.node_refs.push_back({NodeId{id}, refs.now});
  }
  for (const auto& [id, refs] : object_refs_) {
    releases_ = releases_ || (refs.now > 0 && refs.now < refs.before);
    if (refs.now == 0) {
      batch_.queued.push_back({store_.ids_.next_seq++, ReclaimRow::Kind::kObject, id});
    }
    // No row means 1, so nothing is written for a count that stays at or below it.
    if (refs.now != refs.before && (refs.now > 1 || refs.before > 1)) {
      batch_.object_refs.push_back({ObjectId{id}, refs.now});
    }
  }
  for (const DirtyVolume& dirty : volumes_) {
    const VolumeState& state = store_.volumes_.find(dirty.id.value)->second;
    if (state.dropped) {
      if (dirty.before) batch_.erased_volumes.push_back(dirty.id);
    } else if (dirty.rewrite) {
      batch_.volumes.push_back({dirty.id, state.root, state.ino_limit, state.attributes});
    }
  }
  const IdCounters& ids = store_.ids_;
  const auto counter = [&](Counter name, uint64_t before, uint64_t now) {
    if (now != before) batch_.counters.emplace_back(name, now);
  };
  counter(Counter::kNextNode, before_.next_node, ids.next_node);
  counter(Counter::kNextObject, before_.next_object, ids.next_object);
  counter(Counter::kNextVolume, before_.next_volume, ids.next_volume);
}

bool WriteTxn::BatchEmpty() const {
  return batch_.pages.empty() && batch_.erased_pages.empty() && batch_.node_refs.empty() &&
         batch_.object_refs.empty() && batch_.volumes.empty() && batch_.erased_volumes.empty() &&
         batch_.queued.empty() && batch_.unqueued.empty() && batch_.counters.empty();
}

void WriteTxn::ApplyCommitted() {
  for (const auto& [id, refs] : node_refs_) {
    if (refs.now == refs.before) continue;
    if (const NodePtr node = store_.cache_.Find(NodeId{id})) node->refs = refs.now;
  }
  for (DirtyNode& dirty : nodes_) dirty.node->dirty = 0;
  for (const DirtyVolume& dirty : volumes_) {
    const auto found = store_.volumes_.find(dirty.id.value);
    found->second.dirty = 0;
    if (!found->second.dropped) continue;
    const MutexLock lock(store_.volumes_mutex_);
    store_.volumes_.erase(found);
  }
  const uint64_t number = store_.counters_.commits.fetch_add(1, std::memory_order_release) + 1;
  if (releases_) store_.last_release_.store(number, std::memory_order_release);
  store_.counters_.node_writes.fetch_add(batch_.pages.size(), std::memory_order_relaxed);
  store_.committed_seq_.store(store_.ids_.next_seq, std::memory_order_release);
}

void WriteTxn::Abort() noexcept {
  for (const DirtyNode& dirty : nodes_) store_.cache_.Remove(dirty.node->id);
  for (auto dirty = volumes_.rbegin(); dirty != volumes_.rend(); ++dirty) {
    const auto found = store_.volumes_.find(dirty->id.value);
    if (found == store_.volumes_.end()) continue;
    if (dirty->before) {
      found->second = std::move(*dirty->before);
    } else {
      const MutexLock lock(store_.volumes_mutex_);
      store_.volumes_.erase(found);
    }
  }
  store_.ids_ = before_;
  Reset();
}

void WriteTxn::Reset() {
  nodes_.clear();
  volumes_.clear();
  ClearMap(&node_refs_);
  ClearMap(&object_refs_);
  releases_ = false;
  poison_.reset();
  batch_.pages.clear();
  batch_.erased_pages.clear();
  batch_.node_refs.clear();
  batch_.object_refs.clear();
  batch_.volumes.clear();
  batch_.erased_volumes.clear();
  batch_.queued.clear();
  batch_.unqueued.clear();
  batch_.counters.clear();
}

}  // namespace px::cow
