// The control ioctls of a px mount (uapi/px_ioctl.h) as functions that give 0 or an errno.
#pragma once

#include <cstdint>
#include <string>

#include "uapi/px_ioctl.h"

namespace px::testing {

int CreateVolume(const std::string& path);
int CloneVolume(const std::string& source, const std::string& target, uint32_t flags = 0);
int DropVolume(const std::string& path);
int SnapshotVolume(const std::string& path, const std::string& name);
// With the version that was kept last.
int RestoreFile(const std::string& path);
int DropSnapshot(const std::string& path, const std::string& name);

// What the call gave; errors are test failures.
px_ioc_info InfoOf(const std::string& path);
px_ioc_usage UsageOf(const std::string& path);

}  // namespace px::testing
