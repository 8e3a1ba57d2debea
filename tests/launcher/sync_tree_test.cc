#include "launcher/sync_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace px::launcher {
namespace {

namespace fs = std::filesystem;

class SyncTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "px-sync-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    fs::create_directories(root_ + "/from");
    fs::create_directories(root_ + "/to");
    options_ = {.ignored = [](const std::string& path, bool) { return path.ends_with(".pyc"); },
                .prune = [](const std::string&) { return true; }};
  }
  void TearDown() override { fs::remove_all(root_); }
  void Write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/from/" + name).parent_path());
    std::ofstream(root_ + "/from/" + name) << text;
  }
  std::string Read(const std::string& name) {
    std::ifstream file(root_ + "/to/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  int64_t Sync() {
    const auto changes = SyncTree(root_ + "/from", root_ + "/to", options_);
    EXPECT_TRUE(changes) << changes.error().ToString();
    return changes.value_or(-1);
  }
  ino_t Inode(const std::string& name) {
    struct stat status{};
    EXPECT_EQ(::lstat((root_ + "/to/" + name).c_str(), &status), 0);
    return status.st_ino;
  }

  std::string root_;
  SyncOptions options_;
};

TEST_F(SyncTreeTest, KeepsModesTimesAndLinks) {
  Write("run.sh", "echo\n");
  fs::permissions(root_ + "/from/run.sh", fs::perms::owner_all);
  fs::create_symlink("run.sh", root_ + "/from/link");
  Write("sub/x.pyc", "no");
  Write("sub/x.py", "yes");
  Sync();
  EXPECT_EQ(Read("run.sh"), "echo\n");
  EXPECT_EQ(fs::status(root_ + "/to/run.sh").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::last_write_time(root_ + "/to/run.sh"), fs::last_write_time(root_ + "/from/run.sh"));
  EXPECT_EQ(fs::read_symlink(root_ + "/to/link"), "run.sh");
  EXPECT_EQ(Read("sub/x.py"), "yes");
  EXPECT_FALSE(fs::exists(root_ + "/to/sub/x.pyc"));
}

TEST_F(SyncTreeTest, TouchesOnlyWhatChanged) {
  Write("same", "1");
  Write("other", "1");
  Sync();
  const ino_t same = Inode("same");
  EXPECT_EQ(Sync(), 0);
  // The same size, at once: seen by its time.
  Write("other", "2");
  EXPECT_EQ(Sync(), 1);
  EXPECT_EQ(Read("other"), "2");
  EXPECT_EQ(Inode("same"), same);
}

TEST_F(SyncTreeTest, RemovesWhatIsGoneAndChangesKinds) {
  Write("a/b", "1");
  Write("c", "1");
  Sync();
  fs::remove_all(root_ + "/from/a");
  Write("a", "now a file");
  fs::remove(root_ + "/from/c");
  fs::create_directory(root_ + "/from/c");
  Sync();
  EXPECT_EQ(Read("a"), "now a file");
  EXPECT_TRUE(fs::is_directory(root_ + "/to/c"));
  EXPECT_EQ(Sync(), 0);
}

}  // namespace
}  // namespace px::launcher
