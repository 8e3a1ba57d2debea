// The environment of whoever submitted an experiment or group, kept while it is unfinished: whoever
// starts it again after a dead supervisor or a reboot may be somebody else, in another directory,
// with another PATH.
//
// A file of NAME=VALUE entries that end with a zero byte, as /proc/PID/environ has them; readable
// by its owner only, for it may hold secrets.
#pragma once

#include <string>

#include "base/result.h"

namespace px::launcher {

// Keeps this process's environment in `path`, unless one is kept there already.
Status KeepEnvironment(const std::string& path);
// Replaces this process's environment by the kept one. Nothing is changed if there is none. One
// thread only.
Status AdoptEnvironment(const std::string& path);

}  // namespace px::launcher
