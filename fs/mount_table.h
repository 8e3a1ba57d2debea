// The kernel's table of mounts, for those of px. Asks no daemon.
#pragma once

#include <string>
#include <vector>

namespace px::fs {

struct PxMount {
  std::string mountpoint;
  std::string store;  // its path; "px" where that has a comma in it
};

// Of this mount namespace, oldest first.
std::vector<PxMount> PxMounts();

}  // namespace px::fs
