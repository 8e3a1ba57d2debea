#include "fs/wake_latency.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace px::fs {
namespace {

using std::chrono::milliseconds;

// What is written to the device, and a clock of our own.
class WakeLatencyTest : public ::testing::Test {
 protected:
  WakeLatencyTest() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("pipe");
    read_.Reset(ends[0]);
    wake_ = WakeLatency(UniqueFd(ends[1]), 3);
  }

  // `per_millisecond` requests for that long, observed as the loop does.
  void Pass(milliseconds time, uint64_t per_millisecond) {
    for (milliseconds passed{0}; passed < time; ++passed) {
      now_ += milliseconds(1);
      requests_ += per_millisecond;
      wake_.Observe(requests_, now_);
    }
  }
  std::vector<int32_t> Written() {
    std::vector<int32_t> values;
    for (int32_t value = 0; ::read(read_.get(), &value, sizeof value) == sizeof value;) {
      values.push_back(value);
    }
    return values;
  }

  static constexpr int32_t kAny = 2'000'000'000;
  UniqueFd read_;
  WakeLatency wake_;
  WakeLatency::Time now_ = WakeLatency::Time(std::chrono::hours(1));
  uint64_t requests_ = 0;
};

TEST_F(WakeLatencyTest, AsksWhileRequestsComeAndNotAfterwards) {
  Pass(milliseconds(20), 8);
  EXPECT_TRUE(wake_.asks());
  EXPECT_EQ(Written(), std::vector<int32_t>{3});
  Pass(milliseconds(100), 8);
  EXPECT_TRUE(Written().empty());
  Pass(milliseconds(30), 0);
  EXPECT_FALSE(wake_.asks());
  EXPECT_EQ(Written(), std::vector<int32_t>{kAny});
}

TEST_F(WakeLatencyTest, FewRequestsAreNoReason) {
  for (int i = 0; i < 200; ++i) {
    Pass(milliseconds(3), 0);
    Pass(milliseconds(1), 2);
  }
  EXPECT_TRUE(Written().empty());
}

// Somebody who works for a while, after hours without a request.
TEST_F(WakeLatencyTest, TheTimeBeforeDoesNotCount) {
  Pass(milliseconds(10), 0);
  now_ += std::chrono::hours(3);
  Pass(milliseconds(12), 8);
  EXPECT_EQ(Written(), std::vector<int32_t>{3});
}

TEST_F(WakeLatencyTest, ADeviceThatFailsIsLeftAlone) {
  WakeLatency broken(UniqueFd(::open("/dev/full", O_WRONLY | O_CLOEXEC)), 3);
  for (int i = 0; i < 100; ++i) {
    now_ += milliseconds(1);
    requests_ += 8;
    broken.Observe(requests_, now_);
  }
  EXPECT_FALSE(broken.asks());
}

class QuickWakeUpTest : public ::testing::Test {
 protected:
  QuickWakeUpTest() : dir_(::testing::TempDir() + "px-wake-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~QuickWakeUpTest() override { std::filesystem::remove_all(dir_); }
  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path full = std::filesystem::path(dir_) / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text << '\n';
  }
  std::string dir_;
};

TEST_F(QuickWakeUpTest, TheLightestStateThatSleeps) {
  Put("cpuidle/current_driver", "intel_idle");
  for (const auto& [state, latency] : {std::pair{0, 0}, {1, 2}, {2, 10}, {3, 133}}) {
    Put("cpu0/cpuidle/state" + std::to_string(state) + "/latency", std::to_string(latency));
  }
  EXPECT_EQ(QuickWakeUp(dir_), 2);
}

TEST_F(QuickWakeUpTest, AGuestPolls) {
  Put("cpuidle/current_driver", "haltpoll");
  Put("cpu0/cpuidle/state0/latency", "0");
  Put("cpu0/cpuidle/state1/latency", "1");
  EXPECT_EQ(QuickWakeUp(dir_), 0);
}

TEST_F(QuickWakeUpTest, NothingToChooseFrom) {
  EXPECT_EQ(QuickWakeUp(dir_), std::nullopt);
  Put("cpuidle/current_driver", "none");
  EXPECT_EQ(QuickWakeUp(dir_), std::nullopt);
}

}  // namespace
}  // namespace px::fs
