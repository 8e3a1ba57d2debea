#include "fs/fuse_session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <vector>

#include "base/log.h"
#include "fs/fuse_backing.h"
#include "fs/fuse_bridge.h"
#include "fs/request_loop.h"

namespace px::fs {

// A few threads beside those that serve requests: control calls invalidate, and an invalidation may
// wait for a lock that is held until some other request is answered.
class ControlThreads {
 public:
  explicit ControlThreads(size_t count) {
    for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { Loop(); });
  }
  ~ControlThreads() {
    {
      const MutexLock lock(mutex_);
      stopping_ = true;
      wake_.NotifyAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  void Add(std::function<void()> work) {
    const MutexLock lock(mutex_);
    queue_.push_back(std::move(work));
    wake_.NotifyOne();
  }

 private:
  void Loop() {
    for (;;) {
      std::function<void()> work;
      {
        const MutexLock lock(mutex_);
        while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ PX_GUARDED_BY(mutex_);
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

namespace {

bool KernelOffersUring() {
  std::ifstream parameter("/sys/module/fuse/parameters/enable_uring");
  char value = 'N';
  return parameter >> value && (value == 'Y' || value == '1');
}

std::atomic<RequestLoop*> signalled_loop = nullptr;

void StopLoop(int) {
  const int code = errno;
  if (RequestLoop* loop = signalled_loop) loop->Stop();
  errno = code;
}

// While it lives, SIGINT, SIGTERM and SIGHUP stop the loop, and SIGPIPE does nothing.
class StopAtSignals {
 public:
  explicit StopAtSignals(RequestLoop* loop) {
    signalled_loop = loop;
    struct sigaction action{};
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < kSignals.size(); ++i) {
      action.sa_handler = kSignals[i] == SIGPIPE ? SIG_IGN : StopLoop;
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  ~StopAtSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    signalled_loop = nullptr;
  }
  StopAtSignals(const StopAtSignals&) = delete;
  StopAtSignals& operator=(const StopAtSignals&) = delete;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace

FuseSession::FuseSession(SessionOptions options)
    : options_(std::move(options)), control_(std::make_unique<ControlThreads>(4)) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(Filesystem::Parts parts,
                                                        const SessionOptions& options,
                                                        const std::string& mountpoint,
                                                        Clock* clock) {
  std::unique_ptr<FuseSession> self(new FuseSession(options));
  std::string settings = "default_permissions,fsname=" + options.name + ",subtype=px";
  if (options.allow_other) settings += ",allow_other";
  if (::geteuid() == 0) settings += ",dev,suid";
  if (options.filesystem.read_only) settings += ",ro";
  if (options.io_uring && KernelOffersUring()) settings += ",io_uring";
  std::vector<std::string> words = {"px-fs", "-o", settings};
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  const fuse_lowlevel_ops operations = BridgeOperations();
  self->session_ = fuse_session_new(&args, &operations, sizeof operations, self.get());
  fuse_opt_free_args(&args);
  if (self->session_ == nullptr) return Fail(EINVAL, "the FUSE library refused the mount options");
  PX_ASSIGN(self->filesystem_,
            Filesystem::Open(std::move(parts), options.filesystem, self.get(), clock));
  errno = 0;
  if (fuse_session_mount(self->session_, mountpoint.c_str()) != 0) {
    return Fail(errno != 0 ? errno : EPERM, "mount on " + mountpoint);
  }
  self->mounted_ = true;
  return self;
}

FuseSession::~FuseSession() {
  if (mounted_) fuse_session_unmount(session_);
  control_.reset();
  filesystem_.reset();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status FuseSession::Run(std::function<void()> ready) {
  ready_ = std::move(ready);
  const int fd = fuse_session_fd(session_);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return FailErrno("/dev/fuse");
  std::vector<fuse_buf> buffers(options_.threads);
  loop_ = std::make_unique<RequestLoop>(
      RequestSource{
          .fd = fd,
          .receive =
              [&](unsigned slot) { return fuse_session_receive_buf(session_, &buffers[slot]); },
          .process = [&](unsigned slot) { fuse_session_process_buf(session_, &buffers[slot]); }},
      options_.threads);
  Status status;
  {
    const StopAtSignals signals(loop_.get());
    status = loop_->Run();
  }
  for (const fuse_buf& buffer : buffers) std::free(buffer.mem);
  fuse_session_unmount(session_);
  mounted_ = false;
  return status;
}

void FuseSession::Answered() {
  if (ready_) std::exchange(ready_, nullptr)();
}

void FuseSession::Defer(std::function<void()> work) {
  control_->Add([this, number = RequestLoop::Serving(), work = std::move(work)] {
    // With FUSE-over-io_uring requests do not come through the loop.
    if (number != 0) loop_->WaitForEarlier(number);
    work();
  });
}

Result<int> FuseSession::RegisterBacking(int fd) {
  BackingMap map;
  map.fd = fd;
  const int id = ::ioctl(fuse_session_fd(session_), kBackingOpen, &map);
  if (id < 0) return FailErrno("register a backing file");
  if (id == 0) return Fail(EINVAL, "backing id 0");
  return id;
}

void FuseSession::UnregisterBacking(int backing_id) {
  auto id = static_cast<uint32_t>(backing_id);
  if (::ioctl(fuse_session_fd(session_), kBackingClose, &id) != 0) {
    LogError("closing backing file {}: {}", backing_id, std::generic_category().message(errno));
  }
}

void FuseSession::InvalidateEntry(NodeKey parent, const std::string& name) {
  const int result =
      fuse_lowlevel_notify_inval_entry(session_, parent.ToFuse(), name.c_str(), name.size());
  if (result != 0 && result != -ENOENT) LogWarn("invalidating entry '{}': {}", name, result);
}

void FuseSession::InvalidateAttributes(NodeKey node) {
  const int result = fuse_lowlevel_notify_inval_inode(session_, node.ToFuse(), -1, 0);
  if (result != 0 && result != -ENOENT)
    LogWarn("invalidating inode {:x}: {}", node.ToFuse(), result);
}

void FuseSession::InvalidateData(NodeKey node) {
  const int result = fuse_lowlevel_notify_inval_inode(session_, node.ToFuse(), 0, 0);
  if (result != 0 && result != -ENOENT)
    LogWarn("invalidating data of {:x}: {}", node.ToFuse(), result);
}

}  // namespace px::fs
