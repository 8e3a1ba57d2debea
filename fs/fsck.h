// px-fs fsck: checks a store that no daemon has open.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace px::fs {

struct FsckReport {
  uint64_t findings = 0;
  uint64_t repaired = 0;
  uint64_t volumes = 0, inodes = 0, objects = 0;
};

// Checks nodes and counts, that every object which is named exists, that dentries and inodes agree.
// Each finding is one line. With `repair`, wrong counts, lost nodes and unreferenced object files
// are put right. EBUSY if the store is in use, ENOENT if there is none.
Result<FsckReport> Fsck(const std::string& store, bool repair,
                        const std::function<void(const std::string&)>& line);

}  // namespace px::fs
