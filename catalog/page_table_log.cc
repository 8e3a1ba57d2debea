// The log of meta.db: sync points, checkpoints (see page_table.h).
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "base/io.h"
#include "base/log.h"
#include "catalog/database_image.h"
#include "catalog/page_table.h"

namespace px::catalog {
namespace {

constexpr uint64_t kHoldOffBytes = uint64_t{64} << 20;
constexpr uint64_t kTruncateBytes = uint64_t{256} << 20;

}  // namespace

uint64_t SqlitePageTable::SaltsOfLog(int wal) {
  // Bytes 16 to 24 of the header (sqlite.org/fileformat2.html, section 4.1).
  std::array<char, LogFrames::kHeader> header{};
  uint64_t salts = 0;
  if (::pread(wal, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) {
    return 0;
  }
  std::memcpy(&salts, header.data() + 16, sizeof salts);
  return salts;
}

SqlitePageTable::LogEnd SqlitePageTable::PresentEnd() {
  const uint64_t salts = SaltsOfLog(wal_.get());
  return {salts, salts == 0 ? 0 : frames_};
}

Status SqlitePageTable::WriteSyncPoint(const LogEnd& end, const std::string& boot) {
  const Status written = TryToWriteSyncPoint(end, boot);
  const bool full = !written && written.error().code() == ENOSPC;
  if (!full || !GiveUpReserve(cow::ReserveUse::kTable)) return written;
  return TryToWriteSyncPoint(end, boot);
}

Status SqlitePageTable::TryToWriteSyncPoint(const LogEnd& end, const std::string& boot) {
  if (!put_sync_point_) {
    PX_ASSIGN(
        put_sync_point_,
        database_.Prepare("REPLACE INTO sync_point(id, boot, salts, frames) VALUES(1, ?, ?, ?)"));
  }
  return put_sync_point_->BindText(1, boot)
      .Bind(2, static_cast<int64_t>(end.salts))
      .Bind(3, static_cast<int64_t>(end.frames))
      .Run();
}

Status SqlitePageTable::Pin() {
  Unpin();
  PX_TRY(pin_.Execute("BEGIN"));
  PX_ASSIGN(Statement statement, pin_.Prepare("SELECT count(*) FROM counter"));
  PX_TRY(statement.Step());  // the snapshot is taken at the first read
  return {};
}

void SqlitePageTable::Unpin() {
  if (sqlite3_get_autocommit(pin_.handle()) != 0) return;
  if (const Status undone = pin_.Execute("ROLLBACK"); !undone) {
    LogError("meta.db: the end of a read: {}", undone.error().ToString());
  }
}

Status SqlitePageTable::MakeSyncPoint(bool pin) {
  std::function<Status()> flush;
  LogEnd end;
  uint64_t commits = 0;
  {
    const MutexLock lock(mutex_);
    end = PresentEnd();
    commits = commits_.load(std::memory_order_relaxed);
    if (pin) PX_TRY(Pin());
    if (prepare_flush_) flush = prepare_flush_();
  }
  if (flush) PX_TRY(flush());
  const MutexLock lock(mutex_);
  const bool quiet = commits_.load(std::memory_order_relaxed) == commits;
  PX_TRY(WriteSyncPoint(end, boot_));
  // With no commit in between all of the log may be moved, and so it can start afresh.
  return pin && quiet ? Pin() : Status{};
}

Status SqlitePageTable::Sync() {
  const MutexLock lock(sync_mutex_);
  // SQLite keeps the log's file as long as the connection lives, but somebody may have removed it
  // by hand.
  struct stat info{};
  if (::fstat(wal_.get(), &info) != 0) return FailErrno("meta.db-wal");
  if (info.st_nlink == 0) return Fail(EIO, "meta.db-wal: removed while in use");
  if (broken_) return Forward(*broken_);
  const uint64_t commits = commits_.load(std::memory_order_acquire);
  if (commits == covered_commits_.load(std::memory_order_relaxed)) return {};
  PX_TRY(MakeSyncPoint(/*pin=*/false));
  if (::fdatasync(wal_.get()) != 0) {
    const Error error(errno, "meta.db-wal");
    // A frame that is missing on disk hides all that come after it.
    if (!IsNoRoom(error.code())) broken_ = error;
    return Forward(error);
  }
  covered_commits_.store(commits, std::memory_order_relaxed);
  return {};
}

Status SqlitePageTable::ForgetLog() {
  const std::array<std::byte, LogFrames::kHeader> nothing{};
  PX_TRY(WriteAllAt(wal_.get(), nothing, 0, "write meta.db-wal"));
  if (::fdatasync(wal_.get()) != 0) return FailErrno("meta.db-wal");
  return {};
}

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
  {
    Status pinned;
    {
      const MutexLock sync_lock(sync_mutex_);
      pinned = MakeSyncPoint(/*pin=*/true);
    }
    if (pinned) pinned = RunCheckpoint(SQLITE_CHECKPOINT_PASSIVE, &log_pages);
    {
      const MutexLock lock(mutex_);
      Unpin();
    }
    PX_TRY(pinned);
    const MutexLock sync_lock(sync_mutex_);
    Reserve();
  }
  if (log_pages * LogFrames::kFrame < kHoldOffBytes) return {};
  // Commits that came meanwhile keep the log from starting afresh. The rest is short: hold them
  // off.
  const MutexLock sync_lock(sync_mutex_);
  struct stat info{};
  if (::fstat(wal_.get(), &info) != 0) return FailErrno("meta.db-wal");
  const MutexLock lock(mutex_);
  if (prepare_flush_) {
    if (const auto flush = prepare_flush_()) PX_TRY(flush());
  }
  PX_TRY(WriteSyncPoint(PresentEnd(), boot_));
  const bool truncate = static_cast<uint64_t>(info.st_size) > kTruncateBytes;
  return RunCheckpoint(truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE,
                       &log_pages);
}

Result<uint32_t> SqlitePageTable::CheckPages(
    uint32_t from, uint32_t count, const std::function<void(const std::string&)>& finding) {
  // After a crash some page may be torn that the log has whole.
  if (from == 1) PX_TRY(Checkpoint());
  const MutexLock checkpoint_lock(checkpoint_mutex_);  // nobody writes into the database
  const std::string path = dir_ + "/meta.db";
  PX_ASSIGN(const DatabaseImage image, DatabaseImage::Open(path, ""));
  std::vector<uint32_t> corrected;
  PX_TRY(image.FindDamaged(from, count, [&](uint32_t page, PageState state) {
    const bool one_bit = state == PageState::kCorrected;
    if (one_bit) corrected.push_back(page);
    finding(fmt::format("meta.db: page {} is damaged{}", page,
                        one_bit ? ", in one bit: put right" : ""));
  }));
  for (const uint32_t page : corrected) PX_TRY(PutRight(path, page));
  return image.pages() - from < count ? 0 : from + count;
}

}  // namespace px::catalog
