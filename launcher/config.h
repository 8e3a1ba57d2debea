// Config: where px keeps things and how it behaves, from flags, environment, configuration file and
// defaults, in that order.
//
//   PX_HOME    ~/.local/share/px   home of everything below
//   PX_STORE   $PX_HOME/store      the store: data, and catalog.db
//   PX_OUTPUTS $PX_HOME/outputs    where the store is mounted
//   PX_LOGS    $PX_HOME/logs       consoles
//   PX_USER    the login name      whose experiments
//
// The configuration file is $PX_HOME/config.yml, or ~/.config/px/config.yml if that is missing,
// with the keys `store`, `outputs`, `logs`, `user`, `grace` (seconds between SIGTERM and SIGKILL),
// `heartbeat` (seconds), `engine`, `gpu_foreign`, `log_rotate` and `log_limit` (sizes, "100 MiB").
#pragma once

#include <map>
#include <string>

#include "launcher/console_log.h"
#include "launcher/failure.h"
#include "launcher/process.h"

namespace px::launcher {

struct Flags {
  std::string store;
  std::string outputs;
  std::string logs;
};

struct Config {
  std::string home;
  std::string store;
  std::string outputs;
  std::string logs;
  std::string user;
  std::string file;  // the configuration file that was read, or would be
  int grace_ms = 10'000;
  int heartbeat_ms = 5'000;
  LogLimits log_limits;
  // Whether GPUs that other programs use are given to experiments: avoid or ignore.
  std::string gpu_foreign = "avoid";
  std::string engine = "auto";  // of containers: auto, none, podman, docker, or a program

  std::string CatalogPath() const { return store + "/catalog.db"; }
  // What a process started by us needs to come to the same configuration.
  Environment ToEnvironment() const;
};

Outcome<Config> LoadConfig(const Flags& flags);
// Sets keys in the configuration file ("" removes one). Refuses unknown keys and bad values.
Done WriteConfig(const Config& config, const std::map<std::string, std::string>& changes);

// True for [-a-zA-Z0-9_]+, what users and projects may be called.
bool IsName(const std::string& name);

}  // namespace px::launcher
