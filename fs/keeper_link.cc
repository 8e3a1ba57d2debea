#include "fs/keeper_link.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "base/descriptor_socket.h"
#include "base/log.h"

namespace px::fs {
namespace {

constexpr size_t kHead = offsetof(KeeperMessage, bytes);

}  // namespace

bool KeeperMessage::Send(int socket, std::span<const int> fds) const {
  return SendDescriptors(socket, std::as_bytes(std::span(this, 1)).first(kHead + size), fds);
}

int KeeperMessage::Receive(int socket, std::span<int, kMaxFds> fds) {
  const ssize_t got = ReceiveDescriptors(socket, std::as_writable_bytes(std::span(this, 1)), fds);
  if (got == 0) return 0;
  if (got < static_cast<ssize_t>(kHead) || static_cast<size_t>(got) < kHead + size) {
    if (got >= 0) errno = EPROTO;
    return -1;
  }
  return 1 + static_cast<int>(std::ranges::count_if(fds, [](int fd) { return fd >= 0; }));
}

Result<std::unique_ptr<KeeperLink>> KeeperLink::Open(int socket) {
  std::unique_ptr<KeeperLink> self(new KeeperLink);
  KeeperLink& link = *self;
  link.socket_.Reset(socket);
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
  std::array<int, KeeperMessage::kMaxFds> fds{-1, -1, -1};
  const int got = link.start_.Receive(socket, fds);
  if (got < 0) return FailErrno("read from the keeper");
  if (got == 0) return Fail(EPIPE, "the keeper is gone");
  if (link.start_.type != KeeperMessage::kStart) return Fail(EPROTO, "the keeper's first message");
  link.live_.Reset(fds[0]);
  link.fuse_.Reset(fds[1]);
  link.lock_.Reset(fds[2]);
  if (!link.live_ || (link.take_over() && (!link.fuse_ || !link.lock_))) {
    return Fail(EPROTO, "the keeper has no descriptors");
  }
  return self;
}

Status KeeperLink::Hold(int fuse, int lock, int state, const std::string& init) {
  KeeperMessage message;
  message.type = KeeperMessage::kHold;
  if (init.size() > message.bytes.size()) return Fail(E2BIG, "the first request");
  message.size = static_cast<uint32_t>(init.size());
  std::copy(init.begin(), init.end(), message.bytes.begin());
  const std::array fds{fuse, lock, state};
  if (!message.Send(socket_.get(), fds)) return FailErrno("write to the keeper");
  return {};
}

void KeeperLink::Ready() {
  KeeperMessage message;
  message.type = KeeperMessage::kReady;
  if (!message.Send(socket_.get(), {})) LogWarn("telling the keeper: errno {}", errno);
}

bool KeeperLink::WantsRestart() {
  KeeperMessage message;
  std::array<int, KeeperMessage::kMaxFds> fds{-1, -1, -1};
  const int got = message.Receive(socket_.get(), fds);
  if (got > 0) return message.type == KeeperMessage::kRestart;
  LogError("the keeper is gone: if this daemon dies, its mount does too");
  alive_ = false;
  return false;
}

}  // namespace px::fs
