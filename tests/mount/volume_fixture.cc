#include "tests/mount/volume_fixture.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cstring>

#include "tests/mount/acl.h"

namespace px::testing {

void VolumeTest::MakeTree(const std::string& path) {
  Create(path);
  Put(path + "/checkpoint", Pattern(3 << 20));
  Put(path + "/small", "small");
  Put(path + "/empty");
  Put(path + "/.hidden", "dot");
  Put(path + "/" + std::string(255, 'n'), "long");
  Put(path + "/\xff\xfe", "bytes");
  Put(path + "/setuid", "x");
  ASSERT_EQ(Try(::chmod((path + "/setuid").c_str(), 06751)), 0);
  MkDir(path + "/dir", 01777);
  MkDir(path + "/dir/deeper");
  Put(path + "/dir/deeper/f", Pattern(70'000, 2), 0600);
  MkDir(path + "/emptydir", 0700);
  ASSERT_EQ(Try(::link((path + "/small").c_str(), (path + "/dir/hardlink").c_str())), 0);
  ASSERT_EQ(Try(::symlink("small", (path + "/symlink").c_str())), 0);
  ASSERT_EQ(Try(::symlink(std::string(3'000, 't').c_str(), (path + "/longlink").c_str())), 0);
  ASSERT_EQ(Try(::mkfifo((path + "/fifo").c_str(), 0640)), 0);
  {
    const UniqueFd fd = Open(path + "/sparse", O_CREAT | O_RDWR);
    WriteAt(fd.get(), 10 << 20, Pattern(5'000));
    ASSERT_EQ(Try(::ftruncate(fd.get(), 20 << 20)), 0);
  }
  const std::string value = Pattern(60'000, 3);
  ASSERT_EQ(Try(::setxattr((path + "/small").c_str(), "user.note", value.data(), value.size(), 0)),
            0);
  ASSERT_EQ(Try(::setxattr(path.c_str(), "user.top", "1", 1, 0)), 0);
  const Acl acl = {{AclEntry::kUserObj, 6},
                   {AclEntry::kUser, 6, kAlice},
                   {AclEntry::kGroupObj, 4},
                   {AclEntry::kMask, 6},
                   {AclEntry::kOther, 0}};
  ASSERT_EQ(WriteAcl((path + "/small").c_str(), kAclAccess, acl), 0);
  if (root()) {
    ASSERT_EQ(Try(::chown((path + "/dir/deeper/f").c_str(), kAlice, kBob)), 0);
    ASSERT_EQ(Try(::mknod((path + "/device").c_str(), S_IFCHR | 0666, ::makedev(1, 5))), 0);
    ASSERT_EQ(Try(::setxattr((path + "/empty").c_str(), "trusted.t", "t", 1, 0)), 0);
  }
  const timespec times[2] = {{1'000'000'000, 1}, {1'234'567'890, 123'456'789}};
  ASSERT_EQ(Try(::utimensat(AT_FDCWD, (path + "/dir").c_str(), times, 0)), 0);
  ASSERT_EQ(Try(::utimensat(AT_FDCWD, (path + "/symlink").c_str(), times, AT_SYMLINK_NOFOLLOW)), 0);
}

}  // namespace px::testing
