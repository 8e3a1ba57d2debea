// WakeLatency: asks the kernel for processors that wake up quickly, while requests come one after
// the other.
//
// A caller sleeps while its request is served. Where its processor has nothing else to do it goes
// to sleep as well, and to wake it takes longer than to serve the request: 20 to 40 µs on a virtual
// machine, for each of the two to four requests of an open or a create (docs/design/0006). While
// requests come at a rate at which that matters, /dev/cpu_dma_latency is told how long a processor
// may take to wake up (Documentation/power/pm_qos_interface.rst of the kernel), so that idle ones
// sleep lightly: all of the machine, which costs power and, in a virtual machine, time of the
// host. So it is given back some milliseconds after requests have become rare, and with the
// descriptor when the process ends.
//
// Not thread safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace px::fs {

class WakeLatency {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // For a machine without such a device, or a process without the right to it: asks for nothing.
  WakeLatency() = default;
  // `device` takes an int32_t, µs, as /dev/cpu_dma_latency does. `limit`: what to ask for.
  WakeLatency(UniqueFd device, int32_t limit) : device_(std::move(device)), limit_(limit) {}

  static WakeLatency OfThisMachine();

  // `requests`: how many came so far. To be called every few milliseconds while any come, and for
  // 30 ms after that.
  void Observe(uint64_t requests, Time now);

  bool asks() const { return asks_; }

 private:
  void Ask(bool quick);

  UniqueFd device_;
  int32_t limit_ = 0;
  bool asks_ = false;
  Time window_begin_;
  uint64_t window_requests_ = 0;
  Time until_;
};

// What to ask for where `sysfs` (/sys/devices/system/cpu) describes the processors: µs. Nothing
// where they have no states to choose from.
std::optional<int32_t> QuickWakeUp(const std::string& sysfs);

}  // namespace px::fs
