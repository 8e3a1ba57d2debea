#include "fs/serve_loop.h"

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "fs/fuse_session.h"
#include "fs/request.h"

namespace px::fs {
namespace {

constexpr size_t kPage = 4096;
// Newer than Debian 12's kernel headers (protocol 7.40).
constexpr uint64_t kResent = uint64_t{1} << 63;  // in `unique`
constexpr int32_t kNotifyResend = 7;

}  // namespace

// Room for the largest request, such that the data of a write begins on a page.
class ServeLoop::Buffer {
 public:
  static constexpr size_t kBefore = kPage - sizeof(fuse_in_header) - sizeof(fuse_write_in);
  static constexpr size_t kSize = kMaxWrite + 2 * kPage;

  Buffer() : memory_(static_cast<char*>(std::aligned_alloc(kPage, kPage + kSize))) {
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  char* data() { return memory_.get() + kBefore; }
  fuse_in_header Header() {
    fuse_in_header header{};
    std::memcpy(&header, data(), sizeof header);
    return header;
  }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
};

Result<std::unique_ptr<ServeLoop>> ServeLoop::Create(fuse_session* session, int fd) {
  UniqueFd ended(::eventfd(0, EFD_CLOEXEC));
  if (!ended) return FailErrno("make an event descriptor");
  return std::unique_ptr<ServeLoop>(new ServeLoop(session, fd, std::move(ended)));
}

ServeLoop::~ServeLoop() {
  if (const Status stopped = Stop(); !stopped) LogError("{}", stopped.error().ToString());
}

Result<size_t> ServeLoop::Read(Buffer& buffer) const {
  for (;;) {
    // Stop ends the wait by a cancellation, which only this call lets come through.
    ::pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    const ssize_t got = ::read(fd_, buffer.data(), Buffer::kSize);
    const int error = errno;
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    if (stopping_) return 0;
    if (got > static_cast<ssize_t>(sizeof(fuse_in_header))) return static_cast<size_t>(got);
    if (got >= 0) return Fail(EIO, "a short request from /dev/fuse");
    if (error == ENODEV) return 0;
    // ENOENT: a request that was given up while it was read.
    if (error != EINTR && error != EAGAIN && error != ENOENT) {
      return Fail(error, "read from /dev/fuse");
    }
  }
}

void ServeLoop::Dispatch(Buffer& buffer, size_t size, uint32_t lane) const {
  const uint64_t unique = buffer.Header().unique;
  const RequestScope scope({unique & ~kResent, lane, (unique & kResent) != 0});
  fuse_buf request{};
  request.size = size;
  request.mem = buffer.data();
  fuse_session_process_buf(session_, &request);
}

Result<std::string> ServeLoop::ReadInit() {
  Buffer buffer;
  PX_ASSIGN(const size_t size, Read(buffer));
  if (size == 0) return Fail(ENODEV, "the mount is gone");
  if (buffer.Header().opcode != FUSE_INIT) return Fail(EPROTO, "the first request is no INIT");
  return std::string(buffer.data(), size);
}

void ServeLoop::Init(const std::string& request) {
  Buffer buffer;
  std::memcpy(buffer.data(), request.data(), std::min(request.size(), Buffer::kSize));
  Dispatch(buffer, request.size(), Request::kNoLane);
}

Status ServeLoop::Replay(uint32_t lane) {
  fuse_out_header notify{};
  notify.len = sizeof notify;
  notify.error = kNotifyResend;
  if (::write(fd_, &notify, sizeof notify) != static_cast<ssize_t>(sizeof notify)) {
    return FailErrno("ask the kernel to send requests again");
  }
  Buffer buffer;
  size_t resent = 0;
  // They are the first in the queue; only forgets may come between.
  for (;;) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, 0) <= 0 || (wait.revents & POLLIN) == 0) break;
    PX_ASSIGN(const size_t size, Read(buffer));
    if (size == 0) break;
    const fuse_in_header header = buffer.Header();
    const bool forget = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
    const bool again = (header.unique & kResent) != 0;
    Dispatch(buffer, size, lane);
    resent += again ? 1 : 0;
    if (!again && !forget) break;
  }
  LogInfo("{} requests were sent again", resent);
  return {};
}

void ServeLoop::Start(unsigned threads) {
  for (uint32_t lane = 0; lane < threads; ++lane) {
    threads_.emplace_back([this, lane] { Serve(lane); });
  }
}

void ServeLoop::Serve(uint32_t lane) {
  ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
  Buffer buffer;
  for (;;) {
    const Result<size_t> size = Read(buffer);
    if (!size || *size == 0) return Ended(size ? Status{} : Status(Forward(size.error())));
    Dispatch(buffer, *size, lane < kServingLanes ? lane : Request::kNoLane);
  }
}

void ServeLoop::Ended(const Status& why) {
  const MutexLock lock(mutex_);
  if (failed_ && !why) failed_ = why;
  const uint64_t one = 1;
  if (::write(ended_.get(), &one, sizeof one) < 0) LogError("waking the session: errno {}", errno);
}

Status ServeLoop::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) ::pthread_cancel(thread.native_handle());
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  const MutexLock lock(mutex_);
  return std::exchange(failed_, Status{});
}

}  // namespace px::fs
