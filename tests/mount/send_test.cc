// px-fs send and px-fs receive, as a user types them.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <filesystem>
#include <functional>
#include <regex>

#include "fs/stream.h"
#include "tests/fuzz/random.h"
#include "tests/mount/process.h"
#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

using fs::StreamBegin;
using fs::StreamEntry;
using fs::StreamWriter;

class SendTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    MakeTree("a");
    ASSERT_EQ(SnapshotVolume("a", "one"), 0);
  }
  // `command` with $PX for px-fs.
  static RunResult Shell(const std::string& command) {
    return Execute({"sh", "-c", "PX=" + MountFixture::PxFsProgram() + "; " + command});
  }
  static void Works(const std::string& command) {
    const RunResult result = Shell(command);
    ASSERT_EQ(result.exit_code, 0) << command << ": " << result.output;
  }
  static void Refused(const std::string& command, int code, const std::string& says) {
    const RunResult result = Shell(command);
    EXPECT_EQ(result.exit_code, code) << command << ": " << result.output;
    EXPECT_NE(result.output.find(says), std::string::npos) << command << ": " << result.output;
  }
  static bool Exists(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0;
  }
  static void ExpectSame(const std::string& a, const std::string& b) {
    TreeOptions options;
    options.owners = root();
    EXPECT_EQ(Description(a, options), Description(b, options));
  }
  // Without the mark of a received volume.
  static std::string Description(const std::string& path, const TreeOptions& options) {
    static const std::regex mark(" user\\.px-state=[^ \n]*");
    return std::regex_replace(DescribeTree(path, options), mark, "");
  }
  static void Keep(const std::string& path, const std::string& bytes) {
    std::filesystem::remove(path);
    Put(path, bytes);
  }
};

TEST_F(SendTest, AVolumeArrivesAsItWas) {
  Works("$PX send a/.snapshots/one | $PX receive b");
  ExpectSame("a/.snapshots/one", "b");
  EXPECT_EQ(OpenErrno("b/small", O_WRONLY), EROFS);
  EXPECT_FALSE(Exists("b.receiving"));
  // And may be sent on.
  Works("$PX send b | $PX receive c");
  ExpectSame("b", "c");
}

TEST_F(SendTest, OnlyWhatChangedIsSent) {
  Works("$PX send a/.snapshots/one | $PX receive b");
  {
    const UniqueFd fd = Open("a/checkpoint", O_RDWR);
    WriteAt(fd.get(), 1 << 20, "changed");
  }
  ASSERT_EQ(Try(::truncate("a/sparse", 12 << 20)), 0);
  ASSERT_EQ(Try(::rename("a/dir", "a/renamed")), 0);
  ASSERT_EQ(Try(::unlink("a/.hidden")), 0);
  MkDir("a/.hidden");
  Put("a/.hidden/in", "a directory now");
  ASSERT_EQ(Try(::rmdir("a/emptydir")), 0);
  Put("a/emptydir", "a file now");
  ASSERT_EQ(Try(::link("a/setuid", "a/setuid2")), 0);
  ASSERT_EQ(Try(::removexattr("a/small", "user.note")), 0);
  ASSERT_EQ(Try(::removexattr("a", "user.top")), 0);
  ASSERT_EQ(Try(::chmod("a", 0751)), 0);
  ASSERT_EQ(Try(::rename("a/fifo", "a/\xff\xfe")), 0);
  ASSERT_EQ(SnapshotVolume("a", "two"), 0);
  Works("$PX send a/.snapshots/two --since one > stream");
  Works("$PX receive c < stream");
  ExpectSame("a/.snapshots/two", "c");
  ExpectSame("a/.snapshots/one", "b");
  // A piece of the checkpoint, and the directory that was renamed.
  EXPECT_LT(std::filesystem::file_size("stream"), size_t{1} << 19);
  // With reflinks the file has an object of its own whose blocks are shared below px.
  if (!TheMount().mode().xfs) {
    EXPECT_LT(UsageOf("c").exclusive_bytes, UsageOf("c").shared_bytes);
  }
}

TEST_F(SendTest, AnyChangesOneAfterTheOther) {
  constexpr const char* kNames[] = {"f", "g", "d", "e", "d/f", "d/g", "e/f", "d/d", "e/d", "d/d/f"};
  const auto any = [&](Random& random) {
    return std::string("a/") + kNames[random.Below(std::size(kNames))];
  };
  Random random(7);
  Works("$PX send a/.snapshots/one | $PX receive copy0");
  std::string last = "one";
  for (int round = 1; round <= 12; ++round) {
    for (int i = 0; i < 30; ++i) {
      const std::string path = any(random), other = any(random);
      switch (random.Below(6)) {
        case 0:
          ::mkdir(path.c_str(), 0755);
          break;
        case 1:
          ::rename(path.c_str(), other.c_str());
          break;
        case 2:
          ::link(path.c_str(), other.c_str());
          break;
        case 3:
          ::remove(path.c_str());
          break;
        default: {
          const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT, 0644));
          if (fd) WriteAt(fd.get(), random.Below(400'000), Pattern(random.Below(90'000), i));
        }
      }
    }
    const std::string name = "round" + std::to_string(round);
    ASSERT_EQ(SnapshotVolume("a", name), 0);
    const std::string copy = "copy" + std::to_string(round);
    Works("$PX send a/.snapshots/" + name + " --since " + last + " | $PX receive " + copy);
    ExpectSame("a/.snapshots/" + name, copy);
    last = name;
  }
}

TEST_F(SendTest, ABrokenStreamIsGoneOnWith) {
  Works("$PX send a/.snapshots/one > whole");
  const auto size = std::filesystem::file_size("whole");
  for (const size_t part : {size / 100, size / 10, size / 3, size / 2, size - 20}) {
    Refused("head -c " + std::to_string(part) + " whole | $PX receive b", 1, "ends before its end");
    EXPECT_FALSE(Exists("b"));
    // Breaks a second time where it can.
    Shell(
        "$PX send a/.snapshots/one --resume \"$($PX receive --token b)\" | head -c 100000 | "
        "$PX receive b");
    if (!Exists("b")) {
      Works("$PX send a/.snapshots/one --resume \"$($PX receive --token b)\" > rest");
      Works("$PX receive b < rest");
    }
    ExpectSame("a/.snapshots/one", "b");
    ASSERT_EQ(DropVolume("b"), 0);
  }
}

TEST_F(SendTest, ADamagedStreamIsFound) {
  Works("$PX send a/.snapshots/one > whole");
  const std::string whole = Get("whole");
  Random random(3);
  for (int i = 0; i < 12; ++i) {
    std::string damaged = whole;
    damaged[40 + random.Below(damaged.size() - 40)] ^= static_cast<char>(1 << random.Below(8));
    Keep("damaged", damaged);
    const RunResult result = Shell("$PX receive b < damaged");
    EXPECT_TRUE(result.exit_code == 12 || result.exit_code == 1) << result.output;
    EXPECT_FALSE(Exists("b"));
  }
  Works("$PX receive b < whole");  // what was received in part makes room
  ExpectSame("a/.snapshots/one", "b");
}

TEST_F(SendTest, WhatCannotBeIsRefused) {
  Refused("$PX send a > x", 2, "can change while it is sent");
  Refused("$PX send a/dir > x", 2, "is not a volume");
  Refused("$PX send a/.snapshots/none > x", 10, "none");
  Refused("$PX send a/.snapshots/one --resume nonsense > x", 2, "not what receive --token gives");
  Refused("$PX receive b < /dev/null", 1, "ends before its end");
  Refused("echo no stream, this | $PX receive b", 1, "not a stream of px-fs send");
  Refused("$PX receive --token b", 10, "nothing was received in part");
  ASSERT_EQ(SnapshotVolume("a", "two"), 0);
  Refused("$PX send a/.snapshots/two --since one | $PX receive b", 10, "receive that first");
  Refused("$PX send a/.snapshots/one | $PX receive a", 1, "File exists");
}

// A stream may be anybody's: whatever it says, nothing outside the new volume is touched.
TEST_F(SendTest, NoStreamLeadsOutOfItsVolume) {
  const auto stream = [](const std::function<void(StreamWriter&)>& body) {
    const UniqueFd file(::open("evil", O_CREAT | O_TRUNC | O_WRONLY, 0600));
    StreamWriter writer(file.get());
    ASSERT_TRUE(writer.Begin(StreamBegin{.state = {.volume = 7, .created_ns = 1}}));
    body(writer);
  };
  const auto file = [](const std::string& path) {
    StreamEntry entry;
    entry.path = path;
    entry.mode = S_IFREG | 0644;
    return entry;
  };
  const std::string before = DescribeTree("a");
  for (const std::string& path :
       {std::string("../a/small"), std::string("/etc/px-test"), std::string("x/../../a/small"),
        std::string(".."), std::string()}) {
    stream([&](StreamWriter& writer) {
      ASSERT_TRUE(writer.Entry(file(path)));
      ASSERT_TRUE(writer.Remove(path));
    });
    EXPECT_NE(Shell("$PX receive b < evil").exit_code, 0) << path;
  }
  stream([&](StreamWriter& writer) {
    StreamEntry link = file("link");
    link.mode = S_IFLNK | 0777;
    link.target = "../a";
    ASSERT_TRUE(writer.Entry(link));
    ASSERT_TRUE(writer.Entry(file("link/small")));
  });
  EXPECT_NE(Shell("$PX receive b < evil").exit_code, 0);
  stream([&](StreamWriter& writer) {
    StreamEntry link = file("hard");
    link.same_as = "../a/small";
    ASSERT_TRUE(writer.Entry(link));
  });
  EXPECT_NE(Shell("$PX receive b < evil").exit_code, 0);
  EXPECT_FALSE(Exists("b"));
  EXPECT_EQ(DescribeTree("a"), before);
}

}  // namespace
}  // namespace px::testing
