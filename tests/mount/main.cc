// The main function of the tests of a mount: --mode=NAME says on what they run (mount_fixture.h).
//
// Where the machine cannot serve that mode, every test is skipped with the reason; with
// PX_REQUIRE_MOUNT=1 the program fails.
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

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

// Becomes an ordinary user for good: a root process could not even enter that user's mount.
Status DropRoot() {
  const char* name = std::getenv("PX_TEST_USER");
  if (name == nullptr) name = "nobody";
  const passwd* user = ::getpwnam(name);
  if (user == nullptr) return Fail(EOPNOTSUPP, std::string("there is no user ") + name);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
      ::setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) {
    return FailErrno(std::string("become ") + name);
  }
  ::setenv("HOME", "/nonexistent", 1);
  return {};
}

Status MakeMount(const MountMode& mode) {
  if (!mode.root && ::geteuid() == 0) PX_TRY(DropRoot());
  PX_ASSIGN(MountSlot(), MountFixture::Create(mode));
  WatchdogSlot() = std::make_unique<Watchdog>([] { TheMount().AbortConnection(); });
  return {};
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
  if (const Status made = MakeMount(*mode); !made) {
    const char* require = std::getenv("PX_REQUIRE_MOUNT");
    const bool required = require != nullptr && std::strcmp(require, "1") == 0;
    if (required || made.error().code() != EOPNOTSUPP) {
      std::fprintf(stderr, "error: %s: %s\n", argument.data(), made.error().ToString().c_str());
      return 1;
    }
    ReasonSlot() = made.error().context();
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
