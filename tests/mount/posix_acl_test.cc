// POSIX access control lists.
#include <cerrno>

#include "tests/mount/acl.h"
#include "tests/mount/posix.h"

namespace px::testing {
namespace {

using E = AclEntry;

class AclTest : public PosixTest {
 protected:
  // rw for the owner, `alice` for Alice, r for the group, `mask`, nothing for others.
  static Acl WithAlice(uint16_t alice, uint16_t mask) {
    return {{E::kUserObj, 6},
            {E::kUser, alice, kAlice},
            {E::kGroupObj, 4},
            {E::kMask, mask},
            {E::kOther, 0}};
  }
  static Acl Default() {
    return {
        {E::kUserObj, 7}, {E::kUser, 7, kAlice}, {E::kGroupObj, 5}, {E::kMask, 7}, {E::kOther, 0}};
  }
  static int ReadAs(uid_t uid, const char* path) {
    return AsUser(uid, uid, {}, [=] { return OpenErrno(path, O_RDONLY); });
  }
  static int WriteAs(uid_t uid, const char* path) {
    return AsUser(uid, uid, {}, [=] { return OpenErrno(path, O_WRONLY); });
  }
};
class AclRootTest : public AclTest {};

TEST_F(AclTest, IsReadBack) {
  Put("f", "", 0640);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(ReadAcl("f", kAclAccess), WithAlice(6, 6));
}

TEST_F(AclTest, NoneIsEnodata) {
  Put("f");
  EXPECT_EQ(GetXattr("f", kAclAccess), "!ENODATA");
}

TEST_F(AclRootTest, LetsANamedUserIn) {
  Put("f", "", 0600);
  EXPECT_EQ(ReadAs(kAlice, "f"), EACCES);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(ReadAs(kAlice, "f"), 0);
  EXPECT_EQ(WriteAs(kAlice, "f"), 0);
  EXPECT_EQ(ReadAs(kBob, "f"), EACCES);
}

TEST_F(AclRootTest, MaskLimitsANamedUser) {
  Put("f", "", 0600);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 4)), 0);
  EXPECT_EQ(ReadAs(kAlice, "f"), 0);
  EXPECT_EQ(WriteAs(kAlice, "f"), EACCES);
}

TEST_F(AclTest, GroupBitsOfTheModeAreTheMask) {
  Put("f", "", 0640);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(ModeOf("f"), 0660U);
}

TEST_F(AclTest, ChmodSetsTheMask) {
  Put("f", "", 0640);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(Try(::chmod("f", 0644)), 0);
  const Acl expected = {
      {E::kUserObj, 6}, {E::kUser, 6, kAlice}, {E::kGroupObj, 4}, {E::kMask, 4}, {E::kOther, 4}};
  EXPECT_EQ(ReadAcl("f", kAclAccess), expected);
  EXPECT_EQ(ModeOf("f"), 0644U);
}

TEST_F(AclRootTest, ChmodOfTheMaskShutsANamedUserOut) {
  Put("f", "", 0600);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(Try(::chmod("f", 0600)), 0);
  EXPECT_EQ(ReadAs(kAlice, "f"), EACCES);
  EXPECT_EQ(Try(::chmod("f", 0640)), 0);
  EXPECT_EQ(ReadAs(kAlice, "f"), 0);
}

TEST_F(AclTest, MinimalAclIsJustTheMode) {
  Put("f", "", 0640);
  const Acl minimal = {{E::kUserObj, 6}, {E::kGroupObj, 0}, {E::kOther, 4}};
  EXPECT_EQ(WriteAcl("f", kAclAccess, minimal), 0);
  EXPECT_EQ(ModeOf("f"), 0604U);
  EXPECT_EQ(GetXattr("f", kAclAccess), "!ENODATA");
}

TEST_F(AclTest, RemovedIsGone) {
  Put("f", "", 0640);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  EXPECT_EQ(Try(::removexattr("f", kAclAccess)), 0);
  EXPECT_EQ(GetXattr("f", kAclAccess), "!ENODATA");
}

TEST_F(AclTest, DefaultOnAFileIsEacces) {
  Put("f");
  EXPECT_EQ(WriteAcl("f", kAclDefault, Default()), EACCES);
}

TEST_F(AclTest, DefaultDoesNotChangeTheDirectorysMode) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  EXPECT_EQ(ModeOf("d"), 0700U);
  EXPECT_EQ(ReadAcl("d", kAclDefault), Default());
}

TEST_F(AclTest, DefaultIsInheritedByAFile) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  Put("d/f", "", 0666);
  const Acl expected = {
      {E::kUserObj, 6}, {E::kUser, 7, kAlice}, {E::kGroupObj, 5}, {E::kMask, 6}, {E::kOther, 0}};
  EXPECT_EQ(ReadAcl("d/f", kAclAccess), expected);
  EXPECT_EQ(ModeOf("d/f"), 0660U);
}

TEST_F(AclTest, DefaultReplacesTheUmask) {
  ::umask(077);
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  Put("d/f", "", 0666);
  EXPECT_EQ(ModeOf("d/f"), 0660U);
}

TEST_F(AclTest, DefaultIsInheritedByADirectoryAsBoth) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  MkDir("d/e", 0777);
  EXPECT_EQ(ReadAcl("d/e", kAclDefault), Default());
  EXPECT_EQ(ReadAcl("d/e", kAclAccess), Default());
  EXPECT_EQ(ModeOf("d/e"), 0770U);
}

TEST_F(AclTest, DefaultIsInheritedByAFifo) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  ASSERT_EQ(Try(::mkfifo("d/p", 0666)), 0);
  EXPECT_EQ(ModeOf("d/p"), 0660U);
}

TEST_F(AclTest, DefaultIsNotInheritedByASymlink) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  ASSERT_EQ(Try(::symlink("x", "d/s")), 0);
  EXPECT_EQ(LStat("d/s").st_mode & 0777, 0777U);
}

TEST_F(AclTest, MalformedIsEinval) {
  Put("f");
  EXPECT_EQ(Try(::setxattr("f", kAclAccess, "\2\0\0\0abc", 7, 0)), EINVAL);
  const Acl no_mask = {{E::kUserObj, 6}, {E::kUser, 6, kAlice}, {E::kGroupObj, 4}, {E::kOther, 0}};
  EXPECT_EQ(WriteAcl("f", kAclAccess, no_mask), EINVAL);
}

TEST_F(AclRootTest, ChangedByAnotherUserIsEperm) {
  Put("f", "", 0666);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return WriteAcl("f", kAclAccess, WithAlice(6, 6)); }),
            EPERM);
}

TEST_F(AclRootTest, NamedGroupIsLetIn) {
  Put("f", "", 0600);
  const Acl acl = {
      {E::kUserObj, 6}, {E::kGroupObj, 0}, {E::kGroup, 4, kBob}, {E::kMask, 4}, {E::kOther, 0}};
  EXPECT_EQ(WriteAcl("f", kAclAccess, acl), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {kBob}, [] { return OpenErrno("f", O_RDONLY); }), 0);
  EXPECT_EQ(AsUser(kAlice, kAlice, {}, [] { return OpenErrno("f", O_RDONLY); }), EACCES);
}

TEST_F(AclTest, SurvivesARemount) {
  MkDir("d", 0700);
  EXPECT_EQ(WriteAcl("d", kAclDefault, Default()), 0);
  Put("f", "", 0640);
  EXPECT_EQ(WriteAcl("f", kAclAccess, WithAlice(6, 6)), 0);
  Remount();
  EXPECT_EQ(ReadAcl("d", kAclDefault), Default());
  EXPECT_EQ(ReadAcl("f", kAclAccess), WithAlice(6, 6));
}

}  // namespace
}  // namespace px::testing
