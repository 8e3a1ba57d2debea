#include "fs/keeper_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/unique_fd.h"
#include "fs/mount_table.h"

namespace px::fs {
namespace {

// The store of the newest px mount there; empty if there is none.
std::string StoreOf(const std::string& mountpoint) {
  const std::unique_ptr<char, void (*)(void*)> full(::realpath(mountpoint.c_str(), nullptr),
                                                    &std::free);
  if (full == nullptr) return {};
  std::string store;
  for (const PxMount& mount : PxMounts()) {
    if (mount.mountpoint == full.get()) store = mount.store;
  }
  return store;
}

}  // namespace

std::string KeeperState::ToText() const {
  std::string text =
      fmt::format("keeper {}\ndaemon {}\nrestarts {}\ncrashes {}\nlast_signal {}\nstate {}\n",
                  keeper, daemon, restarts, crashes, last_signal, state);
  text.resize(kKeeperStateBytes, '\n');
  return text;
}

Result<KeeperState> ReadKeeperState(const std::string& mountpoint) {
  KeeperState state;
  state.store = StoreOf(mountpoint);
  if (state.store.empty()) return Fail(ENOENT, mountpoint + " is not a px mount");
  std::ifstream file(state.store + "/keeper");
  if (!file) return Fail(errno == ENOENT ? ENOENT : EACCES, state.store + "/keeper");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    fields >> name;
    if (name == "keeper") fields >> state.keeper;
    if (name == "daemon") fields >> state.daemon;
    if (name == "restarts") fields >> state.restarts;
    if (name == "crashes") fields >> state.crashes;
    if (name == "last_signal") fields >> state.last_signal;
    if (name == "state") std::getline(fields >> std::ws, state.state);
  }
  return state;
}

bool IsAbandoned(const std::string& mountpoint) {
  const std::string store = StoreOf(mountpoint);
  if (store.empty()) return false;
  const UniqueFd lock(::open((store + "/lock").c_str(), O_RDONLY | O_CLOEXEC));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) == 0;
}

}  // namespace px::fs
