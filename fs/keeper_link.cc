#include "fs/keeper_link.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/log.h"

namespace px::fs {
namespace {

constexpr size_t kHead = offsetof(KeeperMessage, bytes);
constexpr size_t kControlSize = CMSG_SPACE(sizeof(int) * KeeperMessage::kMaxFds);

}  // namespace

bool KeeperMessage::Send(int socket, std::span<const int> fds) const {
  KeeperMessage copy = *this;
  iovec part{&copy, kHead + size};
  alignas(cmsghdr) std::array<char, kControlSize> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(kHead + size);
}

int KeeperMessage::Receive(int socket, std::span<int, kMaxFds> fds) {
  iovec part{this, sizeof *this};
  alignas(cmsghdr) std::array<char, kControlSize> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return 0;
  if (got < static_cast<ssize_t>(kHead) || static_cast<size_t>(got) < kHead + size) {
    if (got >= 0) errno = EPROTO;
    return -1;
  }
  int count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    count = static_cast<int>((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(fds.data(), CMSG_DATA(header), sizeof(int) * static_cast<size_t>(count));
  }
  return 1 + count;
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
