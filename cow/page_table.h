// PageTable: where the engine keeps its nodes, counts, volumes and reclaim queue.
//
// An interface, so that cow/ knows no database; catalog/ implements it over SQLite. The engine is
// its only user and serialises Commit itself: at most one runs at a time. Everything else may come
// from several threads at once, and beside a Commit: it then gives what was before, or what is
// after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cow/ids.h"

namespace px::cow {

// The size of a node, always. A row of the page table that holds one stays within one SQLite page
// of 4096 bytes (payload limit of a table leaf: 4096 - 35).
inline constexpr size_t kNodeSize = 4048;

struct VolumeRow {
  VolumeId id;
  NodeId root;
  uint64_t next_ino = 0;   // inode numbers below it may have been given out
  std::string attributes;  // opaque to the engine: fs/ keeps parent, name, flags and times there
};

// What waits to be reclaimed.
struct ReclaimRow {
  enum class Kind : uint8_t {
    kNode = 1,    // one reference to that node is to be given back
    kObject = 2,  // nothing names that object any more: its file may go once this row is durable
  };
  uint64_t seq = 0;  // order of entry, unique
  Kind kind = Kind::kNode;
  uint64_t id = 0;
};

// Named counters that must survive: the next node id, the next object id and so on; kJournal is the
// last batch that a JournaledPageTable handed over. From kFirstMark on: two for each lane (see
// Txn::SetMark), its last request and what came of it.
enum class Counter : uint8_t {
  kNextNode = 1,
  kNextObject = 2,
  kNextVolume = 3,
  kJournal = 4,
  kFirstMark = 16
};
inline constexpr uint32_t kLanes = 120;

inline Counter MarkRequest(uint32_t lane) {
  return static_cast<Counter>(static_cast<uint32_t>(Counter::kFirstMark) + 2 * lane);
}
inline Counter MarkResult(uint32_t lane) {
  return static_cast<Counter>(static_cast<uint32_t>(Counter::kFirstMark) + 2 * lane + 1);
}

// One atomic change. Views must stay valid until Commit returns.
struct PageBatch {
  struct Page {
    NodeId id;
    std::span<const std::byte> bytes;  // kNodeSize
  };
  template <typename IdType>
  struct Count {
    IdType id;
    uint64_t refs;  // 1 or less: the row goes, since no row means 1
  };
  std::vector<Page> pages;
  std::vector<NodeId> erased_pages;
  std::vector<Count<NodeId>> node_refs;
  std::vector<Count<ObjectId>> object_refs;
  std::vector<VolumeRow> volumes;  // inserted or replaced
  std::vector<VolumeId> erased_volumes;
  std::vector<ReclaimRow> queued;
  std::vector<uint64_t> unqueued;  // by seq
  std::vector<std::pair<Counter, uint64_t>> counters;
};

// Half of a reserve is for who runs out of space while the table is in use, most of the rest for
// who opens it next and must take over what there is; the last of it is for the table itself.
enum class ReserveUse { kInUse, kOpening, kTable };

class PageTable {
 public:
  virtual ~PageTable() = default;

  // Copies the node's bytes into `out` (kNodeSize). ENOENT, EIO, EUCLEAN (a row of another size).
  virtual Status Load(NodeId id, std::span<std::byte> out) = 0;
  // The count of a node or object; 1 where there is no row. Whether the thing exists is not
  // checked.
  virtual Result<uint64_t> NodeRefs(NodeId id) = 0;
  virtual Result<uint64_t> ObjectRefs(ObjectId id) = 0;

  virtual Result<std::optional<VolumeRow>> LoadVolume(VolumeId id) = 0;
  // In ascending order of id, from the first id >= `from`, until `visit` returns false.
  virtual Status ScanVolumes(VolumeId from, const std::function<bool(const VolumeRow&)>& visit) = 0;
  // The newest `limit` rows of the kind with seq <= max_seq, highest seq first (last in, first out
  // keeps the queue of a dropped tree as short as the tree is deep).
  virtual Result<std::vector<ReclaimRow>> LoadQueue(ReclaimRow::Kind kind, uint64_t max_seq,
                                                    size_t limit) = 0;
  // 0 where it was never set.
  virtual Result<uint64_t> LoadCounter(Counter counter) = 0;

  // All of the batch, or nothing of it (ENOSPC, EDQUOT, EIO, EROFS). When it returns, a kill of
  // this process cannot undo it; a power cut can, until Sync.
  virtual Status Commit(const PageBatch& batch) = 0;
  // Makes every batch whose Commit had returned when Sync was called survive a power cut. Where a
  // flush failed with EIO the kernel may have forgotten what it could not write, and a second try
  // would lie: then every later call fails too, until the table is opened anew. After any other
  // error (ENOSPC, EDQUOT, no descriptor) a later call tries again.
  virtual Status Sync() = 0;

  // Gets ready for another batch of any size: what a log of the table holds goes where it belongs,
  // so that the log needs no more space than it has.
  virtual Status Settle() { return {}; }
  // Space that is kept for who must commit on a full disk. Keep: makes it whole, and says whether
  // it is. Give up, after ENOSPC: whether there was some for that use, so that another try is
  // worth it. Any thread.
  virtual bool KeepReserve() { return true; }
  virtual bool GiveUpReserve(ReserveUse /*use*/) { return false; }

  // For check and tests: every page id, every count above 1.
  virtual Status ScanPages(const std::function<bool(NodeId)>& visit) = 0;
  virtual Status ScanNodeRefs(const std::function<bool(NodeId, uint64_t)>& visit) = 0;
  virtual Status ScanObjectRefs(const std::function<bool(ObjectId, uint64_t)>& visit) = 0;
};

}  // namespace px::cow
