// The kernel's table of mounts, for those of px. Asks no daemon.
#pragma once

#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace px::fs {

struct PxMount {
  std::string mountpoint;
  std::string store;       // its path; "px" where that has a comma in it
  std::string device;      // "MAJOR:MINOR" of the filesystem, the same for all its mounts
  bool read_only = false;  // the filesystem, not only this mount of it
};

// Of this mount namespace, oldest first.
std::vector<PxMount> PxMounts();

// Whether one filesystem is read-only at present. The kernel does not tell a FUSE daemon of
// `mount -o remount,ro`; it refuses what comes through calls on files, but lets ioctls pass. Any
// thread may ask.
class ReadOnlyWatch {
 public:
  // That which is mounted there when it is first asked.
  explicit ReadOnlyWatch(std::string mountpoint) : mountpoint_(std::move(mountpoint)) {}
  // False where nobody can say. Reads the table only if it changed since.
  bool IsReadOnly() PX_EXCLUDES(mutex_);

 private:
  const std::string mountpoint_;
  Mutex mutex_;
  UniqueFd table_ PX_GUARDED_BY(mutex_);
  std::string device_ PX_GUARDED_BY(mutex_);  // empty: not known yet
  bool read_only_ PX_GUARDED_BY(mutex_) = false;
};

}  // namespace px::fs
