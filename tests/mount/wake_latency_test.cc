// That a mount asks the kernel for quick wake-ups while it is busy (fs/wake_latency.h).
#include "fs/wake_latency.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

class WakeLatencyMountTest : public VolumeTest {};

TEST_F(WakeLatencyMountTest, ABusyMountAsksForQuickWakeUps) {
  if (!TheMount().mode().root) return;  // the device is root's
  const auto wanted = fs::QuickWakeUp("/sys/devices/system/cpu");
  const UniqueFd device(::open("/dev/cpu_dma_latency", O_RDWR | O_CLOEXEC));
  if (!device) GTEST_SKIP() << "nobody here has a say in how the processors sleep";
  Create("a");
  const auto make_some = [] {
    for (int i = 0; i < 20; ++i) {
      Put("a/file", "x");
      ASSERT_EQ(::unlink("a/file"), 0);
    }
  };
  // What all processes ask for together.
  const auto asked = [&] {
    int32_t value = 0;
    EXPECT_EQ(::pread(device.get(), &value, sizeof value, 0), ssize_t{sizeof value});
    return value;
  };
  if (!wanted) {
    // The processors have no states to choose from: nothing to ask for, however busy it is.
    const int32_t before = asked();
    for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(make_some());
    EXPECT_EQ(asked(), before);
    return;
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (asked() > *wanted && std::chrono::steady_clock::now() < limit) {
    ASSERT_NO_FATAL_FAILURE(make_some());
  }
  EXPECT_LE(asked(), *wanted);
}

}  // namespace
}  // namespace px::testing
