// SqlitePageTable: the engine's page table in STORE/meta.db, an SQLite database in WAL mode.
//
// A node is one row of one leaf page, so rewriting it costs one page of the log. Commit writes to
// the log and does not flush it, but for the first commit after the log was started afresh, for
// which SQLite flushes the log's header (leaving that out could corrupt the database). Sync flushes
// the log. Checkpoint, which moves the log into the database, is never part of Commit: a background
// thread calls it when WalBytes says so.
//
// Threads: as of cow::PageTable; Checkpoint and WalBytes may run beside anything. Visitors of the
// Scan functions must not call the page table. One process at a time: the caller holds the store's
// lock file.
//
// Errors: those of catalog/sqlite.h; ENOENT where there is no such row or, without `create`, no
// database; EPROTONOSUPPORT for a database of a newer format, ENOTSUP where the filesystem cannot
// have a WAL.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "catalog/sqlite.h"
#include "cow/page_table.h"

namespace px::catalog {

inline constexpr int kMetaVersion = 1;

class SqlitePageTable final : public cow::PageTable {
  struct Private {};

 public:
  SqlitePageTable(Private, std::string dir) : dir_(std::move(dir)) {}
  // Opens `dir`/meta.db; makes it if `create` and there is none.
  static Result<std::unique_ptr<SqlitePageTable>> Open(const std::string& dir, bool create);
  // Moves the log into the database and removes it, where possible.
  ~SqlitePageTable() override;

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

  // Copies what the log holds into the database, beside readers and commits; while the log is
  // larger than 64 MiB it holds off commits at the end, so that the log can start afresh, and gives
  // back a log file over 256 MiB.
  Status Checkpoint();
  // What the log holds at present, in bytes; its file may be larger.
  uint64_t WalBytes() const { return wal_pages_.load(std::memory_order_relaxed) * kWalFrame; }

 private:
  static constexpr uint64_t kWalFrame = 4096 + 24;
  enum Sql : size_t;

  Status OpenDatabase(bool create);
  Status PrepareAll() PX_REQUIRES(mutex_);
  Status OpenWal() PX_REQUIRES(sync_mutex_);
  Statement& At(Sql sql) PX_REQUIRES(mutex_) { return statements_[sql]; }
  Result<uint64_t> Number(Sql sql, uint64_t key, uint64_t otherwise);
  Status ScanPairs(Sql sql, const std::function<bool(uint64_t, uint64_t)>& visit);
  Status Write(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WritePages(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WriteRows(const cow::PageBatch& batch) PX_REQUIRES(mutex_);
  Status WriteCount(Sql set, Sql erase, uint64_t id, uint64_t refs) PX_REQUIRES(mutex_);
  Status RunCheckpoint(int mode, uint64_t* log_pages) PX_REQUIRES(checkpoint_mutex_);

  const std::string dir_;
  Mutex checkpoint_mutex_;  // before mutex_
  Database checkpointer_ PX_GUARDED_BY(checkpoint_mutex_);
  Mutex sync_mutex_;
  UniqueFd wal_ PX_GUARDED_BY(sync_mutex_);
  Mutex mutex_;  // of the connection and all statements
  Database database_ PX_GUARDED_BY(mutex_);
  std::vector<Statement> statements_ PX_GUARDED_BY(mutex_);
  std::atomic<uint64_t> wal_pages_{0};
};

}  // namespace px::catalog
