#include "cow/cache.h"

#include <algorithm>
#include <utility>

namespace px::cow {

NodeCache::NodeCache(size_t budget_bytes)
    : max_per_shard_(std::max<size_t>(8, budget_bytes / sizeof(CachedNode) / kShards)) {}

NodePtr NodeCache::Find(NodeId id) {
  Shard& shard = ShardOf(id);
  const MutexLock lock(shard.mutex);
  const auto found = shard.where.find(id.value);
  if (found == shard.where.end()) return nullptr;
  const NodePtr& node = shard.ring[found->second];
  node->touched.store(true, std::memory_order_relaxed);
  return node;
}

NodePtr NodeCache::Insert(NodePtr node) {
  Shard& shard = ShardOf(node->id);
  const MutexLock lock(shard.mutex);
  const auto [place, inserted] = shard.where.try_emplace(node->id.value, shard.ring.size());
  if (!inserted) return shard.ring[place->second];
  shard.ring.push_back(node);
  if (shard.ring.size() > max_per_shard_) Evict(shard);
  return node;
}

void NodeCache::Remove(NodeId id) {
  Shard& shard = ShardOf(id);
  const MutexLock lock(shard.mutex);
  const auto found = shard.where.find(id.value);
  if (found != shard.where.end()) RemoveAt(shard, found->second);
}

void NodeCache::Clear() {
  for (Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    shard.ring.clear();
    shard.where.clear();
    shard.hand = 0;
  }
}

size_t NodeCache::bytes() const {
  size_t nodes = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    nodes += shard.ring.size();
  }
  return nodes * sizeof(CachedNode);
}

void NodeCache::RemoveAt(Shard& shard, size_t index) {
  shard.where.erase(shard.ring[index]->id.value);
  if (index + 1 != shard.ring.size()) {
    shard.ring[index] = std::move(shard.ring.back());
    shard.where[shard.ring[index]->id.value] = index;
  }
  shard.ring.pop_back();
}

void NodeCache::Evict(Shard& shard) const {
  // A few steps for each insertion: after a large transaction the shard shrinks again by and by,
  // and where all is held the hand does not run round and round.
  size_t to_go = std::min<size_t>(2, shard.ring.size() - max_per_shard_);
  for (size_t steps = 0; to_go > 0 && steps < 64; ++steps) {
    if (shard.hand >= shard.ring.size()) shard.hand = 0;
    const NodePtr& node = shard.ring[shard.hand];
    if (node.use_count() > 1 || node->touched.exchange(false, std::memory_order_relaxed)) {
      ++shard.hand;
      continue;
    }
    RemoveAt(shard, shard.hand);
    --to_go;
  }
}

}  // namespace px::cow
