// Clock: the one way to ask what time it is, so that tests can decide.
#pragma once

#include <cstdint>
#include <ctime>

namespace px {

// Nanoseconds since the epoch of the clock that `time` was read from. Files can be given times for
// which that does not fit (before 1678, after 2262): modulo 2^64 then.
constexpr int64_t ToNanoseconds(const timespec& time) {
  return static_cast<int64_t>(static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
                              static_cast<uint64_t>(time.tv_nsec));
}

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
