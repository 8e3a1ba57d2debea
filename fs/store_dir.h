// StoreDir: the directory a store lives in: its format file, its lock, and the parts opened from
// it.
//
//   STORE/format      "px-store VERSION" and "uuid …", one a line
//   STORE/lock        held (flock) by the one daemon; names its pid and mount while it is
//   STORE/meta.db     page table     STORE/meta.log.* its journal (cow/journal.h)
//   STORE/objects/    data           STORE/open.slots see open_slots.h
//   STORE/seals.db    see catalog/seal_table.h
//   STORE/keeper      see keeper_state.h
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/journaled_page_table.h"
#include "fs/filesystem.h"
#include "fs/unsynced.h"

namespace px::fs {

// 2: commits go through a journal (meta.log.0, meta.log.1) that a program of version 1 would not
// replay. 3: the pages of meta.db have checksums, which a program of version 2 would not write. A
// store of an older version becomes one of this when it is opened.
inline constexpr int kStoreVersion = 3;

class StoreDir {
 public:
  // Makes the store where `create` is set and there is none (the directory may exist, empty or with
  // an unfinished store in it). EBUSY if another process has it open, with that process named in
  // the context: at once where the store is mounted, after 5 seconds where it is not, since its
  // daemon may be about to end; ENOENT no store there; EPROTONOSUPPORT a store of a newer format;
  // ENOTEMPTY `create` in a directory with other things in it.
  static Result<StoreDir> Open(const std::string& path, bool create);

  // The same with the lock as another process of this mount holds it.
  static Result<StoreDir> TakeOver(const std::string& path, UniqueFd lock);
  int lock_fd() const { return lock_.get(); }
  // STORE/keeper, for the keeper to say how it goes.
  Result<UniqueFd> OpenKeeperState() const;

  // Writes who holds the lock, for the message that others get.
  Status Announce(const std::string& mountpoint, pid_t holder) const;
  // `boot` stands for the running kernel; empty: asks it (see catalog/page_table.h). EUCLEAN: the
  // tree is damaged so that it cannot be used, or is gone (fs/rebuild.h).
  Result<Filesystem::Parts> OpenParts(const std::string& boot = {}) const;
  const std::string& path() const { return path_; }
  std::string CatalogPath() const { return path_ + "/catalog.db"; }
  // Whether the store's filesystem is stacked on another (overlayfs), which FUSE passthrough has to
  // be told.
  bool IsStacked() const;

 private:
  StoreDir(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  Result<std::unique_ptr<cow::JournaledPageTable>> OpenTable(
      const std::string& boot, const std::shared_ptr<Unsynced>& unsynced) const;
  Status SayHolder(const std::string& text) const;
  Status CheckFormat(bool create) const;
  // With a new uuid, or the one given.
  Status WriteFormat(std::string uuid) const;

  std::string path_;
  UniqueFd lock_;
};

}  // namespace px::fs
