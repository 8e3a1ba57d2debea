// SpaceReserve: a file whose blocks are kept for the moment when a store must write and its disk is
// full: the tree's database has to take over the journal before anything can be removed.
//
// Where the filesystem cannot allocate ahead (EOPNOTSUPP, btrfs), a quota is in the way, or the
// file cannot be had at all, there is no reserve, and nobody is told to wait for one. Thread safe.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <string>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cow/page_table.h"

namespace px::catalog {

class SpaceReserve {
 public:
  explicit SpaceReserve(std::string path) : path_(std::move(path)) {}

  // Allocates what is missing of it: a 32nd of the filesystem, between 4 and 24 MiB. False if there
  // was no room for all of it; it is as large as could be then. Costs little where it is whole, or
  // where the filesystem says that there is no room.
  bool Keep() PX_EXCLUDES(mutex_);
  // Gives its blocks back to the filesystem, but those that are not for that use: half of them, an
  // eighth, or none. False if there were no others.
  bool GiveUp(cow::ReserveUse use) PX_EXCLUDES(mutex_);

 private:
  bool Open() PX_REQUIRES(mutex_);
  off_t Allocated() const PX_REQUIRES(mutex_);

  const std::string path_;
  std::atomic<bool> settled_ = false;  // whole, or not to be had
  Mutex mutex_;
  UniqueFd fd_ PX_GUARDED_BY(mutex_);
};

}  // namespace px::catalog
