#include "tests/mount/watchdog.h"

namespace px::testing {

Watchdog::Watchdog(std::function<void()> action)
    : action_(std::move(action)), thread_([this] { Loop(); }) {}

Watchdog::~Watchdog() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void Watchdog::Arm(std::chrono::milliseconds limit) {
  {
    MutexLock lock(mutex_);
    armed_ = true;
    struck_ = false;
    deadline_ = std::chrono::steady_clock::now() + limit;
  }
  changed_.NotifyAll();
}

bool Watchdog::Disarm() {
  MutexLock lock(mutex_);
  armed_ = false;
  return struck_;
}

void Watchdog::Loop() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (stop_) return;
      const auto now = std::chrono::steady_clock::now();
      if (!armed_) {
        changed_.Wait(mutex_);
        continue;
      }
      if (now < deadline_) {
        changed_.WaitFor(mutex_, deadline_ - now);
        continue;
      }
      armed_ = false;
      struck_ = true;
    }
    action_();
  }
}

}  // namespace px::testing
