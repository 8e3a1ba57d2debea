// The trash: rm, undelete, trash, gc.
#include <sys/ioctl.h>

#include <cstring>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

class TrashTest : public VolumeTest {
 protected:
  static RunResult PxFs(const std::vector<std::string>& args) { return TheMount().PxFs(args); }
  static void Rm(const std::string& path) {
    const RunResult result = PxFs({"rm", path});
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  static void EmptyTrash() { ASSERT_EQ(PxFs({"gc", "--all"}).exit_code, 0); }
  void TearDown() override {
    EmptyTrash();
    VolumeTest::TearDown();
  }
  static size_t Listed(const std::string& name) {
    const std::string out = PxFs({"trash", "--json"}).output;
    size_t found = 0;
    for (size_t at = out.find(name + "\""); at != std::string::npos;
         at = out.find(name + "\"", at + 1)) {
      ++found;
    }
    return found;
  }
};

TEST_F(TrashTest, RemovedVolumeHasNoNameAndCanComeBackWhole) {
  MakeTree("a");
  ASSERT_EQ(SnapshotVolume("a", "s"), 0);
  const std::string before = DescribeTree("a");
  Rm("a");
  EXPECT_EQ(OpenErrno("a", O_RDONLY), ENOENT);
  EXPECT_TRUE(List(".").empty());
  EXPECT_EQ(Listed("a"), 1U);
  const RunResult back = PxFs({"undelete", "a"});
  ASSERT_EQ(back.exit_code, 0) << back.output;
  EXPECT_EQ(DescribeTree("a"), before);
  EXPECT_EQ(DescribeTree("a/.snapshots/s"), before);
  EXPECT_EQ(Listed("a"), 0U);
  Put("a/small", "writable again");
}

TEST_F(TrashTest, RemovedVolumeSurvivesAKill) {
  MakeTree("a");
  const std::string before = DescribeTree("a");
  Rm("a");
  KillAndRemount();
  ASSERT_EQ(PxFs({"undelete", "a"}).exit_code, 0);
  EXPECT_EQ(DescribeTree("a"), before);
}

TEST_F(TrashTest, UndeleteTakesTheLastOneOfThatName) {
  for (const char* content : {"first", "second"}) {
    Create("a");
    Put("a/f", content);
    Rm("a");
  }
  EXPECT_EQ(Listed("a"), 2U);
  ASSERT_EQ(PxFs({"undelete", "a"}).exit_code, 0);
  EXPECT_EQ(Get("a/f"), "second");
  const RunResult taken = PxFs({"undelete", "a"});
  EXPECT_EQ(taken.exit_code, 1);
  EXPECT_NE(taken.output.find("File exists"), std::string::npos);
}

TEST_F(TrashTest, UndeleteByIdPutsItWhereItIsTold) {
  Create("a");
  Put("a/f", "x");
  const uint32_t id = InfoOf("a").volume;
  Rm("a");
  MkDir("d");
  ASSERT_EQ(PxFs({"undelete", "--id", std::to_string(id), "d/b"}).exit_code, 0);
  EXPECT_EQ(Get("d/b/f"), "x");
  ASSERT_EQ(DropVolume("d/b"), 0);
  ASSERT_EQ(Try(::rmdir("d")), 0);
}

TEST_F(TrashTest, UndeleteOfNothingIsNotFound) { EXPECT_EQ(PxFs({"undelete", "a"}).exit_code, 10); }

TEST_F(TrashTest, NowLeavesNothing) {
  Create("a");
  ASSERT_EQ(PxFs({"rm", "--now", "a"}).exit_code, 0);
  EXPECT_EQ(Listed("a"), 0U);
}

TEST_F(TrashTest, TheDropIoctlLeavesNothing) {
  Create("a");
  ASSERT_EQ(DropVolume("a"), 0);
  EXPECT_EQ(Listed("a"), 0U);
}

TEST_F(TrashTest, ACloneOutlivesItsSource) {
  MakeTree("a");
  Clone("a", "b");
  const std::string before = DescribeTree("b");
  Rm("a");
  EmptyTrash();
  EXPECT_EQ(DescribeTree("b"), before);
  Remount();
  EXPECT_EQ(DescribeTree("b"), before);
}

TEST_F(TrashTest, AVolumeWithAnOpenFileStays) {
  Create("a");
  Put("a/f", "x");
  const UniqueFd fd = Open("a/f", O_RDONLY);
  EXPECT_EQ(PxFs({"rm", "a"}).exit_code, 11);
  EXPECT_EQ(Get("a/f"), "x");
}

TEST_F(TrashTest, TokensAndHandlesOfATrashedVolumeAreStale) {
  Create("a");
  px_ioc_clone clone{};
  std::strcpy(clone.name, "b");
  {
    const UniqueFd a = Open("a", O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(Try(::ioctl(a.get(), PX_IOC_TOKEN, &clone.source)), 0);
  }
  Rm("a");
  const UniqueFd here = Open(".", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Try(::ioctl(here.get(), PX_IOC_CLONE, &clone)), ESTALE);
}

TEST_F(TrashTest, DryRunChangesNothing) {
  Create("a");
  Put("a/f", Pattern(1 << 20));
  Rm("a");
  const RunResult dry = PxFs({"gc", "--all", "--dry-run", "--json"});
  ASSERT_EQ(dry.exit_code, 0) << dry.output;
  EXPECT_NE(dry.output.find("\"volumes\": 1"), std::string::npos) << dry.output;
  EXPECT_EQ(Listed("a"), 1U);
  const RunResult young = PxFs({"gc", "--json"});
  EXPECT_NE(young.output.find("\"volumes\": 0"), std::string::npos) << young.output;
  EXPECT_EQ(Listed("a"), 1U);
}

using TrashRootTest = TrashTest;

TEST_F(TrashRootTest, OthersSeeAndTouchNothingInIt) {
  ASSERT_EQ(Try(::chmod(".", 0777)), 0);
  Create("a");
  const uint32_t id = InfoOf("a").volume;
  Rm("a");
  EXPECT_EQ(AsUser(kAlice, kAlice, {},
                   [id] {
                     const int fd = ::open(".", O_RDONLY | O_DIRECTORY);
                     if (fd < 0) return 1;
                     static px_ioc_text text;
                     if (::ioctl(fd, PX_IOC_TRASH_LIST, &text) != 0 || text.length != 0) return 2;
                     px_ioc_undelete undelete{};
                     undelete.volume = id;
                     undelete.name[0] = 'b';
                     if (::ioctl(fd, PX_IOC_UNDELETE, &undelete) == 0 || errno != ENOENT) return 3;
                     px_ioc_gc gc{};
                     gc.flags = PX_GC_ALL;
                     if (::ioctl(fd, PX_IOC_GC, &gc) != 0 || gc.volumes != 0) return 4;
                     return 0;
                   }),
            0);
  EXPECT_EQ(Listed("a"), 1U);
}

TEST_F(TrashRootTest, OnlyTheOwnerMayRemoveAVolume) {
  ASSERT_EQ(Try(::chmod(".", 0777)), 0);
  Create("a");
  EXPECT_EQ(AsUser(kAlice, kAlice, {},
                   [] {
                     const int fd = ::open(".", O_RDONLY | O_DIRECTORY);
                     px_ioc_name name{};
                     name.name[0] = 'a';
                     return ::ioctl(fd, PX_IOC_TRASH, &name) != 0 && errno == EPERM ? 0 : 1;
                   }),
            0);
}

}  // namespace
}  // namespace px::testing
