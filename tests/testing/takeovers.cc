#include "tests/testing/takeovers.h"

#include <fmt/format.h>
#include <sys/statfs.h>

#include <cerrno>
#include <csignal>

namespace px::testing {

Takeovers::Takeovers(const MountFixture& mount, uint64_t seed, std::chrono::milliseconds pause)
    : mount_(mount), random_(seed), pause_(pause), thread_([this] { Loop(); }) {}

void Takeovers::Stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    stop_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

std::string Takeovers::failure() const {
  const MutexLock lock(mutex_);
  return failure_;
}

bool Takeovers::Failed(const std::string& what) {
  const MutexLock lock(mutex_);
  failure_ = what;
  return false;
}

void Takeovers::Loop() {
  for (;;) {
    {
      const MutexLock lock(mutex_);
      const std::chrono::milliseconds wait(
          static_cast<int64_t>(random_.Below(static_cast<uint64_t>(pause_.count()))));
      const auto moment = std::chrono::steady_clock::now() + wait;
      while (!stopping_) {
        const auto left = moment - std::chrono::steady_clock::now();
        if (left <= left.zero()) break;
        stop_.WaitFor(mutex_, left);
      }
      if (stopping_) return;
    }
    if (!Replace()) return;
  }
}

bool Takeovers::Replace() {
  if (random_.OneIn(4)) {
    const RunResult restart = mount_.PxFs({"restart", mount_.root()});
    ++restarts_;
    return restart.exit_code == 0 || Failed("px-fs restart: " + restart.output);
  }
  // The keeper may not have noted yet which process answers now: then this one is left out.
  const pid_t daemon = mount_.DaemonPid();
  if (daemon <= 0 || ::kill(daemon, SIGKILL) != 0) return true;
  ++kills_;
  // Answered by the next one.
  struct statfs info{};
  if (::statfs(mount_.root().c_str(), &info) != 0) {
    return Failed(fmt::format("statfs after a kill: errno {}", errno));
  }
  return true;
}

}  // namespace px::testing
