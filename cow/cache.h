// NodeCache: the nodes in memory, by id, within a byte budget.
//
// Sharded, each shard under its own lock and with its own clock hand. A node that somebody else
// holds a NodePtr of is never evicted, so what a transaction has changed stays until it lets go of
// it. Any thread may call anything; who may change a node's bytes is the store's lock's affair.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cow/ids.h"
#include "cow/page_table.h"

namespace px::cow {

inline constexpr uint64_t kUnknownRefs = UINT64_MAX;

// A node in memory. Readers hold the store's lock shared, the one writer holds it alone.
struct CachedNode {
  NodeId id;
  // As committed. kUnknownRefs: it cannot be read; the node is one that others may use, and nothing
  // can be taken from it.
  uint64_t refs = 1;
  uint32_t dirty = 0;               // 1 + index among what the transaction changed; 0: unchanged
  std::atomic<bool> touched{true};  // since the clock hand last passed
  alignas(8) std::array<std::byte, kNodeSize> bytes;
};
using NodePtr = std::shared_ptr<CachedNode>;

class NodeCache {
 public:
  explicit NodeCache(size_t budget_bytes);

  // Null if it is not there.
  NodePtr Find(NodeId id);
  // Takes `node`, or returns the one with that id that came first.
  NodePtr Insert(NodePtr node);
  void Remove(NodeId id);
  void Clear();
  size_t bytes() const;

 private:
  static constexpr size_t kShards = 16;
  struct Shard {
    mutable Mutex mutex;
    std::vector<NodePtr> ring PX_GUARDED_BY(mutex);
    std::unordered_map<uint64_t, size_t> where PX_GUARDED_BY(mutex);  // id -> index into ring
    size_t hand PX_GUARDED_BY(mutex) = 0;
  };

  Shard& ShardOf(NodeId id) { return shards_[id.value % kShards]; }
  static void RemoveAt(Shard& shard, size_t index) PX_REQUIRES(shard.mutex);
  void Evict(Shard& shard) const PX_REQUIRES(shard.mutex);

  const size_t max_per_shard_;
  std::array<Shard, kShards> shards_;
};

}  // namespace px::cow
