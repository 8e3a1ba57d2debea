// The keeper: a small process that holds /dev/fuse, the store's lock, the first request and the
// live table (live_table.h) of a mount, starts the daemon that serves it, and another one when that
// dies or is to be replaced (docs/design/0003-keeper.md). It touches nothing of the store but the
// file STORE/keeper, which says how it goes.
//
// Signals: SIGTERM, SIGINT, SIGHUP end the daemon and the mount; SIGUSR1 has the daemon replaced.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace px::fs {

// Descriptors of a process that was started for a mount.
inline constexpr int kReadyFd = 3;  // where to say how it went
inline constexpr int kLinkFd = 4;   // of a daemon: its KeeperLink

struct KeeperRequest {
  std::string program;             // looked up again at each start, so that an upgrade counts
  std::vector<std::string> words;  // argv of the daemon
  std::string mountpoint;
  std::string log;    // empty: standard error
  int ready_fd = -1;  // handed on to the daemons until one of them is ready
};

// Returns when the mount is gone: the exit code for the process.
Result<int> RunKeeper(const KeeperRequest& request);

// Whether the mount of that descriptor of /dev/fuse was taken away or aborted.
bool IsConnectionGone(int device);
// Takes the mount away, whoever has it open. Root's also wakes who waits for an answer.
Status DetachMount(const std::string& mountpoint);
// `fusermount3 OPTIONS -- MOUNTPOINT`, which may unmount for an ordinary user. Whether it did.
Result<bool> RunFusermount(const std::vector<std::string>& options, const std::string& mountpoint);

}  // namespace px::fs
