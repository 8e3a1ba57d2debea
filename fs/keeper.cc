#include "fs/keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "base/log.h"
#include "base/unique_fd.h"
#include "fs/keeper_link.h"
#include "fs/keeper_state.h"

extern char** environ;

namespace px::fs {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kFirstOwnFd = 10;                  // those below are for the daemon
constexpr auto kFirstDelay = milliseconds(100);  // after the second failure, then doubled
constexpr auto kMaxDelay = milliseconds(5000);
constexpr int kMaxFailures = 8;                      // that follow each other
constexpr auto kSettled = std::chrono::seconds(60);  // served so long: earlier failures are over
constexpr auto kRestartLimit = std::chrono::seconds(30);

UniqueFd Above(int fd) {
  UniqueFd high(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstOwnFd));
  ::close(fd);
  return high;
}

class Keeper {
 public:
  explicit Keeper(const KeeperRequest& request) : request_(request) {
    argv_.reserve(request.words.size() + 1);
    for (const std::string& word : request.words) argv_.push_back(const_cast<char*>(word.c_str()));
    argv_.push_back(nullptr);
  }
  Result<int> Run();

 private:
  Status TakeSignals();
  Status Spawn();
  Status SpawnDaemon(int link);
  void Watch();  // until the daemon is gone
  void ReadSignals();
  void ReadLink();
  void Reap();
  // Waits before the next start. False: none is wanted, or it fails too often.
  bool Pause();
  void StartLog();
  int End(int exit_code);
  void Report(const std::string& state) const;

  const KeeperRequest& request_;
  bool logging_ = false;
  std::vector<char*> argv_;
  sigset_t old_mask_{};
  UniqueFd signals_, link_, live_, fuse_, lock_, state_;
  KeeperMessage held_;  // the first request, and how it went so far
  pid_t daemon_ = 0;
  int status_ = 0;  // of the daemon that ended last
  bool ready_ = false, ending_ = false, restart_ = false;
  bool ready_told_ = false;
  int failures_ = 0;
  Clock::time_point started_, restart_began_;
};

Status Keeper::TakeSignals() {
  sigset_t mine;
  sigemptyset(&mine);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&mine, signal);
  if (::sigprocmask(SIG_BLOCK, &mine, &old_mask_) != 0) return FailErrno("block signals");
  const int fd = ::signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return FailErrno("make a signal descriptor");
  signals_ = Above(fd);
  return {};
}

Status Keeper::Spawn() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno("make a pair of sockets");
  }
  link_ = Above(ends[0]);
  const UniqueFd theirs = Above(ends[1]);
  KeeperMessage start = held_;
  start.type = KeeperMessage::kStart;
  start.take_over = fuse_ ? 1 : 0;
  start.keeper_pid = ::getpid();
  start.tell_ready = request_.ready_fd >= 0 && !ready_told_ ? 1 : 0;
  const std::array fds{live_.get(), fuse_.get(), lock_.get()};
  if (!start.Send(link_.get(), std::span(fds).first(fuse_ ? 3 : 1))) {
    return FailErrno("write to the daemon");
  }
  ready_ = false;
  restart_ = false;
  started_ = Clock::now();
  return SpawnDaemon(theirs.get());
}

Status Keeper::SpawnDaemon(int link) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &old_mask_);
  posix_spawn_file_actions_adddup2(&actions, link, kLinkFd);
  const bool tell = request_.ready_fd >= 0 && !ready_told_;
  if (tell) posix_spawn_file_actions_adddup2(&actions, request_.ready_fd, kReadyFd);
  int error = ::posix_spawn(&daemon_, request_.program.c_str(), &actions, &attributes, argv_.data(),
                            environ);
  // Away for the moment, in the middle of an upgrade: this one will do.
  if (error == ENOENT) {
    error = ::posix_spawn(&daemon_, "/proc/self/exe", &actions, &attributes, argv_.data(), environ);
  }
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error == 0) return {};
  daemon_ = 0;
  return Fail(error, "start " + request_.program);
}

void Keeper::ReadSignals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == ssize_t{sizeof info}) {
    if (info.ssi_signo == SIGCHLD) {
      Reap();
    } else if (info.ssi_signo == SIGUSR1) {
      restart_ = true;
      restart_began_ = Clock::now();
      KeeperMessage message;
      message.type = KeeperMessage::kRestart;
      if (daemon_ != 0) message.Send(link_.get(), {});
    } else {
      ending_ = true;
      if (daemon_ != 0) ::kill(daemon_, SIGTERM);
    }
  }
}

void Keeper::Reap() {
  int status = 0;
  if (daemon_ == 0 || ::waitpid(daemon_, &status, WNOHANG) != daemon_) return;
  status_ = status;
  daemon_ = 0;
}

void Keeper::ReadLink() {
  KeeperMessage message;
  std::array<int, KeeperMessage::kMaxFds> fds{-1, -1, -1};
  if (message.Receive(link_.get(), fds) <= 0) return link_.Reset();
  if (message.type == KeeperMessage::kHold) {
    fuse_ = Above(fds[0]);
    lock_ = Above(fds[1]);
    state_ = Above(fds[2]);
    held_ = message;
    StartLog();  // the store is there now
  } else if (message.type == KeeperMessage::kReady) {
    ready_ = true;
    Report(kServing);
    if (!ready_told_ && request_.ready_fd >= 0) ::close(request_.ready_fd);  // `mount` waits for it
    ready_told_ = true;
  }
}

void Keeper::Watch() {
  while (daemon_ != 0) {
    pollfd fds[2] = {{signals_.get(), POLLIN, 0}, {link_.get(), POLLIN, 0}};
    ::poll(fds, link_ ? 2 : 1, restart_ ? 1000 : -1);
    if (link_ && fds[1].revents != 0) ReadLink();
    if (fds[0].revents != 0) ReadSignals();
    // It cannot end: what it has in hand comes again.
    if (restart_ && daemon_ != 0 && Clock::now() - restart_began_ > kRestartLimit) {
      ::kill(daemon_, SIGKILL);
    }
  }
  // What it said last.
  while (link_) {
    pollfd last{link_.get(), POLLIN, 0};
    if (::poll(&last, 1, 0) <= 0) break;
    ReadLink();
  }
}

bool Keeper::Pause() {
  const int signal = WIFSIGNALED(status_) ? WTERMSIG(status_) : 0;
  ++held_.restarts;
  if (WIFEXITED(status_) && WEXITSTATUS(status_) == kHandOverExit) return true;
  ++held_.crashes;
  held_.last_signal = signal;
  LogError("the daemon ended ({} {}): starting another one", signal != 0 ? "signal" : "exit code",
           signal != 0 ? signal : WEXITSTATUS(status_));
  // Killed by somebody while it served: nothing says that the next one would fail.
  if (ready_ && (signal == SIGKILL || Clock::now() - started_ > kSettled)) {
    failures_ = 0;
    return true;
  }
  if (++failures_ >= kMaxFailures) return false;
  milliseconds delay{0};
  for (int i = 1; i < failures_; ++i) delay = std::min(kMaxDelay, std::max(kFirstDelay, delay * 2));
  Report(fmt::format("{}: the daemon failed {} times in a row, the next one starts in {} ms",
                     kWaiting, failures_, delay.count()));
  const auto end = Clock::now() + delay;
  while (!ending_ && !restart_) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    if (left <= 0) break;
    pollfd fds[2] = {{signals_.get(), POLLIN, 0}, {fuse_.get(), 0, 0}};
    ::poll(fds, 2, static_cast<int>(left));
    if ((fds[1].revents & (POLLERR | POLLHUP)) != 0) ending_ = true;  // unmounted meanwhile
    if (fds[0].revents != 0) ReadSignals();
  }
  return !ending_;
}

// The store may not exist yet: then the first lines go to standard error.
void Keeper::StartLog() {
  if (request_.log.empty() || logging_) return;
  const Status logging = LogToFile(request_.log);
  logging_ = logging.has_value();
  if (!logging_) LogDebug("{}", logging.error().ToString());
}

Result<int> Keeper::Run() {
  StartLog();
  PX_TRY(TakeSignals());
  const int live = ::memfd_create("px-live", MFD_CLOEXEC);
  if (live < 0) return FailErrno("make the live table");
  live_ = Above(live);
  for (;;) {
    const Status spawned = Spawn();
    if (!spawned && !fuse_) return Forward(spawned.error());
    if (!spawned) LogError("{}", spawned.error().ToString());
    if (spawned) {
      Watch();
    } else {
      status_ = 127 << 8;
    }
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 1;
    // It never got so far that there is something to keep, or was told to end, or the mount is
    // gone.
    if (!fuse_) return code;
    if (ending_ || (WIFEXITED(status_) && code == 0)) return End(code);
    if (IsConnectionGone(fuse_.get())) return End(0);
    if (Pause()) continue;
    if (ending_) return End(0);
    LogError(
        "the daemon of {} failed {} times in a row: giving up. Everything that was open there gets "
        "ENOTCONN now. See the lines above, then: px-fs umount {}, and mount it again",
        request_.mountpoint, failures_, request_.mountpoint);
    Report(fmt::format("{}: the daemon failed {} times in a row", kGaveUp, failures_));
    return 1;
  }
}

int Keeper::End(int exit_code) {
  const bool gone = IsConnectionGone(fuse_.get());
  Report(kEnded);
  fuse_.Reset();  // first, or the unmount would wait for answers
  if (!gone) {
    if (const Status detached = DetachMount(request_.mountpoint); !detached) {
      LogError("{}", detached.error().ToString());
    }
  }
  return exit_code;
}

// Whoever reads it sees all of the old text or all of the new one.
void Keeper::Report(const std::string& state) const {
  const std::string text = KeeperState{
      .keeper = ::getpid(),
      .daemon = daemon_,
      .restarts = held_.restarts,
      .crashes = held_.crashes,
      .last_signal = held_.last_signal,
      .state = state,
      .store = {}}.ToText();
  if (!state_ ||
      ::pwrite(state_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    LogDebug("the keeper's state was not written");
  }
}

}  // namespace

Result<int> RunKeeper(const KeeperRequest& request) {
  Keeper keeper(request);
  return keeper.Run();
}

bool IsConnectionGone(int device) {
  pollfd connection{device, 0, 0};
  return ::poll(&connection, 1, 0) == 1 && (connection.revents & (POLLERR | POLLHUP)) != 0;
}

Status DetachMount(const std::string& mountpoint) {
  if (::geteuid() == 0) {
    if (::umount2(mountpoint.c_str(), MNT_DETACH | MNT_FORCE) != 0)
      return FailErrno("unmount " + mountpoint);
    return {};
  }
  PX_ASSIGN(const bool done, RunFusermount({"-u", "-z", "-q"}, mountpoint));
  return done ? Status{} : Status(Fail(EBUSY, "fusermount3 could not unmount " + mountpoint));
}

Result<bool> RunFusermount(const std::vector<std::string>& options, const std::string& mountpoint) {
  std::vector<std::string> words = {"fusermount3"};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {"--", mountpoint});
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, "fusermount3", nullptr, nullptr, argv.data(), environ);
  if (error != 0) return Fail(error, "run fusermount3");
  int status = 0;
  if (::waitpid(pid, &status, 0) < 0) return FailErrno("wait for fusermount3");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace px::fs
