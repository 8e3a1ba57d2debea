// Watchdog: runs an action if it was armed and not disarmed in time. For tests of what may hang in
// the kernel, where the only way out is to kill the daemon that does not answer. Thread safe.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "base/mutex.h"

namespace px::testing {

class Watchdog {
 public:
  explicit Watchdog(std::function<void()> action);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void Arm(std::chrono::milliseconds limit) PX_EXCLUDES(mutex_);
  // True if it had struck since Arm.
  bool Disarm() PX_EXCLUDES(mutex_);

 private:
  void Loop() PX_EXCLUDES(mutex_);

  const std::function<void()> action_;
  Mutex mutex_;
  CondVar changed_;
  bool stop_ PX_GUARDED_BY(mutex_) = false;
  bool armed_ PX_GUARDED_BY(mutex_) = false;
  bool struck_ PX_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point deadline_ PX_GUARDED_BY(mutex_);
  std::thread thread_;
};

// The one of this program, which kills the daemon of TheMount(); see main.cc.
Watchdog& TheWatchdog();

}  // namespace px::testing
