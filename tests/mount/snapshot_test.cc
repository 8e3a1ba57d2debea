// Snapshots, dropping volumes, what volumes hold, who may do it, and the commands.
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

class SnapshotTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    MakeTree("a");
    ASSERT_EQ(SnapshotVolume("a", "s"), 0);
  }
};

TEST_F(SnapshotTest, IsTheVolumeAsItWas) {
  const std::string before = DescribeTree("a");
  Put("a/small", "changed");
  ASSERT_EQ(Try(::unlink("a/checkpoint")), 0);
  EXPECT_EQ(DescribeTree("a/.snapshots/s"), before);
}

TEST_F(SnapshotTest, IsNotListedInTheVolume) {
  for (const std::string& name : List("a")) EXPECT_NE(name, ".snapshots");
}

TEST_F(SnapshotTest, IsReadOnly) {
  EXPECT_EQ(OpenErrno("a/.snapshots/s/small", O_WRONLY), EROFS);
  EXPECT_EQ(OpenErrno("a/.snapshots/s/small", O_RDWR | O_TRUNC), EROFS);
  EXPECT_EQ(OpenErrno("a/.snapshots/s/new", O_CREAT | O_WRONLY), EROFS);
  EXPECT_EQ(Try(::unlink("a/.snapshots/s/small")), EROFS);
  EXPECT_EQ(Try(::mkdir("a/.snapshots/s/d", 0755)), EROFS);
  EXPECT_EQ(Try(::rmdir("a/.snapshots/s/emptydir")), EROFS);
  EXPECT_EQ(Try(::rename("a/.snapshots/s/small", "a/.snapshots/s/x")), EROFS);
  EXPECT_EQ(Try(::link("a/.snapshots/s/small", "a/.snapshots/s/x")), EROFS);
  EXPECT_EQ(Try(::symlink("x", "a/.snapshots/s/x")), EROFS);
  EXPECT_EQ(Try(::chmod("a/.snapshots/s/small", 0600)), EROFS);
  EXPECT_EQ(Try(::truncate("a/.snapshots/s/small", 0)), EROFS);
  EXPECT_EQ(Try(::setxattr("a/.snapshots/s/small", "user.x", "1", 1, 0)), EROFS);
  EXPECT_EQ(Try(::removexattr("a/.snapshots/s/small", "user.note")), EROFS);
  EXPECT_EQ(Try(::utimensat(AT_FDCWD, "a/.snapshots/s/small", nullptr, 0)), EROFS);
}

TEST_F(SnapshotTest, ReadsAndMapsLikeAnyFile) {
  EXPECT_EQ(Get("a/.snapshots/s/checkpoint"), Pattern(3 << 20));
  EXPECT_EQ(Get("a/.snapshots/s/small"), "small");
}

TEST_F(SnapshotTest, OfATakenNameIsEexist) { EXPECT_EQ(SnapshotVolume("a", "s"), EEXIST); }

TEST_F(SnapshotTest, ClonedGivesAWritableVolume) {
  Put("a/small", "spoilt");
  Clone("a/.snapshots/s", "restored");
  EXPECT_EQ(Get("restored/small"), "small");
  Put("restored/small", "writable");
  EXPECT_EQ(Get("a/.snapshots/s/small"), "small");
}

TEST_F(SnapshotTest, ManyKeepTheirOwnState) {
  for (int i = 0; i < 20; ++i) {
    Put("a/small", std::to_string(i));
    ASSERT_EQ(SnapshotVolume("a", "n" + std::to_string(i)), 0);
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Get("a/.snapshots/n" + std::to_string(i) + "/small"), std::to_string(i));
  }
}

// The setuid bit moves the file from passthrough to cached mode, so that its old object, which the
// first snapshot has now for itself, is no longer what could be mapped.
TEST_F(SnapshotTest, DoesNotTakeWhatTheFileHeldBefore) {
  Put("a/log", "one\n");
  ASSERT_EQ(SnapshotVolume("a", "first"), 0);
  ASSERT_EQ(Try(::chmod("a/log", 04644)), 0);
  {
    const UniqueFd log(::open("a/log", O_WRONLY | O_APPEND));
    ASSERT_EQ(::write(log.get(), "two\n", 4), 4);
  }
  const UniqueFd reader(::open("a/.snapshots/first/log", O_RDONLY));
  ASSERT_TRUE(reader);
  ASSERT_EQ(SnapshotVolume("a", "second"), 0);
  EXPECT_EQ(Get("a/.snapshots/first/log"), "one\n");
  EXPECT_EQ(Get("a/.snapshots/second/log"), "one\ntwo\n");
}

TEST_F(SnapshotTest, DroppedIsGone) {
  EXPECT_EQ(DropSnapshot("a", "s"), 0);
  EXPECT_FALSE(Exists("a/.snapshots/s"));
  EXPECT_EQ(DropSnapshot("a", "s"), ENOENT);
  EXPECT_EQ(Get("a/small"), "small");
}

TEST_F(SnapshotTest, GoesWithItsVolume) {
  EXPECT_EQ(DropVolume("a"), 0);
  EXPECT_FALSE(Exists("a"));
  EXPECT_FALSE(Exists("a/.snapshots/s"));
}

TEST_F(SnapshotTest, IsNotPartOfAClone) {
  Clone("a", "b");
  EXPECT_FALSE(Exists("b/.snapshots/s"));
}

TEST_F(SnapshotTest, SurvivesARemountAndAKill) {
  const std::string before = DescribeTree("a/.snapshots/s");
  Put("a/small", "changed");
  Remount();
  EXPECT_EQ(DescribeTree("a/.snapshots/s"), before);
  KillAndRemount();
  EXPECT_EQ(DescribeTree("a/.snapshots/s"), before);
}

TEST_F(SnapshotTest, TakenWhileAFileIsBeingWritten) {
  const UniqueFd fd = Open("a/growing", O_CREAT | O_RDWR);
  WriteAt(fd.get(), 0, "before");
  ASSERT_EQ(SnapshotVolume("a", "open"), 0);
  WriteAt(fd.get(), 6, "after");
  EXPECT_EQ(Get("a/.snapshots/open/growing"), "before");
}

class DropTest : public VolumeTest {
 protected:
  static uintmax_t BytesInStore() {
    uintmax_t total = 0;
    std::error_code error;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(TheMount().store(), error)) {
      struct stat st{};
      if (::lstat(entry.path().c_str(), &st) == 0)
        total += static_cast<uintmax_t>(st.st_blocks) * 512;
    }
    return total;
  }
  // Reclaim runs in the background: waits until `condition`, at most 20 s.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }
};

TEST_F(DropTest, OfTheSourceLeavesTheClone) {
  MakeTree("a");
  Clone("a", "b");
  const std::string before = DescribeTree("b");
  ASSERT_EQ(DropVolume("a"), 0);
  EXPECT_FALSE(Exists("a"));
  EXPECT_EQ(DescribeTree("b"), before);
  Remount();
  EXPECT_EQ(DescribeTree("b"), before);
}

TEST_F(DropTest, OfTheCloneLeavesTheSource) {
  MakeTree("a");
  const std::string before = DescribeTree("a");
  Clone("a", "b");
  Put("b/small", "other");
  ASSERT_EQ(DropVolume("b"), 0);
  EXPECT_EQ(DescribeTree("a"), before);
}

TEST_F(DropTest, FreesTheSpace) {
  Create("keep");
  const uintmax_t before = BytesInStore();
  Create("a");
  for (int i = 0; i < 20; ++i) Put("a/" + std::to_string(i), Pattern(1 << 20));
  EXPECT_EQ(Execute({"sync", "-f", "a"}).exit_code, 0);
  EXPECT_GT(BytesInStore(), before + (15U << 20));
  ASSERT_EQ(DropVolume("a"), 0);
  EXPECT_TRUE(Eventually([&] { return BytesInStore() < before + (5U << 20); }))
      << BytesInStore() - before;
}

TEST_F(DropTest, OfACloneFreesNothingShared) {
  Create("a");
  Put("a/f", Pattern(4 << 20));
  Clone("a", "b");
  ASSERT_EQ(DropVolume("b"), 0);
  EXPECT_EQ(Get("a/f"), Pattern(4 << 20));
  KillAndRemount();
  EXPECT_EQ(Get("a/f"), Pattern(4 << 20));
}

TEST_F(DropTest, WithAnOpenFileIsEbusy) {
  Create("a");
  const UniqueFd fd = Open("a/f", O_CREAT | O_RDWR);
  EXPECT_EQ(DropVolume("a"), EBUSY);
  EXPECT_TRUE(Exists("a/f"));
}

TEST_F(DropTest, OfADirectoryIsEnotdirAndOfNothingEnoent) {
  MkDir("d");
  EXPECT_EQ(DropVolume("d"), ENOTDIR);
  EXPECT_EQ(DropVolume("nothing"), ENOENT);
}

TEST_F(DropTest, NameCanBeUsedAgain) {
  Create("a");
  Put("a/f", "old");
  ASSERT_EQ(DropVolume("a"), 0);
  Create("a");
  EXPECT_TRUE(List("a").empty());
  Put("a/f", "new");
  EXPECT_EQ(Get("a/f"), "new");
}

TEST_F(DropTest, RmdirOfANonEmptyVolumeIsRefused) {
  Create("a");
  Put("a/f");
  EXPECT_NE(Try(::rmdir("a")), 0);
  EXPECT_TRUE(Exists("a/f"));
}

class UsageTest : public VolumeTest {};

TEST_F(UsageTest, CountsInodesAndBytes) {
  Create("a");
  Put("a/f", Pattern(1 << 20));
  MkDir("a/d");
  const px_ioc_usage usage = UsageOf("a");
  EXPECT_EQ(usage.logical_bytes, 1U << 20);
  EXPECT_GE(usage.inodes, 2U);
  EXPECT_LE(usage.inodes, 3U);
}

TEST_F(UsageTest, CloneHoldsNothingAlone) {
  Create("a");
  Put("a/f", Pattern(4 << 20));
  EXPECT_EQ(Execute({"sync", "-f", "a"}).exit_code, 0);
  EXPECT_GE(UsageOf("a").exclusive_bytes, 4U << 20);
  Clone("a", "b");
  EXPECT_LT(UsageOf("a").exclusive_bytes, 1U << 20);
  EXPECT_LT(UsageOf("b").exclusive_bytes, 1U << 20);
  EXPECT_GE(UsageOf("b").shared_bytes, 4U << 20);
}

TEST_F(UsageTest, DroppingTheCloneGivesItBack) {
  Create("a");
  Put("a/f", Pattern(4 << 20));
  EXPECT_EQ(Execute({"sync", "-f", "a"}).exit_code, 0);
  Clone("a", "b");
  ASSERT_EQ(DropVolume("a"), 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (UsageOf("b").exclusive_bytes < 4U << 20 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // reclaim is in the background
  }
  EXPECT_GE(UsageOf("b").exclusive_bytes, 4U << 20);
}

class VolumePermissionRootTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_EQ(Try(::chmod(".", 0777)), 0);
    Create("a");
    Put("a/f", "1");
    ASSERT_EQ(Try(::chown("a", kBob, kBob)), 0);
  }
  static int AsAlice(const std::function<int()>& body) { return AsUser(kAlice, kAlice, {}, body); }
};

TEST_F(VolumePermissionRootTest, OthersCannotClone) {
  const int error = AsAlice([] { return CloneVolume("a", "mine"); });
  EXPECT_TRUE(error == EPERM || error == EACCES) << error;
  EXPECT_FALSE(Exists("mine"));
}

TEST_F(VolumePermissionRootTest, OthersCannotDrop) {
  const int error = AsAlice([] { return DropVolume("a"); });
  EXPECT_TRUE(error == EPERM || error == EACCES) << error;
  EXPECT_TRUE(Exists("a/f"));
}

TEST_F(VolumePermissionRootTest, OthersCannotSnapshot) {
  const int error = AsAlice([] { return SnapshotVolume("a", "s"); });
  EXPECT_TRUE(error == EPERM || error == EACCES) << error;
}

TEST_F(VolumePermissionRootTest, OwnerClonesAndDrops) {
  EXPECT_EQ(AsUser(kBob, kBob, {}, [] { return CloneVolume("a", "b"); }), 0);
  EXPECT_EQ(Get("b/f"), "1");
  EXPECT_EQ(AsUser(kBob, kBob, {}, [] { return DropVolume("b"); }), 0);
}

TEST_F(VolumePermissionRootTest, OwnerNeedsAWritableParent) {
  MkDir("closed", 0755);
  EXPECT_EQ(AsUser(kBob, kBob, {}, [] { return CloneVolume("a", "closed/b"); }), EACCES);
  EXPECT_EQ(AsUser(kBob, kBob, {}, [] { return CreateVolume("closed/b"); }), EACCES);
}

TEST_F(VolumePermissionRootTest, UserOwnsTheVolumeItMakes) {
  EXPECT_EQ(AsAlice([] { return CreateVolume("mine"); }), 0);
  EXPECT_EQ(LStat("mine").st_uid, kAlice);
}

TEST_F(VolumePermissionRootTest, TokenOfAnotherUserIsRefused) {
  px_ioc_clone argument{};
  std::strcpy(argument.name, "stolen");
  const UniqueFd source = Open("a", O_RDONLY);
  ASSERT_EQ(Try(::ioctl(source.get(), PX_IOC_TOKEN, &argument.source)), 0);
  const UniqueFd parent = Open(".", O_RDONLY);
  EXPECT_NE(AsAlice([&] { return Try(::ioctl(parent.get(), PX_IOC_CLONE, &argument)); }), 0);
  EXPECT_FALSE(Exists("stolen"));
}

class CommandTest : public VolumeTest {
 protected:
  RunResult Px(std::vector<std::string> args) const {
    for (std::string& arg : args) {
      if (arg.starts_with("./")) arg = dir() + arg.substr(1);
    }
    return TheMount().PxFs(args);
  }
};

TEST_F(CommandTest, CreateCloneSnapshotAndRm) {
  EXPECT_EQ(Px({"create", "./a"}).exit_code, 0);
  Put("a/f", "1");
  EXPECT_EQ(Px({"clone", "./a", "./b"}).exit_code, 0);
  EXPECT_EQ(Get("b/f"), "1");
  EXPECT_EQ(Px({"snapshot", "./a", "s"}).exit_code, 0);
  EXPECT_EQ(Get("a/.snapshots/s/f"), "1");
  EXPECT_EQ(Px({"rm", "./b"}).exit_code, 0);
  EXPECT_FALSE(Exists("b"));
}

TEST_F(CommandTest, DiffNamesWhatDiffers) {
  MakeTree("a");
  Clone("a", "b");
  EXPECT_EQ(Px({"diff", "./a", "./b"}).output, "");
  Put("b/added_file", "1");
  ASSERT_EQ(Try(::unlink("b/empty")), 0);
  Put("b/setuid", "different");
  const RunResult diff = Px({"diff", "./a", "./b"});
  for (const char* name : {"added_file", "empty", "setuid"}) {
    EXPECT_NE(diff.output.find(name), std::string::npos) << name << " in:\n" << diff.output;
  }
  EXPECT_EQ(diff.output.find("checkpoint"), std::string::npos) << diff.output;
}

TEST_F(CommandTest, DiffNamesEveryPathOfAChangedFile) {
  MakeTree("a");
  Clone("a", "b");
  Put("b/small", "different");
  const std::string diff = Px({"diff", "./a", "./b"}).output;
  EXPECT_NE(diff.find("small"), std::string::npos) << diff;
  EXPECT_NE(diff.find("hardlink"), std::string::npos) << diff;
}

TEST_F(CommandTest, LsStatusAndUsageAnswer) {
  Create("a");
  EXPECT_NE(Px({"ls", "./"}).output.find('a'), std::string::npos);
  EXPECT_EQ(Px({"status", TheMount().root()}).exit_code, 0);
  const RunResult usage = Px({"usage", "./a", "--json"});
  EXPECT_EQ(usage.exit_code, 0) << usage.output;
  EXPECT_NE(usage.output.find("exclusive"), std::string::npos) << usage.output;
}

TEST_F(CommandTest, CloneOfNothingFailsAndSaysSo) {
  const RunResult result = Px({"clone", "./nothing", "./b"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.output.find("nothing"), std::string::npos) << result.output;
}

TEST_F(CommandTest, SecondDaemonOnTheStoreIsRefused) {
  const std::string other = TheMount().scratch() + "/second";
  ASSERT_EQ(Try(::mkdir(other.c_str(), 0755)), 0);
  const RunResult result = Px({"mount", "--store", TheMount().store(), other});
  EXPECT_EQ(result.exit_code, 11) << result.output;
  EXPECT_EQ(Try(::rmdir(other.c_str())), 0);
}

TEST_F(CommandTest, FsckOfTheUnmountedStoreIsClean) {
  MakeTree("a");
  Clone("a", "b");
  Put("b/small", "1");
  ASSERT_EQ(SnapshotVolume("a", "s"), 0);
  ASSERT_EQ(DropVolume("a"), 0);
  ASSERT_EQ(::chdir("/"), 0);
  ASSERT_TRUE(TheMount().Unmount());
  const RunResult fsck = TheMount().PxFs({"fsck", TheMount().store()});
  EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
  ASSERT_TRUE(TheMount().Mount());
  ASSERT_EQ(::chdir(dir().c_str()), 0);
  EXPECT_EQ(Get("b/small"), "1");
}

TEST_F(CommandTest, AnOlderStoreIsBroughtUpToDateAndANewerOneRefused) {
  MakeTree("a");
  const std::string before = DescribeTree("a");
  ASSERT_EQ(::chdir("/"), 0);
  ASSERT_TRUE(TheMount().Unmount());
  const std::string store = TheMount().store();
  const std::string format = Get(store + "/format");
  ASSERT_EQ(format.find("px-store 3\n"), 0U) << format;
  const auto set_version = [&](const std::string& version) {
    std::ofstream(store + "/format") << "px-store " << version << format.substr(10);
  };
  set_version("99");
  const RunResult newer = TheMount().PxFs({"mount", "--store", store, TheMount().root()});
  EXPECT_EQ(newer.exit_code, 1) << newer.output;
  EXPECT_NE(newer.output.find("has format 99, this px-fs knows up to 3"), std::string::npos)
      << newer.output;
  EXPECT_EQ(Get(store + "/format"), "px-store 99" + format.substr(10));
  // As a px-fs of format 1 left it: with no journal.
  set_version("1");
  for (const char* journal : {"/meta.log.0", "/meta.log.1"}) {
    std::filesystem::remove(store + journal);
  }
  ASSERT_TRUE(TheMount().Mount());
  ASSERT_EQ(::chdir(dir().c_str()), 0);
  EXPECT_EQ(Get(store + "/format"), format);
  EXPECT_EQ(DescribeTree("a"), before);
}

TEST_F(CommandTest, FsckAfterAKilledDaemonIsClean) {
  MakeTree("a");
  Clone("a", "b");
  Put("b/checkpoint", Pattern(2 << 20, 9));
  ASSERT_EQ(::chdir("/"), 0);
  TheMount().KillDaemon();
  const RunResult fsck = TheMount().PxFs({"fsck", TheMount().store()});
  EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
  ASSERT_TRUE(TheMount().Mount());
  ASSERT_EQ(::chdir(dir().c_str()), 0);
  EXPECT_EQ(Get("b/checkpoint"), Pattern(2 << 20, 9));
}

}  // namespace
}  // namespace px::testing
