// Notifier: a process beside the daemon that tells the kernel which of its caches are out of date.
//
// The kernel makes such a call wait for a locked page or directory, perhaps until some request is
// answered, and no signal ends that wait. A thread of the daemon in it would keep a killed daemon
// from ending, with its locks and descriptors, while the next daemon waits for its end. So the call
// is made by a process that has nothing but the device, and that only while the call lasts.
//
// Thread safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fs/fuse_device.h"

namespace px::fs {

class Notifier {
 public:
  // Forks: the calling process must have one thread only. `calls`: as many can be under way, others
  // wait for them.
  static Result<std::unique_ptr<Notifier>> Start(size_t calls);
  // No call may be under way.
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // A name in a directory; a file's attributes and all its pages, which are written first. 0 or
  // -errno: -ENOENT where the kernel has nothing of it.
  int InvalidateEntry(FuseDevice* device, uint64_t parent, const std::string& name);
  int InvalidateData(FuseDevice* device, uint64_t node);
  // The attributes alone, for which the kernel waits for nothing: no process is asked.
  static int InvalidateAttributes(FuseDevice* device, uint64_t node);

 private:
  Notifier() = default;
  int Tell(FuseDevice* device, const std::string& notification) PX_EXCLUDES(mutex_);

  std::vector<UniqueFd> channels_;
  pid_t process_ = -1;
  Mutex mutex_;
  CondVar freed_;
  std::vector<size_t> free_ PX_GUARDED_BY(mutex_);  // channels
};

}  // namespace px::fs
