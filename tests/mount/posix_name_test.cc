// Names and symbolic links.
#include <algorithm>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class NameTest : public PosixTest {};

TEST_F(NameTest, Of255BytesWorks) {
  const std::string name(255, 'n');
  Put(name, "1");
  EXPECT_EQ(Get(name), "1");
  EXPECT_EQ(List("."), std::vector<std::string>{name});
  EXPECT_EQ(Try(::unlink(name.c_str())), 0);
}

TEST_F(NameTest, Of256BytesIsEnametoolong) {
  const std::string name(256, 'n');
  EXPECT_EQ(OpenErrno(name, O_CREAT | O_WRONLY), ENAMETOOLONG);
  EXPECT_EQ(Try(::mkdir(name.c_str(), 0755)), ENAMETOOLONG);
  EXPECT_EQ(Try(::symlink("x", name.c_str())), ENAMETOOLONG);
  EXPECT_EQ(Try(::unlink(name.c_str())), ENAMETOOLONG);
}

TEST_F(NameTest, AnyByteButSlashAndNul) {
  std::vector<std::string> names;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/' || byte == '.') continue;
    names.emplace_back(1, static_cast<char>(byte));
    Put(names.back(), names.back());
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(List("."), names);
  for (const std::string& name : names) EXPECT_EQ(Get(name), name);
}

TEST_F(NameTest, InvalidUtf8IsKept) {
  const std::string name = "\xff\xfe\x80 caf\xe9";
  Put(name, "1");
  EXPECT_EQ(List("."), std::vector<std::string>{name});
}

TEST_F(NameTest, CaseMatters) {
  Put("a", "lower");
  Put("A", "upper");
  EXPECT_EQ(Get("a") + Get("A"), "lowerupper");
}

TEST_F(NameTest, UnicodeFormsAreDifferentNames) {
  Put("\xc3\xa9", "composed");
  Put("e\xcc\x81", "decomposed");
  EXPECT_EQ(List(".").size(), 2U);
}

TEST_F(NameTest, DotfilesAndOddDotsAreOrdinary) {
  for (const char* name : {".hidden", "...", "..a", "a.", " ", "-rf", "*", "\n"}) Put(name, name);
  EXPECT_EQ(List(".").size(), 8U);
  EXPECT_EQ(Get("..."), "...");
}

TEST_F(NameTest, FusesOwnPrefixesAreOrdinary) {
  for (const char* name : {".fuse_hidden0001", ".xdg-volume-info", ".snapshots_"}) Put(name, name);
  EXPECT_EQ(List(".").size(), 3U);
}

TEST_F(NameTest, AfterMissingIsCreatedItIsFound) {
  EXPECT_EQ(OpenErrno("a", O_RDONLY), ENOENT);
  Put("a", "1");
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(Try(::unlink("a")), 0);
  EXPECT_EQ(OpenErrno("a", O_RDONLY), ENOENT);
}

class SymlinkTest : public PosixTest {};
class SymlinkRootTest : public SymlinkTest {};

TEST_F(SymlinkTest, TargetIsKeptAsWritten) {
  ASSERT_EQ(Try(::symlink("../x//y/./z/", "s")), 0);
  EXPECT_EQ(ReadLink("s"), "../x//y/./z/");
}

TEST_F(SymlinkTest, TargetOf4095Bytes) {
  if (!px() && TheMount().mode().xfs) GTEST_SKIP() << "XFS holds 1024 bytes";
  const std::string target(4095, 't');
  ASSERT_EQ(Try(::symlink(target.c_str(), "s")), 0);
  EXPECT_EQ(ReadLink("s"), target);
  Remount();
  EXPECT_EQ(ReadLink("s"), target);
}

TEST_F(SymlinkTest, TargetsOfManySizes) {
  if (!px() && TheMount().mode().xfs) GTEST_SKIP() << "XFS holds 1024 bytes";
  for (const size_t size : {1, 59, 60, 61, 255, 959, 960, 961, 1920, 1921, 3000}) {
    const std::string name = std::to_string(size);
    ASSERT_EQ(Try(::symlink(std::string(size, 'x').c_str(), name.c_str())), 0);
    EXPECT_EQ(ReadLink(name), std::string(size, 'x'));
  }
}

TEST_F(SymlinkTest, TargetOf4096BytesIsEnametoolong) {
  EXPECT_EQ(Try(::symlink(std::string(4096, 't').c_str(), "s")), ENAMETOOLONG);
}

TEST_F(SymlinkTest, EmptyTargetIsEnoent) { EXPECT_EQ(Try(::symlink("", "s")), ENOENT); }

TEST_F(SymlinkTest, SizeIsTheTargetsLength) {
  ASSERT_EQ(Try(::symlink("12345", "s")), 0);
  EXPECT_EQ(LStat("s").st_size, 5);
}

TEST_F(SymlinkTest, ModeIs0777) {
  ::umask(077);
  ASSERT_EQ(Try(::symlink("x", "s")), 0);
  EXPECT_EQ(LStat("s").st_mode, mode_t{S_IFLNK} | 0777);
}

TEST_F(SymlinkTest, OntoAnExistingNameIsEexist) {
  Put("a");
  EXPECT_EQ(Try(::symlink("x", "a")), EEXIST);
}

TEST_F(SymlinkTest, IsFollowedToFilesAndDirs) {
  MkDir("d");
  Put("d/f", "1");
  ASSERT_EQ(Try(::symlink("d", "s")), 0);
  EXPECT_EQ(Get("s/f"), "1");
}

TEST_F(SymlinkTest, DanglingIsEnoent) {
  ASSERT_EQ(Try(::symlink("nowhere", "s")), 0);
  EXPECT_EQ(OpenErrno("s", O_RDONLY), ENOENT);
}

TEST_F(SymlinkTest, CreateThroughADanglingOneMakesItsTarget) {
  ASSERT_EQ(Try(::symlink("target", "s")), 0);
  Put("s", "1");
  EXPECT_EQ(Get("target"), "1");
}

TEST_F(SymlinkTest, LoopIsEloop) {
  ASSERT_EQ(Try(::symlink("b", "a")), 0);
  ASSERT_EQ(Try(::symlink("a", "b")), 0);
  EXPECT_EQ(OpenErrno("a", O_RDONLY), ELOOP);
}

TEST_F(SymlinkTest, ReadlinkOfAFileIsEinval) {
  Put("a");
  char buffer[8];
  EXPECT_EQ(Try(::readlink("a", buffer, sizeof buffer)), EINVAL);
}

TEST_F(SymlinkTest, ReadlinkTruncatesToTheBuffer) {
  ASSERT_EQ(Try(::symlink("123456789", "s")), 0);
  char buffer[4];
  EXPECT_EQ(::readlink("s", buffer, sizeof buffer), 4);
}

TEST_F(SymlinkRootTest, OwnerChangesWithoutFollowing) {
  Put("f");
  ASSERT_EQ(Try(::symlink("f", "s")), 0);
  EXPECT_EQ(Try(::lchown("s", kAlice, kBob)), 0);
  EXPECT_EQ(LStat("s").st_uid, kAlice);
  EXPECT_EQ(LStat("f").st_uid, 0U);
}

TEST_F(SymlinkTest, TimesChangeWithoutFollowing) {
  Put("f");
  ASSERT_EQ(Try(::symlink("f", "s")), 0);
  const timespec times[2] = {{1, 2}, {3, 4}};
  EXPECT_EQ(Try(::utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW)), 0);
  EXPECT_EQ(MTimeNs("s"), 3'000'000'004);
  EXPECT_GT(MTimeNs("f"), 3'000'000'004);
}

}  // namespace
}  // namespace px::testing
