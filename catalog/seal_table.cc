#include "catalog/seal_table.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "base/unique_fd.h"

namespace px::catalog {
namespace {

constexpr int kApplicationId = 0x7078736c;  // "pxsl"
constexpr int kBusyTimeoutMs = 30000;
constexpr int kCheckpointPages = 1000;
constexpr off_t kLogReserve = off_t{1} << 20;

// A row's `sum` is of all the others. `epoch` says since which power cut it holds.
constexpr const char* kSchema = R"sql(
  CREATE TABLE seal(object INTEGER PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
                    ctime_ns INTEGER NOT NULL, digest BLOB NOT NULL, state INTEGER NOT NULL,
                    verified_ns INTEGER NOT NULL, epoch INTEGER NOT NULL, sum INTEGER NOT NULL);
  CREATE INDEX damaged ON seal(object) WHERE state = 2;
  CREATE TABLE last_use(id INTEGER PRIMARY KEY, boot TEXT NOT NULL, epoch INTEGER NOT NULL);
)sql";
constexpr const char* kColumns =
    "object, size, mtime_ns, ctime_ns, digest, state, verified_ns, epoch, sum";

int64_t SumOf(cow::ObjectId object, const Seal& seal, int64_t epoch) {
  struct {
    uint64_t object, size;
    int64_t mtime_ns, ctime_ns;
    std::array<std::byte, 16> digest;
    int64_t state, verified_ns, epoch;
  } all{object.value,     seal.size,   seal.mtime_ns,
        seal.ctime_ns,    seal.digest, static_cast<int64_t>(seal.state),
        seal.verified_ns, epoch};
  static_assert(sizeof all == 72);
  return static_cast<int64_t>(XXH3_64bits(&all, sizeof all));
}

Result<int64_t> NumberOf(const Database& database, const char* sql) {
  PX_ASSIGN(Statement statement, database.Prepare(sql));
  PX_TRY(statement.Step());
  return statement.Int(0);
}

bool IsBroken(const Error& error) { return error.code() == EUCLEAN || error.code() == EIO; }

}  // namespace

Result<std::unique_ptr<SealTable>> SealTable::Open(const std::string& dir,
                                                   const std::string& boot) {
  auto table = std::make_unique<SealTable>(Private{}, dir, boot);
  const MutexLock lock(table->mutex_);
  Status opened = table->OpenDatabase();
  if (!opened && IsBroken(opened.error())) {
    PX_TRY(table->SetAside(opened.error()));
    opened = {};
  }
  if (!opened) return Forward(std::move(opened).error().Wrap(dir + "/seals.db"));
  return table;
}

SealTable::~SealTable() = default;

bool SealTable::Remove(const std::string& dir) {
  bool removed = false;
  for (const char* name : {"/seals.db-wal", "/seals.db-shm", "/seals.db"}) {
    removed = ::unlink((dir + name).c_str()) == 0 || removed;
  }
  return removed;
}

Status SealTable::OpenDatabase() {
  const std::string path = dir_ + "/seals.db";
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  PX_ASSIGN(database_, Database::Open(path, kFlags, kBusyTimeoutMs, kOneProcessVfs));
  PX_TRY(Configure());
  PX_TRY(BeginUse());
  const std::string columns(kColumns);
  PX_ASSIGN(find_, database_.Prepare("SELECT " + columns + " FROM seal WHERE object = ?"));
  PX_ASSIGN(put_, database_.Prepare("REPLACE INTO seal(" + columns +
                                    ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  PX_ASSIGN(erase_, database_.Prepare("DELETE FROM seal WHERE object = ?"));
  const MutexLock lock(checkpoint_mutex_);
  PX_ASSIGN(checkpointer_, Database::Open(path, kFlags, /*busy_timeout_ms=*/0, kOneProcessVfs));
  return checkpointer_.Execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0");
}

Status SealTable::Configure() {
  PX_ASSIGN(const int64_t version, NumberOf(database_, "PRAGMA user_version"));
  if (version > kSealsVersion) {
    return Fail(EPROTONOSUPPORT, "format version " + std::to_string(version) +
                                     " is newer than this program's " +
                                     std::to_string(kSealsVersion));
  }
  int on = 1;
  sqlite3_file_control(database_.handle(), nullptr, SQLITE_FCNTL_PERSIST_WAL, &on);
  PX_ASSIGN(Statement mode, database_.Prepare("PRAGMA journal_mode = WAL"));
  PX_ASSIGN(const bool row, mode.Step());
  if (!row || mode.Text(0) != "wal") return Fail(ENOTSUP, "no write-ahead log can be had here");
  mode.Reset();
  PX_TRY(
      database_.Execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
                        "PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY"));
  sqlite3_wal_hook(
      database_.handle(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SealTable*>(self)->log_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  if (version == kSealsVersion) return {};
  return database_.Transaction([&]() PX_NO_TSA -> Status {
    PX_TRY(database_.Execute(kSchema));
    PX_TRY(database_.Execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
    return database_.Execute("PRAGMA user_version = " + std::to_string(kSealsVersion));
  });
}

Status SealTable::BeginUse() {
  std::string boot;
  {
    PX_ASSIGN(Statement last, database_.Prepare("SELECT boot, epoch FROM last_use WHERE id = 1"));
    PX_ASSIGN(const bool found, last.Step());
    if (found) boot = last.Text(0);
    epoch_ = found ? last.Int(1) : 1;
  }
  was_in_order_ = boot.empty();
  if (!boot.empty() && boot != boot_) ++epoch_;
  PX_TRY(NoteUse(boot_));
  // On a full disk a seal can still be taken back.
  const UniqueFd log(::open((dir_ + "/seals.db-wal").c_str(), O_RDWR | O_CLOEXEC));
  if (!log || ::fallocate(log.get(), FALLOC_FL_KEEP_SIZE, 0, kLogReserve) != 0) {
    LogDebug("{}: no reserve for seals.db on a full disk: errno {}", dir_, errno);
  }
  return {};
}

Status SealTable::NoteUse(const std::string& boot) {
  PX_TRY(database_.Execute("PRAGMA synchronous = FULL"));
  PX_ASSIGN(Statement note,
            database_.Prepare("REPLACE INTO last_use(id, boot, epoch) VALUES(1, ?, ?)"));
  Status noted = note.BindText(1, boot).Bind(2, epoch_).Run();
  PX_TRY(database_.Execute("PRAGMA synchronous = NORMAL"));
  return noted;
}

Status SealTable::SetAside(const Error& why) {
  LogError("{}/seals.db: {}: set aside as seals.db.damaged; objects are sealed anew", dir_,
           why.ToString());
  Close();
  const std::string path = dir_ + "/seals.db";
  if (::rename(path.c_str(), (path + ".damaged").c_str()) != 0 && errno != ENOENT) {
    return FailErrno("set aside seals.db");
  }
  for (const char* rest : {"-wal", "-shm"}) {
    if (::unlink((path + rest).c_str()) != 0 && errno != ENOENT) return FailErrno(path + rest);
  }
  return OpenDatabase();
}

void SealTable::Close() {
  find_.reset();
  put_.reset();
  erase_.reset();
  database_ = Database();
  const MutexLock lock(checkpoint_mutex_);
  checkpointer_ = Database();
}

Status SealTable::Abandon() {
  const MutexLock lock(mutex_);
  Close();
  // The database first: a log without one is nothing.
  const std::string path = dir_ + "/seals.db";
  for (const char* part : {"", "-wal", "-shm"}) {
    if (::unlink((path + part).c_str()) != 0 && errno != ENOENT) return FailErrno(path + part);
  }
  return {};
}

Status SealTable::Guarded(const std::function<Status()>& body) {
  if (!find_) return Fail(EIO, "seals.db could not be opened");
  Status status = body();
  if (status || !IsBroken(status.error())) return status;
  PX_TRY(SetAside(status.error()));
  return body();
}

std::optional<Seal> SealTable::RowOf(const Statement& row) const {
  Seal seal;
  const auto object = cow::ObjectId{static_cast<uint64_t>(row.Int(0))};
  seal.size = static_cast<uint64_t>(row.Int(1));
  seal.mtime_ns = row.Int(2);
  seal.ctime_ns = row.Int(3);
  const auto digest = row.Blob(4);
  if (digest.size() != seal.digest.size()) return std::nullopt;
  std::memcpy(seal.digest.data(), digest.data(), digest.size());
  seal.state = static_cast<Seal::State>(row.Int(5));
  seal.verified_ns = row.Int(6);
  const int64_t epoch = row.Int(7);
  if (row.Int(8) != SumOf(object, seal, epoch)) {
    LogWarn("{}/seals.db: the row of object {:x} is damaged: it counts as none", dir_,
            object.value);
    return std::nullopt;
  }
  seal.doubtful = epoch != epoch_;
  return seal;
}

Result<std::optional<Seal>> SealTable::Find(cow::ObjectId object) {
  const MutexLock lock(mutex_);
  std::optional<Seal> seal;
  PX_TRY(Guarded([&]() PX_NO_TSA -> Status {
    PX_ASSIGN(const bool found, find_->Bind(1, static_cast<int64_t>(object.value)).Step());
    if (found) seal = RowOf(*find_);
    find_->Reset();
    return {};
  }));
  return seal;
}

Status SealTable::Put(const Change& change) {
  const auto object = static_cast<int64_t>(change.object.value);
  if (!change.seal) return erase_->Bind(1, object).Run();
  const Seal& seal = *change.seal;
  return put_->Bind(1, object)
      .Bind(2, static_cast<int64_t>(seal.size))
      .Bind(3, seal.mtime_ns)
      .Bind(4, seal.ctime_ns)
      .BindBlob(5, seal.digest)
      .Bind(6, static_cast<int64_t>(seal.state))
      .Bind(7, seal.verified_ns)
      .Bind(8, epoch_)
      .Bind(9, SumOf(change.object, seal, epoch_))
      .Run();
}

Status SealTable::Apply(std::span<const Change> changes) {
  if (changes.empty()) return {};
  const MutexLock lock(mutex_);
  return Guarded([&]() PX_NO_TSA -> Status {
    return database_.Transaction([&]() PX_NO_TSA -> Status {
      for (const Change& change : changes) PX_TRY(Put(change));
      return {};
    });
  });
}

Status SealTable::Scan(cow::ObjectId from,
                       const std::function<bool(cow::ObjectId, const Seal&)>& visit) {
  const MutexLock lock(mutex_);
  return Guarded([&]() PX_NO_TSA -> Status {
    PX_ASSIGN(Statement rows, database_.Prepare("SELECT " + std::string(kColumns) +
                                                " FROM seal WHERE object >= ? ORDER BY object"));
    rows.Bind(1, static_cast<int64_t>(from.value));
    for (;;) {
      PX_ASSIGN(const bool row, rows.Step());
      if (!row) return {};
      const auto object = cow::ObjectId{static_cast<uint64_t>(rows.Int(0))};
      const std::optional<Seal> seal = RowOf(rows);
      if (seal && !visit(object, *seal)) return {};
    }
  });
}

Result<std::vector<cow::ObjectId>> SealTable::Damaged() {
  std::vector<cow::ObjectId> damaged;
  const MutexLock lock(mutex_);
  PX_TRY(Guarded([&]() PX_NO_TSA -> Status {
    damaged.clear();
    PX_ASSIGN(Statement rows, database_.Prepare("SELECT " + std::string(kColumns) +
                                                " FROM seal WHERE state = 2 ORDER BY object"));
    for (;;) {
      PX_ASSIGN(const bool row, rows.Step());
      if (!row) return {};
      if (RowOf(rows)) damaged.push_back(cow::ObjectId{static_cast<uint64_t>(rows.Int(0))});
    }
  }));
  return damaged;
}

Result<cow::ObjectId> SealTable::End() {
  const MutexLock lock(mutex_);
  cow::ObjectId end{0};
  PX_TRY(Guarded([&]() PX_NO_TSA -> Status {
    PX_ASSIGN(const int64_t last, NumberOf(database_, "SELECT coalesce(max(object), 0) FROM seal"));
    end = cow::ObjectId{static_cast<uint64_t>(last) + 1};
    return {};
  }));
  return end;
}

Result<bool> SealTable::CheckSound() {
  const MutexLock lock(mutex_);
  bool sound = true;
  PX_TRY(Guarded([&]() PX_NO_TSA -> Status {
    PX_ASSIGN(Statement check, database_.Prepare("PRAGMA integrity_check(1)"));
    PX_ASSIGN(const bool row, check.Step());
    const bool good = row && check.Text(0) == "ok";
    sound = sound && good;
    return good ? Status{} : Status(Fail(EUCLEAN, row ? std::string(check.Text(0)) : ""));
  }));
  return sound;
}

Status SealTable::RunCheckpoint(int mode) {
  const MutexLock lock(checkpoint_mutex_);
  if (checkpointer_.handle() == nullptr) return Fail(EIO, "seals.db is not open");
  const int code =
      sqlite3_wal_checkpoint_v2(checkpointer_.handle(), nullptr, mode, nullptr, nullptr);
  if (code == SQLITE_OK || code == SQLITE_BUSY) return {};
  return Forward(SqliteError(checkpointer_.handle(), code));
}

Status SealTable::Checkpoint() {
  return log_pages_ < kCheckpointPages ? Status{} : RunCheckpoint(SQLITE_CHECKPOINT_PASSIVE);
}

Status SealTable::Sync() { return RunCheckpoint(SQLITE_CHECKPOINT_PASSIVE); }

Status SealTable::CloseInOrder() {
  const MutexLock lock(mutex_);
  if (!find_) return {};
  return NoteUse("");
}

}  // namespace px::catalog
