// rename, renameat2 with NOREPLACE, EXCHANGE and WHITEOUT.
#include <sys/syscall.h>

#include <cstdio>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class RenameTest : public PosixTest {
 protected:
  static int Rename(const char* from, const char* to, unsigned flags = 0) {
    return Try(::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags));
  }
};
class RenameRootTest : public RenameTest {};

TEST_F(RenameTest, MovesAFile) {
  Put("a", "1");
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(Get("b"), "1");
  EXPECT_FALSE(Exists("a"));
}

TEST_F(RenameTest, KeepsTheInode) {
  Put("a");
  const ino_t ino = LStat("a").st_ino;
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(LStat("b").st_ino, ino);
}

TEST_F(RenameTest, ReplacesAFile) {
  Put("a", "new");
  Put("b", "old");
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(Get("b"), "new");
  EXPECT_EQ(List("."), std::vector<std::string>{"b"});
}

TEST_F(RenameTest, OverAnOpenFileLeavesItReadable) {
  Put("a", "new");
  Put("b", "old");
  const UniqueFd fd = Open("b", O_RDWR);
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(GetFd(fd.get()), "old");
  EXPECT_EQ(FStat(fd.get()).st_nlink, 0U);
  WriteAt(fd.get(), 0, "xyz");
  EXPECT_EQ(Get("b"), "new");
}

TEST_F(RenameTest, OfAnOpenFileKeepsTheHandle) {
  const UniqueFd fd = Open("a", O_RDWR | O_CREAT);
  EXPECT_EQ(Rename("a", "b"), 0);
  WriteAt(fd.get(), 0, "late");
  EXPECT_EQ(Get("b"), "late");
}

TEST_F(RenameTest, OntoItselfDoesNothing) {
  Put("a", "1");
  EXPECT_EQ(Rename("a", "a"), 0);
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(RenameTest, OntoAHardLinkOfItselfKeepsBoth) {
  Put("a", "1");
  ASSERT_EQ(Try(::link("a", "b")), 0);
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(List("."), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(LStat("a").st_nlink, 2U);
}

TEST_F(RenameTest, OverAHardLinkTakesOneLink) {
  Put("a", "1");
  Put("b", "2");
  ASSERT_EQ(Try(::link("b", "c")), 0);
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(LStat("c").st_nlink, 1U);
}

TEST_F(RenameTest, MissingSourceIsEnoent) { EXPECT_EQ(Rename("a", "b"), ENOENT); }

TEST_F(RenameTest, MissingTargetParentIsEnoent) {
  Put("a");
  EXPECT_EQ(Rename("a", "d/b"), ENOENT);
}

TEST_F(RenameTest, FileOverDirIsEisdir) {
  Put("a");
  MkDir("d");
  EXPECT_EQ(Rename("a", "d"), EISDIR);
}

TEST_F(RenameTest, DirOverFileIsEnotdir) {
  Put("a");
  MkDir("d");
  EXPECT_EQ(Rename("d", "a"), ENOTDIR);
}

TEST_F(RenameTest, DirOverEmptyDirReplacesIt) {
  MkDir("d");
  Put("d/x", "1");
  MkDir("e");
  EXPECT_EQ(Rename("d", "e"), 0);
  EXPECT_EQ(Get("e/x"), "1");
  EXPECT_FALSE(Exists("d"));
}

TEST_F(RenameTest, DirOverNonEmptyDirIsEnotempty) {
  MkDir("d");
  MkDir("e");
  Put("e/x");
  const int error = Rename("d", "e");
  EXPECT_TRUE(error == ENOTEMPTY || (error == EEXIST && !px())) << error;  // XFS gives EEXIST
}

TEST_F(RenameTest, DirIntoItselfIsEinval) {
  MkDir("d");
  EXPECT_EQ(Rename("d", "d/e"), EINVAL);
}

TEST_F(RenameTest, DirIntoItsDescendantIsEinval) {
  MkDir("d");
  MkDir("d/e");
  MkDir("d/e/f");
  EXPECT_EQ(Rename("d", "d/e/f/g"), EINVAL);
}

TEST_F(RenameTest, DirOverItsAncestorIsEnotempty) {
  MkDir("d");
  MkDir("d/e");
  EXPECT_EQ(Rename("d/e", "d"), ENOTEMPTY);
}

TEST_F(RenameTest, DirToAnotherParentMovesLinkCounts) {
  MkDir("p");
  MkDir("q");
  MkDir("p/d");
  EXPECT_EQ(Rename("p/d", "q/d"), 0);
  EXPECT_EQ(LStat("p").st_nlink, 2U);
  EXPECT_EQ(LStat("q").st_nlink, 3U);
}

TEST_F(RenameTest, DirMovedHasItsNewParentAsDotDot) {
  MkDir("p");
  MkDir("p/d");
  EXPECT_EQ(Rename("p/d", "d"), 0);
  EXPECT_EQ(Stat("d/..").st_ino, Stat(".").st_ino);
}

TEST_F(RenameTest, ReplacedDirTakesALinkFromItsParent) {
  MkDir("d");
  MkDir("e");
  const nlink_t before = LStat(".").st_nlink;
  EXPECT_EQ(Rename("d", "e"), 0);
  EXPECT_EQ(LStat(".").st_nlink, before - 1);
}

TEST_F(RenameTest, DeepTreeStaysReachable) {
  MkDir("a");
  MkDir("a/b");
  MkDir("a/b/c");
  Put("a/b/c/f", "deep");
  EXPECT_EQ(Rename("a", "z"), 0);
  EXPECT_EQ(Get("z/b/c/f"), "deep");
}

TEST_F(RenameTest, SymlinkIsMovedNotFollowed) {
  Put("f", "1");
  ASSERT_EQ(Try(::symlink("f", "s")), 0);
  EXPECT_EQ(Rename("s", "t"), 0);
  EXPECT_EQ(ReadLink("t"), "f");
}

TEST_F(RenameTest, OverASymlinkReplacesTheLink) {
  Put("f", "1");
  Put("g", "2");
  ASSERT_EQ(Try(::symlink("f", "s")), 0);
  EXPECT_EQ(Rename("g", "s"), 0);
  EXPECT_EQ(Get("f"), "1");
  EXPECT_EQ(Get("s"), "2");
}

TEST_F(RenameTest, TouchesBothParentsTimes) {
  MkDir("p");
  MkDir("q");
  Put("p/f");
  const int64_t p = MTimeNs("p");
  const int64_t q = MTimeNs("q");
  NextTick();
  EXPECT_EQ(Rename("p/f", "q/f"), 0);
  EXPECT_GT(MTimeNs("p"), p);
  EXPECT_GT(MTimeNs("q"), q);
}

TEST_F(RenameTest, TouchesTheCtimeOfWhatMoves) {
  Put("f");
  const int64_t before = CTimeNs("f");
  NextTick();
  EXPECT_EQ(Rename("f", "g"), 0);
  EXPECT_GT(CTimeNs("g"), before);
}

TEST_F(RenameTest, KeepsTheMtimeOfWhatMoves) {
  Put("f");
  const int64_t before = MTimeNs("f");
  NextTick();
  EXPECT_EQ(Rename("f", "g"), 0);
  EXPECT_EQ(MTimeNs("g"), before);
}

TEST_F(RenameTest, NoReplaceOntoAFreeName) {
  Put("a", "1");
  EXPECT_EQ(Rename("a", "b", RENAME_NOREPLACE), 0);
  EXPECT_EQ(Get("b"), "1");
}

TEST_F(RenameTest, NoReplaceOntoAFileIsEexist) {
  Put("a", "1");
  Put("b", "2");
  EXPECT_EQ(Rename("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Get("a") + Get("b"), "12");
}

TEST_F(RenameTest, NoReplaceOntoItselfIsEexist) {
  Put("a");
  EXPECT_EQ(Rename("a", "a", RENAME_NOREPLACE), EEXIST);
}

TEST_F(RenameTest, ExchangeSwapsFiles) {
  Put("a", "1");
  Put("b", "2");
  EXPECT_EQ(Rename("a", "b", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Get("a") + Get("b"), "21");
}

TEST_F(RenameTest, ExchangeSwapsAFileWithANonEmptyDir) {
  Put("a", "1");
  MkDir("d");
  Put("d/x", "2");
  EXPECT_EQ(Rename("a", "d", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Get("d"), "1");
  EXPECT_EQ(Get("a/x"), "2");
}

TEST_F(RenameTest, ExchangeOverParentsMovesLinkCounts) {
  MkDir("p");
  MkDir("q");
  Put("p/x");
  MkDir("q/x");
  EXPECT_EQ(Rename("p/x", "q/x", RENAME_EXCHANGE), 0);
  EXPECT_EQ(LStat("p").st_nlink, 3U);
  EXPECT_EQ(LStat("q").st_nlink, 2U);
}

TEST_F(RenameTest, ExchangeWithAMissingNameIsEnoent) {
  Put("a");
  EXPECT_EQ(Rename("a", "b", RENAME_EXCHANGE), ENOENT);
}

TEST_F(RenameTest, ExchangeOfDirWithItsChildIsEinval) {
  MkDir("d");
  MkDir("d/e");
  EXPECT_EQ(Rename("d", "d/e", RENAME_EXCHANGE), EINVAL);
}

TEST_F(RenameTest, NoReplaceWithExchangeIsEinval) {
  Put("a");
  Put("b");
  EXPECT_EQ(Rename("a", "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
}

TEST_F(RenameTest, AWhiteoutStaysUnderTheOldName) {
  Put("a", "1");
  Put("b", "2");
  MkDir("d");
  EXPECT_EQ(Rename("a", "b", RENAME_WHITEOUT), 0);
  EXPECT_EQ(Rename("d", "e", RENAME_WHITEOUT), 0);
  EXPECT_EQ(Get("b"), "1");
  for (const char* old : {"a", "d"}) {
    EXPECT_EQ(LStat(old).st_mode & S_IFMT, unsigned{S_IFCHR}) << old;
    EXPECT_EQ(LStat(old).st_rdev, 0U) << old;
  }
  EXPECT_EQ(LStat("e").st_mode & S_IFMT, unsigned{S_IFDIR});
  EXPECT_EQ(Rename("a", "b", RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
}

TEST_F(RenameTest, UnknownFlagIsEinval) {
  Put("a");
  EXPECT_EQ(Rename("a", "b", 1U << 20), EINVAL);
}

TEST_F(RenameTest, DotIsEbusyOrEinval) {
  MkDir("d");
  const int error = Rename("d/.", "e");
  EXPECT_TRUE(error == EBUSY || error == EINVAL) << error;
}

TEST_F(RenameTest, FileWithTrailingSlashIsEnotdir) {
  Put("a");
  EXPECT_EQ(Rename("a/", "b"), ENOTDIR);
  EXPECT_EQ(Rename("a", "b/"), ENOTDIR);
}

TEST_F(RenameTest, TooLongNameIsEnametoolong) {
  Put("a");
  EXPECT_EQ(Rename("a", std::string(256, 'n').c_str()), ENAMETOOLONG);
}

TEST_F(RenameRootTest, OutOfAStickyDirOfAnotherIsEperm) {
  MkDir("d", 01777);
  Put("d/f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [&] { return Rename("d/f", "d/g"); }), EPERM);
}

TEST_F(RenameRootTest, WithoutWritePermissionIsEacces) {
  MkDir("d", 0755);
  Put("d/f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [&] { return Rename("d/f", "d/g"); }), EACCES);
}

TEST_F(RenameTest, SurvivesARemount) {
  MkDir("p");
  MkDir("q");
  Put("p/f", "1");
  EXPECT_EQ(Rename("p/f", "q/g"), 0);
  Remount();
  EXPECT_EQ(Get("q/g"), "1");
  EXPECT_FALSE(Exists("p/f"));
}

TEST_F(RenameTest, ManyTimesOverTheSameTarget) {
  for (int i = 0; i < 200; ++i) {
    Put("tmp", std::to_string(i));
    ASSERT_EQ(Rename("tmp", "checkpoint"), 0);
    ASSERT_EQ(Get("checkpoint"), std::to_string(i));
  }
}

}  // namespace
}  // namespace px::testing
