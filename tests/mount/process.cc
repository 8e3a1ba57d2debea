#include "tests/mount/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace px::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// Replaces the calling (child) process.
[[noreturn]] void Exec(const std::vector<std::string>& argv, int output_fd, bool die_with_parent) {
  if (die_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int null_fd = ::open("/dev/null", O_RDONLY);
  ::dup2(null_fd, 0);
  ::dup2(output_fd, 1);
  ::dup2(output_fd, 2);
  ::close_range(3, ~0U, 0);
  std::vector<char*> arguments;
  for (const std::string& arg : argv) arguments.push_back(const_cast<char*>(arg.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

}  // namespace

RunResult Execute(const std::vector<std::string>& argv, milliseconds timeout) {
  RunResult result;
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return result;
  UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return result;
  if (pid == 0) Exec(argv, writer.get(), /*die_with_parent=*/true);
  writer.Reset();
  UniqueFd pidfd(PidfdOpen(pid));

  // A program that daemonises may leave its output open in the daemon: so the end of the process
  // ends the wait, not the end of its output.
  const auto deadline = steady_clock::now() + timeout;
  bool late = false;
  char buffer[4096];
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    pollfd fds[2] = {{reader.get(), POLLIN, 0}, {pidfd.get(), POLLIN, 0}};
    if (left.count() <= 0 || ::poll(fds, 2, static_cast<int>(left.count())) == 0) {
      late = true;
      ::kill(pid, SIGKILL);
      break;
    }
    if (fds[0].revents & POLLIN) {
      const ssize_t n = ::read(reader.get(), buffer, sizeof buffer);
      if (n > 0) result.output.append(buffer, static_cast<size_t>(n));
    } else if (fds[1].revents & POLLIN) {
      break;
    } else if (fds[0].revents & POLLHUP) {
      pollfd end = {pidfd.get(), POLLIN, 0};
      if (::poll(&end, 1, static_cast<int>(left.count())) == 1) break;
    }
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  result.exit_code = late ? 124 : ExitCode(status);
  return result;
}

Result<Background> Background::Start(const std::vector<std::string>& argv,
                                     const std::string& log_path) {
  const UniqueFd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) return FailErrno("open " + log_path);
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork");
  if (pid == 0) Exec(argv, log.get(), /*die_with_parent=*/true);
  Background process;
  process.pid_ = pid;
  process.pidfd_.Reset(PidfdOpen(pid));
  return process;
}

Background::Background(Background&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

Background& Background::operator=(Background&& other) noexcept {
  if (this != &other) {
    Kill();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

Background::~Background() { Kill(); }

bool Background::Wait(milliseconds timeout) {
  if (!running()) return true;
  pollfd fd = {pidfd_.get(), POLLIN, 0};
  if (::poll(&fd, 1, static_cast<int>(timeout.count())) != 1) return false;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  pidfd_.Reset();
  return true;
}

void Background::Kill() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  pidfd_.Reset();
}

int InChild(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid < 0) return 255;
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return ExitCode(status);
}

int AsUser(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
           const std::function<int()>& body) {
  return InChild([&] {
    if (::setgroups(groups.size(), groups.data()) != 0) return 254;
    if (::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) return 254;
    return body();
  });
}

std::vector<pid_t> ProcessesNaming(const std::string& text) {
  std::vector<pid_t> found;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return found;
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == ::getpid()) continue;
    // One that ends meanwhile cannot be read, which a stream's iterators throw on.
    const UniqueFd file(
        ::open(("/proc/" + std::string(entry->d_name) + "/cmdline").c_str(), O_RDONLY | O_CLOEXEC));
    std::string command;
    char buffer[4096];
    for (ssize_t n = 0; file && (n = ::read(file.get(), buffer, sizeof buffer)) > 0;) {
      command.append(buffer, static_cast<size_t>(n));
    }
    if (command.find(text) != std::string::npos) found.push_back(pid);
  }
  ::closedir(proc);
  return found;
}

void KillAndAwait(pid_t pid) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ::kill(pid, SIGKILL);
  pollfd ended{process.get(), POLLIN, 0};
  if (process) ::poll(&ended, 1, 30'000);
}

}  // namespace px::testing
