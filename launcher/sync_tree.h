// Makes one directory tree equal to another by changing as little as possible.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace px::launcher {

struct SyncOptions {
  // True if `path` (relative to the source, '/' between parts) is to be left out, and removed from
  // the target.
  std::function<bool(const std::string& path, bool is_directory)> ignored;
  // True if nothing below the ignored directory `path` can be wanted either.
  std::function<bool(const std::string& path)> prune;
};

// How many entries of `target` were made, changed or removed. A regular file counts as unchanged if
// size, modification time and mode are equal; it is then not touched, so that storage shared with
// an older version stays shared. A changed file is replaced, not written over. Not atomic: on an
// error the target is left half-way.
Result<int64_t> SyncTree(const std::string& source, const std::string& target,
                         const SyncOptions& options);

}  // namespace px::launcher
