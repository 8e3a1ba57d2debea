// How a session begins: with the first request of a new mount, which is kept for daemons to come,
// or with what the daemon before this one was sent and did not answer (docs/design/0003-keeper.md).
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/control_threads.h"
#include "fs/fuse_session.h"
#include "fs/session_buffers.h"

namespace px::fs {
namespace {

// Newer than Debian 12's kernel headers (protocol 7.40).
constexpr uint64_t kResent = uint64_t{1} << 63;  // in `unique`
constexpr int32_t kNotifyResend = 7;

// What is done before the loop runs uses the buffer of its first slot.
constexpr unsigned kSlot = 0;

}  // namespace

Status FuseSession::TakeDevice() {
  const std::string path = "/dev/fd/" + std::to_string(keeper_->TakeFuse().Release());
  if (fuse_session_mount(session_, path.c_str()) != 0) return Fail(EBADF, "take over " + path);
  device_.Set(fuse_session_fd(session_));
  // Answered already by an earlier daemon: the kernel refuses the answer, and libfuse knows what
  // was agreed on.
  Process(keeper_->init());
  return {};
}

void FuseSession::Dispatch(unsigned slot, uint32_t lane) {
  const uint64_t unique = buffers_->Header(slot).unique;
  const RequestScope scope({unique & ~kResent, lane, (unique & kResent) != 0});
  Process(buffers_->Request(slot));
}

void FuseSession::Process(std::string_view request) {
  fuse_buf buffer{};
  buffer.mem = const_cast<char*>(request.data());  // that of a slot; libfuse writes into none
  buffer.size = request.size();
  fuse_session_process_buf(session_, &buffer);
}

Status FuseSession::Begin() {
  if (keeper_ == nullptr) return {};
  if (!keeper_->take_over()) return AnswerFirst();
  PX_TRY(Replay());
  Answered();
  return {};
}

// The request that negotiates the protocol. The keeper has it before it is answered: from then on
// there is something to keep.
Status FuseSession::AnswerFirst() {
  for (;;) {
    pollfd wait{fuse_session_fd(session_), POLLIN, 0};
    if (::poll(&wait, 1, -1) < 0 && errno != EINTR) return FailErrno("wait for the kernel");
    const int got = buffers_->Receive(fuse_session_fd(session_), kSlot);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got == 0) return Fail(ENODEV, "the mount is gone");
    if (got < 0) return Fail(-got, "read from /dev/fuse");
    break;
  }
  if (buffers_->Header(kSlot).opcode != FUSE_INIT) return Fail(EPROTO, "the first request");
  const std::string init(buffers_->Request(kSlot));
  PX_TRY(keeper_->Hold(fuse_session_fd(session_), kept_.lock, kept_.state, init));
  Process(init);
  if (passthrough_refused_) filesystem_->DisablePassthrough();
  return {};
}

// Has the kernel send again what no daemon answered, and answers it, one after the other: what was
// asked first must not see the effects of what was asked later.
Status FuseSession::Replay() {
  fuse_out_header notify{};
  notify.len = sizeof notify;
  notify.error = kNotifyResend;
  const int fd = fuse_session_fd(session_);
  if (::write(fd, &notify, sizeof notify) != static_cast<ssize_t>(sizeof notify)) {
    return FailErrno("ask the kernel to send requests again");
  }
  const uint32_t lane = filesystem_->replay_lane();
  control_->set_lane(lane + 1);
  size_t resent = 0;
  // They come before all others; only forgets may come between.
  for (;;) {
    const int got = buffers_->Receive(fuse_session_fd(session_), kSlot);
    if (got == -EINTR) continue;
    if (got == -EAGAIN || got == 0) break;  // none is left, or the mount is gone: the loop sees it
    if (got < 0) return Fail(-got, "read from /dev/fuse");
    const fuse_in_header header = buffers_->Header(kSlot);
    const bool forget = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
    const bool again = (header.unique & kResent) != 0;
    Dispatch(kSlot, lane);
    resent += again ? 1 : 0;
    if (!again && !forget) break;
  }
  LogInfo("{} requests were sent again", resent);
  return {};
}

}  // namespace px::fs
