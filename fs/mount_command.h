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
                                     // allow_other, ro, threads=N, trash=SECONDS
  bool foreground = false;
  int ready_fd = -1;  // of a daemon that `mount` started: where to say how it went
};

// Returns when the mount answers requests; with `foreground`, when it is gone. ENOENT, ENOTDIR,
// EBUSY (the mountpoint or the store is in use), EPERM, EACCES, ENODEV, EINVAL (options).
Status Mount(const MountRequest& request);
// Returns when the daemon is gone and everything is on disk. EBUSY files are open; EINVAL not a px
// mount.
Status Unmount(const std::string& mountpoint);

}  // namespace px::fs
