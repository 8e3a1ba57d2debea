// mount(8) on a px mount: `mount -o remount,ro`, and mounts from fstab by its helper.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

class RemountRootTest : public VolumeTest {
 protected:
  void TearDown() override {
    if (!IsSkipped()) SetReadOnly(false);
    VolumeTest::TearDown();
  }
  static void SetReadOnly(bool read_only) {
    const unsigned long flags = MS_REMOUNT | MS_NOATIME | (read_only ? MS_RDONLY : 0);
    ASSERT_EQ(Try(::mount("none", TheMount().root().c_str(), nullptr, flags, nullptr)), 0);
  }
};

TEST_F(RemountRootTest, ReadOnlyRefusesEveryChangeUntilItIsWritableAgain) {
  Create("v");
  Put("v/model", "some");
  ASSERT_EQ(SnapshotVolume("v", "s"), 0);
  SetReadOnly(true);

  EXPECT_EQ(OpenErrno("v/model", O_WRONLY), EROFS);
  EXPECT_EQ(OpenErrno("v/new", O_CREAT | O_WRONLY), EROFS);
  EXPECT_EQ(Try(::mkdir("v/d", 0755)), EROFS);
  EXPECT_EQ(Try(::unlink("v/model")), EROFS);
  // The kernel lets ioctls pass.
  EXPECT_EQ(CreateVolume("w"), EROFS);
  EXPECT_EQ(CloneVolume("v", "w"), EROFS);
  EXPECT_EQ(SnapshotVolume("v", "t"), EROFS);
  EXPECT_EQ(DropSnapshot("v", "s"), EROFS);
  EXPECT_EQ(RestoreFile("v/model"), EROFS);
  EXPECT_EQ(DropVolume("v"), EROFS);
  EXPECT_EQ(TheMount().PxFs({"rm", dir() + "/v"}).exit_code, 1);
  EXPECT_EQ(TheMount().PxFs({"gc", dir()}).exit_code, 1);
  EXPECT_EQ(TheMount().PxFs({"gc", "--dry-run", dir()}).exit_code, 0);
  EXPECT_EQ(Get("v/model"), "some");
  EXPECT_EQ(Get("v/.snapshots/s/model"), "some");
  EXPECT_EQ(List("."), std::vector<std::string>{"v"});

  SetReadOnly(false);
  EXPECT_EQ(CloneVolume("v", "w"), 0);
  EXPECT_EQ(Get("w/model"), "some");
}

TEST_F(RemountRootTest, ADaemonThatTakesOverKnowsThatItIsReadOnly) {
  Create("v");
  SetReadOnly(true);
  const RunResult restart = TheMount().PxFs({"restart", TheMount().root()});
  ASSERT_EQ(restart.exit_code, 0) << restart.output;
  EXPECT_EQ(CloneVolume("v", "w"), EROFS);
  SetReadOnly(false);
  EXPECT_EQ(CloneVolume("v", "w"), 0);
}

// The real mount(8), which looks for helpers in /sbin alone: another one in a mount namespace.
class MountHelperRootTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    base_ = fmt::format("{}/helper{}", TheMount().scratch(), ++made_);
    for (const char* name : {"", "/sbin", "/mnt"}) MkDir(base_ + name);
    const std::string helper = base_ + "/sbin/mount.fuse.px";
    ASSERT_EQ(Try(::symlink(MountFixture::PxFsProgram().c_str(), helper.c_str())), 0);
    Put(base_ + "/fstab",
        fmt::format("{0}/store {0}/mnt fuse.px noauto,nopassthrough,nosuid,x-test=1 0 0\n", base_));
  }
  // `script` with $base, $px and $mnt; ends with the status of the first command that failed.
  RunResult Run(const std::string& script) const {
    const std::string begin = fmt::format(
        "set -e; base={}; px={}; mnt=$base/mnt; mount --bind $base/sbin /sbin\n"
        "mount --bind $base/fstab /etc/fstab\n"
        "options() {{ findmnt -n -o OPTIONS $mnt; }}\n",
        base_, MountFixture::PxFsProgram());
    return Execute(
        {"/usr/bin/unshare", "-m", "--propagation", "private", "/bin/sh", "-c", begin + script});
  }

  static inline int made_ = 0;
  std::string base_;
};

TEST_F(MountHelperRootTest, MountsFromFstabAndChangesFlags) {
  const RunResult done = Run(R"sh(
mount $mnt
$px status $mnt --json | grep -q '"passthrough": false'
$px create $mnt/v; echo some > $mnt/v/f
options | grep -q '^rw,nosuid,'
mount -o remount,ro $mnt
options | grep -q '^ro,'
! touch $mnt/v/g 2> $base/why; grep -q Read-only $base/why
mount -o remount,rw,noexec $mnt
options | grep -q '^rw,.*noexec'
touch $mnt/v/g
$px restart $mnt
test "$(cat $mnt/v/f)" = some
$px umount $mnt
$px fsck $base/store
)sh");
  EXPECT_EQ(done.exit_code, 0) << done.output;
}

TEST_F(MountHelperRootTest, RefusesWhatItCannotDo) {
  const RunResult done = Run(R"sh(
why() { want=$1; shift; code=0; "$@" > $base/why 2>&1 || code=$?; test $code -eq $want || { echo "$*: $code"; cat $base/why; false; }; }
mkdir $base/store
why 1 mount -t fuse.px $base/store $mnt -o bogus
grep -q "unknown mount option 'bogus'" $base/why
why 32 mount -t fuse.px $base/nothing/store $base/no-directory
$px mount --store $base/store $mnt; $px umount $mnt
mount -t fuse.px $base/store $mnt -o ro
why 32 mount -o remount,rw $mnt
grep -q "was mounted with 'ro'" $base/why
options | grep -q '^ro,'
why 1 /sbin/mount.fuse.px $base/store
why 1 /sbin/mount.fuse.px $base/store $mnt -o
why 1 /sbin/mount.fuse.px $base/store $mnt --what
why 0 /sbin/mount.fuse.px $base/store $base/no-directory -f
$px umount $mnt
)sh");
  EXPECT_EQ(done.exit_code, 0) << done.output;
}

}  // namespace
}  // namespace px::testing
