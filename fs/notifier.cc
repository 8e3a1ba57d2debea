#include "fs/notifier.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <thread>

#include "base/descriptor_socket.h"
#include "base/log.h"

namespace px::fs {
namespace {

// A name has 255 bytes at most.
constexpr size_t kMaxNotification =
    sizeof(fuse_out_header) + sizeof(fuse_notify_inval_entry_out) + 256;

template <typename Body>
std::string Notification(fuse_notify_code code, const Body& body, const std::string& name) {
  fuse_out_header header{};
  const size_t name_size = name.empty() ? 0 : name.size() + 1;
  header.len = static_cast<uint32_t>(sizeof header + sizeof body + name_size);
  header.error = code;
  std::string text;
  text.append(reinterpret_cast<const char*>(&header), sizeof header);
  text.append(reinterpret_cast<const char*>(&body), sizeof body);
  text.append(name.c_str(), name_size);
  return text;
}

// `offset` of the first page; negative: of none.
std::string InodeNotification(uint64_t node, int64_t offset) {
  fuse_notify_inval_inode_out body{};
  body.ino = node;
  body.off = offset;
  return Notification(FUSE_NOTIFY_INVAL_INODE, body, {});
}

int Notify(int device, std::span<const std::byte> notification) {
  const ssize_t written = ::write(device, notification.data(), notification.size());
  return written < 0 ? -errno : 0;
}

// One thread of the process: does what comes until the daemon is gone.
void ServeChannel(int channel) {
  std::array<std::byte, kMaxNotification> bytes{};
  for (;;) {
    int device = -1;
    const ssize_t got = ReceiveDescriptors(channel, bytes, std::span(&device, 1));
    if (got <= 0) return;
    const int result = Notify(device, std::span(bytes).first(static_cast<size_t>(got)));
    ::close(device);
    if (!SendDescriptors(channel, std::as_bytes(std::span(&result, 1)), {})) return;
  }
}

// All of the process.
[[noreturn]] void ServeChannels(std::vector<UniqueFd> channels) {
  ::prctl(PR_SET_NAME, "px-notifier");
  // The end of the daemon ends it: no signal of the terminal's or of a service manager's.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_IGN);
  // Who reads the daemon's output, or unmounts where it was started, must not wait for this one.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::dup2(null.get(), fd);
  if (::chdir("/") != 0) _exit(1);
  std::vector<std::thread> threads;
  threads.reserve(channels.size());
  for (const UniqueFd& channel : channels) threads.emplace_back(ServeChannel, channel.get());
  for (std::thread& thread : threads) thread.join();
  _exit(0);
}

// Closes all but the standard ones and those.
void KeepOnly(const std::vector<UniqueFd>& kept) {
  unsigned next = STDERR_FILENO + 1;
  std::vector<unsigned> numbers;
  for (const UniqueFd& fd : kept) numbers.push_back(static_cast<unsigned>(fd.get()));
  std::ranges::sort(numbers);
  for (const unsigned number : numbers) {
    if (number > next) ::close_range(next, number - 1, 0);
    next = number + 1;
  }
  ::close_range(next, ~0U, 0);
}

}  // namespace

Result<std::unique_ptr<Notifier>> Notifier::Start(size_t calls) {
  std::unique_ptr<Notifier> self(new Notifier);
  std::vector<UniqueFd> theirs;
  {
    const MutexLock lock(self->mutex_);
    for (size_t i = 0; i < calls; ++i) {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return FailErrno("make a socket");
      }
      self->channels_.emplace_back(ends[0]);
      theirs.emplace_back(ends[1]);
      self->free_.push_back(i);
    }
  }
  self->process_ = ::fork();
  if (self->process_ < 0) return FailErrno("start the notifier");
  if (self->process_ == 0) {
    KeepOnly(theirs);
    ServeChannels(std::move(theirs));
  }
  return self;
}

Notifier::~Notifier() {
  channels_.clear();
  if (process_ <= 0) return;
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

int Notifier::InvalidateEntry(FuseDevice* device, uint64_t parent, const std::string& name) {
  fuse_notify_inval_entry_out body{};
  body.parent = parent;
  body.namelen = static_cast<uint32_t>(name.size());
  return Tell(device, Notification(FUSE_NOTIFY_INVAL_ENTRY, body, name));
}

int Notifier::InvalidateData(FuseDevice* device, uint64_t node) {
  return Tell(device, InodeNotification(node, 0));
}

int Notifier::InvalidateAttributes(FuseDevice* device, uint64_t node) {
  const std::string notification = InodeNotification(node, -1);
  return device->Use([&](int fd) { return Notify(fd, std::as_bytes(std::span(notification))); });
}

int Notifier::Tell(FuseDevice* device, const std::string& notification) {
  size_t number = 0;
  {
    const MutexLock lock(mutex_);
    while (free_.empty()) freed_.Wait(mutex_);
    number = free_.back();
    free_.pop_back();
  }
  const int channel = channels_[number].get();
  const auto bytes = std::as_bytes(std::span(notification));
  int result = device->Use([&](int fd) {
    if (fd < 0) return -ENODEV;
    return SendDescriptors(channel, bytes, std::span(&fd, 1)) ? 0 : -EPIPE;
  });
  const auto answer = std::as_writable_bytes(std::span(&result, 1));
  if (result == 0 && ReceiveDescriptors(channel, answer, {}) <= 0) result = -EPIPE;
  if (result == -EPIPE) {
    // Somebody killed it. Made from here, the call is as good while this process lives.
    LogWarn("the notifier is gone");
    result = device->Use([&](int fd) { return Notify(fd, bytes); });
  }
  const MutexLock lock(mutex_);
  free_.push_back(number);
  freed_.NotifyOne();
  return result;
}

}  // namespace px::fs
