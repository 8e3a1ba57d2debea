// SealTable: the seals of data objects in STORE/seals.db, an SQLite database of its own: what an
// object's bytes were (XXH3-128) when it was last known to be good.
//
// Derived data: it may be lost at any time. What cannot be read is set aside as seals.db.damaged,
// with a line in the log, and begun afresh; a row whose own checksum is wrong counts as no row.
//
// Durability: Apply survives a kill of the process. After a power cut the last calls may be undone,
// so from then on every row of before is `doubtful` until it is put again: it may be of bytes that
// were replaced later. (How that is known: each use notes the boot it runs on, durably, before
// anything else, and takes the note back at CloseInOrder.)
//
// Threads: any; one mutex for all but Checkpoint, which runs beside the others. One process at a
// time: the caller holds the store's lock file.
//
// Errors: those of catalog/sqlite.h. EPROTONOSUPPORT for a database of a newer format, which is
// left as it is.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "catalog/sqlite.h"
#include "cow/ids.h"

namespace px::catalog {

inline constexpr int kSealsVersion = 1;

struct Seal {
  enum class State : uint8_t {
    kSealed = 1,
    kDamaged = 2,  // the object was found to have other bytes
  };
  uint64_t size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;  // of the object's file when it was sealed
  std::array<std::byte, 16> digest{};
  State state = State::kSealed;
  int64_t verified_ns = 0;  // since 1970
  bool doubtful = false;    // of a row read: see above
};

class SealTable {
  struct Private {};

 public:
  SealTable(Private, std::string dir, std::string boot)
      : dir_(std::move(dir)), boot_(std::move(boot)) {}
  // `boot` stands for the running kernel.
  static Result<std::unique_ptr<SealTable>> Open(const std::string& dir, const std::string& boot);
  ~SealTable();
  // Of a directory that nobody has open: everything is sealed anew. Whether there was anything.
  static bool Remove(const std::string& dir);

  Result<std::optional<Seal>> Find(cow::ObjectId object) PX_EXCLUDES(mutex_);
  // Rows put, or erased where there is no seal: all of them or none.
  struct Change {
    cow::ObjectId object;
    std::optional<Seal> seal;
  };
  Status Apply(std::span<const Change> changes) PX_EXCLUDES(mutex_);
  // Rows from `from` on in ascending order, until `visit` returns false; it must not call the
  // table.
  Status Scan(cow::ObjectId from, const std::function<bool(cow::ObjectId, const Seal&)>& visit)
      PX_EXCLUDES(mutex_);
  Result<std::vector<cow::ObjectId>> Damaged() PX_EXCLUDES(mutex_);
  // No row has that id or a higher one.
  Result<cow::ObjectId> End() PX_EXCLUDES(mutex_);
  // Whether the database is sound; one that is not is begun afresh.
  Result<bool> CheckSound() PX_EXCLUDES(mutex_);

  // Copies the log into the database once it is large.
  Status Checkpoint() PX_EXCLUDES(checkpoint_mutex_);
  // What was applied so far survives power loss.
  Status Sync() PX_EXCLUDES(checkpoint_mutex_);
  // Rows could not be taken back: none may be believed. Removes the database; every later call
  // fails with EIO.
  Status Abandon() PX_EXCLUDES(mutex_);
  // To be called last, when all objects that have been written to are flushed.
  Status CloseInOrder() PX_EXCLUDES(mutex_);
  // Who only looks puts it back to that: the last use ended in order.
  bool was_in_order() const { return was_in_order_; }

 private:
  Status OpenDatabase() PX_REQUIRES(mutex_);
  Status Configure() PX_REQUIRES(mutex_);
  Status BeginUse() PX_REQUIRES(mutex_);
  Status NoteUse(const std::string& boot) PX_REQUIRES(mutex_);
  Status SetAside(const Error& why) PX_REQUIRES(mutex_);
  void Close() PX_REQUIRES(mutex_);
  // Runs `body`; where the database turns out to be broken, begins afresh and runs it again.
  Status Guarded(const std::function<Status()>& body) PX_REQUIRES(mutex_);
  Status Put(const Change& change) PX_REQUIRES(mutex_);
  // Nothing for a row that is damaged itself.
  std::optional<Seal> RowOf(const Statement& row) const PX_REQUIRES(mutex_);
  Status RunCheckpoint(int mode) PX_EXCLUDES(checkpoint_mutex_);

  const std::string dir_;
  const std::string boot_;
  Mutex mutex_;
  Database database_ PX_GUARDED_BY(mutex_);
  std::optional<Statement> find_ PX_GUARDED_BY(mutex_), put_ PX_GUARDED_BY(mutex_),
      erase_ PX_GUARDED_BY(mutex_);
  int64_t epoch_ PX_GUARDED_BY(mutex_) = 1;  // rises at each power cut
  Mutex checkpoint_mutex_;                   // after mutex_ where both are held
  Database checkpointer_ PX_GUARDED_BY(checkpoint_mutex_);
  std::atomic<int> log_pages_{0};
  bool was_in_order_ = true;
};

}  // namespace px::catalog
