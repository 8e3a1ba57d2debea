// SqlitePageTable: the engine's page table in STORE/meta.db, an SQLite database in WAL mode.
//
// A node is one row of one leaf page, so rewriting it costs one page of the log. Pages have
// checksums (catalog/checked_vfs.h). Commit writes to the log and does not flush it, but for the
// first commit after the log was started afresh, for which SQLite flushes the log's header (leaving
// that out could corrupt the database). Sync flushes the log. Checkpoint, which moves the log into
// the database, is never part of Commit: a background thread calls it when WalBytes says so.
//
// Sync points (page_table_log.cc). The kernel writes the log's pages when it likes, so after a
// power cut the log may know of commits whose objects' data never reached the disk. Sync therefore
// has the caller's objects flushed first (BeforeSync) and then notes, as a row, how much of the log
// they stand for; a checkpoint moves no more than that. Opened after a power cut (another boot than
// the one that wrote last, and not closed in order), the log is cut back to the last such point. So
// the database is always as it was at one moment, and everything it names was flushed.
//
// A log in which something is damaged is not used: SQLite would go on without all that comes behind
// it. After a power cut that cannot be told from what was never written, and only what the last
// sync point covers is used. A log that was moved whole, when the table was closed, is marked so.
//
// Threads: as of cow::PageTable; Checkpoint and WalBytes may run beside anything. Visitors of the
// Scan functions must not call the page table. One process at a time: the caller holds the store's
// lock file.
//
// Errors: those of catalog/sqlite.h; ENOENT where there is no such row or, without `create`, no
// database; EUCLEAN where something is damaged; EPROTONOSUPPORT for a database of a newer format,
// ENOTSUP where the filesystem cannot have a WAL.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "catalog/log_frames.h"
#include "catalog/space_reserve.h"
#include "catalog/sqlite.h"
#include "cow/page_table.h"

namespace px::catalog {

inline constexpr int kMetaVersion = 3;

// Stands for the running kernel: from one boot of the machine to the next.
std::string RunningBoot();

// How the database was left by its last user.
enum class LastUse {
  kClosed,    // in order
  kKilled,    // on this boot: all commits are there, but what they name may not be flushed
  kPowerCut,  // on another boot: what came after the last sync point is gone, but not what was
              // written in place since
};

class SqlitePageTable final : public cow::PageTable {
  struct Private {};

 public:
  SqlitePageTable(Private, std::string dir)
      : dir_(std::move(dir)), reserve_(dir_ + "/meta.reserve") {}
  // Opens `dir`/meta.db; makes it if `create` and there is none; migrates an older format. `boot`
  // stands for the running kernel; empty: asks it.
  static Result<std::unique_ptr<SqlitePageTable>> Open(const std::string& dir, bool create,
                                                       const std::string& boot = {});
  // Syncs, moves the log into the database, where possible.
  ~SqlitePageTable() override;

  const std::string& boot() const { return boot_; }
  // Whether what the commits so far name may not be flushed. Until ForgetKill, also for the next
  // user: one that only reads puts nothing right.
  bool was_killed() const { return killed_; }
  // What a kill asks of the user was done.
  void ForgetKill() { kill_settled_ = true; }
  // This user goes, what it had open stays: the next one is to find all as after a kill.
  void StayOpen() { stays_open_ = true; }
  // kPowerCut until ForgetPowerCut, also by the next user.
  LastUse last_use() const { return last_use_; }
  // What a power cut asks of the user, such as reading true sizes back, was done.
  Status ForgetPowerCut() PX_EXCLUDES(mutex_);
  // Before each sync point: `prepare` runs while no commit does, and says by the function it
  // returns how to make everything durable that the commits so far name. That function runs beside
  // commits. Call it before other threads use the table.
  using PrepareFlush = std::function<std::function<Status()>()>;
  void BeforeSync(PrepareFlush prepare) PX_NO_TSA { prepare_flush_ = std::move(prepare); }

  Status Load(cow::NodeId id, std::span<std::byte> out) override;
  Result<uint64_t> NodeRefs(cow::NodeId id) override;
  Result<uint64_t> ObjectRefs(cow::ObjectId id) override;
  Result<std::optional<cow::VolumeRow>> LoadVolume(cow::VolumeId id) override;
  Status ScanVolumes(cow::VolumeId from,
                     const std::function<bool(const cow::VolumeRow&)>& visit) override;
  Result<std::vector<cow::ReclaimRow>> LoadQueue(cow::ReclaimRow::Kind kind, uint64_t max_seq,
                                                 size_t limit) override;
  Result<uint64_t> LoadCounter(cow::Counter counter) override;
  Status Commit(const cow::PageBatch& batch) override;
  Status Sync() override;
  Status ScanPages(const std::function<bool(cow::NodeId)>& visit) override;
  Status ScanNodeRefs(const std::function<bool(cow::NodeId, uint64_t)>& visit) override;
  Status ScanObjectRefs(const std::function<bool(cow::ObjectId, uint64_t)>& visit) override;

  Status Settle() override { return Checkpoint(); }
  bool KeepReserve() override { return reserve_.Keep(); }
  bool GiveUpReserve(cow::ReserveUse use) override { return reserve_.GiveUp(use); }

  // Copies what the log holds into the database, beside readers and commits; while the log is
  // larger than 64 MiB it holds off commits at the end, so that the log can start afresh, and gives
  // back a log file over 256 MiB.
  Status Checkpoint();
  // Checks `count` pages of the database from `from` (1 at first) on, past SQLite; where to go on,
  // or 0 at the end. One with one wrong bit is put right. Beside anything.
  Result<uint32_t> CheckPages(uint32_t from, uint32_t count,
                              const std::function<void(const std::string&)>& finding);
  // What the log holds at present, in bytes; its file may be larger.
  uint64_t WalBytes() const {
    return wal_pages_.load(std::memory_order_relaxed) * LogFrames::kFrame;
  }

 private:
  enum Sql : size_t;

  // Of the log, at one moment.
  struct LogEnd {
    uint64_t salts = 0;  // of the log's header; they change when it starts afresh
    uint64_t frames = 0;
  };

  Status OpenDatabase(bool create);
  Status Configure(bool fresh) PX_REQUIRES(mutex_);
  Status FindOutLastUse(LogEnd* point) PX_REQUIRES(mutex_);
  Result<LogFrames::Found> ScanLog() const;
  Status CutLog(uint64_t frames) const;
  static uint64_t SaltsOfLog(int wal);  // 0: it has no header
  Status PrepareAll() PX_REQUIRES(mutex_, read_mutex_);
  LogEnd PresentEnd() PX_REQUIRES(sync_mutex_, mutex_);
  // With the last of the reserve, if need be: without a sync point nothing leaves the log.
  Status WriteSyncPoint(const LogEnd& end, const std::string& boot) PX_REQUIRES(mutex_);
  Status TryToWriteSyncPoint(const LogEnd& end, const std::string& boot) PX_REQUIRES(mutex_);
  // Has what the commits so far name flushed and notes it. With `pin`, the log up to there, and no
  // more, may be moved into the database until Unpin.
  Status MakeSyncPoint(bool pin) PX_REQUIRES(sync_mutex_);
  Status Pin() PX_REQUIRES(mutex_);
  void Unpin() PX_REQUIRES(mutex_);
  Status OpenWal() PX_REQUIRES(sync_mutex_);
  void Reserve() const PX_REQUIRES(sync_mutex_);
  Statement& At(Sql sql) PX_REQUIRES(mutex_) { return statements_[sql]; }
  Statement& ReadAt(Sql sql) PX_REQUIRES(read_mutex_) { return reads_[sql]; }
  Result<uint64_t> Number(Sql sql, uint64_t key, uint64_t otherwise);
  Status ScanPairs(Sql sql, const std::function<bool(uint64_t, uint64_t)>& visit);
  Status Write(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WritePages(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WriteRows(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WriteCount(Sql set, Sql erase, uint64_t id, uint64_t refs) PX_REQUIRES(mutex_);
  // Nothing is in the log that is not in the database: it is not to be read again. Nobody else has
  // it open.
  Status ForgetLog() PX_REQUIRES(sync_mutex_);
  Status RunCheckpoint(int mode, uint64_t* log_pages) PX_REQUIRES(checkpoint_mutex_);

  const std::string dir_;
  SpaceReserve reserve_;
  std::string boot_;
  LastUse last_use_ = LastUse::kClosed;
  bool killed_ = false;  // on this boot; a power cut before that may not be settled either
  std::atomic<bool> kill_settled_ = false;
  std::atomic<bool> stays_open_ = false;
  Mutex checkpoint_mutex_;  // before sync_mutex_, and that before mutex_
  Database checkpointer_ PX_GUARDED_BY(checkpoint_mutex_);
  Mutex sync_mutex_;
  UniqueFd wal_ PX_GUARDED_BY(sync_mutex_);
  std::optional<Error> broken_ PX_GUARDED_BY(sync_mutex_);  // of a flush of the log
  PrepareFlush prepare_flush_ PX_GUARDED_BY(sync_mutex_);
  Mutex mutex_;  // of the connection that writes and its statements
  Database database_ PX_GUARDED_BY(mutex_);
  std::vector<Statement> statements_ PX_GUARDED_BY(mutex_);
  std::optional<Statement> put_sync_point_ PX_GUARDED_BY(mutex_);
  // A reader that stands still at the last sync point: a checkpoint does not pass it.
  Database pin_ PX_GUARDED_BY(mutex_);
  // Reads have a connection of their own: a commit of thousands of pages does not hold them up.
  Mutex read_mutex_;
  Database reader_ PX_GUARDED_BY(read_mutex_);
  std::vector<Statement> reads_ PX_GUARDED_BY(read_mutex_);
  std::atomic<uint64_t> commits_{0};           // that wrote, sync points left out
  std::atomic<uint64_t> covered_commits_{0};   // by the last sync point that is durable
  uint64_t frames_ PX_GUARDED_BY(mutex_) = 0;  // of the log as of the last commit
  std::atomic<uint64_t> wal_pages_{0};
};

}  // namespace px::catalog
