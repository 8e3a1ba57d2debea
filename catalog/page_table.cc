#include "catalog/page_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/log.h"

namespace px::catalog {

using cow::Counter;
using cow::NodeId;
using cow::ObjectId;
using cow::PageBatch;
using cow::ReclaimRow;
using cow::VolumeId;
using cow::VolumeRow;

enum SqlitePageTable::Sql : size_t {
  kBegin,
  kCommit,
  kRollback,
  kLoadPage,
  kNodeRefs,
  kObjectRefs,
  kLoadVolume,
  kScanVolumes,
  kLoadVolumeCopy,
  kScanVolumeCopies,
  kLoadQueue,
  kLoadCounter,
  kScanPages,
  kScanNodeRefs,
  kScanObjectRefs,
  kPutPage,
  kErasePage,
  kPutNodeRefs,
  kEraseNodeRefs,
  kPutObjectRefs,
  kEraseObjectRefs,
  kPutVolume,
  kEraseVolume,
  kPutVolumeCopy,
  kEraseVolumeCopy,
  kQueue,
  kUnqueue,
  kPutCounter,
  kSqlCount,
};

namespace {

// In the order of SqlitePageTable::Sql.
constexpr std::array kStatements = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SELECT data FROM page WHERE id = ?",
    "SELECT refs FROM node_refs WHERE id = ?",
    "SELECT refs FROM object_refs WHERE id = ?",
    "SELECT id, root, next_ino, attributes FROM volume WHERE id = ?",
    "SELECT id, root, next_ino, attributes FROM volume WHERE id >= ? ORDER BY id",
    "SELECT id, root, next_ino, attributes FROM volume_copy WHERE id = ?",
    "SELECT id, root, next_ino, attributes FROM volume_copy WHERE id >= ? ORDER BY id",
    "SELECT seq, id FROM reclaim WHERE kind = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
    "SELECT value FROM counter WHERE name = ?",
    "SELECT id, 0 FROM page ORDER BY id",
    "SELECT id, refs FROM node_refs ORDER BY id",
    "SELECT id, refs FROM object_refs ORDER BY id",
    "REPLACE INTO page(id, data) VALUES(?, ?)",
    "DELETE FROM page WHERE id = ?",
    "REPLACE INTO node_refs(id, refs) VALUES(?, ?)",
    "DELETE FROM node_refs WHERE id = ?",
    "REPLACE INTO object_refs(id, refs) VALUES(?, ?)",
    "DELETE FROM object_refs WHERE id = ?",
    "REPLACE INTO volume(id, root, next_ino, attributes) VALUES(?, ?, ?, ?)",
    "DELETE FROM volume WHERE id = ?",
    "REPLACE INTO volume_copy(id, root, next_ino, attributes) VALUES(?, ?, ?, ?)",
    "DELETE FROM volume_copy WHERE id = ?",
    // As all others: a batch whose Sync failed is committed again.
    "REPLACE INTO reclaim(kind, seq, id) VALUES(?, ?, ?)",
    "DELETE FROM reclaim WHERE seq = ? AND kind IN (1, 2)",
    "REPLACE INTO counter(name, value) VALUES(?, ?)",
};

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t Unsigned(int64_t value) { return static_cast<uint64_t>(value); }

VolumeRow RowOf(const Statement& row) {
  VolumeRow volume;
  volume.id = VolumeId{static_cast<uint32_t>(row.Int(0))};
  volume.root = NodeId{Unsigned(row.Int(1))};
  volume.next_ino = Unsigned(row.Int(2));
  const std::span<const std::byte> attributes = row.Blob(3);
  volume.attributes.assign(reinterpret_cast<const char*>(attributes.data()), attributes.size());
  return volume;
}

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Leaves the statement ready for its next use, however the block is left.
class Rewound {
 public:
  explicit Rewound(Statement& statement) : statement_(statement) {}
  ~Rewound() { statement_.Reset(); }
  Rewound(const Rewound&) = delete;
  Rewound& operator=(const Rewound&) = delete;
  Statement* operator->() const { return &statement_; }

 private:
  Statement& statement_;
};

}  // namespace

Status SqlitePageTable::PrepareAll() {
  static_assert(kStatements.size() == kSqlCount);
  statements_.resize(kSqlCount);
  reads_.resize(kSqlCount);
  for (size_t i = 0; i < kSqlCount; ++i) {
    const bool reads = std::string_view(kStatements[i]).starts_with("SELECT");
    const Database& connection = reads ? reader_ : database_;
    PX_ASSIGN((reads ? reads_ : statements_)[i], connection.Prepare(kStatements[i]));
  }
  return {};
}

// --- Reading ---

Status SqlitePageTable::Load(NodeId id, std::span<std::byte> out) {
  const MutexLock lock(read_mutex_);
  const Rewound statement(ReadAt(kLoadPage));
  statement->Bind(1, Signed(id.value));
  PX_ASSIGN(const bool found, statement->Step());
  if (!found) return Fail(ENOENT, "no such page");
  const std::span<const std::byte> data = statement->Blob(0);
  if (data.size() != out.size()) return Fail(EUCLEAN, "page of a wrong size");
  std::memcpy(out.data(), data.data(), data.size());
  return {};
}

Result<uint64_t> SqlitePageTable::Number(Sql sql, uint64_t key, uint64_t otherwise) {
  const MutexLock lock(read_mutex_);
  const Rewound statement(ReadAt(sql));
  statement->Bind(1, Signed(key));
  PX_ASSIGN(const bool found, statement->Step());
  return found ? Unsigned(statement->Int(0)) : otherwise;
}

Result<uint64_t> SqlitePageTable::NodeRefs(NodeId id) { return Number(kNodeRefs, id.value, 1); }

Result<uint64_t> SqlitePageTable::ObjectRefs(ObjectId id) {
  return Number(kObjectRefs, id.value, 1);
}

Result<uint64_t> SqlitePageTable::LoadCounter(Counter counter) {
  return Number(kLoadCounter, static_cast<uint64_t>(counter), 0);
}

Result<std::optional<VolumeRow>> SqlitePageTable::LoadVolume(VolumeId id) {
  const auto load = [&](Sql sql) PX_REQUIRES(read_mutex_) -> Result<std::optional<VolumeRow>> {
    const Rewound statement(ReadAt(sql));
    statement->Bind(1, id.value);
    PX_ASSIGN(const bool found, statement->Step());
    return found ? std::optional(RowOf(*statement.operator->())) : std::nullopt;
  };
  const MutexLock lock(read_mutex_);
  const auto row = load(kLoadVolume);
  return row || row.error().code() != EUCLEAN ? row : load(kLoadVolumeCopy);
}

Status SqlitePageTable::ScanVolumes(VolumeId from,
                                    const std::function<bool(const VolumeRow&)>& visit) {
  uint64_t next = from.value;
  const auto scan = [&](Sql sql) PX_REQUIRES(read_mutex_) -> Status {
    const Rewound statement(ReadAt(sql));
    statement->Bind(1, Signed(next));
    for (;;) {
      PX_ASSIGN(const bool found, statement->Step());
      if (!found) return {};
      const VolumeRow row = RowOf(*statement.operator->());
      next = uint64_t{row.id.value} + 1;
      if (!visit(row)) return {};
    }
  };
  const MutexLock lock(read_mutex_);
  const Status scanned = scan(kScanVolumes);
  return scanned || scanned.error().code() != EUCLEAN ? scanned : scan(kScanVolumeCopies);
}

Result<std::vector<ReclaimRow>> SqlitePageTable::LoadQueue(ReclaimRow::Kind kind, uint64_t max_seq,
                                                           size_t limit) {
  std::vector<ReclaimRow> rows;
  const MutexLock lock(read_mutex_);
  const Rewound statement(ReadAt(kLoadQueue));
  statement->Bind(1, static_cast<int64_t>(kind));
  statement->Bind(2, Signed(std::min<uint64_t>(max_seq, INT64_MAX)));
  statement->Bind(3, Signed(std::min<uint64_t>(limit, INT64_MAX)));
  for (;;) {
    PX_ASSIGN(const bool found, statement->Step());
    if (!found) return rows;
    rows.push_back({Unsigned(statement->Int(0)), kind, Unsigned(statement->Int(1))});
  }
}

Status SqlitePageTable::ScanPairs(Sql sql, const std::function<bool(uint64_t, uint64_t)>& visit) {
  const MutexLock lock(read_mutex_);
  const Rewound statement(ReadAt(sql));
  for (;;) {
    PX_ASSIGN(const bool found, statement->Step());
    if (!found || !visit(Unsigned(statement->Int(0)), Unsigned(statement->Int(1)))) return {};
  }
}

Status SqlitePageTable::ScanPages(const std::function<bool(NodeId)>& visit) {
  return ScanPairs(kScanPages, [&](uint64_t id, uint64_t) { return visit(NodeId{id}); });
}

Status SqlitePageTable::ScanNodeRefs(const std::function<bool(NodeId, uint64_t)>& visit) {
  return ScanPairs(kScanNodeRefs,
                   [&](uint64_t id, uint64_t refs) { return visit(NodeId{id}, refs); });
}

Status SqlitePageTable::ScanObjectRefs(const std::function<bool(ObjectId, uint64_t)>& visit) {
  return ScanPairs(kScanObjectRefs,
                   [&](uint64_t id, uint64_t refs) { return visit(ObjectId{id}, refs); });
}

// --- Writing ---

Status SqlitePageTable::Commit(const PageBatch& batch) {
  const MutexLock lock(mutex_);
  PX_TRY(At(kBegin).Run());
  Status status = Write(batch);
  if (status) status = At(kCommit).Run();
  if (status) commits_.fetch_add(1, std::memory_order_relaxed);
  if (!status && sqlite3_get_autocommit(database_.handle()) == 0) {
    // The first error is the one that matters.
    if (const Status undone = At(kRollback).Run(); !undone) {
      LogError("meta.db: ROLLBACK: {}", undone.error().ToString());
    }
  }
  return status;
}

Status SqlitePageTable::Write(const PageBatch& batch) {
  PX_TRY(WritePages(batch));
  for (const auto& count : batch.node_refs) {
    PX_TRY(WriteCount(kPutNodeRefs, kEraseNodeRefs, count.id.value, count.refs));
  }
  for (const auto& count : batch.object_refs) {
    PX_TRY(WriteCount(kPutObjectRefs, kEraseObjectRefs, count.id.value, count.refs));
  }
  return WriteRows(batch);
}

Status SqlitePageTable::WritePages(const PageBatch& batch) {
  for (const PageBatch::Page& page : batch.pages) {
    PX_TRY(At(kPutPage).Bind(1, Signed(page.id.value)).BindBlob(2, page.bytes).Run());
  }
  for (const NodeId id : batch.erased_pages) PX_TRY(At(kErasePage).Bind(1, Signed(id.value)).Run());
  return {};
}

Status SqlitePageTable::WriteCount(Sql set, Sql erase, uint64_t id, uint64_t refs) {
  if (refs <= 1) return At(erase).Bind(1, Signed(id)).Run();
  return At(set).Bind(1, Signed(id)).Bind(2, Signed(refs)).Run();
}

Status SqlitePageTable::WriteRows(const PageBatch& batch) {
  for (const VolumeRow& row : batch.volumes) {
    for (const Sql sql : {kPutVolume, kPutVolumeCopy}) {
      Statement& put = At(sql);
      put.Bind(1, row.id.value).Bind(2, Signed(row.root.value)).Bind(3, Signed(row.next_ino));
      PX_TRY(put.BindBlob(4, Bytes(row.attributes)).Run());
    }
  }
  for (const VolumeId id : batch.erased_volumes) {
    for (const Sql sql : {kEraseVolume, kEraseVolumeCopy}) PX_TRY(At(sql).Bind(1, id.value).Run());
  }
  for (const ReclaimRow& row : batch.queued) {
    Statement& queue = At(kQueue);
    queue.Bind(1, static_cast<int64_t>(row.kind)).Bind(2, Signed(row.seq)).Bind(3, Signed(row.id));
    PX_TRY(queue.Run());
  }
  for (const uint64_t seq : batch.unqueued) PX_TRY(At(kUnqueue).Bind(1, Signed(seq)).Run());
  for (const auto& [name, value] : batch.counters) {
    PX_TRY(At(kPutCounter).Bind(1, static_cast<int64_t>(name)).Bind(2, Signed(value)).Run());
  }
  return {};
}

}  // namespace px::catalog
