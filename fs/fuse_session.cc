#include "fs/fuse_session.h"

#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include <deque>
#include <fstream>

#include "base/log.h"
#include "fs/fuse_backing.h"
#include "fs/fuse_bridge.h"
#include "fs/serve_loop.h"

namespace px::fs {

// A few threads beside those that serve requests: control calls invalidate, and an invalidation may
// wait for a lock that is held until some other request is answered.
class ControlThreads {
 public:
  explicit ControlThreads(size_t count) {
    for (uint32_t i = 0; i < count; ++i) threads_.emplace_back([this, i] { Loop(i); });
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
    // What is not begun is not answered: the daemon that takes over gets it again.
    if (closed_) return;
    queue_.push_back(std::move(work));
    wake_.NotifyOne();
  }
  // Begins nothing any more, and waits for what was begun, while requests are still served.
  void Close() {
    const MutexLock lock(mutex_);
    closed_ = true;
    queue_.clear();
    while (busy_ > 0) idle_.Wait(mutex_);
  }
  // Of those that run next. A thread's own number is added.
  void set_lane(uint32_t lane) { lane_ = lane; }

 private:
  void Loop(uint32_t number) {
    for (bool worked = false;; worked = true) {
      std::function<void()> work;
      {
        const MutexLock lock(mutex_);
        if (worked && --busy_ == 0) idle_.NotifyAll();
        while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
        ++busy_;
      }
      const RequestScope scope({0, lane_ + number, false});
      work();
    }
  }

  Mutex mutex_;
  CondVar wake_, idle_;
  int busy_ PX_GUARDED_BY(mutex_) = 0;
  bool closed_ PX_GUARDED_BY(mutex_) = false;
  std::atomic<uint32_t> lane_ = kControlLane;
  std::deque<std::function<void()>> queue_ PX_GUARDED_BY(mutex_);
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

namespace {

constexpr uint32_t kControlThreads = kControlLanes;

bool KernelOffersUring() {
  std::ifstream parameter("/sys/module/fuse/parameters/enable_uring");
  char value = 'N';
  return parameter >> value && (value == 'Y' || value == '1');
}

}  // namespace

bool UsesUring(const SessionOptions& options) { return options.io_uring && KernelOffersUring(); }

FuseSession::FuseSession(SessionOptions options)
    : options_(std::move(options)), control_(std::make_unique<ControlThreads>(kControlThreads)) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(Filesystem::Parts parts,
                                                        const SessionOptions& options,
                                                        const std::string& mountpoint,
                                                        Clock* clock, KeeperLink* keeper,
                                                        KeptFds kept) {
  std::unique_ptr<FuseSession> self(new FuseSession(options));
  self->keeper_ = keeper;
  self->kept_ = kept;
  std::string settings = "default_permissions,fsname=" + options.name + ",subtype=px";
  if (options.allow_other) settings += ",allow_other";
  if (::geteuid() == 0) settings += ",dev,suid";
  if (options.filesystem.read_only) settings += ",ro";
  if (UsesUring(options)) settings += ",io_uring";
  std::vector<std::string> words = {"px-fs", "-o", settings};
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  const fuse_lowlevel_ops operations = BridgeOperations();
  self->session_ = fuse_session_new(&args, &operations, sizeof operations, self.get());
  fuse_opt_free_args(&args);
  if (self->session_ == nullptr) return Fail(EINVAL, "the FUSE library refused the mount options");
  const bool take_over = keeper != nullptr && keeper->take_over();
  if (take_over) {
    const int fd = keeper->TakeFuse().Release();
    const std::string path = "/dev/fd/" + std::to_string(fd);
    if (fuse_session_mount(self->session_, path.c_str()) != 0) return Fail(EBADF, "take over");
    PX_ASSIGN(self->loop_, ServeLoop::Create(self->session_, fd));
    self->loop_->Init(keeper->init());
  }
  PX_ASSIGN(self->filesystem_,
            Filesystem::Open(std::move(parts), options.filesystem, self.get(), clock));
  if (self->passthrough_refused_) self->filesystem_->DisablePassthrough();
  if (take_over) return self;
  errno = 0;
  if (fuse_session_mount(self->session_, mountpoint.c_str()) != 0) {
    return Fail(errno != 0 ? errno : EPERM, "mount on " + mountpoint);
  }
  self->mounted_ = true;
  return self;
}

FuseSession::~FuseSession() {
  loop_.reset();
  // With a keeper the mount is the keeper's.
  if (mounted_ && (keeper_ == nullptr || !keeper_->alive())) fuse_session_unmount(session_);
  control_.reset();
  filesystem_.reset();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status FuseSession::Run(std::function<void()> ready, bool* hand_over) {
  *hand_over = false;
  ready_ = std::move(ready);
  if (UsesUring(options_)) return RunUring();
  PX_TRY(Begin());
  return Wait(hand_over);
}

// Its requests come through rings, which libfuse's own loop knows.
Status FuseSession::RunUring() {
  serving_ = true;
  sigset_t all;
  sigemptyset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  if (fuse_set_signal_handlers(session_) != 0) return Fail(EIO, "set signal handlers");
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, options_.threads);
  fuse_loop_cfg_set_idle_threads(config, options_.threads);
  const int result = fuse_session_loop_mt(session_, config);
  fuse_loop_cfg_destroy(config);
  fuse_remove_signal_handlers(session_);
  fuse_session_unmount(session_);
  mounted_ = false;
  if (result < 0) return Fail(-result, "serving the mount");
  return {};
}

Status FuseSession::Begin() {
  if (loop_ != nullptr) {
    const uint32_t lane = filesystem_->replay_lane();
    control_->set_lane(lane + 1);
    PX_TRY(loop_->Replay(lane));
    Answered();
  } else {
    const int fd = fuse_session_fd(session_);
    PX_ASSIGN(loop_, ServeLoop::Create(session_, fd));
    const auto init = loop_->ReadInit();
    if (!init && init.error().code() == ENODEV) return {};
    PX_TRY(init);
    if (keeper_ != nullptr && keeper_->alive()) {
      PX_TRY(keeper_->Hold(fd, kept_.lock, kept_.state, *init));
    }
    loop_->Init(*init);
    if (passthrough_refused_) filesystem_->DisablePassthrough();
  }
  control_->set_lane(kControlLane);
  serving_ = true;
  loop_->Start(options_.threads);
  if (keeper_ != nullptr && keeper_->alive()) keeper_->Ready();
  return {};
}

Status FuseSession::Wait(bool* hand_over) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  const UniqueFd signal(::signalfd(-1, &signals, SFD_CLOEXEC));
  if (!signal) return FailErrno("make a signal descriptor");
  for (;;) {
    const bool kept = keeper_ != nullptr && keeper_->alive();
    pollfd fds[3] = {{loop_->ended_fd(), POLLIN, 0},
                     {signal.get(), POLLIN, 0},
                     {kept ? keeper_->fd() : -1, POLLIN, 0}};
    if (::poll(fds, 3, -1) < 0 && errno != EINTR) return FailErrno("wait");
    if (fds[0].revents != 0 || fds[1].revents != 0) break;
    if (fds[2].revents != 0 && keeper_->WantsRestart()) {
      *hand_over = true;
      filesystem_->HandOver();
      break;
    }
  }
  control_->Close();
  return loop_->Stop();
}

void FuseSession::Answered() {
  if (ready_) std::exchange(ready_, nullptr)();
}

void FuseSession::Defer(std::function<void()> work) {
  const Request request = CurrentRequest();
  control_->Add([request, work = std::move(work)] {
    const RequestScope scope({request.unique, CurrentRequest().lane, request.resent});
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

void FuseSession::UnregisterIfKnown(int backing_id) {
  auto id = static_cast<uint32_t>(backing_id);
  ::ioctl(fuse_session_fd(session_), kBackingClose, &id);
}

std::string FuseSession::StatusJson() {
  const auto number = [](auto value) { return std::to_string(value); };
  std::vector<std::pair<std::string, std::string>> facts;
  const bool kept = keeper_ != nullptr && keeper_->alive();
  facts.emplace_back("keeper_pid", kept ? number(keeper_->start().keeper_pid) : "null");
  facts.emplace_back("keeper", kept                  ? "\"running\""
                               : UsesUring(options_) ? "\"none: io_uring is used\""
                                                     : "\"none\"");
  if (kept) {
    facts.emplace_back("restarts", number(keeper_->start().restarts));
    facts.emplace_back("crashes", number(keeper_->start().crashes));
    facts.emplace_back("last_signal", number(keeper_->start().last_signal));
  }
  return filesystem_->StatusJson(facts);
}

void FuseSession::Notify(std::function<void()> body) {
  if (serving_) return body();
  Defer(std::move(body));
}

void FuseSession::InvalidateEntry(NodeKey parent, const std::string& name) {
  const int result =
      fuse_lowlevel_notify_inval_entry(session_, parent.ToFuse(), name.c_str(), name.size());
  if (result != 0 && result != -ENOENT) LogWarn("invalidating entry '{}': {}", name, result);
}

void FuseSession::InvalidateAttributes(NodeKey node) {
  Notify([this, node] {
    const int result = fuse_lowlevel_notify_inval_inode(session_, node.ToFuse(), -1, 0);
    if (result != 0 && result != -ENOENT)
      LogWarn("invalidating inode {:x}: {}", node.ToFuse(), result);
  });
}

void FuseSession::InvalidateData(NodeKey node) {
  const int result = fuse_lowlevel_notify_inval_inode(session_, node.ToFuse(), 0, 0);
  if (result != 0 && result != -ENOENT)
    LogWarn("invalidating data of {:x}: {}", node.ToFuse(), result);
}

}  // namespace px::fs
