#include "launcher/job.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "launcher/files.h"

namespace px::launcher {
namespace {

[[noreturn]] void Give(const std::string& what, int code) {
  const std::string text = "px: " + what + ": " + std::strerror(errno) + "\n";
  static_cast<void>(WriteAll(2, text));
  ::_exit(code);
}

[[noreturn]] void BecomeJob(const JobCommand& command, const JobGroup& group, int console,
                            pid_t supervisor) {
  ::setsid();
  // Whoever ends what a dead supervisor left cannot see a process that is still on its way here.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != supervisor) ::_exit(126);
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(null.get(), 0);
  ::dup2(console, 1);
  ::dup2(console, 2);
  if (const Status entered = group.Enter(0); !entered) {
    errno = entered.error().code();
    Give("cannot enter the job's cgroup", 126);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGHUP, SIGTERM, SIGINT}) ::signal(signal, SIG_DFL);
  if (::chdir(command.directory.c_str()) != 0) Give(command.directory, 126);
  for (const auto& [name, value] : command.environment) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }
  ::close_range(3, ~0U, 0);
  ::execl("/bin/bash", "bash", "-c", command.command.c_str(), nullptr);
  Give("/bin/bash", 127);
}

}  // namespace

Result<JobProcess> StartJob(const JobCommand& command, const JobGroup& group) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("pipe");
  JobProcess job;
  job.console.Reset(ends[0]);
  const UniqueFd write_end(ends[1]);
  constexpr int kPipeBytes = 1 << 20;
  ::fcntl(job.console.get(), F_SETPIPE_SZ, kPipeBytes);  // a smaller one works too
  ::fcntl(job.console.get(), F_SETFL, O_NONBLOCK);
  const pid_t self = ::getpid();
  job.pid = ::fork();
  if (job.pid < 0) return FailErrno("fork");
  if (job.pid == 0) BecomeJob(command, group, write_end.get(), self);
  // May fail because the child is gone already; the child itself reports any other reason.
  static_cast<void>(group.Enter(job.pid));
  return job;
}

}  // namespace px::launcher
