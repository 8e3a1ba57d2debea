// ServeLoop: the threads that read requests from /dev/fuse and have libfuse dispatch them.
//
// libfuse's own loop does not show a request's number, which is needed to do it exactly once
// (request.h), and reads through cloned descriptors, whose requests the kernel ends with an error
// when the daemon dies. This one reads from the one descriptor that the keeper holds too.
//
// Threads: Init, Replay, Start and Stop by one thread, in that order.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

struct fuse_session;

namespace px::fs {

class ServeLoop {
 public:
  // `fd` of /dev/fuse and `session` stay with the caller. EMFILE…
  static Result<std::unique_ptr<ServeLoop>> Create(fuse_session* session, int fd);
  ~ServeLoop();

  // Reads the first request of a new mount, which negotiates the protocol. It is not answered yet.
  // ENODEV: the mount is gone.
  Result<std::string> ReadInit();
  // Has that request answered. One that an earlier daemon answered is answered to nobody.
  void Init(const std::string& request);
  // Has the kernel send again what no daemon answered, and answers it, one after the other: what
  // was asked first must not see the effects of what was asked later.
  Status Replay(uint32_t lane);
  void Start(unsigned threads);
  // Readable once the mount is gone or a thread failed.
  int ended_fd() const { return ended_.get(); }
  // Ends the threads once the requests in hand are answered. What is read meanwhile is dropped: the
  // kernel sends it again, or its mount is gone. Returns why a thread failed, if one did.
  Status Stop();

 private:
  class Buffer;

  ServeLoop(fuse_session* session, int fd, UniqueFd ended)
      : session_(session), fd_(fd), ended_(std::move(ended)) {}
  void Serve(uint32_t lane);
  // 0: the mount is gone, or Stop was called; EINTR and the like are tried again. EIO…
  Result<size_t> Read(Buffer& buffer) const;
  void Dispatch(Buffer& buffer, size_t size, uint32_t lane) const;
  void Ended(const Status& why);

  fuse_session* const session_;
  const int fd_;
  const UniqueFd ended_;
  std::atomic<bool> stopping_ = false;
  Mutex mutex_;
  Status failed_ PX_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace px::fs
