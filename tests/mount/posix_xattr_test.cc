// Extended attributes.
#include <sys/xattr.h>

#include <algorithm>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class XattrTest : public PosixTest {
 protected:
  static int Set(const char* path, const char* name, std::string_view value, int flags = 0) {
    return Try(::lsetxattr(path, name, value.data(), value.size(), flags));
  }
  static int Remove(const char* path, const char* name) { return Try(::lremovexattr(path, name)); }
  // Names of the file without what the system put there by itself.
  static std::vector<std::string> Names(const char* path) {
    std::vector<std::string> names = ListXattr(path);
    std::erase_if(names, [](const std::string& name) { return name == "security.selinux"; });
    return names;
  }
};
class XattrRootTest : public XattrTest {};
class XattrPxTest : public XattrTest {};

TEST_F(XattrTest, ValueIsReadBack) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "value"), 0);
  EXPECT_EQ(GetXattr("f", "user.a"), "value");
}

TEST_F(XattrTest, ValueMayHoldAnyBytes) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", std::string_view("\0\xff\0", 3)), 0);
  EXPECT_EQ(GetXattr("f", "user.a"), std::string("\0\xff\0", 3));
}

TEST_F(XattrTest, EmptyValueIsAValue) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", ""), 0);
  EXPECT_EQ(GetXattr("f", "user.a"), "");
  EXPECT_EQ(Names("f"), std::vector<std::string>{"user.a"});
}

TEST_F(XattrTest, MissingIsEnodata) {
  Put("f");
  EXPECT_EQ(GetXattr("f", "user.a"), "!ENODATA");
  EXPECT_EQ(Remove("f", "user.a"), ENODATA);
}

TEST_F(XattrTest, SetReplaces) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "a longer first value"), 0);
  EXPECT_EQ(Set("f", "user.a", "2"), 0);
  EXPECT_EQ(GetXattr("f", "user.a"), "2");
}

TEST_F(XattrTest, CreateOfAnExistingIsEexist) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(Set("f", "user.a", "2", XATTR_CREATE), EEXIST);
  EXPECT_EQ(GetXattr("f", "user.a"), "1");
}

TEST_F(XattrTest, ReplaceOfAMissingIsEnodata) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(Set("f", "user.a", "1"), 0);
  EXPECT_EQ(Set("f", "user.a", "2", XATTR_REPLACE), 0);
  EXPECT_EQ(GetXattr("f", "user.a"), "2");
}

TEST_F(XattrTest, RemoveRemoves) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "1"), 0);
  EXPECT_EQ(Set("f", "user.b", "2"), 0);
  EXPECT_EQ(Remove("f", "user.a"), 0);
  EXPECT_EQ(Names("f"), std::vector<std::string>{"user.b"});
}

TEST_F(XattrTest, ListGivesAllNames) {
  Put("f");
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) {
    names.push_back("user.n" + std::to_string(i));
    ASSERT_EQ(Set("f", names.back().c_str(), "v"), 0) << i;
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(Names("f"), names);
}

TEST_F(XattrTest, ListOfNoneIsEmpty) {
  Put("f");
  EXPECT_TRUE(Names("f").empty());
}

TEST_F(XattrTest, SmallBufferIsErange) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "12345678"), 0);
  char buffer[4];
  EXPECT_EQ(Try(::getxattr("f", "user.a", buffer, sizeof buffer)), ERANGE);
  EXPECT_EQ(Try(::listxattr("f", buffer, sizeof buffer)), ERANGE);
}

TEST_F(XattrTest, SizeZeroAsksForTheSize) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "12345678"), 0);
  EXPECT_EQ(::getxattr("f", "user.a", nullptr, 0), 8);
  EXPECT_GE(::listxattr("f", nullptr, 0), 7);
}

TEST_F(XattrTest, ValuesOfManySizes) {
  Put("f");
  for (const size_t size : {1, 100, 900, 959, 960, 961, 1900, 2000, 3000}) {
    ASSERT_EQ(Set("f", "user.a", Pattern(size, size)), 0) << size;
    ASSERT_EQ(GetXattr("f", "user.a"), Pattern(size, size)) << size;
  }
}

TEST_F(XattrPxTest, ValueOf64KiB) {
  Put("f");
  EXPECT_EQ(Set("f", "user.big", Pattern(65536)), 0);
  EXPECT_EQ(GetXattr("f", "user.big"), Pattern(65536));
  EXPECT_EQ(Set("f", "user.big", "small again"), 0);
  EXPECT_EQ(GetXattr("f", "user.big"), "small again");
  EXPECT_EQ(Names("f"), std::vector<std::string>{"user.big"});
}

TEST_F(XattrPxTest, ManyLargeValuesSurviveARemount) {
  Put("f");
  for (int i = 0; i < 8; ++i) {
    const std::string name = "user.v" + std::to_string(i);
    ASSERT_EQ(Set("f", name.c_str(), Pattern(65536, static_cast<uint64_t>(i))), 0);
  }
  Remount();
  for (int i = 0; i < 8; ++i) {
    const std::string name = "user.v" + std::to_string(i);
    EXPECT_EQ(GetXattr("f", name.c_str()), Pattern(65536, static_cast<uint64_t>(i)));
  }
}

TEST_F(XattrTest, ValueOver64KiBIsE2big) {
  Put("f");
  EXPECT_EQ(Set("f", "user.big", Pattern(65537)), E2BIG);
}

TEST_F(XattrTest, NameOf255Bytes) {
  Put("f");
  const std::string name = "user." + std::string(250, 'n');
  EXPECT_EQ(Set("f", name.c_str(), "1"), 0);
  EXPECT_EQ(GetXattr("f", name.c_str()), "1");
  EXPECT_EQ(Names("f"), std::vector<std::string>{name});
}

TEST_F(XattrTest, NameOf256BytesIsErange) {
  Put("f");
  EXPECT_EQ(Set("f", ("user." + std::string(251, 'n')).c_str(), "1"), ERANGE);
}

TEST_F(XattrTest, OnADirectory) {
  MkDir("d");
  EXPECT_EQ(Set("d", "user.a", "1"), 0);
  EXPECT_EQ(GetXattr("d", "user.a"), "1");
}

TEST_F(XattrTest, UserOnASymlinkIsEperm) {
  ASSERT_EQ(Try(::symlink("x", "s")), 0);
  EXPECT_EQ(Set("s", "user.a", "1"), EPERM);
}

TEST_F(XattrRootTest, TrustedForRoot) {
  Put("f");
  EXPECT_EQ(Set("f", "trusted.a", "1"), 0);
  EXPECT_EQ(GetXattr("f", "trusted.a"), "1");
  EXPECT_EQ(Names("f"), std::vector<std::string>{"trusted.a"});
}

TEST_F(XattrRootTest, TrustedForOthersIsHidden) {
  Put("f", "", 0666);
  EXPECT_EQ(Set("f", "trusted.a", "1"), 0);
  EXPECT_EQ(
      AsUser(kAlice, kAlice, {}, [] { return Try(::getxattr("f", "trusted.a", nullptr, 0)); }),
      ENODATA);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Set("f", "trusted.b", "1"); }), EPERM);
}

TEST_F(XattrRootTest, SecurityForRoot) {
  Put("f");
  EXPECT_EQ(Set("f", "security.px_test", "1"), 0);
  EXPECT_EQ(GetXattr("f", "security.px_test"), "1");
}

TEST_F(XattrTest, UnknownNamespaceIsEopnotsupp) {
  Put("f");
  EXPECT_EQ(Set("f", "nonsense.a", "1"), EOPNOTSUPP);
}

TEST_F(XattrRootTest, WithoutWritePermissionIsEacces) {
  Put("f", "", 0644);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return Set("f", "user.a", "1"); }), EACCES);
}

TEST_F(XattrTest, TouchesCtimeNotMtime) {
  Put("f");
  const int64_t ctime = CTimeNs("f");
  const int64_t mtime = MTimeNs("f");
  NextTick();
  EXPECT_EQ(Set("f", "user.a", "1"), 0);
  EXPECT_GT(CTimeNs("f"), ctime);
  EXPECT_EQ(MTimeNs("f"), mtime);
}

TEST_F(XattrTest, OnAnOpenUnlinkedFile) {
  const UniqueFd fd = Open("f", O_CREAT | O_RDWR);
  ASSERT_EQ(Try(::unlink("f")), 0);
  EXPECT_EQ(Try(::fsetxattr(fd.get(), "user.a", "1", 1, 0)), 0);
  char value = 0;
  EXPECT_EQ(::fgetxattr(fd.get(), "user.a", &value, 1), 1);
  EXPECT_EQ(value, '1');
}

TEST_F(XattrTest, BelongsToTheInodeNotTheName) {
  Put("f");
  EXPECT_EQ(Set("f", "user.a", "1"), 0);
  ASSERT_EQ(Try(::link("f", "g")), 0);
  EXPECT_EQ(GetXattr("g", "user.a"), "1");
  ASSERT_EQ(Try(::unlink("f")), 0);
  Put("f");
  EXPECT_EQ(GetXattr("f", "user.a"), "!ENODATA");
}

}  // namespace
}  // namespace px::testing
