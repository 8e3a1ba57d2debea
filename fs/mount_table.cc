#include "fs/mount_table.h"

#include <fcntl.h>
#include <poll.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace px::fs {
namespace {

// Spaces and the like are written as \040 there.
std::string Unescape(const std::string& field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      text += static_cast<char>(std::strtol(field.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

}  // namespace

std::vector<PxMount> PxMounts() {
  std::vector<PxMount> mounts;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string skip, device, point, type, source, options;
    fields >> skip >> skip >> device >> skip >> point;
    while (fields >> skip && skip != "-") {
    }
    fields >> type >> source >> options;
    if (type != "fuse.px") continue;
    const bool read_only = options == "ro" || options.starts_with("ro,");
    mounts.push_back({Unescape(point), Unescape(source), device, read_only});
  }
  return mounts;
}

bool ReadOnlyWatch::IsReadOnly() {
  const MutexLock lock(mutex_);
  const bool first = !table_;
  if (first) table_.Reset(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  // The kernel says so once for each open file of the table; see poll in proc_pid_mountinfo(5).
  pollfd changed{table_.get(), POLLPRI, 0};
  if (!first && ::poll(&changed, 1, 0) == 0) return read_only_;
  read_only_ = false;
  const std::vector<PxMount> mounts = PxMounts();
  for (auto mount = mounts.rbegin(); device_.empty() && mount != mounts.rend(); ++mount) {
    if (mount->mountpoint == mountpoint_) device_ = mount->device;
  }
  for (const PxMount& mount : mounts) {
    if (mount.device == device_) read_only_ = mount.read_only;
  }
  return read_only_;
}

}  // namespace px::fs
