// px-fs mount and umount: starting the daemon and waiting for it, in both directions.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace px::fs {

struct MountRequest {
  std::string store;
  std::string mountpoint;
  std::vector<std::string> options;  // passthrough, nopassthrough, io_uring, noio_uring,
                                     // allow_other, ro, nosuid, nodev, noexec, nokeeper,
                                     // threads=N, trash=SECONDS, noseal, noqos
  bool foreground = false;
  bool quiet = false;  // nobody reads standard error: the log goes to STORE/px-fs.log
  int link_fd = -1;    // of a daemon that a keeper started: their socket
  int ready_fd = -1;   // of a daemon that `mount` started: where to say how it went
};

// The words of a list like that of mount(8): "ro,nosuid".
void AddMountOptions(const std::string& list, std::vector<std::string>& options);

// Returns when the mount answers requests; with `foreground`, when it is gone. ENOENT, ENOTDIR,
// EBUSY (the mountpoint or the store is in use), EPERM, EACCES, ENODEV, EINVAL (options).
// What it gives is the exit code.
Result<int> Mount(const MountRequest& request);
// Has the daemon replaced by another one, of the program that is installed now, under the mount;
// returns when that one answers. EOPNOTSUPP: the mount has no keeper.
Status Restart(const std::string& mountpoint);
// Returns when the daemon is gone and everything is on disk. EBUSY files are open; EINVAL not a px
// mount.
Status Unmount(const std::string& mountpoint);

}  // namespace px::fs
