// px-fs fsck --repair where nodes of trees are lost: what they led to is found again, and what they
// named keeps its content.
#include <map>
#include <set>
#include <vector>

#include "base/log.h"
#include "cow/node.h"
#include "fs/fsck_volume.h"
#include "tests/unit/fsck_fixture.h"

namespace px::testing {
namespace {

constexpr int kFiles = 60;
constexpr int kVolumes = 80;

class LostNodesTest : public FsckTest {
 protected:
  // Volumes below directories, with names so long that the root volume's tree has many leaves, and
  // one volume whose tree has.
  void SetUp() override {
    FsckTest::SetUp();
    ASSERT_TRUE(SetLogLevel("off"));
    With([this](Filesystem& fs) {
      const auto user = fs.MakeNode(kTop, "user", S_IFDIR | 0755, 0, kRoot);
      ASSERT_TRUE(user);
      const auto project = fs.MakeNode(user->node, "project", S_IFDIR | 0755, 0, kRoot);
      ASSERT_TRUE(project);
      project_ = project->node;
      for (int i = 0; i < kVolumes; ++i) {
        ASSERT_TRUE(fs.CreateVolume(project_, VolumeName(i), kRoot));
        Write(fs, fs.Lookup(project_, VolumeName(i))->node, "result", fmt::format("result {}", i));
      }
      for (int i = 0; i < kFiles; ++i) {
        Write(fs, v_, fmt::format("{:0>200}", i), fmt::format("file {}", i));
        contents_.insert(fmt::format("file {}", i));
      }
      ASSERT_TRUE(fs.Snapshot(v_, "s", kRoot));
      Write(fs, v_, "after", "after the snapshot");
      contents_.insert({"content of f", "content of g", "inner", "after the snapshot"});
    });
    ASSERT_EQ(Fsck(), "");
  }

  static std::string VolumeName(int i) { return fmt::format("{:x>180}", i); }

  std::vector<uint64_t> LeavesOf(cow::VolumeId volume) {
    std::vector<uint64_t> found;
    WithPages([&](cow::PageTable& pages) {
      std::vector<cow::NodeId> waiting = {(*pages.LoadVolume(volume))->root};
      while (!waiting.empty()) {
        const cow::NodeId id = waiting.back();
        waiting.pop_back();
        std::array<std::byte, cow::kNodeSize> bytes;
        ASSERT_TRUE(pages.Load(id, bytes));
        const cow::NodeView node(bytes.data());
        if (node.is_leaf()) found.push_back(id.value);
        for (size_t i = 0; !node.is_leaf() && i < node.count(); ++i)
          waiting.push_back(node.Child(i));
      }
    });
    return found;
  }
  uint64_t RootOf(cow::VolumeId volume) {
    uint64_t root = 0;
    WithPages([&](cow::PageTable& pages) { root = (*pages.LoadVolume(volume))->root.value; });
    return root;
  }
  void Lose(uint64_t node) {
    WithPages([&](cow::PageTable& pages) {
      const std::array<std::byte, cow::kNodeSize> zeros{};
      cow::PageBatch batch;
      batch.pages.push_back({cow::NodeId{node}, zeros});
      ASSERT_TRUE(pages.Commit(batch));
      ASSERT_TRUE(pages.Sync());
    });
  }
  void WithPages(const std::function<void(cow::PageTable&)>& body) {
    const auto store = fs::StoreDir::Open(dir_, /*create=*/false);
    ASSERT_TRUE(store);
    auto parts = store->OpenParts();
    ASSERT_TRUE(parts);
    body(*parts->pages);
  }

  // What files hold, wherever they are, and where; volumes included.
  std::multimap<std::string, std::string> Contents() {
    std::multimap<std::string, std::string> contents;
    With([&](Filesystem& fs) { AddContents(fs, kTop, "", &contents); });
    return contents;
  }
  static void AddContents(Filesystem& fs, NodeKey dir, const std::string& path,
                          std::multimap<std::string, std::string>* contents) {
    std::vector<std::pair<std::string, fs::Entry>> entries;
    const Status listed = fs.ReadDir(dir, 0, true, [&](const fs::DirEntry& entry) {
      if (entry.name != "." && entry.name != "..") entries.emplace_back(entry.name, entry.entry);
      return true;
    });
    EXPECT_TRUE(listed) << path << ": " << listed.error().ToString();
    // Not listed, but there.
    if (const auto snapshots = fs.Lookup(dir, ".snapshots"); dir.volume.value != 0 && snapshots) {
      entries.emplace_back(".snapshots", *snapshots);
    }
    for (const auto& [name, entry] : entries) {
      const auto found = fs.Lookup(dir, name);
      ASSERT_TRUE(found) << path << "/" << name << ": " << found.error().ToString();
      if (S_ISDIR(found->attr.st_mode)) {
        AddContents(fs, found->node, path + "/" + name, contents);
      } else {
        contents->emplace(Read(fs, dir, name), path + "/" + name);
      }
    }
  }
  void Repair() {
    EXPECT_NE(Fsck(), "");
    lines_ = Fsck(/*repair=*/true);
    EXPECT_TRUE(all_repaired_) << lines_;
    EXPECT_EQ(Fsck(), "") << lines_;
  }
  // Whatever the store was before, all of it is there.
  void ExpectAllContents() {
    const auto contents = Contents();
    for (const std::string& one : contents_) {
      EXPECT_TRUE(contents.contains(one)) << one << "\n" << lines_;
    }
    for (int i = 0; i < kVolumes; ++i) {
      const std::string one = fmt::format("result {}", i);
      const auto found = contents.find(one);
      ASSERT_NE(found, contents.end()) << one;
      EXPECT_TRUE(found->second.ends_with(VolumeName(i) + "/result")) << found->second;
    }
  }
  // Alone; the store is used after the repair.
  void LoseEachLeaf(cow::VolumeId volume, const std::function<void(Filesystem&)>& use) {
    const std::string copy = Copy();
    const std::vector<uint64_t> leaves = LeavesOf(volume);
    ASSERT_GT(leaves.size(), 4U);
    for (const uint64_t leaf : leaves) {
      SCOPED_TRACE(leaf);
      Back(copy);
      Lose(leaf);
      Repair();
      ExpectAllContents();
      With(use);
      EXPECT_EQ(Fsck(), "");
    }
    std::filesystem::remove_all(copy);
  }
  std::string Copy() {
    const std::string copy = dir_ + ".copy";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(dir_, copy, std::filesystem::copy_options::recursive);
    return copy;
  }
  void Back(const std::string& copy) {
    std::filesystem::remove_all(dir_);
    std::filesystem::copy(copy, dir_, std::filesystem::copy_options::recursive);
  }

  NodeKey project_;
  std::set<std::string> contents_;
  std::string lines_;  // of the last repair
};

TEST_F(LostNodesTest, TheRootVolumesRoot) {
  Lose(RootOf(cow::kRootVolume));
  Repair();
  ExpectAllContents();
  With([this](Filesystem& fs) {
    // Its leaves are all there: nothing has moved.
    EXPECT_EQ(Read(fs, fs.Lookup(project_, VolumeName(7))->node, "result"), "result 7");
    EXPECT_FALSE(fs.Lookup(kTop, "lost+found"));
    EXPECT_TRUE(fs.CreateVolume(project_, "new", kRoot));
  });
  EXPECT_EQ(Fsck(), "");
}

TEST_F(LostNodesTest, EachLeafOfTheRootVolume) {
  LoseEachLeaf(cow::kRootVolume, [](Filesystem& fs) {
    const auto volume = fs.CreateVolume(kTop, "new", kRoot);
    EXPECT_TRUE(volume) << volume.error().ToString();
  });
}

TEST_F(LostNodesTest, EachLeafOfAVolume) {
  LoseEachLeaf(v_.volume, [this](Filesystem& fs) {
    Write(fs, v_, "new", "new");
    EXPECT_EQ(Read(fs, v_, "new"), "new");
  });
}

// It shares leaves with its snapshot, and has some of its own.
TEST_F(LostNodesTest, TheRootOfAVolume) {
  Lose(RootOf(v_.volume));
  Repair();
  ExpectAllContents();
  With([this](Filesystem& fs) {
    const auto snapshots = fs.Lookup(v_, ".snapshots");
    ASSERT_TRUE(snapshots);
    const auto snapshot = fs.Lookup(snapshots->node, "s");
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(Read(fs, snapshot->node, "f"), "content of f");
    EXPECT_FALSE(fs.Lookup(snapshot->node, "after"));
    EXPECT_EQ(Read(fs, v_, "after"), "after the snapshot");
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = fmt::format("{:0>200}", i), bytes = fmt::format("file {}", i);
      EXPECT_EQ(Read(fs, snapshot->node, name), bytes);
      EXPECT_EQ(Read(fs, v_, name), bytes);
    }
    // They are still two.
    Write(fs, v_, "new", "new");
    EXPECT_FALSE(fs.Lookup(snapshot->node, "new"));
  });
  EXPECT_EQ(Fsck(), "");
}

TEST_F(LostNodesTest, TheRootAndALeafBelowIt) {
  const std::vector<uint64_t> leaves = LeavesOf(cow::kRootVolume);
  Lose(RootOf(cow::kRootVolume));
  Lose(leaves[leaves.size() / 2]);
  Repair();
  ExpectAllContents();
}

// Whose leaves are whose cannot be told: nothing is given to the wrong one, and nothing goes.
TEST_F(LostNodesTest, TwoRootsAreLeftAsTheyAre) {
  With([this](Filesystem& fs) {
    ASSERT_TRUE(fs.CreateVolume(kTop, "w", kRoot));
    for (int i = 0; i < kFiles; ++i) {
      Write(fs, fs.Lookup(kTop, "w")->node, fmt::format("{:0>200}", i), "of w");
    }
    ASSERT_TRUE(fs.DropSnapshot(v_, "s", kRoot));
  });
  const cow::VolumeId w = [this] {
    cow::VolumeId id;
    With([&](Filesystem& fs) { id = fs.Lookup(kTop, "w")->node.volume; });
    return id;
  }();
  Lose(RootOf(v_.volume));
  Lose(RootOf(w));
  const std::string lines = Fsck(/*repair=*/true);
  EXPECT_NE(lines.find("cannot be told from other trees"), std::string::npos) << lines;
  EXPECT_FALSE(all_repaired_);
  EXPECT_EQ(lines.find("removed"), std::string::npos) << lines;
  With([this](Filesystem& fs) {
    EXPECT_EQ(Read(fs, fs.Lookup(project_, VolumeName(7))->node, "result"), "result 7");
    EXPECT_TRUE(Read(fs, v_, "f").starts_with("!"));
  });
}

TEST_F(FsckTest, AVolumeWithoutANameGetsItsOwnBack) {
  Spoil([](cow::Txn& txn) -> Status {
    return txn.Erase(cow::kRootVolume, cow::DentryKey(cow::kRootIno, "v"));
  });
  SpoilInode(kTop, [](cow::InodeItem* item) {
    --item->entries;
    --item->nlink;
  });
  ExpectRepaired("no name");
  With([this](Filesystem& fs) { EXPECT_EQ(Read(fs, v_, "f"), "content of f"); });
  With([this](Filesystem& fs) { EXPECT_EQ(fs.Lookup(kTop, "v")->node, v_); });
}

TEST_F(FsckTest, ASnapshotAndOneInTheTrashAreThatAgain) {
  With([this](Filesystem& fs) {
    ASSERT_TRUE(fs.Snapshot(v_, "s", kRoot));
    ASSERT_TRUE(fs.CreateVolume(kTop, "gone", kRoot));
    ASSERT_TRUE(fs.DropVolume(kTop, "gone", /*trash=*/true, kRoot));
  });
  Spoil([](cow::Txn& txn) -> Status {
    std::vector<std::string> keys;
    PX_TRY(txn.Scan(cow::kRootVolume, {}, {}, [&](std::string_view key, std::string_view value) {
      const auto parsed = cow::ParseKey(key);
      if (fs::VolumeNamedBy(key, value) != 0 && parsed->ino != cow::kRootIno)
        keys.emplace_back(key);
      return true;
    }));
    EXPECT_EQ(keys.size(), 2U);
    for (const std::string& key : keys) PX_TRY(txn.Erase(cow::kRootVolume, key));
    return {};
  });
  ExpectRepaired("volume 2 ('s'): no name");
  With([this](Filesystem& fs) {
    const auto snapshots = fs.Lookup(v_, ".snapshots");
    ASSERT_TRUE(snapshots);
    EXPECT_TRUE(fs.Lookup(snapshots->node, "s"));
    EXPECT_FALSE(fs.Lookup(kTop, "gone"));
    EXPECT_TRUE(fs.Undelete(kTop, "gone", cow::VolumeId{}, kRoot));
    EXPECT_TRUE(fs.Lookup(kTop, "gone"));
  });
}

}  // namespace
}  // namespace px::testing
