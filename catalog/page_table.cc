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
  kQueue,
  kUnqueue,
  kPutCounter,
  kSqlCount,
};

namespace {

constexpr const char* kSchema = R"sql(
  CREATE TABLE page(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
  CREATE TABLE node_refs(id INTEGER PRIMARY KEY, refs INTEGER NOT NULL);
  CREATE TABLE object_refs(id INTEGER PRIMARY KEY, refs INTEGER NOT NULL);
  CREATE TABLE volume(id INTEGER PRIMARY KEY, root INTEGER NOT NULL, next_ino INTEGER NOT NULL,
                      attributes BLOB NOT NULL);
  CREATE TABLE reclaim(kind INTEGER NOT NULL, seq INTEGER NOT NULL, id INTEGER NOT NULL,
                       PRIMARY KEY(kind, seq)) WITHOUT ROWID;
  CREATE TABLE counter(name INTEGER PRIMARY KEY, value INTEGER NOT NULL);
)sql";

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
    "INSERT INTO reclaim(kind, seq, id) VALUES(?, ?, ?)",
    "DELETE FROM reclaim WHERE seq = ? AND kind IN (1, 2)",
    "REPLACE INTO counter(name, value) VALUES(?, ?)",
};

constexpr int kApplicationId = 0x70786d74;
constexpr uint64_t kHoldOffBytes = uint64_t{64} << 20;
constexpr uint64_t kTruncateBytes = uint64_t{256} << 20;

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

Result<int64_t> NumberOf(const Database& database, const char* sql) {
  PX_ASSIGN(Statement statement, database.Prepare(sql));
  PX_TRY(statement.Step());
  return statement.Int(0);
}

// True if the database is empty, false if it is ours; else the error that says what it is.
Result<bool> IsFresh(const Database& database) {
  PX_ASSIGN(const int64_t version, NumberOf(database, "PRAGMA user_version"));
  PX_ASSIGN(const int64_t tables, NumberOf(database, "SELECT count(*) FROM sqlite_schema"));
  if (version == 0 && tables == 0) return true;
  if (version == kMetaVersion) return false;
  if (version > kMetaVersion) {
    return Fail(EPROTONOSUPPORT, "format version " + std::to_string(version) +
                                     " is newer than this program's " +
                                     std::to_string(kMetaVersion));
  }
  return Fail(EUCLEAN, "not a store's database (format version " + std::to_string(version) + ")");
}

Status MakeSchema(const Database& database) {
  return database.Transaction([&]() -> Status {
    PX_TRY(database.Execute(kSchema));
    PX_TRY(database.Execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
    return database.Execute("PRAGMA user_version = " + std::to_string(kMetaVersion));
  });
}

}  // namespace

// --- Opening ---

Result<std::unique_ptr<SqlitePageTable>> SqlitePageTable::Open(const std::string& dir,
                                                               bool create) {
  auto table = std::make_unique<SqlitePageTable>(Private{}, dir);
  if (const Status opened = table->OpenDatabase(create); !opened) {
    return Forward(Error(opened.error()).Wrap(dir + "/meta.db"));
  }
  return table;
}

SqlitePageTable::~SqlitePageTable() {
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock lock(mutex_);
  statements_.clear();
  checkpointer_ = Database();
}

Status SqlitePageTable::OpenDatabase(bool create) {
  const std::string path = dir_ + "/meta.db";
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
  constexpr int kBusyTimeoutMs = 30000;
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock sync_lock(sync_mutex_);
  {
    const MutexLock lock(mutex_);
    PX_ASSIGN(database_, Database::Open(path, flags, kBusyTimeoutMs));
    PX_TRY(database_.Execute("PRAGMA page_size = 4096"));
    PX_ASSIGN(const bool fresh, IsFresh(database_));
    PX_ASSIGN(Statement mode, database_.Prepare("PRAGMA journal_mode = WAL"));
    PX_ASSIGN(const bool row, mode.Step());
    if (!row || mode.Text(0) != "wal") return Fail(ENOTSUP, "no write-ahead log can be had here");
    mode.Reset();
    PX_TRY(database_.Execute(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192;"
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF"));
    if (fresh) PX_TRY(MakeSchema(database_));
    PX_TRY(PrepareAll());
    // Called after each commit with the number of pages in the log.
    sqlite3_wal_hook(
        database_.handle(),
        [](void* self, sqlite3*, const char*, int pages) {
          static_cast<SqlitePageTable*>(self)->wal_pages_.store(static_cast<uint64_t>(pages),
                                                                std::memory_order_relaxed);
          return SQLITE_OK;
        },
        this);
  }
  PX_ASSIGN(checkpointer_, Database::Open(path, flags, /*busy_timeout_ms=*/0));
  PX_TRY(checkpointer_.Execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0"));
  return OpenWal();
}

Status SqlitePageTable::PrepareAll() {
  static_assert(kStatements.size() == kSqlCount);
  for (const char* sql : kStatements) {
    PX_ASSIGN(Statement statement, database_.Prepare(sql));
    statements_.push_back(std::move(statement));
  }
  return {};
}

Status SqlitePageTable::OpenWal() {
  // A descriptor of our own: SQLite's is its own affair. Closing one for the log drops no lock,
  // since SQLite locks meta.db and meta.db-shm only. The directory is flushed so that the log's
  // name survives as well.
  const std::string path = dir_ + "/meta.db-wal";
  wal_.Reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!wal_) return FailErrno("meta.db-wal");
  const UniqueFd dir(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0) return FailErrno(dir_);
  return {};
}

// --- Reading ---

Status SqlitePageTable::Load(NodeId id, std::span<std::byte> out) {
  const MutexLock lock(mutex_);
  const Rewound statement(At(kLoadPage));
  statement->Bind(1, Signed(id.value));
  PX_ASSIGN(const bool found, statement->Step());
  if (!found) return Fail(ENOENT, "no such page");
  const std::span<const std::byte> data = statement->Blob(0);
  if (data.size() != out.size()) return Fail(EUCLEAN, "page of a wrong size");
  std::memcpy(out.data(), data.data(), data.size());
  return {};
}

Result<uint64_t> SqlitePageTable::Number(Sql sql, uint64_t key, uint64_t otherwise) {
  const MutexLock lock(mutex_);
  const Rewound statement(At(sql));
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
  const MutexLock lock(mutex_);
  const Rewound statement(At(kLoadVolume));
  statement->Bind(1, id.value);
  PX_ASSIGN(const bool found, statement->Step());
  if (!found) return std::optional<VolumeRow>();
  return std::optional<VolumeRow>(RowOf(*statement.operator->()));
}

Status SqlitePageTable::ScanVolumes(VolumeId from,
                                    const std::function<bool(const VolumeRow&)>& visit) {
  const MutexLock lock(mutex_);
  const Rewound statement(At(kScanVolumes));
  statement->Bind(1, from.value);
  for (;;) {
    PX_ASSIGN(const bool found, statement->Step());
    if (!found || !visit(RowOf(*statement.operator->()))) return {};
  }
}

Result<std::vector<ReclaimRow>> SqlitePageTable::LoadQueue(ReclaimRow::Kind kind, uint64_t max_seq,
                                                           size_t limit) {
  std::vector<ReclaimRow> rows;
  const MutexLock lock(mutex_);
  const Rewound statement(At(kLoadQueue));
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
  const MutexLock lock(mutex_);
  const Rewound statement(At(sql));
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
    Statement& put = At(kPutVolume);
    put.Bind(1, row.id.value).Bind(2, Signed(row.root.value)).Bind(3, Signed(row.next_ino));
    PX_TRY(put.BindBlob(4, Bytes(row.attributes)).Run());
  }
  for (const VolumeId id : batch.erased_volumes) PX_TRY(At(kEraseVolume).Bind(1, id.value).Run());
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

Status SqlitePageTable::Sync() {
  const MutexLock lock(sync_mutex_);
  // SQLite keeps the log's file as long as the connection lives, but somebody may have removed it
  // by hand.
  struct stat info{};
  if (::fstat(wal_.get(), &info) != 0) return FailErrno("meta.db-wal");
  if (info.st_nlink == 0) return Fail(EIO, "meta.db-wal: removed while in use");
  if (::fdatasync(wal_.get()) != 0) return FailErrno("meta.db-wal");
  return {};
}

// --- The log ---

Status SqlitePageTable::RunCheckpoint(int mode, uint64_t* log_pages) {
  int in_log = 0, moved = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(checkpointer_.handle(), nullptr, mode, &in_log, &moved);
  *log_pages = in_log > 0 ? static_cast<uint64_t>(in_log) : 0;
  // Until the next commit says how large the log is then, only what was not moved counts.
  wal_pages_.store(in_log > moved ? static_cast<uint64_t>(in_log - moved) : 0,
                   std::memory_order_relaxed);
  // Busy: a reader or the writer was in the way; what could be moved was, and the next call goes
  // on.
  if (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED) return {};
  return Forward(SqliteError(checkpointer_.handle(), code).Wrap("checkpoint of meta.db"));
}

Status SqlitePageTable::Checkpoint() {
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  uint64_t log_pages = 0;
  PX_TRY(RunCheckpoint(SQLITE_CHECKPOINT_PASSIVE, &log_pages));
  if (log_pages * kWalFrame < kHoldOffBytes) return {};
  // Commits that came meanwhile keep the log from starting afresh: with none in between, the rest
  // is short.
  struct stat info{};
  {
    const MutexLock sync_lock(sync_mutex_);
    if (::fstat(wal_.get(), &info) != 0) return FailErrno("meta.db-wal");
  }
  const MutexLock lock(mutex_);
  const bool truncate = static_cast<uint64_t>(info.st_size) > kTruncateBytes;
  return RunCheckpoint(truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE,
                       &log_pages);
}

}  // namespace px::catalog
