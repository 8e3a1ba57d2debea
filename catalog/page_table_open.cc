// Opening and closing meta.db: its schema, migrations, and how its last user left it.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/io.h"
#include "base/log.h"
#include "catalog/checked_vfs.h"
#include "catalog/page_table.h"

namespace px::catalog {
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

// What version 2 has more.
constexpr const char* kSchema2 = R"sql(
  CREATE TABLE sync_point(id INTEGER PRIMARY KEY, boot TEXT NOT NULL, salts INTEGER NOT NULL,
                          frames INTEGER NOT NULL);
)sql";

constexpr int kApplicationId = 0x70786d74;
constexpr uint64_t kLeastReserve = uint64_t{2} << 20;
constexpr uint64_t kMostReserve = uint64_t{24} << 20;
constexpr int kBusyTimeoutMs = 30000;
constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;

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
  if (version >= 1 && version <= kMetaVersion) return false;
  if (version > kMetaVersion) {
    return Fail(EPROTONOSUPPORT, "format version " + std::to_string(version) +
                                     " is newer than this program's " +
                                     std::to_string(kMetaVersion));
  }
  return Fail(EUCLEAN, "not a store's database (format version " + std::to_string(version) + ")");
}

Status SetVersion(const Database& database) {
  return database.Execute("PRAGMA user_version = " + std::to_string(kMetaVersion));
}

// What version 3 has more: checksums of pages, which come where the log is moved into the database,
// and the volumes' rows once more, on pages of their own: nothing else says where a tree begins.
constexpr const char* kSchema3 = R"sql(
  CREATE TABLE IF NOT EXISTS volume_copy(
    id INTEGER PRIMARY KEY, root INTEGER NOT NULL, next_ino INTEGER NOT NULL,
    attributes BLOB NOT NULL);
  REPLACE INTO volume_copy SELECT * FROM volume;
)sql";

Status AddSums(const Database& database) {
  LogInfo("meta.db: giving its pages checksums, once");
  PX_TRY(database.Transaction([&] { return database.Execute(kSchema3); }));
  PX_TRY(ReserveSums(database));
  // The copy that VACUUM makes may be larger than the memory.
  PX_TRY(database.Execute("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY"));
  return SetVersion(database);
}

Status MakeSchema(const Database& database, bool fresh) {
  PX_ASSIGN(const int64_t version, NumberOf(database, "PRAGMA user_version"));
  if (fresh || version == 1) {
    PX_TRY(database.Transaction([&]() -> Status {
      if (fresh) PX_TRY(database.Execute(kSchema));
      PX_TRY(database.Execute(kSchema2));
      if (fresh) PX_TRY(database.Execute(kSchema3));
      PX_TRY(database.Execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
      return fresh ? SetVersion(database) : database.Execute("PRAGMA user_version = 2");
    }));
    // An older log has no sync points: nothing of it is left for one to be cut back to.
    PX_ASSIGN(Statement moved, database.Prepare("PRAGMA wal_checkpoint(TRUNCATE)"));
    PX_TRY(moved.Step());
  }
  return fresh || version == kMetaVersion ? Status{} : AddSums(database);
}

// The log's file stays when the database is closed: a full disk would have no room for a new one.
void KeepLog(const Database& database) {
  int on = 1;
  sqlite3_file_control(database.handle(), nullptr, SQLITE_FCNTL_PERSIST_WAL, &on);
}

void CheckpointAtClose(const Database& database, bool wanted) {
  sqlite3_db_config(database.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wanted ? 0 : 1, nullptr);
}

}  // namespace

std::string RunningBoot() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  return boot.empty() ? "unknown" : boot;
}

Result<std::unique_ptr<SqlitePageTable>> SqlitePageTable::Open(const std::string& dir, bool create,
                                                               const std::string& boot) {
  auto table = std::make_unique<SqlitePageTable>(Private{}, dir);
  table->boot_ = boot.empty() ? RunningBoot() : boot;
  if (const Status opened = table->OpenDatabase(create); !opened) {
    return Forward(Error(opened.error()).Wrap(dir + "/meta.db"));
  }
  return table;
}

SqlitePageTable::~SqlitePageTable() {
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock sync_lock(sync_mutex_);
  if (statements_.empty() || !wal_) return;  // it was never open
  Status closed = MakeSyncPoint(/*pin=*/false);
  if (closed && ::fdatasync(wal_.get()) != 0) closed = FailErrno("meta.db-wal");
  const MutexLock lock(mutex_);
  const bool in_order = (!killed_ || kill_settled_) && !stays_open_;
  if (closed && in_order) closed = WriteSyncPoint({}, "");  // an empty boot: closed in order
  statements_.clear();
  put_sync_point_.reset();
  pin_ = Database();
  {
    const MutexLock read_lock(read_mutex_);
    reads_.clear();
    reader_ = Database();
  }
  if (!closed) {
    LogError("closing {}/meta.db: {}", dir_, closed.error().ToString());
    // SQLite would move into the database what names things that are not flushed.
    CheckpointAtClose(database_, false);
    CheckpointAtClose(checkpointer_, false);
  }
  checkpointer_ = Database();
  int in_log = 0, moved = 0;
  const bool whole =
      closed && in_order &&
      sqlite3_wal_checkpoint_v2(database_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &in_log,
                                &moved) == SQLITE_OK &&
      in_log == moved;
  database_ = Database();
  if (!whole) return;
  // SQLite would take it for the newest of its pages, and if it is damaged by then, for some.
  if (const Status forgotten = ForgetLog(); !forgotten) {
    LogError("closing {}/meta.db: {}", dir_, forgotten.error().ToString());
  }
}

// Room for the log and the database to grow by on a full disk, so that what deletes can be written.
// It lies behind the ends of both files. No error: a disk that is full already has none to give.
void SqlitePageTable::Reserve() const {
  struct statvfs space{};
  struct stat database{};
  if (::fstatvfs(wal_.get(), &space) != 0 || ::stat((dir_ + "/meta.db").c_str(), &database) != 0) {
    return;
  }
  const uint64_t size = uint64_t{space.f_blocks} * space.f_frsize;
  const auto reserve = static_cast<off_t>(std::clamp(size / 64, kLeastReserve, kMostReserve));
  const UniqueFd file(::open((dir_ + "/meta.db").c_str(), O_RDWR | O_CLOEXEC));
  if (::fallocate(wal_.get(), FALLOC_FL_KEEP_SIZE, 0, reserve) != 0 || !file ||
      ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, database.st_size, reserve / 2) != 0) {
    LogDebug("{}: no reserve for a full disk: errno {}", dir_, errno);
  }
}

Status SqlitePageTable::Configure(bool fresh) {
  PX_ASSIGN(Statement mode, database_.Prepare("PRAGMA journal_mode = WAL"));
  PX_ASSIGN(const bool row, mode.Step());
  if (!row || mode.Text(0) != "wal") return Fail(ENOTSUP, "no write-ahead log can be had here");
  mode.Reset();
  PX_TRY(database_.Execute(
      "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192;"
      "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF"));
  return MakeSchema(database_, fresh);
}

// The connection is open, and nothing of ours has written yet. After a power cut it is opened anew.
// `point` is the sync point that holds then.
Status SqlitePageTable::FindOutLastUse(LogEnd* point) {
  PX_ASSIGN(const int64_t version, NumberOf(database_, "PRAGMA user_version"));
  if (version < 2) return {};
  PX_ASSIGN(const int64_t cut, NumberOf(database_, "SELECT count(*) FROM sync_point WHERE id = 2"));
  if (cut != 0) last_use_ = LastUse::kPowerCut;
  std::string boot;
  {
    PX_ASSIGN(Statement statement,
              database_.Prepare("SELECT boot, salts, frames FROM sync_point WHERE id = 1"));
    PX_ASSIGN(const bool found, statement.Step());
    if (!found) return {};
    boot = statement.Text(0);
    *point = {static_cast<uint64_t>(statement.Int(1)), static_cast<uint64_t>(statement.Int(2))};
  }
  if (boot.empty()) return {};
  if (boot == boot_) {
    killed_ = true;
    if (cut == 0) last_use_ = LastUse::kKilled;
    return {};
  }
  last_use_ = LastUse::kPowerCut;
  database_ = Database();
  const UniqueFd wal(::open((dir_ + "/meta.db-wal").c_str(), O_RDONLY | O_CLOEXEC));
  if (!wal || SaltsOfLog(wal.get()) != point->salts) *point = {};
  PX_TRY(CutLog(point->frames));
  PX_ASSIGN(database_,
            Database::Open(dir_ + "/meta.db", kFlags, kBusyTimeoutMs, kCheckedOneProcessVfs));
  CheckpointAtClose(database_, false);
  return {};
}

Result<LogFrames::Found> SqlitePageTable::ScanLog() const {
  const UniqueFd wal(::open((dir_ + "/meta.db-wal").c_str(), O_RDONLY | O_CLOEXEC));
  if (!wal && errno == ENOENT) return LogFrames::Found();
  if (!wal) return FailErrno("meta.db-wal");
  return LogFrames::Scan(wal.get(), [](const LogFrames::Frame&) { return Status{}; });
}

Status SqlitePageTable::CutLog(uint64_t frames) const {
  const std::string path = dir_ + "/meta.db-wal";
  UniqueFd wal(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!wal && errno == ENOENT) return {};
  if (!wal) return FailErrno("meta.db-wal");
  const off_t end =
      frames == 0 ? 0 : static_cast<off_t>(LogFrames::kHeader + frames * LogFrames::kFrame);
  const off_t size = ::lseek(wal.get(), 0, SEEK_END);
  if (size > end && (::ftruncate(wal.get(), end) != 0 || ::fsync(wal.get()) != 0)) {
    return FailErrno("cut meta.db-wal");
  }
  if (size > end) {
    LogWarn("{}: after a power cut, back to the last sync point: {} of {} bytes of the log go",
            dir_, size - end, size);
  }
  if (::unlink((dir_ + "/meta.db-shm").c_str()) != 0 && errno != ENOENT) {
    return FailErrno("remove meta.db-shm");
  }
  return {};
}

Status SqlitePageTable::OpenDatabase(bool create) {
  const std::string path = dir_ + "/meta.db";
  const int flags = kFlags | (create ? SQLITE_OPEN_CREATE : 0);
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock sync_lock(sync_mutex_);
  const MutexLock lock(mutex_);
  PX_ASSIGN(const LogFrames::Found log, ScanLog());
  PX_ASSIGN(database_, Database::Open(path, flags, kBusyTimeoutMs, kCheckedOneProcessVfs));
  // What fails below must not move the log.
  CheckpointAtClose(database_, false);
  PX_TRY(database_.Execute("PRAGMA page_size = 4096"));
  PX_ASSIGN(const bool fresh, IsFresh(database_));
  if (fresh) PX_TRY(ReserveSums(database_));
  LogEnd point;
  if (!fresh) PX_TRY(FindOutLastUse(&point));
  if (log.damaged > 0 && last_use_ != LastUse::kPowerCut) {
    return Fail(EUCLEAN, fmt::format("the log is damaged: of {} frames, before {} transactions",
                                     log.damaged, log.hidden));
  }
  const bool closed_in_order = !killed_ && last_use_ == LastUse::kClosed;
  PX_TRY(Configure(fresh));
  const MutexLock read_lock(read_mutex_);
  PX_ASSIGN(reader_, Database::Open(path, kFlags, kBusyTimeoutMs, kCheckedOneProcessVfs));
  PX_TRY(reader_.Execute("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192"));
  CheckpointAtClose(reader_, false);
  PX_TRY(PrepareAll());
  // Called after each commit with the number of pages in the log.
  sqlite3_wal_hook(
      database_.handle(),
      [](void* self, sqlite3*, const char*, int pages) PX_NO_TSA {
        auto* table = static_cast<SqlitePageTable*>(self);
        table->frames_ = static_cast<uint64_t>(pages);
        table->wal_pages_.store(static_cast<uint64_t>(pages), std::memory_order_relaxed);
        return SQLITE_OK;
      },
      this);
  PX_ASSIGN(checkpointer_,
            Database::Open(path, kFlags, /*busy_timeout_ms=*/0, kCheckedOneProcessVfs));
  PX_TRY(checkpointer_.Execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0"));
  PX_ASSIGN(pin_, Database::Open(path, kFlags, /*busy_timeout_ms=*/0, kCheckedOneProcessVfs));
  PX_TRY(pin_.Execute("PRAGMA wal_autocheckpoint = 0"));
  CheckpointAtClose(pin_, false);
  for (const Database* one : {&database_, &checkpointer_, &pin_, &reader_}) KeepLog(*one);
  PX_TRY(OpenWal());
  Reserve();
  // From here on this boot writes. The first commit, which changes nothing that matters, tells how
  // long the log is.
  PX_TRY(WriteSyncPoint(point, closed_in_order ? "" : boot_));
  if (last_use_ == LastUse::kPowerCut) {
    PX_TRY(database_.Execute(
        "REPLACE INTO sync_point(id, boot, salts, frames) VALUES(2, 'power cut', 0, 0)"));
  }
  if (killed_) {
    ++commits_;  // those of the killed one, which may not be flushed
  } else {
    PX_TRY(WriteSyncPoint(PresentEnd(), boot_));
  }
  CheckpointAtClose(database_, true);
  // Before anything of this use can be durable, that there was one is.
  if (::fdatasync(wal_.get()) != 0) return FailErrno("meta.db-wal");
  return {};
}

Status SqlitePageTable::ForgetPowerCut() {
  const MutexLock lock(mutex_);
  PX_TRY(database_.Execute("DELETE FROM sync_point WHERE id = 2"));
  last_use_ = LastUse::kClosed;
  ++commits_;
  return {};
}

Status SqlitePageTable::OpenWal() {
  // A descriptor of our own: SQLite's is its own affair. Closing one for the log drops no lock,
  // since SQLite locks meta.db and meta.db-shm only. The directory is flushed so that the log's
  // name survives as well.
  const std::string path = dir_ + "/meta.db-wal";
  wal_.Reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!wal_) return FailErrno("meta.db-wal");
  return SyncPath(dir_);
}

}  // namespace px::catalog
