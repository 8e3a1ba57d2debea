#include "tests/mount/mode_main.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace px::testing {
namespace {

// A mount that is copied into a namespace of our own lives until that ends: the daemon of another
// test, which has been unmounted in its own, would wait for us.
void LetGoOfOtherMounts() {
  const std::vector<MountEntry> mounts = MountTable();
  for (auto it = mounts.rbegin(); it != mounts.rend(); ++it) {
    // The second is a disk of a test beside: while it is mounted here, too, it cannot be mounted
    // anew.
    const bool other =
        it->type == "fuse.px" || it->point.find("/px-mount-test.") != std::string::npos;
    if (other) ::umount2(it->point.c_str(), MNT_DETACH);
  }
}

// Gives an ordinary user /dev/fuse as distributions do (mode 0666), where this machine does not: by
// a device node of our own, in a mount namespace of our own.
Status LendFuseDevice() {
  struct stat st{};
  if (::stat("/dev/fuse", &st) != 0 || (st.st_mode & 0006) == 0006) return {};
  char node[] = "/tmp/px-dev-fuse.XXXXXX";
  const UniqueFd placeholder(::mkostemp(node, O_CLOEXEC));
  ::unlink(node);
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mknod(node, S_IFCHR | 0666, st.st_rdev) != 0) {
    return Fail(EOPNOTSUPP, "an ordinary user may not use /dev/fuse here");
  }
  LetGoOfOtherMounts();
  ::chmod(node, 0666);
  const int rc = ::mount(node, "/dev/fuse", nullptr, MS_BIND, nullptr);
  ::unlink(node);
  if (rc != 0) return Fail(EOPNOTSUPP, "an ordinary user may not use /dev/fuse here");
  return {};
}

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

}  // namespace

Result<std::unique_ptr<MountFixture>> MakeMount(const MountMode& mode) {
  if (!mode.root && ::geteuid() == 0) {
    if (mode.px) PX_TRY(LendFuseDevice());
    PX_TRY(DropRoot());
  }
  auto mount = MountFixture::Create(mode);
  const char* require = std::getenv("PX_REQUIRE_MOUNT");
  if (!mount && mount.error().code() == EOPNOTSUPP && require != nullptr &&
      std::strcmp(require, "1") == 0) {
    return Fail(ENODEV, mount.error().context());
  }
  return mount;
}

int RunOnMount(const MountMode& mode, const std::string& name,
               const std::function<int(MountFixture&)>& body) {
  const auto mount = MakeMount(mode);
  if (mount) return body(**mount);
  const std::string test = name + "." + std::string(mode.name);
  if (mount.error().code() == EOPNOTSUPP) {
    std::printf("%s\n[  SKIPPED ] %s (0 ms)\n", mount.error().context().c_str(), test.c_str());
    return 0;
  }
  std::fprintf(stderr, "error: %s: %s\n", test.c_str(), mount.error().ToString().c_str());
  return 1;
}

}  // namespace px::testing
