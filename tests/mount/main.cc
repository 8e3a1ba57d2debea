// The main function of the tests of a mount: --mode=NAME says on what they run (mount_fixture.h).
//
// Where the machine cannot serve that mode, every test is skipped with the reason; with
// PX_REQUIRE_MOUNT=1 the program fails.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "tests/mount/mode_main.h"
#include "tests/mount/posix.h"
#include "tests/mount/watchdog.h"

namespace px::testing {
namespace {

std::unique_ptr<MountFixture>& MountSlot() {
  static std::unique_ptr<MountFixture> mount;
  return mount;
}

std::unique_ptr<Watchdog>& WatchdogSlot() {
  static std::unique_ptr<Watchdog> watchdog;
  return watchdog;
}

std::string& ReasonSlot() {
  static std::string reason;
  return reason;
}

// Leaves out what cannot hold in this mode (see posix.h).
void LimitTests(const MountMode& mode) {
  std::string& filter = ::testing::GTEST_FLAG(filter);
  const char* separator = filter.find('-') == std::string::npos ? "-" : ":";
  if (!mode.root) filter += std::exchange(separator, ":") + std::string("*RootTest.*");
  if (!mode.px && !mode.xfs) filter += separator + std::string("*PxTest.*");
}

int Main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const std::string_view kFlag = "--mode=";
  const std::string_view argument = argc == 2 ? argv[1] : "";
  const MountMode* mode =
      argument.starts_with(kFlag) ? FindMountMode(argument.substr(kFlag.size())) : nullptr;
  if (mode == nullptr) {
    std::fprintf(stderr, "usage: %s --mode=MODE, one of %s\n", argv[0], MountModeNames().c_str());
    return 2;
  }
  LimitTests(*mode);
  if (::testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  if (auto mount = MakeMount(*mode)) {
    MountSlot() = std::move(*mount);
    WatchdogSlot() = std::make_unique<Watchdog>([] { TheMount().AbortConnection(); });
  } else if (mount.error().code() == EOPNOTSUPP) {
    ReasonSlot() = mount.error().context();
  } else {
    std::fprintf(stderr, "error: %s: %s\n", argument.data(), mount.error().ToString().c_str());
    return 1;
  }
  const int result = RUN_ALL_TESTS();
  WatchdogSlot().reset();
  MountSlot().reset();
  return result;
}

}  // namespace

MountFixture& TheMount() { return *MountSlot(); }
const std::string& WhyNoMount() { return ReasonSlot(); }
Watchdog& TheWatchdog() { return *WatchdogSlot(); }

}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
