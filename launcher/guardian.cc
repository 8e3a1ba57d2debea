#include "launcher/guardian.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/unique_fd.h"
#include "launcher/process.h"
#include "launcher/upkeep.h"

namespace px::launcher {
namespace {

constexpr std::array kEndings{SIGTERM, SIGINT};

void SetHandlers(void (*handler)(int)) {
  for (const int signal : kEndings) ::signal(signal, handler);
}

void Report(const Done& done) {
  if (!done) LogWarn("guardian: {}", done.error().message);
}

class Guardian {
 public:
  Guardian(const Config& config, bool owns_descendants, pid_t child,
           const std::function<Done()>& put_right)
      : owns_descendants_(owns_descendants),
        child_(child),
        put_right_(put_right),
        stamp_(config.store + "/upkeep"),
        interval_(2 * config.heartbeat_ms) {}

  int Watch() {
    // By number: glibc 2.36 declares the wrapper without C linkage.
    const UniqueFd ended(static_cast<int>(::syscall(SYS_pidfd_open, child_, 0)));
    int status = 0;
    while (::waitpid(child_, &status, ended ? WNOHANG : 0) == 0) {
      pollfd fd{ended.get(), POLLIN, 0};
      if (::poll(&fd, 1, static_cast<int>(interval_.count())) == 0) LookAround();
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    if (owns_descendants_) EndWhatItLeft();
    SetHandlers(SIG_DFL);
    // What is started from here on is not this process's to collect.
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    Report(put_right_());
    return 1;
  }

 private:
  // A supervisor that this starts for somebody else must not become a descendant of this process,
  // which would end it together with what its own child left.
  void LookAround() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    Report(DoIfDue(stamp_, interval_, put_right_));
    if (owns_descendants_) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }

  // All that is below this process now belonged to the child, whatever it did to get away. Those
  // that fork while they are being killed are met in the next round.
  static void EndWhatItLeft() {
    while (true) {
      const std::vector<pid_t> left = Descendants(::getpid());
      for (const pid_t pid : left) ::kill(pid, SIGKILL);
      int status = 0;
      while (::waitpid(-1, &status, WNOHANG) > 0) {
      }
      if (left.empty()) return;
      // A process that the kernel cannot end now (it waits for a disk) is waited for.
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  bool owns_descendants_;
  pid_t child_;
  const std::function<Done()>& put_right_;
  std::string stamp_;
  std::chrono::milliseconds interval_;
};

}  // namespace

int Guard(const Config& config, bool owns_descendants, const std::function<int()>& life,
          const std::function<Done()>& put_right) {
  if (owns_descendants) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  // Who wants the job to end tells the supervisor; this process stays until that is gone.
  SetHandlers(SIG_IGN);
  const pid_t child = ::fork();
  if (child < 0) {
    ReportReady("cannot fork");
    return 1;
  }
  if (child == 0) {
    SetHandlers(SIG_DFL);
    return life();
  }
  ::prctl(PR_SET_NAME, "px-guardian");
  LeaveReady();
  return Guardian(config, owns_descendants, child, put_right).Watch();
}

}  // namespace px::launcher
