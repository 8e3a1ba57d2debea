// px-fs fsck: checks a store that no daemon has open.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace px::fs {

struct FsckRequest {
  bool repair = false;
  bool data = false;  // also every sealed object against its seal, and the sizes of all files
};

struct FsckReport {
  uint64_t findings = 0;
  uint64_t repaired = 0;
  uint64_t volumes = 0, inodes = 0, objects = 0;
  uint64_t bytes = 0;  // of data that is as its seals say
};

// Checks nodes and counts, that every object which is named exists, that dentries and inodes agree
// (fsck_volume.h), and data. Each finding is one line. With `repair`, wrong counts, lost nodes and
// unreferenced object files are put right, too. Nothing that names something which cannot be read
// is touched, and nothing is removed that such a thing may name. EBUSY if the store is in use,
// ENOENT if there is none.
Result<FsckReport> Fsck(const std::string& store, const FsckRequest& request,
                        const std::function<void(const std::string&)>& line);

}  // namespace px::fs
