#include "fs/wake_latency.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include "base/log.h"

namespace px::fs {
namespace {

constexpr auto kWindow = std::chrono::milliseconds(4);
// A caller that waits for one request after the other sends more than that, also where each takes
// long to wake up; a job that saves a checkpoint now and then does not.
constexpr double kBusyPerMillisecond = 1;
constexpr auto kHold = std::chrono::milliseconds(20);
// PM_QOS_CPU_LATENCY_DEFAULT_VALUE: whatever the processor likes.
constexpr int32_t kAnyLatency = 2'000'000'000;

}  // namespace

std::optional<int32_t> QuickWakeUp(const std::string& sysfs) {
  std::string driver;
  std::ifstream(sysfs + "/cpuidle/current_driver") >> driver;
  if (driver.empty() || driver == "none") return std::nullopt;
  // A guest whose driver this is halts in its only sleeping state, and what that takes, the way to
  // the hypervisor and back, is not what the driver says (1 µs). It polls if nothing else is
  // allowed.
  if (driver == "haltpoll") return 0;
  std::optional<int32_t> lightest;
  for (int state = 0;; ++state) {
    int32_t latency = 0;
    if (!(std::ifstream(fmt::format("{}/cpu0/cpuidle/state{}/latency", sysfs, state)) >> latency)) {
      return lightest;
    }
    if (latency > 0) lightest = std::min(latency, lightest.value_or(latency));
  }
}

WakeLatency WakeLatency::OfThisMachine() {
  const auto limit = QuickWakeUp("/sys/devices/system/cpu");
  if (!limit) return {};
  UniqueFd device(::open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC));
  if (!device) {
    LogDebug("/dev/cpu_dma_latency: errno {}", errno);
    return {};
  }
  return WakeLatency(std::move(device), *limit);
}

void WakeLatency::Observe(uint64_t requests, Time now) {
  if (!device_) return;
  const std::chrono::duration<double, std::milli> elapsed = now - window_begin_;
  if (elapsed >= kWindow) {
    const auto came = static_cast<double>(requests - window_requests_);
    if (came >= kBusyPerMillisecond * elapsed.count()) until_ = now + kHold;
    window_begin_ = now;
    window_requests_ = requests;
  }
  Ask(now < until_);
}

void WakeLatency::Ask(bool quick) {
  if (quick == asks_) return;
  const int32_t value = quick ? limit_ : kAnyLatency;
  if (::write(device_.get(), &value, sizeof value) != sizeof value) {
    LogWarn("/dev/cpu_dma_latency: errno {}", errno);
    device_.Reset();  // which ends what was asked for
    quick = false;
  }
  asks_ = quick;
}

}  // namespace px::fs
