#include "tests/testing/fake_kernel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdarg>
#include <cstring>

#include "base/mutex.h"
#include "fs/fuse_backing.h"
#include "fs/session_buffers.h"

namespace px::testing {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(60);
constexpr int kSocketBytes = 64 << 20;
constexpr int kDaemonFd = 500;
constexpr size_t kMaxMessage = fs::kMaxWrite + 2 * 4096;
constexpr uint64_t kResent = uint64_t{1} << 63;
constexpr uint32_t kReservedFlag = 1U << 31;
constexpr uint32_t kPassthrough2 = 1U << 5;  // FUSE_PASSTHROUGH, in flags2
constexpr int kLastNotification = 16;
// Newer than Debian 12's kernel headers (protocol 7.39).
constexpr uint32_t kStatx = 52;
constexpr size_t kStatxOut = 288;

// --- The backing files of passthrough ---

class Backings {
 public:
  int Open(int fd) {
    const MutexLock lock(mutex_);
    UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!own) return -1;
    files_[++last_] = std::move(own);
    return last_;
  }
  int Close(int id) {
    const MutexLock lock(mutex_);
    if (files_.erase(id) == 1) return 0;
    unknown_ = id;
    errno = ENOENT;
    return -1;
  }
  void Write(int id, const std::string& bytes, uint64_t offset) {
    const MutexLock lock(mutex_);
    const auto file = files_.find(id);
    if (file == files_.end()) return;
    (void)!::pwrite(file->second.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  }
  void Clear() {
    const MutexLock lock(mutex_);
    files_.clear();
    unknown_ = 0;
  }
  // The last one that was closed without being open; 0: none was.
  int unknown() const {
    const MutexLock lock(mutex_);
    return unknown_;
  }

 private:
  mutable Mutex mutex_;
  int last_ PX_GUARDED_BY(mutex_) = 0;
  int unknown_ PX_GUARDED_BY(mutex_) = 0;
  std::map<int, UniqueFd> files_ PX_GUARDED_BY(mutex_);
};

Backings& TheBackings() {
  static Backings backings;
  return backings;
}

// --- The form of answers ---

bool HasAnswer(uint32_t opcode) { return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET; }

std::string CheckAttr(const fuse_attr& attr) {
  if (attr.size > static_cast<uint64_t>(INT64_MAX)) return "a negative size";
  if (attr.atimensec >= 1'000'000'000 || attr.mtimensec >= 1'000'000'000 ||
      attr.ctimensec >= 1'000'000'000) {
    return "a second of too many nanoseconds";
  }
  switch (attr.mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return {};
    default:
      return fmt::format("a mode of {:o}", attr.mode);
  }
}

std::string CheckEntry(const fuse_entry_out& entry) {
  if (entry.nodeid == 0) return {};
  if (entry.attr.ino != entry.nodeid) return "an entry whose numbers differ";
  return CheckAttr(entry.attr);
}

std::string CheckListing(std::string_view body, bool plus) {
  const size_t head = plus ? sizeof(fuse_entry_out) : 0;
  while (!body.empty()) {
    if (body.size() < head + FUSE_NAME_OFFSET) return "a listing with a part of an entry";
    const auto entry = Load<fuse_dirent>(body.substr(0, head + FUSE_NAME_OFFSET), head);
    const size_t size = head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
    if (entry.namelen == 0 || entry.namelen > 255) return "a name of no proper length";
    if (size > body.size()) return "a listing with a part of a name";
    const std::string_view name = body.substr(head + FUSE_NAME_OFFSET, entry.namelen);
    if (name.find('/') != name.npos || name.find('\0') != name.npos) return "a broken name";
    if (entry.off == 0) return "an entry at position 0";
    if (plus) {
      if (auto wrong = CheckEntry(Load<fuse_entry_out>(body)); !wrong.empty()) return wrong;
    }
    body.remove_prefix(size);
  }
  return {};
}

// What a body of so many bytes must be; empty if it is.
std::string CheckSize(std::string_view body, size_t size) {
  return body.size() == size ? "" : fmt::format("{} bytes instead of {}", body.size(), size);
}

std::string CheckUpTo(std::string_view body, uint64_t size) {
  return body.size() <= size ? "" : fmt::format("{} bytes, more than {}", body.size(), size);
}

std::string CheckXattr(const FuseRequest& request, std::string_view body) {
  const auto asked = Load<fuse_getxattr_in>(request.body);
  return asked.size == 0 ? CheckSize(body, sizeof(fuse_getxattr_out)) : CheckUpTo(body, asked.size);
}

std::string CheckWritten(std::string_view body, uint64_t asked) {
  if (auto wrong = CheckSize(body, sizeof(fuse_write_out)); !wrong.empty()) return wrong;
  return Load<fuse_write_out>(body).size <= asked ? "" : "more bytes than were asked for";
}

std::string CheckIoctl(const FuseRequest& request, std::string_view body) {
  if (body.size() < sizeof(fuse_ioctl_out)) return "no result of the ioctl";
  return CheckUpTo(body.substr(sizeof(fuse_ioctl_out)), Load<fuse_ioctl_in>(request.body).out_size);
}

std::string CheckBody(const FuseRequest& request, std::string_view body) {
  switch (request.opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK: {
      if (auto wrong = CheckSize(body, sizeof(fuse_entry_out)); !wrong.empty()) return wrong;
      return CheckEntry(Load<fuse_entry_out>(body));
    }
    case FUSE_CREATE:
    case FUSE_TMPFILE: {
      const size_t size = sizeof(fuse_entry_out) + sizeof(fuse_open_out);
      if (auto wrong = CheckSize(body, size); !wrong.empty()) return wrong;
      return CheckEntry(Load<fuse_entry_out>(body));
    }
    case FUSE_GETATTR:
    case FUSE_SETATTR: {
      if (auto wrong = CheckSize(body, sizeof(fuse_attr_out)); !wrong.empty()) return wrong;
      return CheckAttr(Load<fuse_attr_out>(body).attr);
    }
    case kStatx:
      return CheckSize(body, kStatxOut);
    case FUSE_OPEN:
      return CheckSize(body, sizeof(fuse_open_out));
    case FUSE_READLINK:
      return CheckUpTo(body, 4096);
    case FUSE_READ:
      return CheckUpTo(body, Load<fuse_read_in>(request.body).size);
    case FUSE_READDIR:
    case FUSE_READDIRPLUS: {
      const auto asked = Load<fuse_read_in>(request.body).size;
      if (auto wrong = CheckUpTo(body, asked); !wrong.empty()) return wrong;
      return CheckListing(body, request.opcode == FUSE_READDIRPLUS);
    }
    case FUSE_WRITE:
      return CheckWritten(body, Load<fuse_write_in>(request.body).size);
    case FUSE_COPY_FILE_RANGE:
      return CheckWritten(body, Load<fuse_copy_file_range_in>(request.body).len);
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
      return CheckXattr(request, body);
    case FUSE_STATFS:
      return CheckSize(body, sizeof(fuse_statfs_out));
    case FUSE_LSEEK:
      return CheckSize(body, sizeof(fuse_lseek_out));
    case FUSE_IOCTL:
      return CheckIoctl(request, body);
    case FUSE_OPENDIR:
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW:
    case FUSE_BMAP:
    case FUSE_POLL:
    case FUSE_INTERRUPT:
    case FUSE_INIT:
      return "no error, where there is no such operation";
    default:
      return CheckSize(body, 0);
  }
}

}  // namespace

Result<std::unique_ptr<FakeKernel>> FakeKernel::Start(const std::string& store,
                                                      const Options& options) {
  TheBackings().Clear();
  ::signal(SIGPIPE, SIG_IGN);  // what the daemon sends when the other end is gone
  std::unique_ptr<FakeKernel> self(new FakeKernel());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return FailErrno("socket");
  self->fd_.Reset(ends[0]);
  // A number that nothing else gets.
  UniqueFd daemon(::fcntl(ends[1], F_DUPFD_CLOEXEC, kDaemonFd));
  ::close(ends[1]);
  if (!daemon) return FailErrno("duplicate a descriptor");
  for (const int end : {self->fd_.get(), daemon.get()}) {
    if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBytes, sizeof kSocketBytes) != 0) {
      ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof kSocketBytes);
    }
  }
  PX_ASSIGN(self->notifier_, fs::Notifier::Start(fs::kControlLanes));
  PX_ASSIGN(const fs::StoreDir dir, fs::StoreDir::Open(store, /*create=*/false));
  PX_ASSIGN(fs::Filesystem::Parts parts, dir.OpenParts());
  if (options.live_table) {
    std::vector<fs::LiveTable::Cell> none;
    UniqueFd memory(::memfd_create("live", MFD_CLOEXEC));
    PX_ASSIGN(parts.live, fs::LiveTable::Open(std::move(memory), /*keep=*/false, &none));
  }
  fs::SessionOptions session;
  session.filesystem = options.filesystem;
  session.io_uring = false;
  session.threads = 4;
  session.name = "fake";
  const std::string path = "/dev/fd/" + std::to_string(daemon.get());
  PX_ASSIGN(self->session_, fs::FuseSession::Mount(std::move(parts), session, path, &self->clock_,
                                                   self->notifier_.get(), /*keeper=*/nullptr, {}));
  (void)daemon.Release();  // the session's
  self->thread_ = std::thread([kernel = self.get()] {
    bool hand_over = false;
    kernel->ended_ = kernel->session_->Run([] {}, &hand_over);
  });
  PX_TRY(self->Negotiate());
  return self;
}

FakeKernel::~FakeKernel() {
  if (const Status stopped = Stop(); !stopped) Complain(stopped.error().ToString(), {});
}

Status FakeKernel::Stop() {
  if (!thread_.joinable()) return {};
  // The loop then finds nothing more to read; that its source broke is what it says of that.
  ::shutdown(fd_.get(), SHUT_RDWR);
  thread_.join();
  session_.reset();
  return {};
}

Status FakeKernel::Negotiate() {
  fuse_init_in init{};
  init.major = FUSE_KERNEL_VERSION;
  init.minor = FUSE_KERNEL_MINOR_VERSION;
  init.max_readahead = 1 << 20;
  init.flags = ~(uint32_t{FUSE_SETXATTR_EXT} | kReservedFlag);
  init.flags2 = kPassthrough2;
  PX_TRY(Send({.opcode = FUSE_INIT, .body = BytesOf(init)}));
  PX_ASSIGN(const std::vector<FuseReply> replies, Receive());
  if (replies.size() != 1 || replies[0].error != 0) return Fail(EPROTO, "no answer to FUSE_INIT");
  return {};
}

Status FakeKernel::Send(const FuseRequest& request) {
  fuse_in_header header{};
  header.len = static_cast<uint32_t>(sizeof header + request.body.size());
  header.opcode = request.opcode;
  header.unique = next_unique_ | (request.resent ? kResent : 0);
  next_unique_ += 2;
  header.nodeid = request.node;
  header.uid = request.uid;
  header.gid = request.gid;
  header.pid = request.pid;
  const std::string message = BytesOf(header) + request.body;
  if (::send(fd_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    return FailErrno("send a request");
  }
  if (HasAnswer(request.opcode)) waiting_.emplace(header.unique, request);
  return {};
}

Result<std::vector<FuseReply>> FakeKernel::Receive() {
  std::vector<FuseReply> replies;
  std::string message(kMaxMessage, '\0');
  const auto until = std::chrono::steady_clock::now() + kAnswerWithin;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd wait{fd_.get(), POLLIN, 0};
    const int timeout = waiting_.empty() ? 0 : static_cast<int>(std::max<int64_t>(0, left.count()));
    const int ready = ::poll(&wait, 1, timeout);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 && waiting_.empty()) return replies;
    if (ready <= 0) {
      const FuseRequest& request = waiting_.begin()->second;
      return Fail(ETIMEDOUT, fmt::format("opcode {} on node {:x}", request.opcode, request.node));
    }
    const ssize_t got = ::recv(fd_.get(), message.data(), message.size(), 0);
    if (got <= 0) return Fail(ENOTCONN, "the session has ended");
    Take({message.data(), static_cast<size_t>(got)}, &replies);
  }
}

void FakeKernel::Take(std::string_view message, std::vector<FuseReply>* replies) {
  if (message.size() < sizeof(fuse_out_header)) return Complain("a part of a header", {});
  const auto header = Load<fuse_out_header>(message);
  message.remove_prefix(sizeof header);
  if (header.unique == 0) {
    ++notifications_;
    if (header.error <= 0 || header.error > kLastNotification) {
      Complain(fmt::format("a notification of kind {}", header.error), {});
    }
    return;
  }
  const auto found = waiting_.find(header.unique);
  if (found == waiting_.end()) {
    return Complain(fmt::format("an answer to {:x}, which waits for none", header.unique), {});
  }
  FuseReply reply{std::move(found->second), -header.error, std::string(message)};
  waiting_.erase(found);
  std::string wrong;
  if (header.len != sizeof header + message.size()) {
    wrong = "a wrong length";
  } else if (header.error > 0 || header.error < -4095) {
    wrong = fmt::format("an error of {}", header.error);
  } else if (header.error != 0) {
    wrong = CheckSize(message, 0);
  } else if (reply.request.opcode != FUSE_INIT) {
    wrong = CheckBody(reply.request, message);
  }
  if (!wrong.empty()) Complain(wrong, reply.request);
  replies->push_back(std::move(reply));
}

void FakeKernel::Complain(const std::string& what, const FuseRequest& request) {
  if (!complaint_.empty()) return;
  complaint_ =
      fmt::format("opcode {} on node {:x} answered with {}", request.opcode, request.node, what);
}

std::string FakeKernel::complaint() const {
  if (!complaint_.empty()) return complaint_;
  const int unknown = TheBackings().unknown();
  return unknown == 0 ? "" : fmt::format("backing file {} was closed without being open", unknown);
}

void FakeKernel::WriteBacking(int backing_id, const std::string& bytes, uint64_t offset) {
  TheBackings().Write(backing_id, bytes, offset);
}

}  // namespace px::testing

// Of the linker's --wrap=ioctl: calls of ioctl come here.
extern "C" {
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (request == px::fs::kBackingOpen) {
    return px::testing::TheBackings().Open(static_cast<px::fs::BackingMap*>(argument)->fd);
  }
  if (request == px::fs::kBackingClose) {
    return px::testing::TheBackings().Close(static_cast<int>(*static_cast<uint32_t*>(argument)));
  }
  return __real_ioctl(fd, request, argument);
}
}
