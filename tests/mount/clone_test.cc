// Clones: the same tree at once, and no influence on each other after.

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

class CloneTest : public VolumeTest {};

TEST_F(CloneTest, IsExactlyTheSourceAtTheTop) {
  MakeTree("a");
  Clone("a", "b");
  EXPECT_EQ(DescribeTree("b"), DescribeTree("a"));
}

TEST_F(CloneTest, LeavesTheSourceAsItWas) {
  MakeTree("a");
  const std::string before = DescribeTree("a");
  Clone("a", "b");
  EXPECT_EQ(DescribeTree("a"), before);
}

TEST_F(CloneTest, OfAnEmptyVolumeIsEmpty) {
  Create("a");
  Clone("a", "b");
  EXPECT_TRUE(List("b").empty());
}

TEST_F(CloneTest, KeepsModeOwnerAndTimesOfItsTop) {
  MakeTree("a");
  ASSERT_EQ(Try(::chmod("a", 02750)), 0);
  Clone("a", "b");
  EXPECT_EQ(ModeOf("b"), 02750U);
  EXPECT_EQ(MTimeNs("b"), MTimeNs("a"));
}

TEST_F(CloneTest, HasDifferentInodeNumbers) {
  MakeTree("a");
  Clone("a", "b");
  EXPECT_NE(LStat("a").st_ino, LStat("b").st_ino);
  EXPECT_NE(LStat("a/small").st_ino, LStat("b/small").st_ino);
  EXPECT_EQ(LStat("a/small").st_dev, LStat("b/small").st_dev);
}

TEST_F(CloneTest, IsAnotherVolume) {
  Create("a");
  Put("a/f");
  Clone("a", "b");
  EXPECT_NE(InfoOf("a").volume, InfoOf("b").volume);
  EXPECT_EQ(InfoOf("b/f").volume, InfoOf("b").volume);
  EXPECT_EQ(InfoOf("b").ino, 1U);
  EXPECT_EQ(InfoOf(".").volume, 0U);
}

TEST_F(CloneTest, GnuCpBetweenClonesIsNotTheSameFile) {
  Create("a");
  Put("a/f", "old");
  Clone("a", "b");
  Put("a/f", "new");
  const RunResult copied = Execute({"cp", "a/f", "b/f"});
  EXPECT_EQ(copied.exit_code, 0) << copied.output;
  EXPECT_EQ(Get("b/f"), "new");
}

TEST_F(CloneTest, OntoAnExistingNameIsEexist) {
  Create("a");
  Create("b");
  MkDir("c");
  Put("d");
  EXPECT_EQ(CloneVolume("a", "b"), EEXIST);
  EXPECT_EQ(CloneVolume("a", "c"), EEXIST);
  EXPECT_EQ(CloneVolume("a", "d"), EEXIST);
}

TEST_F(CloneTest, OfAnOrdinaryDirectoryIsRefused) {
  MkDir("d");
  EXPECT_NE(CloneVolume("d", "b"), 0);
  EXPECT_FALSE(Exists("b"));
}

TEST_F(CloneTest, IntoAVolumeIsExdev) {
  Create("a");
  Create("b");
  EXPECT_EQ(CloneVolume("a", "b/c"), EXDEV);
  EXPECT_EQ(CreateVolume("b/c"), EXDEV);
}

TEST_F(CloneTest, ChangesOnEitherSideStayThere) {
  MakeTree("a");
  Clone("a", "b");
  const std::string original = DescribeTree("b");
  Put("a/small", "changed in a");
  Put("a/new", "only in a");
  ASSERT_EQ(Try(::unlink("a/empty")), 0);
  ASSERT_EQ(Try(::rename("a/dir", "a/moved")), 0);
  ASSERT_EQ(Try(::chmod("a/checkpoint", 0)), 0);
  EXPECT_EQ(DescribeTree("b"), original);
  const std::string changed = DescribeTree("a");
  Put("b/small", "changed in b");
  ASSERT_EQ(Try(::unlink("b/.hidden")), 0);
  ASSERT_EQ(Execute({"rm", "-rf", "b/dir"}).exit_code, 0);
  EXPECT_EQ(DescribeTree("a"), changed);
}

TEST_F(CloneTest, NamesCachedAsMissingAreFoundInTheClone) {
  Create("a");
  EXPECT_FALSE(Exists("b"));
  EXPECT_FALSE(Exists("b/f"));
  Put("a/f", "1");
  Clone("a", "b");
  EXPECT_EQ(Get("b/f"), "1");
}

TEST_F(CloneTest, OfACloneOfACloneFiftyTimes) {
  MakeTree("v0");
  for (int i = 1; i <= 50; ++i) {
    Clone("v" + std::to_string(i - 1), "v" + std::to_string(i));
    Put("v" + std::to_string(i) + "/step", std::to_string(i));
  }
  EXPECT_FALSE(Exists("v0/step"));
  for (int i = 1; i <= 50; ++i) {
    ASSERT_EQ(Get("v" + std::to_string(i) + "/step"), std::to_string(i));
    ASSERT_EQ(Get("v" + std::to_string(i) + "/small"), "small");
  }
  EXPECT_EQ(Get("v50/checkpoint"), Pattern(3 << 20));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(DropVolume("v" + std::to_string(i)), 0);
  EXPECT_EQ(Get("v50/checkpoint"), Pattern(3 << 20));
  EXPECT_EQ(Get("v50/step"), "50");
}

TEST_F(CloneTest, SurvivesARemount) {
  MakeTree("a");
  Clone("a", "b");
  Put("b/small", "b's");
  Put("a/new", "a's");
  const std::string a = DescribeTree("a");
  const std::string b = DescribeTree("b");
  Remount();
  EXPECT_EQ(DescribeTree("a"), a);
  EXPECT_EQ(DescribeTree("b"), b);
  Put("a/checkpoint", "replaced");
  EXPECT_EQ(DescribeTree("b"), b);
}

TEST_F(CloneTest, SurvivesAKilledDaemon) {
  MakeTree("a");
  Clone("a", "b");
  Put("b/small", "b's");
  Put("a/new", Pattern(500'000));
  const std::string a = DescribeTree("a");
  const std::string b = DescribeTree("b");
  KillAndRemount();
  EXPECT_EQ(DescribeTree("a"), a);
  EXPECT_EQ(DescribeTree("b"), b);
}

TEST_F(CloneTest, RenameAndLinkAcrossVolumesAreExdev) {
  Create("a");
  Create("b");
  Put("a/f");
  MkDir("a/d");
  Put("top");
  EXPECT_EQ(Try(::rename("a/f", "b/f")), EXDEV);
  EXPECT_EQ(Try(::rename("a/d", "b/d")), EXDEV);
  EXPECT_EQ(Try(::link("a/f", "b/f")), EXDEV);
  EXPECT_EQ(Try(::rename("a/f", "f")), EXDEV);
  EXPECT_EQ(Try(::rename("top", "a/top")), EXDEV);
  EXPECT_EQ(Try(::renameat2(AT_FDCWD, "a/f", AT_FDCWD, "top", RENAME_EXCHANGE)), EXDEV);
}

TEST_F(CloneTest, MvAcrossVolumesWorks) {
  MakeTree("a");
  Create("b");
  const RunResult moved = Execute({"mv", "a/dir", "a/checkpoint", "b/"});
  EXPECT_EQ(moved.exit_code, 0) << moved.output;
  EXPECT_EQ(Get("b/checkpoint"), Pattern(3 << 20));
  EXPECT_FALSE(Exists("a/dir"));
}

TEST_F(CloneTest, VolumeItselfCanBeRenamedInItsParentVolume) {
  Create("a");
  Put("a/f", "1");
  MkDir("d");
  ASSERT_EQ(Try(::rename("a", "d/renamed")), 0);
  EXPECT_EQ(Get("d/renamed/f"), "1");
  EXPECT_EQ(DropVolume("d/renamed"), 0);
}

TEST_F(CloneTest, UnderLoadHoldsWhatWasAcknowledged) {
  constexpr int kWriters = 3;
  constexpr int kClones = 12;
  Create("a");
  std::atomic<bool> stop{false};
  std::array<std::atomic<int>, kWriters> saved{};
  std::vector<std::thread> writers;
  for (size_t w = 0; w < kWriters; ++w) {
    Put("a/" + std::to_string(w), std::string(50'000, 'a'));
    writers.emplace_back([&, w] {
      const std::string name = "a/" + std::to_string(w);
      for (int i = 1; !stop; ++i) {
        Put(name + ".tmp", std::to_string(i) + std::string(50'000, 'x'));
        if (::rename((name + ".tmp").c_str(), name.c_str()) != 0) break;
        saved[w] = i;
      }
    });
  }
  for (int c = 0; c < kClones; ++c) {
    std::array<int, kWriters> before{};
    for (size_t w = 0; w < kWriters; ++w) before[w] = saved[w];
    const std::string clone = "c" + std::to_string(c);
    EXPECT_EQ(CloneVolume("a", clone), 0);
    for (size_t w = 0; w < kWriters; ++w) {
      const std::string content = Get(clone + "/" + std::to_string(w));
      EXPECT_GE(std::atoi(content.c_str()), before[w]);
      EXPECT_GE(content.size(), 50'000U);
    }
    const std::string first = DescribeTree(clone);
    EXPECT_EQ(DescribeTree(clone), first);
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

TEST_F(CloneTest, FromSeveralThreadsAtOnce) {
  MakeTree("a");
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string name = "c" + std::to_string(t) + "_" + std::to_string(i);
        if (CloneVolume("a", name) != 0) ++failures;
        Put(name + "/small", name);
        if (i % 2 == 1 && DropVolume(name) != 0) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < 10; i += 2) {
      const std::string name = "c" + std::to_string(t) + "_" + std::to_string(i);
      EXPECT_EQ(Get(name + "/small"), name);
      EXPECT_EQ(Get(name + "/checkpoint").size(), size_t{3} << 20);
    }
  }
  EXPECT_EQ(Get("a/small"), "small");
}

}  // namespace
}  // namespace px::testing
