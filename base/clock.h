// Clock: the one way to ask what time it is, so that tests can decide.
#pragma once

#include <ctime>

namespace px {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time since 1970, UTC. Thread safe.
  virtual timespec Now() = 0;
};

class SystemClock final : public Clock {
 public:
  timespec Now() override {
    timespec now{};
    // The clock the kernel stamps files with: the fine one would put a create after the write that
    // follows it.
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now;
  }
};

}  // namespace px
