#include "fs/mount_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.h"
#include "fs/control_client.h"
#include "fs/fuse_session.h"
#include "fs/keeper.h"
#include "fs/keeper_link.h"
#include "fs/keeper_state.h"
#include "fs/mount_helper.h"
#include "fs/notifier.h"
#include "fs/store_dir.h"

extern char** environ;

namespace px::fs {
namespace {

Result<std::string> CheckMountpoint(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOTCONN) {
      return Fail(EBUSY,
                  path + " is a mount whose daemon is gone (px-fs umount " + path + " removes it)");
    }
    return FailErrno("mountpoint " + path);
  }
  if (!S_ISDIR(info.st_mode)) return Fail(ENOTDIR, "mountpoint " + path);
  std::error_code error;
  const std::filesystem::path full = std::filesystem::canonical(path, error);
  if (error) return Fail(error.value(), "mountpoint " + path);
  struct stat parent{};
  if (::stat(full.parent_path().c_str(), &parent) == 0 && parent.st_dev != info.st_dev) {
    return Fail(EBUSY, "mountpoint " + path + " is in use: something is mounted there already");
  }
  return full.string();
}

Result<SessionOptions> ParseOptions(const std::vector<std::string>& words) {
  SessionOptions options;
  options.allow_other = ::geteuid() == 0;
  options.filesystem.passthrough = ::geteuid() == 0;
  for (const std::string& word : words) {
    if (word == "passthrough") {
      options.filesystem.passthrough = true;
    } else if (word == "nopassthrough") {
      options.filesystem.passthrough = false;
    } else if (word == "io_uring" || word == "noio_uring") {
      options.io_uring = word == "io_uring";
    } else if (word == "allow_other") {
      options.allow_other = true;
    } else if (word == "nokeeper") {
      options.keeper = false;
    } else if (word == "noqos") {
      options.quick_wake_ups = false;
    } else if (word == "ro" || word == "rw") {
      options.filesystem.read_only = word == "ro";
    } else if (word == "noatime" || word == "nodiratime") {
      continue;  // so it is anyway
    } else if (word == "nosuid" || word == "nodev" || word == "noexec") {
      options.flags += "," + word;
    } else if (word == "noseal") {
      options.filesystem.seal = false;
    } else if (word.starts_with("trash=")) {
      const char* end = word.data() + word.size();
      uint32_t seconds = 0;
      const auto [stop, error] = std::from_chars(word.data() + 6, end, seconds);
      if (error != std::errc() || stop != end) {
        return Fail(EINVAL, "option '" + word + "': how many seconds the trash keeps a volume");
      }
      options.filesystem.trash_age = std::chrono::seconds(seconds);
    } else if (word.starts_with("threads=")) {
      const char* end = word.data() + word.size();
      const auto [stop, error] = std::from_chars(word.data() + 8, end, options.threads);
      if (error != std::errc() || stop != end || options.threads < 2 || options.threads > 256) {
        return Fail(EINVAL, "option '" + word + "': threads must be 2 to 256");
      }
    } else {
      return Fail(EINVAL, "unknown mount option '" + word +
                              "' (known: passthrough, nopassthrough, io_uring, noio_uring, "
                              "allow_other, ro, rw, nosuid, nodev, noexec, noatime, nokeeper, "
                              "threads=N, trash=SECONDS, "
                              "noseal, noqos)");
    }
  }
  return options;
}

// The daemon holds one descriptor for each open inode and each pooled object.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlimit wanted = limit;
  wanted.rlim_max = std::max<rlim_t>(limit.rlim_max, 1u << 20);
  wanted.rlim_cur = wanted.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    LogWarn("the limit of open files stays at {}", limit.rlim_cur);
}

Status CheckDevice() {
  if (::access("/dev/fuse", R_OK | W_OK) == 0) return {};
  if (errno == EACCES || errno == EPERM) return Fail(errno, "no permission to use /dev/fuse");
  return FailErrno("/dev/fuse");
}

Result<StoreDir> OpenStore(const MountRequest& request, const SessionOptions& options,
                           KeeperLink* keeper) {
  if (keeper != nullptr && keeper->take_over()) {
    return StoreDir::TakeOver(request.store, keeper->TakeLock());
  }
  return StoreDir::Open(request.store, /*create=*/!options.filesystem.read_only);
}

Status Serve(const MountRequest& request, Notifier* notifier, KeeperLink* keeper,
             const std::function<void()>& ready, bool* hand_over) {
  PX_ASSIGN(SessionOptions options, ParseOptions(request.options));
  const bool take_over = keeper != nullptr && keeper->take_over();
  std::string mountpoint = request.mountpoint;
  if (!take_over) {
    PX_ASSIGN(mountpoint, CheckMountpoint(request.mountpoint));
    PX_TRY(CheckDevice());
  }
  PX_ASSIGN(const StoreDir store, OpenStore(request, options, keeper));
  if (request.quiet) {
    // The terminal is gone: the log is the place to speak from.
    if (const Status logging = LogToFile(request.store + "/px-fs.log"); !logging) {
      LogWarn("no log file: {}", logging.error().ToString());
    }
  }
  std::error_code error;
  options.name = std::filesystem::canonical(request.store, error);
  if (options.name.find(',') != std::string::npos) options.name = "px";
  options.stacking = store.IsStacked() ? 1 : 0;
  RaiseFileLimit();
  ::umask(0);
  PX_ASSIGN(Filesystem::Parts parts, store.OpenParts());
  UniqueFd state;
  if (keeper != nullptr) {
    parts.take_over = take_over;
    PX_ASSIGN(parts.live, LiveTable::Open(keeper->TakeLive(), take_over, &parts.live_cells));
    PX_ASSIGN(state, store.OpenKeeperState());
  }
  SystemClock clock;
  PX_ASSIGN(const auto session,
            FuseSession::Mount(std::move(parts), options, mountpoint, &clock, notifier, keeper,
                               {store.lock_fd(), state.get()}));
  if (!take_over) {
    PX_TRY(store.Announce(mountpoint, keeper != nullptr ? keeper->start().keeper_pid : ::getpid()));
  }
  return session->Run(ready, hand_over);
}

void Report(int fd, const std::string& text) {
  // The parent may be gone: then there is nobody to tell.
  if (::write(fd, text.data(), text.size()) < 0) LogDebug("nobody waits for this mount");
  ::close(fd);
}

// As the daemon itself, with or without somebody waiting at ready_fd.
Result<int> ServeDaemon(const MountRequest& request) {
  // Nodes pass from thread to thread. With an arena for each thread, what all of them have free at
  // some time adds up, and the daemon grows with what it was asked for.
  ::mallopt(M_ARENA_MAX, 1);
  PX_ASSIGN(const auto notifier, Notifier::Start(kControlLanes));  // before all threads
  int ready_fd = request.ready_fd;
  bool reported = false;
  const auto ready = [&] {
    if (ready_fd >= 0) Report(ready_fd, "0 ");
    reported = true;
  };
  std::unique_ptr<KeeperLink> keeper;
  if (request.link_fd >= 0) {
    PX_ASSIGN(keeper, KeeperLink::Open(request.link_fd));
    // Told already by a daemon before this one: the number stands for something else here.
    if (keeper->start().tell_ready == 0) ready_fd = -1;
  }
  bool hand_over = false;
  const Status status = Serve(request, notifier.get(), keeper.get(), ready, &hand_over);
  if (!status && ready_fd >= 0 && !reported) {
    Report(ready_fd, fmt::format("{} {}", status.error().code(), status.error().context()));
  }
  // Nobody hears of it otherwise.
  if (!status && keeper && (keeper->take_over() || request.quiet)) {
    LogError("{}", status.error().ToString());
  }
  PX_TRY(status);
  return hand_over ? kHandOverExit : 0;
}

// By the name it was called with, so that the next daemon is of what is installed by then.
std::string OwnProgram() {
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string called = program_invocation_name;
  if (called.find('/') == std::string::npos) return self;
  std::string full = std::filesystem::absolute(called, error);
  if (IsMountHelper(called)) full = std::filesystem::canonical(full, error);
  return std::filesystem::equivalent(full, "/proc/self/exe", error) && !error ? full : self;
}

std::vector<std::string> DaemonWords(const MountRequest& request) {
  std::vector<std::string> words = {OwnProgram(), "mount", "--foreground"};
  if (request.quiet) words.emplace_back("--quiet");
  words.insert(words.end(), {"--store", request.store});
  for (const std::string& option : request.options) words.insert(words.end(), {"-o", option});
  return words;
}

Result<int> Keep(const MountRequest& request) {
  KeeperRequest keeper;
  keeper.words = DaemonWords(request);
  keeper.program = keeper.words[0];
  keeper.words.insert(keeper.words.end(), {"--link-fd", std::to_string(kLinkFd)});
  if (request.ready_fd >= 0) {
    keeper.words.insert(keeper.words.end(), {"--ready-fd", std::to_string(request.ready_fd)});
  }
  std::error_code error;
  keeper.mountpoint = std::filesystem::canonical(request.mountpoint, error);
  if (error) keeper.mountpoint = request.mountpoint;
  keeper.words.push_back(keeper.mountpoint);
  if (request.quiet) keeper.log = request.store + "/px-fs.log";
  keeper.ready_fd = request.ready_fd;
  return RunKeeper(keeper);
}

Status StartDaemon(const MountRequest& request) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("make a pipe");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  MountRequest quiet = request;
  quiet.quiet = true;
  std::vector<std::string> words = DaemonWords(quiet);
  words.insert(words.end(), {"--ready-fd", std::to_string(kReadyFd), request.mountpoint});
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), kReadyFd);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return Fail(error, "start the daemon");
  writer.Reset();

  std::string answer;
  char buffer[4096];
  for (;;) {
    const ssize_t got = ::read(reader.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    answer.append(buffer, static_cast<size_t>(got));
  }
  int code = -1;
  const auto [end, parsed] = std::from_chars(answer.data(), answer.data() + answer.size(), code);
  if (parsed != std::errc())
    return Fail(EIO, "the daemon ended early: see " + request.store + "/px-fs.log");
  if (code == 0) return {};
  int status = 0;
  ::waitpid(pid, &status, 0);
  return Fail(code,
              answer.substr(std::min(answer.size(), static_cast<size_t>(end - answer.data()) + 1)));
}

Status RemoveMount(const std::string& mountpoint) {
  if (::geteuid() == 0) {
    if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY)
      return Fail(EBUSY, mountpoint + " is in use: a file is open or a process works there");
    return FailErrno("unmount " + mountpoint);
  }
  PX_ASSIGN(const bool done, RunFusermount({"-u", "-q"}, mountpoint));
  if (done) return {};
  return Fail(EBUSY, mountpoint + " is in use, or not yours to unmount");
}

// The daemon is dead: only the mount is left.
Status RemoveDeadMount(const std::string& mountpoint) {
  return ::geteuid() == 0 ? DetachMount(mountpoint) : RemoveMount(mountpoint);
}

}  // namespace

void AddMountOptions(const std::string& list, std::vector<std::string>& options) {
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');) {
    if (!word.empty()) options.push_back(word);
  }
}

Result<int> Mount(const MountRequest& request) {
  PX_ASSIGN(const SessionOptions options, ParseOptions(request.options));
  if (!request.foreground) {
    // Found out here, so that the message does not depend on a daemon's.
    PX_TRY(CheckMountpoint(request.mountpoint));
    PX_TRY(StartDaemon(request));
    return 0;
  }
  if (request.ready_fd >= 0) ::fcntl(request.ready_fd, F_SETFD, FD_CLOEXEC);
  const bool keep = request.link_fd < 0 && options.keeper && !UsesUring(options);
  return keep ? Keep(request) : ServeDaemon(request);
}

namespace {

constexpr int kPatience = 5000;  // ms

UniqueFd OpenProcess(pid_t pid) {
  return UniqueFd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

// Within `limit` milliseconds; -1: whenever it does.
bool Ends(const UniqueFd& process, int limit) {
  pollfd wait{process.get(), POLLIN, 0};
  int ended = 0;
  while ((ended = ::poll(&wait, 1, limit)) < 0 && errno == EINTR) {
  }
  return ended != 0;
}

// The mount is gone here. Where it was copied into another mount namespace it goes on.
void WaitForEnd(const UniqueFd& process) {
  if (!process || Ends(process, kPatience)) return;
  LogWarn(
      "the daemon still serves this mount: it writes back, or another mount namespace (a "
      "container?) has a copy (grep fuse.px /proc/*/mountinfo); waiting for its end");
  Ends(process, -1);
}

pid_t PidOf(const nlohmann::json& status, const char* name) {
  if (!status.is_object() || !status.contains(name)) return 0;
  const auto& value = status.at(name);
  return value.is_number_integer() ? value.get<pid_t>() : 0;
}

}  // namespace

Status Restart(const std::string& mountpoint) {
  PX_ASSIGN(const std::string text, ControlStatus(mountpoint));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const pid_t keeper = PidOf(json, "keeper_pid"), before = PidOf(json, "pid");
  if (keeper == 0)
    return Fail(EOPNOTSUPP, mountpoint + " has no keeper: unmount it and mount it again");
  const UniqueFd daemon = OpenProcess(before);
  if (::kill(keeper, SIGUSR1) != 0)
    return FailErrno("tell the keeper (pid " + std::to_string(keeper) + ")");
  WaitForEnd(daemon);
  // Answered by the next one; a mount that was given up gives ENOTCONN.
  PX_TRY(ControlStatus(mountpoint));
  return {};
}

Status Unmount(const std::string& mountpoint) {
  // Asks nobody: a call into the mount may wait for ever.
  if (IsAbandoned(mountpoint)) return RemoveDeadMount(mountpoint);
  if (const auto kept = ReadKeeperState(mountpoint); kept && kept->Is(kWaiting)) {
    // Nobody would answer.
    const UniqueFd keeper = OpenProcess(kept->keeper);
    PX_TRY(RemoveMount(mountpoint));
    WaitForEnd(keeper);
    return {};
  }
  const auto status = ControlStatus(mountpoint);
  if (!status) {
    if (status.error().code() == ENOTTY) return Fail(EINVAL, mountpoint + " is not a px mount");
    if (status.error().code() != ENOTCONN) return Forward(status.error());
    return RemoveDeadMount(mountpoint);
  }
  struct stat self{}, parent{};
  std::error_code error;
  const std::filesystem::path full = std::filesystem::canonical(mountpoint, error);
  if (!error && ::stat(full.c_str(), &self) == 0 &&
      ::stat(full.parent_path().c_str(), &parent) == 0 && self.st_dev == parent.st_dev) {
    return Fail(EINVAL, mountpoint + " is inside a px mount, not its top");
  }
  const auto json = nlohmann::json::parse(*status, nullptr, /*allow_exceptions=*/false);
  const UniqueFd daemon = OpenProcess(PidOf(json, "pid"));
  const UniqueFd keeper = OpenProcess(PidOf(json, "keeper_pid"));
  PX_TRY(RemoveMount(mountpoint));
  WaitForEnd(daemon);
  WaitForEnd(keeper);
  return {};
}

}  // namespace px::fs
