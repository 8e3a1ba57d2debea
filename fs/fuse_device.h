// FuseDevice: the descriptor of /dev/fuse of a mount, for threads that may run longer than the
// session: once it is taken away, its number may be that of another file.
//
// Thread safe.
#pragma once

#include <utility>

#include "base/mutex.h"

namespace px::fs {

class FuseDevice {
 public:
  void Set(int fd) PX_EXCLUDES(lock_) {
    const WriterLock lock(lock_);
    fd_ = fd;
  }
  // Waits for who uses it.
  void Clear() { Set(-1); }
  // body(fd), which must not wait for a request to be answered; fd is -1 where there is none.
  template <typename Body>
  auto Use(Body&& body) PX_EXCLUDES(lock_) {
    const ReaderLock lock(lock_);
    return std::forward<Body>(body)(fd_);
  }

 private:
  SharedMutex lock_;
  int fd_ PX_GUARDED_BY(lock_) = -1;
};

}  // namespace px::fs
