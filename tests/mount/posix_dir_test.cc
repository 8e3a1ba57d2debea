// Directories: mkdir, rmdir, link counts, times, readdir.
#include <dirent.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "tests/mount/posix.h"

namespace px::testing {
namespace {

class DirTest : public PosixTest {};
class DirRootTest : public DirTest {};

TEST_F(DirTest, NewOneIsEmptyWithTwoLinks) {
  MkDir("d");
  EXPECT_TRUE(List("d").empty());
  EXPECT_EQ(LStat("d").st_nlink, 2U);
}

TEST_F(DirTest, SubdirectoryCountsInItsParent) {
  MkDir("d");
  MkDir("d/a");
  MkDir("d/b");
  EXPECT_EQ(LStat("d").st_nlink, 4U);
  EXPECT_EQ(Try(::rmdir("d/a")), 0);
  EXPECT_EQ(LStat("d").st_nlink, 3U);
}

TEST_F(DirTest, FilesDoNotCountInTheirParent) {
  MkDir("d");
  Put("d/a");
  EXPECT_EQ(LStat("d").st_nlink, 2U);
}

TEST_F(DirTest, MkdirOfAnExistingNameIsEexist) {
  Put("a");
  MkDir("d");
  EXPECT_EQ(Try(::mkdir("a", 0755)), EEXIST);
  EXPECT_EQ(Try(::mkdir("d", 0755)), EEXIST);
}

TEST_F(DirTest, MkdirBelowAFileIsEnotdir) {
  Put("a");
  EXPECT_EQ(Try(::mkdir("a/d", 0755)), ENOTDIR);
}

TEST_F(DirTest, MkdirBelowAMissingDirIsEnoent) { EXPECT_EQ(Try(::mkdir("a/d", 0755)), ENOENT); }

TEST_F(DirTest, MkdirHonoursUmask) {
  ::umask(027);
  MkDir("d", 0777);
  EXPECT_EQ(ModeOf("d"), 0750U);
}

TEST_F(DirTest, MkdirKeepsTheStickyBit) {
  MkDir("d", 01777);
  EXPECT_EQ(ModeOf("d"), 01777U);
}

TEST_F(DirTest, RmdirOfNonEmptyIsEnotempty) {
  MkDir("d");
  Put("d/a");
  EXPECT_EQ(Try(::rmdir("d")), ENOTEMPTY);
}

TEST_F(DirTest, RmdirOfAFileIsEnotdir) {
  Put("a");
  EXPECT_EQ(Try(::rmdir("a")), ENOTDIR);
}

TEST_F(DirTest, RmdirOfDotIsEinval) { EXPECT_EQ(Try(::rmdir(".")), EINVAL); }

TEST_F(DirTest, RmdirOfDotDotIsEnotempty) {
  MkDir("d");
  EXPECT_EQ(Try(::rmdir("d/..")), ENOTEMPTY);
}

TEST_F(DirTest, RmdirOfTheOpenDirectoryLeavesAnEmptyOne) {
  MkDir("d");
  const UniqueFd fd = Open("d", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Try(::rmdir("d")), 0);
  EXPECT_EQ(FStat(fd.get()).st_nlink, 0U);
  EXPECT_EQ(Try(::openat(fd.get(), "f", O_CREAT | O_WRONLY, 0644)), ENOENT);
}

TEST_F(DirTest, DotDotIsTheParent) {
  MkDir("d");
  MkDir("d/e");
  EXPECT_EQ(Stat("d/e/..").st_ino, Stat("d").st_ino);
}

TEST_F(DirTest, ChildrenTouchItsTimes) {
  MkDir("d");
  const int64_t before = MTimeNs("d");
  NextTick();
  Put("d/a");
  EXPECT_GT(MTimeNs("d"), before);
  EXPECT_EQ(MTimeNs("d"), CTimeNs("d"));
}

TEST_F(DirTest, GrandchildrenDoNotTouchItsTimes) {
  MkDir("d");
  MkDir("d/e");
  const int64_t before = MTimeNs("d");
  NextTick();
  Put("d/e/a");
  EXPECT_EQ(MTimeNs("d"), before);
}

TEST_F(DirTest, WritingAChildDoesNotTouchItsTimes) {
  MkDir("d");
  Put("d/a");
  const int64_t before = MTimeNs("d");
  NextTick();
  Put("d/a", "more");
  EXPECT_EQ(MTimeNs("d"), before);
}

TEST_F(DirRootTest, SetgidDirGivesItsGroup) {
  MkDir("d");
  ASSERT_EQ(Try(::chown("d", 0, kAlice)), 0);
  ASSERT_EQ(Try(::chmod("d", 02755)), 0);
  Put("d/f");
  MkDir("d/e");
  EXPECT_EQ(LStat("d/f").st_gid, kAlice);
  EXPECT_EQ(LStat("d/e").st_gid, kAlice);
  EXPECT_EQ(ModeOf("d/e"), 02755U);
}

TEST_F(DirTest, DeepNestingWorks) {
  std::string path = ".";
  for (int i = 0; i < 200; ++i) MkDir(path += "/d");
  Put(path + "/f", "deep");
  EXPECT_EQ(Get(path + "/f"), "deep");
}

class ReaddirTest : public PosixTest {
 protected:
  struct Close {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };
  using Stream = std::unique_ptr<DIR, Close>;
  static Stream OpenDir(const char* path) { return Stream(::opendir(path)); }

  static void MakeFiles(int count) {
    for (int i = 0; i < count; ++i) Put("f" + std::to_string(i));
  }
};

TEST_F(ReaddirTest, GivesEveryNameOnce) {
  MakeFiles(1000);
  const std::vector<std::string> names = List(".");
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1000U);
  EXPECT_EQ(names.size(), 1000U);
}

TEST_F(ReaddirTest, GivesDotAndDotDot) {
  const Stream stream = OpenDir(".");
  std::map<std::string, ino_t> seen;
  while (const dirent* entry = ::readdir(stream.get())) seen[entry->d_name] = entry->d_ino;
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen["."], Stat(".").st_ino);
  EXPECT_EQ(seen[".."], Stat("..").st_ino);
}

TEST_F(ReaddirTest, GivesInodesAndTypes) {
  Put("f");
  MkDir("d");
  ASSERT_EQ(Try(::symlink("f", "s")), 0);
  ASSERT_EQ(Try(::mkfifo("p", 0644)), 0);
  const std::map<std::string, int> types = {
      {"f", DT_REG}, {"d", DT_DIR}, {"s", DT_LNK}, {"p", DT_FIFO}};
  const Stream stream = OpenDir(".");
  size_t found = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const auto type = types.find(entry->d_name);
    if (type == types.end()) continue;
    ++found;
    EXPECT_EQ(entry->d_type, type->second) << entry->d_name;
    EXPECT_EQ(entry->d_ino, LStat(entry->d_name).st_ino) << entry->d_name;
  }
  EXPECT_EQ(found, types.size());
}

TEST_F(ReaddirTest, SeekdirComesBackToTelldir) {
  MakeFiles(500);
  const Stream stream = OpenDir(".");
  std::vector<std::pair<long, std::string>> seen;
  for (;;) {
    const long at = ::telldir(stream.get());
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    seen.emplace_back(at, entry->d_name);
  }
  ASSERT_EQ(seen.size(), 502U);
  for (size_t i = 0; i < seen.size(); i += 7) {
    const auto& [at, name] = seen[seen.size() - 1 - i];
    ::seekdir(stream.get(), at);
    const dirent* entry = ::readdir(stream.get());
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, name);
  }
}

TEST_F(ReaddirTest, RewinddirSeesWhatWasAdded) {
  MakeFiles(3);
  const Stream stream = OpenDir(".");
  while (::readdir(stream.get()) != nullptr) {
  }
  Put("late");
  ::rewinddir(stream.get());
  bool found = false;
  while (const dirent* entry = ::readdir(stream.get()))
    found |= std::strcmp(entry->d_name, "late") == 0;
  EXPECT_TRUE(found);
}

TEST_F(ReaddirTest, StableNamesAppearOnceWhileOthersComeAndGo) {
  MakeFiles(2000);
  const Stream stream = OpenDir(".");
  std::multiset<std::string> seen;
  int step = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    seen.insert(entry->d_name);
    // Odd files go away, new ones come, while the stream is on its way.
    if (step < 1000) ::unlink(("f" + std::to_string(2 * step + 1)).c_str());
    if (step < 1000) Put("new" + std::to_string(step));
    ++step;
  }
  for (int i = 0; i < 2000; i += 2) EXPECT_EQ(seen.count("f" + std::to_string(i)), 1U) << i;
  for (int i = 1; i < 2000; i += 2) EXPECT_LE(seen.count("f" + std::to_string(i)), 1U) << i;
}

TEST_F(ReaddirTest, DeletingWhileReadingRemovesAll) {
  MakeFiles(3000);
  const Stream stream = OpenDir(".");
  while (const dirent* entry = ::readdir(stream.get())) ::unlink(entry->d_name);
  EXPECT_TRUE(List(".").empty());
}

TEST_F(ReaddirTest, TwoStreamsDoNotDisturbEachOther) {
  MakeFiles(100);
  const Stream a = OpenDir(".");
  const Stream b = OpenDir(".");
  size_t names_a = 0;
  size_t names_b = 0;
  while (::readdir(a.get()) != nullptr) {
    ++names_a;
    if (names_a % 2 == 0 && ::readdir(b.get()) != nullptr) ++names_b;
  }
  while (::readdir(b.get()) != nullptr) ++names_b;
  EXPECT_EQ(names_a, 102U);
  EXPECT_EQ(names_b, 102U);
}

TEST_F(ReaddirTest, SmallBufferGivesEveryName) {
  for (int i = 0; i < 50; ++i) Put(std::string(200, 'n') + std::to_string(i));
  const UniqueFd fd = Open(".", O_RDONLY | O_DIRECTORY);
  std::vector<char> buffer(512);
  int entries = 0;
  for (;;) {
    const long n = ::syscall(SYS_getdents64, fd.get(), buffer.data(), buffer.size());
    ASSERT_GE(n, 0);
    if (n == 0) break;
    for (long at = 0; at < n; ++entries) {
      at += reinterpret_cast<const dirent64*>(buffer.data() + at)->d_reclen;
    }
  }
  EXPECT_EQ(entries, 52);
}

TEST_F(ReaddirTest, FreshNamesShowAtOnceInACachedDirectory) {
  MakeFiles(10);
  EXPECT_EQ(List(".").size(), 10U);
  EXPECT_EQ(List(".").size(), 10U);
  Put("x");
  EXPECT_EQ(List(".").size(), 11U);
  ASSERT_EQ(Try(::unlink("x")), 0);
  EXPECT_EQ(List(".").size(), 10U);
  ASSERT_EQ(Try(::rename("f1", "g1")), 0);
  const std::vector<std::string> names = List(".");
  EXPECT_TRUE(std::binary_search(names.begin(), names.end(), "g1"));
  EXPECT_FALSE(std::binary_search(names.begin(), names.end(), "f1"));
}

// All of 10^5 in one mode, since it takes long; symlinks, since they are made with one call.
TEST_F(ReaddirTest, HundredThousandEntries) {
  const std::string_view mode = TheMount().mode().name;
  const int count = mode == "plain" || mode == "passthrough" ? 100'000 : 10'000;
  MkDir("big");
  const UniqueFd dir = Open("big", O_RDONLY | O_DIRECTORY);
  const auto remove = [&](int i) { return ::unlinkat(dir.get(), std::to_string(i).c_str(), 0); };
  for (int i = 0; i < count; ++i) {
    ASSERT_EQ(Try(::symlinkat("x", dir.get(), std::to_string(i).c_str())), 0) << i;
  }
  EXPECT_EQ(List("big").size(), static_cast<size_t>(count));
  EXPECT_TRUE(Exists("big/0") && Exists("big/" + std::to_string(count - 1)));
  EXPECT_EQ(Try(::rmdir("big")), ENOTEMPTY);
  for (int i = 0; i < count; i += 2) ASSERT_EQ(remove(i), 0);
  EXPECT_EQ(List("big").size(), static_cast<size_t>(count) / 2);
  for (int i = 1; i < count; i += 2) ASSERT_EQ(remove(i), 0);
  EXPECT_EQ(Try(::rmdir("big")), 0);
}

}  // namespace
}  // namespace px::testing
