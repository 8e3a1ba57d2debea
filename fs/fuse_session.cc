#include "fs/fuse_session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <array>
#include <atomic>
#include <fstream>
#include <vector>

#include "base/log.h"
#include "fs/control_threads.h"
#include "fs/fuse_backing.h"
#include "fs/fuse_bridge.h"
#include "fs/keeper.h"
#include "fs/request_loop.h"
#include "fs/session_buffers.h"

namespace px::fs {

namespace {

constexpr uint32_t kControlThreads = kControlLanes;

bool KernelOffersUring() {
  std::ifstream parameter("/sys/module/fuse/parameters/enable_uring");
  char value = 'N';
  return parameter >> value && (value == 'Y' || value == '1');
}

std::atomic<int> signalled_fd = -1;

void TellWatcher(int) {
  const int code = errno;
  const uint64_t one = 1;
  // Full only where it is readable anyway.
  [[maybe_unused]] const ssize_t written = ::write(signalled_fd, &one, sizeof one);
  errno = code;
}

// While it lives, SIGINT, SIGTERM and SIGHUP make `fd` readable, an eventfd, and SIGPIPE does
// nothing.
class CatchSignals {
 public:
  explicit CatchSignals(int fd) {
    signalled_fd = fd;
    struct sigaction action{};
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < kSignals.size(); ++i) {
      action.sa_handler = kSignals[i] == SIGPIPE ? SIG_IGN : TellWatcher;
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  ~CatchSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    signalled_fd = -1;
  }
  CatchSignals(const CatchSignals&) = delete;
  CatchSignals& operator=(const CatchSignals&) = delete;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace

bool UsesUring(const SessionOptions& options) { return options.io_uring && KernelOffersUring(); }

FuseSession::FuseSession(SessionOptions options, std::string mountpoint)
    : options_(std::move(options)),
      mountpoint_(std::move(mountpoint)),
      read_only_(mountpoint_),
      buffers_(std::make_unique<SessionBuffers>(options_.threads)),
      control_(std::make_unique<ControlThreads>(kControlThreads)) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(Filesystem::Parts parts,
                                                        const SessionOptions& options,
                                                        const std::string& mountpoint, Clock* clock,
                                                        Notifier* notifier, KeeperLink* keeper,
                                                        KeptFds kept) {
  std::unique_ptr<FuseSession> self(new FuseSession(options, mountpoint));
  self->notifier_ = notifier;
  self->keeper_ = keeper;
  self->kept_ = kept;
  std::string settings = "default_permissions,noatime,fsname=" + options.name + ",subtype=px";
  if (options.allow_other) settings += ",allow_other";
  if (::geteuid() == 0) settings += ",dev,suid";
  settings += options.flags;
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
  if (take_over) PX_TRY(self->TakeDevice());
  PX_ASSIGN(self->filesystem_,
            Filesystem::Open(std::move(parts), options.filesystem, self.get(), clock));
  if (self->passthrough_refused_) self->filesystem_->DisablePassthrough();
  if (take_over) return self;
  errno = 0;
  if (fuse_session_mount(self->session_, mountpoint.c_str()) != 0) {
    return Fail(errno != 0 ? errno : EPERM, "mount on " + mountpoint);
  }
  self->device_.Set(fuse_session_fd(self->session_));
  self->mounted_ = true;
  return self;
}

Status FuseSession::RefuseIfReadOnly() {
  const bool refuse = options_.filesystem.read_only || read_only_.IsReadOnly();
  return refuse ? Status(Fail(EROFS)) : Status{};
}

FuseSession::~FuseSession() {
  if (mounted_) {
    if (const Status unmounted = Unmount(); !unmounted) {
      LogWarn("{}", unmounted.error().ToString());
    }
  }
  control_.reset();
  filesystem_.reset();
  device_.Clear();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status FuseSession::Run(std::function<void()> ready, bool* hand_over) {
  *hand_over = false;
  ready_ = std::move(ready);
  const int fd = fuse_session_fd(session_);
  if (options_.quick_wake_ups) wake_latency_ = WakeLatency::OfThisMachine();
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return FailErrno("/dev/fuse");
  loop_ = std::make_unique<RequestLoop>(
      RequestSource{.fd = fd,
                    .receive = [this, fd](unsigned slot) { return buffers_->Receive(fd, slot); },
                    .process =
                        [this](unsigned slot) {
                          Dispatch(slot, slot < kServingLanes ? slot : Request::kNoLane);
                        },
                    .idle = [this] { filesystem_->Idle(); },
                    .watch =
                        [this](uint64_t requests) {
                          wake_latency_.Observe(requests, std::chrono::steady_clock::now());
                        }},
      options_.threads);
  Status status = Begin();
  if (status) status = Serve(hand_over);
  if (!status && IsConnectionGone(fd)) {
    // A request that the kernel gave up as the mount ended, while it was read.
    LogDebug("the mount has ended: {}", status.error().ToString());
    status = {};
  }
  control_->Close();
  if (*hand_over) return status;
  const Status unmounted = Unmount();
  return status ? unmounted : status;
}

Status FuseSession::Serve(bool* hand_over) {
  const UniqueFd done(::eventfd(0, EFD_CLOEXEC)),
      signalled(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done || !signalled) return FailErrno("make an eventfd");
  const CatchSignals signals(signalled.get());
  std::thread watcher([&] { Watch(done.get(), signalled.get(), hand_over); });
  control_->set_lane(kControlLane);
  serving_ = true;
  if (keeper_ != nullptr && keeper_->alive()) keeper_->Ready();
  Status status = loop_->Run();
  const uint64_t one = 1;
  PX_CHECK(::write(done.get(), &one, sizeof one) == sizeof one);
  watcher.join();
  return status;
}

void FuseSession::Watch(int done, int signalled, bool* hand_over) {
  for (;;) {
    const bool kept = keeper_ != nullptr && keeper_->alive();
    pollfd fds[3] = {
        {done, POLLIN, 0}, {signalled, POLLIN, 0}, {kept ? keeper_->fd() : -1, POLLIN, 0}};
    if (::poll(fds, 3, -1) < 0) continue;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) break;
    if (fds[2].revents == 0 || !keeper_->WantsRestart()) continue;
    *hand_over = true;
    filesystem_->HandOver();
    break;
  }
  control_->Close();  // while requests are served: what was begun may wait for them
  loop_->Stop();
}

Status FuseSession::Unmount() {
  mounted_ = false;
  if (keeper_ != nullptr && keeper_->alive()) return {};  // the keeper's to do
  const int fd = fuse_session_fd(session_);
  const bool gone = IsConnectionGone(fd);
  device_.Clear();
  // The device is closed first, or the unmount would wait for answers. libfuse goes by its number,
  // which must not become another file's.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null || ::dup3(null.get(), fd, O_CLOEXEC) < 0) return FailErrno("close /dev/fuse");
  if (gone) return {};
  const Status detached = DetachMount(mountpoint_);
  return detached || detached.error().code() == EINVAL ? Status{} : detached;  // gone meanwhile
}

void FuseSession::Answered() {
  if (ready_) std::exchange(ready_, nullptr)();
}

void FuseSession::Defer(std::function<void()> work) {
  const Request request = CurrentRequest();
  control_->Add([this, request, number = RequestLoop::Serving(), work = std::move(work)] {
    const RequestScope scope({request.unique, CurrentRequest().lane, request.resent});
    // Before the loop is there, and for what no request asked for, none came earlier.
    if (number > 0) loop_->WaitForEarlier(number);
    work();
  });
}

Result<int> FuseSession::RegisterBacking(int fd) {
  BackingMap map;
  map.fd = fd;
  const int id = device_.Use([&](int device) { return ::ioctl(device, kBackingOpen, &map); });
  if (id < 0) return FailErrno("register a backing file");
  if (id == 0) return Fail(EINVAL, "backing id 0");
  return id;
}

bool FuseSession::CloseBacking(int backing_id) {
  auto id = static_cast<uint32_t>(backing_id);
  // With the device they are all gone.
  return device_.Use(
      [&](int device) { return device < 0 || ::ioctl(device, kBackingClose, &id) == 0; });
}

void FuseSession::UnregisterBacking(int backing_id) {
  if (!CloseBacking(backing_id)) {
    LogError("closing backing file {}: {}", backing_id, std::generic_category().message(errno));
  }
}

void FuseSession::UnregisterIfKnown(int backing_id) { CloseBacking(backing_id); }

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
  const int result = notifier_->InvalidateEntry(&device_, parent.ToFuse(), name);
  if (result != 0 && result != -ENOENT) LogWarn("invalidating entry '{}': {}", name, result);
}

void FuseSession::InvalidateAttributes(NodeKey node) {
  Notify([this, node] {
    const int result = Notifier::InvalidateAttributes(&device_, node.ToFuse());
    if (result != 0 && result != -ENOENT)
      LogWarn("invalidating inode {:x}: {}", node.ToFuse(), result);
  });
}

void FuseSession::InvalidateData(NodeKey node) {
  const int result = notifier_->InvalidateData(&device_, node.ToFuse());
  if (result != 0 && result != -ENOENT)
    LogWarn("invalidating data of {:x}: {}", node.ToFuse(), result);
}

uint64_t FuseSession::RequestsRead() const { return serving_ ? loop_->requests() : 0; }

void FuseSession::WaitForEarlier() {
  if (const uint64_t number = RequestLoop::Serving(); number > 0) loop_->WaitForEarlier(number);
}

}  // namespace px::fs
