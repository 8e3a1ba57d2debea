// ObjectStore: the files below STORE/objects that hold file data, one per data object, and the pool
// of empty ones made ahead of use.
//
// An object is named by its id: objects/xx/ID in hex, xx = bits 8..15 of the id, so that ids given
// out one after the other share a directory. The engine gives out ids in sequence, so the pool is
// the next few ids: files made before any transaction names them. An id is consumed inside a
// transaction by Take or Adopt; only ids above all consumed ones are ever truncated, so a file that
// anything may name is never touched by the pool.
//
// Thread safe. Errors are those of the store's filesystem, unchanged (ENOSPC, EDQUOT, EIO, EROFS,
// EMFILE...). Durability: contents and names survive a kill of the process; a sync point of the
// page table makes what it names survive power loss (see unsynced.h).
#pragma once

#include <sys/statvfs.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/ids.h"
#include "fs/unsynced.h"

namespace px::fs {

class ObjectStore {
 public:
  // `dir` must exist. Finds out what its filesystem can do.
  static Result<std::unique_ptr<ObjectStore>> Open(const std::string& dir);

  const std::shared_ptr<Unsynced>& unsynced() const { return unsynced_; }
  bool has_reflinks() const { return has_reflinks_; }
  // SEEK_DATA and SEEK_HOLE tell each 4 KiB that was written, zeros or not, from those that were
  // not. Not so on ZFS, with large blocks of XFS, or with huge pages of tmpfs.
  bool finds_data_by_block() const { return finds_data_by_block_; }

  // `flags` as of open(2); O_CLOEXEC is added. ENOENT if there is no such object: the store is
  // damaged.
  Result<UniqueFd> OpenObject(cow::ObjectId id, int flags) const;
  Result<uint64_t> SizeOf(cow::ObjectId id) const;
  // The empty file of an id that the calling transaction has just got, open for reading and
  // writing.
  Result<UniqueFd> Take(cow::ObjectId id) PX_EXCLUDES(mutex_);
  // Makes files until `want` of them wait from `next` on, which must be the engine's next id or an
  // older value of it. Nobody else waits for that.
  Status Fill(cow::ObjectId next, size_t want) PX_EXCLUDES(mutex_);
  // Makes the file after those that wait, if any do and they are fewer than that, and nobody else
  // is making one.
  Status FillOne(size_t want) PX_EXCLUDES(mutex_);
  size_t PoolSize() const PX_EXCLUDES(mutex_);

  // A nameless file in the store's filesystem, for Adopt.
  Result<UniqueFd> TempFile() const;
  // Makes `temp` (of TempFile) the file of an id that the calling transaction has just got.
  Status Adopt(int temp, cow::ObjectId id) PX_EXCLUDES(mutex_);
  // Gives such a file a name for as long as a daemon that takes over might have to open it; one
  // under that name before it goes. OpenKept: ENOENT.
  Status Keep(int temp, uint64_t name) const;
  Result<UniqueFd> OpenKept(uint64_t name) const;
  void DropKept(uint64_t name) const;
  // All but those.
  void DropKeptExcept(const std::set<uint64_t>& names) const;
  // Removes the name of an object that no transaction consumed; its file may have others.
  void RemoveName(cow::ObjectId id) const;
  // Swaps the files of two objects, atomically; nothing has changed if it fails. The caller makes
  // the names durable (Unsynced::SyncNames) before it lets one of the files change: what it is
  // written with must not be found under the other's id after a power cut.
  Status Exchange(cow::ObjectId a, cow::ObjectId b) const;
  // ENOENT is success: a crash may come between the removal and its record. Before the record is
  // durable the removal has to be: Unsynced::SyncRemoved, or AddName.
  Status Remove(cow::ObjectId id) const;
  // Gives the memory back that the kernel keeps its clean pages in; what is mapped stays. For one
  // that will not be read again. It may be gone already.
  void ForgetPages(cow::ObjectId id) const;

  // Makes `to`, an empty file, equal to the first `size` bytes of `from`: by reflink where there
  // are any, else by copy_file_range over the data ranges, so that holes stay holes.
  Status Copy(int from, int to, uint64_t size) const;
  // Copies [offset, offset + length) of `from` into the same place of `to` inside the kernel, holes
  // left out.
  static Status CopyRange(int from, int to, uint64_t offset, uint64_t length);

  // Space and inodes of the store's filesystem.
  Result<struct statvfs> StatFs() const;

  // For check: every object file there is.
  Status Scan(const std::function<void(cow::ObjectId)>& visit) const;

 private:
  ObjectStore(UniqueFd dir, std::shared_ptr<Unsynced> unsynced, bool has_reflinks,
              bool finds_data_by_block, bool inherits_noatime)
      : dir_(std::move(dir)),
        unsynced_(std::move(unsynced)),
        has_reflinks_(has_reflinks),
        finds_data_by_block_(finds_data_by_block),
        inherits_noatime_(inherits_noatime) {}
  void EmptyIfLarge(cow::ObjectId id) const;
  // The id of the file to be made next, which is then being made; nothing where the pool has `want`
  // files.
  std::optional<cow::ObjectId> BeginMaking(cow::ObjectId next, size_t want) PX_REQUIRES(mutex_);
  Status Make(cow::ObjectId id) PX_EXCLUDES(mutex_);
  Result<UniqueFd> Create(cow::ObjectId id) const;
  void ConsumeLocked(cow::ObjectId id) PX_REQUIRES(mutex_);

  struct Pooled {
    cow::ObjectId id;
    UniqueFd fd;
  };

  const UniqueFd dir_;
  const std::shared_ptr<Unsynced> unsynced_;
  const bool has_reflinks_;
  const bool finds_data_by_block_;
  const bool inherits_noatime_;
  mutable Mutex mutex_;
  CondVar made_;                                               // what was being made is
  std::optional<cow::ObjectId> making_ PX_GUARDED_BY(mutex_);  // the next of the pool
  std::deque<Pooled> pool_ PX_GUARDED_BY(mutex_);              // consecutive ids
  uint64_t consumed_end_ PX_GUARDED_BY(mutex_) = 0;  // every id below may be named by something
};

}  // namespace px::fs
