// KeeperState: how it goes with a mount's daemons, as the keeper writes it to STORE/keeper. It can
// be read while no daemon answers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace px::fs {

// What KeeperState::state begins with.
inline constexpr char kServing[] = "serving", kWaiting[] = "waiting", kGaveUp[] = "gave up",
                      kEnded[] = "ended";
inline constexpr size_t kKeeperStateBytes = 256;  // of the file, always

struct KeeperState {
  pid_t keeper = 0, daemon = 0;  // daemon 0: none at present
  uint64_t restarts = 0;         // of the daemon, for whatever reason
  uint64_t crashes = 0;
  int last_signal = 0;  // that ended the daemon before this one; 0: none did
  std::string state;
  std::string store;

  bool Is(const char* what) const { return state.starts_with(what); }
  std::string ToText() const;
};

// Of the mount at that path, by the kernel's table of mounts; asks no daemon. ENOENT: no px mount,
// or one that never had a keeper; EACCES: of somebody else's store.
Result<KeeperState> ReadKeeperState(const std::string& mountpoint);

// Whether there is a px mount at that path, and nobody has its store open. Asks no daemon.
bool IsAbandoned(const std::string& mountpoint);

}  // namespace px::fs
