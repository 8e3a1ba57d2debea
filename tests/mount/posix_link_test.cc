// link, unlink, and files that are open without a name.
#include <sys/mman.h>

#include <cstdio>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class LinkTest : public PosixTest {
 protected:
  static int Link(const char* from, const char* to) { return Try(::link(from, to)); }
};

TEST_F(LinkTest, IsTheSameInode) {
  Put("a", "1");
  EXPECT_EQ(Link("a", "b"), 0);
  EXPECT_EQ(LStat("a").st_ino, LStat("b").st_ino);
}

TEST_F(LinkTest, CountsLinks) {
  Put("a");
  EXPECT_EQ(Link("a", "b"), 0);
  EXPECT_EQ(LStat("a").st_nlink, 2U);
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(LStat("b").st_nlink, 1U);
}

TEST_F(LinkTest, WriteThroughOneIsReadThroughTheOther) {
  Put("a", "old");
  EXPECT_EQ(Link("a", "b"), 0);
  Put("b", "new");
  EXPECT_EQ(Get("a"), "new");
}

TEST_F(LinkTest, OpenHandlesOfBothNamesAreOneFile) {
  Put("a", "....");
  EXPECT_EQ(Link("a", "b"), 0);
  const UniqueFd a = Open("a", O_RDWR);
  const UniqueFd b = Open("b", O_RDWR);
  WriteAt(a.get(), 0, "aa");
  WriteAt(b.get(), 2, "bb");
  EXPECT_EQ(GetFd(a.get()), "aabb");
  EXPECT_EQ(GetFd(b.get()), "aabb");
}

TEST_F(LinkTest, AcrossDirectories) {
  MkDir("d");
  Put("a", "1");
  EXPECT_EQ(Link("a", "d/b"), 0);
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(Get("d/b"), "1");
}

TEST_F(LinkTest, OntoAnExistingNameIsEexist) {
  Put("a");
  Put("b");
  EXPECT_EQ(Link("a", "b"), EEXIST);
}

TEST_F(LinkTest, OfADirectoryIsEperm) {
  MkDir("d");
  EXPECT_EQ(Link("d", "e"), EPERM);
}

TEST_F(LinkTest, OfAMissingFileIsEnoent) { EXPECT_EQ(Link("a", "b"), ENOENT); }

TEST_F(LinkTest, OfASymlinkLinksTheSymlink) {
  ASSERT_EQ(Try(::symlink("nowhere", "s")), 0);
  EXPECT_EQ(Link("s", "t"), 0);
  EXPECT_EQ(ReadLink("t"), "nowhere");
  EXPECT_EQ(LStat("s").st_nlink, 2U);
}

TEST_F(LinkTest, FollowsASymlinkWhenAsked) {
  Put("a", "1");
  ASSERT_EQ(Try(::symlink("a", "s")), 0);
  EXPECT_EQ(Try(::linkat(AT_FDCWD, "s", AT_FDCWD, "t", AT_SYMLINK_FOLLOW)), 0);
  EXPECT_EQ(LStat("t").st_ino, LStat("a").st_ino);
}

TEST_F(LinkTest, TouchesCtimeNotMtime) {
  Put("a");
  const int64_t ctime = CTimeNs("a");
  const int64_t mtime = MTimeNs("a");
  NextTick();
  EXPECT_EQ(Link("a", "b"), 0);
  EXPECT_GT(CTimeNs("a"), ctime);
  EXPECT_EQ(MTimeNs("a"), mtime);
}

TEST_F(LinkTest, ThousandLinks) {
  Put("a", "1");
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(Link("a", ("n" + std::to_string(i)).c_str()), 0);
  EXPECT_EQ(LStat("a").st_nlink, 1001U);
  EXPECT_EQ(Get("n999"), "1");
}

TEST_F(LinkTest, SurvivesARemount) {
  Put("a", "1");
  EXPECT_EQ(Link("a", "b"), 0);
  Remount();
  EXPECT_EQ(LStat("a").st_ino, LStat("b").st_ino);
  EXPECT_EQ(LStat("a").st_nlink, 2U);
}

class UnlinkTest : public PosixTest {};
class UnlinkRootTest : public UnlinkTest {};

TEST_F(UnlinkTest, RemovesTheName) {
  Put("a");
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(OpenErrno("a", O_RDONLY), ENOENT);
}

TEST_F(UnlinkTest, MissingIsEnoent) { EXPECT_EQ(Try(::unlink("a")), ENOENT); }

TEST_F(UnlinkTest, DirectoryIsEisdir) {
  MkDir("d");
  EXPECT_EQ(Try(::unlink("d")), EISDIR);
}

TEST_F(UnlinkTest, OpenFileStaysReadableAndWritable) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  EXPECT_EQ(Try(::unlink("a")), 0);
  WriteAt(fd.get(), 0, Pattern(100'000));
  EXPECT_EQ(GetFd(fd.get()), Pattern(100'000));
}

TEST_F(UnlinkTest, OpenFileHasNoLinks) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(FStat(fd.get()).st_nlink, 0U);
}

TEST_F(UnlinkTest, OpenFileCanBeChanged) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(Try(::fchmod(fd.get(), 0600)), 0);
  EXPECT_EQ(Try(::ftruncate(fd.get(), 5000)), 0);
  EXPECT_EQ(FStat(fd.get()).st_mode & 07777, 0600U);
  EXPECT_EQ(FStat(fd.get()).st_size, 5000);
}

TEST_F(UnlinkTest, OpenFileOpensAgainThroughProc) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, "secret");
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(Get("/proc/self/fd/" + std::to_string(fd.get())), "secret");
}

// Held, but not opened.
TEST_F(UnlinkTest, WhatIsHeldByItsPathOnlyCanBeChanged) {
  Put("a", "1");
  const UniqueFd file = Open("a", O_PATH);
  ASSERT_EQ(Try(::unlink("a")), 0);
  const std::string name = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_EQ(Try(::chmod(name.c_str(), 0640)), 0);
  EXPECT_EQ(FStat(file.get()).st_mode & 07777, 0640U);
}

TEST_F(UnlinkTest, ADirectoryThatIsGoneCanBeChangedByWhoHasItOpen) {
  MkDir("d", 0755);
  const UniqueFd dir = Open("d", O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(Try(::rmdir("d")), 0);
  EXPECT_EQ(Try(::fchmod(dir.get(), 0700)), 0);
  EXPECT_EQ(FStat(dir.get()).st_mode & 07777, 0700U);
  EXPECT_EQ(FStat(dir.get()).st_nlink, 0U);
  const timespec times[2] = {{1000, 1}, {2000, 2}};
  EXPECT_EQ(Try(::futimens(dir.get(), times)), 0);
  EXPECT_EQ(FStat(dir.get()).st_mtim.tv_sec, 2000);
}

TEST_F(UnlinkTest, NewFileOfTheSameNameIsAnother) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, "first");
  EXPECT_EQ(Try(::unlink("a")), 0);
  Put("a", "second");
  EXPECT_EQ(GetFd(fd.get()), "first");
  EXPECT_EQ(Get("a"), "second");
}

TEST_F(UnlinkTest, MappedFileStaysMapped) {
  Put("a", Pattern(8192));
  UniqueFd fd = Open("a", O_RDWR);
  auto* map = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  fd.Reset();
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(std::string(map, 8192), Pattern(8192));
  ::munmap(map, 8192);
}

TEST_F(UnlinkTest, TouchesTheParentsTimes) {
  MkDir("d");
  Put("d/a");
  const int64_t mtime = MTimeNs("d");
  NextTick();
  EXPECT_EQ(Try(::unlink("d/a")), 0);
  EXPECT_GT(MTimeNs("d"), mtime);
  EXPECT_EQ(MTimeNs("d"), CTimeNs("d"));
}

TEST_F(UnlinkTest, OfOneLinkTouchesTheOthersCtime) {
  Put("a");
  ASSERT_EQ(Try(::link("a", "b")), 0);
  const int64_t ctime = CTimeNs("b");
  NextTick();
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_GT(CTimeNs("b"), ctime);
}

TEST_F(UnlinkRootTest, InAStickyDirOfAnotherIsEperm) {
  MkDir("d", 01777);
  Put("d/f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::unlink("d/f")); }), EPERM);
}

TEST_F(UnlinkRootTest, OwnFileInAStickyDirIsAllowed) {
  MkDir("d", 01777);
  Put("d/f");
  ASSERT_EQ(Try(::chown("d/f", kAlice, kAlice)), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Try(::unlink("d/f")); }), 0);
}

TEST_F(UnlinkTest, IsNotUndoneByARemount) {
  Put("a");
  Put("b");
  EXPECT_EQ(Try(::unlink("a")), 0);
  Remount();
  EXPECT_EQ(List("."), std::vector<std::string>{"b"});
}

}  // namespace
}  // namespace px::testing
