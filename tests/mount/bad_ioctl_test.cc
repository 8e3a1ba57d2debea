// Control calls with arguments that no honest program sends: the daemon answers with an error, or
// does what a lawful call does, and lives.
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "tests/fuzz/random.h"
#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

constexpr std::array<unsigned long, 21> kCalls = {
    PX_IOC_INFO,     PX_IOC_TOKEN,         PX_IOC_CREATE,   PX_IOC_CLONE,   PX_IOC_DROP,
    PX_IOC_SNAPSHOT, PX_IOC_SNAPSHOT_DROP, PX_IOC_USAGE,    PX_IOC_DIFF,    PX_IOC_CHANGES,
    PX_IOC_STATUS,   PX_IOC_LIST,          PX_IOC_VERSIONS, PX_IOC_RESTORE, PX_IOC_TRASH,
    PX_IOC_UNDELETE, PX_IOC_TRASH_LIST,    PX_IOC_GC,       PX_IOC_SCRUB,   PX_IOC_SCRUB_STATUS,
    PX_IOC_ACCEPT};

class BadIoctlTest : public VolumeTest {
 protected:
  static bool Answers() {
    const UniqueFd fd = testing::Open(".", O_RDONLY | O_DIRECTORY);
    px_ioc_info info{};
    return ::ioctl(fd.get(), PX_IOC_INFO, &info) == 0;
  }
  static void Call(Random* random, int fd) {
    alignas(16) static std::array<char, 1 << 15> argument;
    const bool zero = random->OneIn(3);
    for (char& byte : argument) byte = zero ? '\0' : static_cast<char>(random->Next());
    if (random->OneIn(2)) {
      // Some names that mean something, where names are.
      static constexpr const char* kNames[] = {"a", "s", ".", "..", "a/b", "", ".snapshots", "dir"};
      const char* name = kNames[random->Below(std::size(kNames))];
      std::strcpy(argument.data() + random->Below(4) * 8, name);
    }
    unsigned long request = kCalls[random->Below(kCalls.size())];
    if (random->OneIn(4)) {
      // Another size, direction or number than the call has.
      request ^= uint64_t{1} << random->Below(32);
    }
    if (_IOC_SIZE(request) > argument.size()) return;
    ::ioctl(fd, request, argument.data());
  }
};

TEST_F(BadIoctlTest, RandomArgumentsDoNoHarm) {
  MakeTree("a");
  ASSERT_EQ(SnapshotVolume("a", "s"), 0);
  const std::string before = DescribeTree("a/.snapshots/s");
  const UniqueFd here = Open(".", O_RDONLY | O_DIRECTORY);
  const UniqueFd dir = Open("a/dir", O_RDONLY | O_DIRECTORY);
  const UniqueFd file = Open("a/small", O_RDONLY);
  Clone("a", "b");
  const UniqueFd root = Open("b", O_RDONLY | O_DIRECTORY);
  const std::array<int, 4> fds = {here.get(), dir.get(), file.get(), root.get()};
  Random random(1);
  for (int i = 0; i < 500; ++i) Call(&random, fds[random.Below(fds.size())]);
  EXPECT_TRUE(Answers());
  // Open files kept the volume from being dropped by a lucky guess.
  EXPECT_EQ(Get("a/small"), "small");
}

TEST_F(BadIoctlTest, UnterminatedNamesAreEinval) {
  const UniqueFd fd = Open(".", O_RDONLY | O_DIRECTORY);
  px_ioc_name name;
  std::memset(&name, 'x', sizeof name);
  for (const unsigned long call :
       {PX_IOC_CREATE, PX_IOC_DROP, PX_IOC_TRASH, PX_IOC_SNAPSHOT, PX_IOC_SNAPSHOT_DROP}) {
    EXPECT_EQ(Try(::ioctl(fd.get(), call, &name)), EINVAL) << call;
  }
  px_ioc_undelete undelete;
  std::memset(&undelete, 'x', sizeof undelete);
  EXPECT_EQ(Try(::ioctl(fd.get(), PX_IOC_UNDELETE, &undelete)), EINVAL);
}

TEST_F(BadIoctlTest, NamesThatLeadElsewhereAreRefused) {
  Create("a");
  const UniqueFd fd = Open(".", O_RDONLY | O_DIRECTORY);
  for (const char* text : {".", "..", "", "a/b", "/"}) {
    px_ioc_name name{};
    std::strcpy(name.name, text);
    for (const unsigned long call : {PX_IOC_CREATE, PX_IOC_DROP, PX_IOC_TRASH}) {
      EXPECT_NE(Try(::ioctl(fd.get(), call, &name)), 0) << call << " " << text;
    }
  }
}

TEST_F(BadIoctlTest, UnknownFlagsAreEinval) {
  const UniqueFd fd = Open(".", O_RDONLY | O_DIRECTORY);
  px_ioc_gc gc{};
  gc.flags = 0x80;
  EXPECT_EQ(Try(::ioctl(fd.get(), PX_IOC_GC, &gc)), EINVAL);
  px_ioc_clone clone{};
  clone.flags = 0x80;
  clone.name[0] = 'b';
  EXPECT_EQ(Try(::ioctl(fd.get(), PX_IOC_CLONE, &clone)), EINVAL);
}

TEST_F(BadIoctlTest, ForgedTokensAreRefused) {
  Create("a");
  const UniqueFd fd = Open(".", O_RDONLY | O_DIRECTORY);
  px_ioc_clone clone{};
  clone.name[0] = 'b';
  std::memset(clone.source.bytes, 7, sizeof clone.source.bytes);
  EXPECT_EQ(Try(::ioctl(fd.get(), PX_IOC_CLONE, &clone)), EACCES);
}

TEST_F(BadIoctlTest, AVolumeIsNotClonedIntoItself) {
  MakeTree("a");
  const UniqueFd root = Open("a", O_RDONLY | O_DIRECTORY);
  const UniqueFd dir = Open("a/dir", O_RDONLY | O_DIRECTORY);
  px_ioc_clone clone{};
  ASSERT_EQ(Try(::ioctl(root.get(), PX_IOC_TOKEN, &clone.source)), 0);
  clone.name[0] = 'b';
  EXPECT_EQ(Try(::ioctl(root.get(), PX_IOC_CLONE, &clone)), EXDEV);
  EXPECT_EQ(Try(::ioctl(dir.get(), PX_IOC_CLONE, &clone)), EXDEV);
}

TEST_F(BadIoctlTest, CursorsThatNobodyGaveAreHarmless) {
  MakeTree("a");
  const UniqueFd here = Open(".", O_RDONLY | O_DIRECTORY);
  static px_ioc_text text;
  Random random(2);
  for (int i = 0; i < 300; ++i) {
    for (const unsigned long call : {PX_IOC_LIST, PX_IOC_TRASH_LIST}) {
      text = {};
      for (__u8& byte : text.cursor) byte = static_cast<__u8>(random.Next());
      if (random.OneIn(2)) text.cursor[0] = 3, text.cursor[1] = 0;
      ::ioctl(here.get(), call, &text);
    }
  }
  EXPECT_TRUE(Answers());
}

using BadIoctlRootTest = BadIoctlTest;

// What an ordinary user may not reach in another's volume, by any way there is.
TEST_F(BadIoctlRootTest, AnotherUserGetsNothingOfAPrivateVolume) {
  ASSERT_EQ(Try(::chmod(".", 0777)), 0);
  MakeTree("a");
  ASSERT_EQ(SnapshotVolume("a", "s"), 0);
  ASSERT_EQ(Try(::chmod("a", 0700)), 0);
  const UniqueFd shown = Open("a", O_RDONLY | O_DIRECTORY);
  const int fd = shown.get();  // even with a descriptor of it
  EXPECT_EQ(AsUser(kAlice, kAlice, {},
                   [fd] {
                     static px_ioc_text text;
                     px_ioc_token token{};
                     px_ioc_usage usage{};
                     px_ioc_name name{};
                     name.name[0] = 'a';
                     px_ioc_name snapshot{};
                     snapshot.name[0] = 's';
                     px_ioc_restore restore{};
                     std::strcpy(restore.name, "small");
                     if (::open("a", O_RDONLY) >= 0) return 1;
                     if (::open("a/.snapshots/s/small", O_RDONLY) >= 0) return 2;
                     if (::ioctl(fd, PX_IOC_TOKEN, &token) == 0) return 3;
                     if (::ioctl(fd, PX_IOC_USAGE, &usage) == 0) return 4;
                     if (::ioctl(fd, PX_IOC_DIFF, &text) == 0) return 5;
                     if (::ioctl(fd, PX_IOC_SNAPSHOT, &snapshot) == 0) return 6;
                     if (::ioctl(fd, PX_IOC_SNAPSHOT_DROP, &snapshot) == 0) return 7;
                     if (::ioctl(fd, PX_IOC_RESTORE, &restore) == 0) return 8;
                     text = {};
                     std::strcpy(text.text, "small");
                     if (::ioctl(fd, PX_IOC_VERSIONS, &text) == 0) return 9;
                     const int here = ::open(".", O_RDONLY | O_DIRECTORY);
                     if (::ioctl(here, PX_IOC_DROP, &name) == 0) return 10;
                     if (::ioctl(here, PX_IOC_TRASH, &name) == 0) return 11;
                     text = {};
                     if (::ioctl(here, PX_IOC_LIST, &text) != 0 || text.length != 0) return 12;
                     char value[64];
                     if (::getxattr("a/small", "user.note", value, sizeof value) >= 0) return 13;
                     return 0;
                   }),
            0);
  EXPECT_EQ(Get("a/.snapshots/s/small"), "small");
}

TEST_F(BadIoctlRootTest, TheStoreIsClosedToOthers) {
  const std::string store = TheMount().store();
  EXPECT_EQ(Stat(store).st_mode & 077, 0U);
  ASSERT_TRUE(std::filesystem::exists(store + "/meta.db-wal"));
  for (const auto& entry : std::filesystem::directory_iterator(store)) {
    EXPECT_EQ(Stat(entry.path()).st_mode & 077, 0U) << entry.path();
  }
}

}  // namespace
}  // namespace px::testing
