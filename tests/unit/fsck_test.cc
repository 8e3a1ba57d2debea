// px-fs fsck --repair: what it puts right is right, a second run finds nothing, and what it cannot
// know it leaves.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "base/log.h"
#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;
using fs::Filesystem;
using fs::NodeKey;

class FsckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/px-fsck.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    With([](Filesystem& fs) {
      ASSERT_TRUE(fs.CreateVolume(kTop, "v", kRoot));
      const NodeKey v = fs.Lookup(kTop, "v")->node;
      Write(fs, v, "f", "content of f");
      Write(fs, v, "g", "content of g");
      const auto dir = fs.MakeNode(v, "dir", S_IFDIR | 0755, 0, kRoot);
      ASSERT_TRUE(dir);
      Write(fs, dir->node, "inner", "inner");
    });
    With([this](Filesystem& fs) {
      v_ = fs.Lookup(kTop, "v")->node;
      f_ = fs.Lookup(v_, "f")->node;
      sub_ = fs.Lookup(v_, "dir")->node;
    });
    ASSERT_EQ(Fsck(), "");
  }
  void TearDown() override { stdfs::remove_all(dir_); }

  static void Write(Filesystem& fs, NodeKey dir, const std::string& name,
                    const std::string& bytes) {
    const auto created = fs.Create(dir, name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot);
    ASSERT_TRUE(created);
    ASSERT_TRUE(fs.Write(created->entry.node, bytes, 0, false));
    fs.Release(created->entry.node, O_WRONLY);
  }
  static std::string Read(Filesystem& fs, NodeKey dir, const std::string& name) {
    const auto found = fs.Lookup(dir, name);
    if (!found) return "!lookup " + found.error().ToString();
    const auto opened = fs.Open(found->node, O_RDONLY, false);
    if (!opened) return "!open " + opened.error().ToString();
    std::string bytes(1000, '\0');
    const auto got = fs.Read(found->node, bytes, 0);
    fs.Release(found->node, O_RDONLY);
    bytes.resize(got ? *got : 0);
    return bytes;
  }
  void With(const std::function<void(Filesystem&)>& body) {
    NoKernel kernel;
    SystemClock clock;
    auto store = fs::StoreDir::Open(dir_, /*create=*/true);
    ASSERT_TRUE(store);
    auto parts = store->OpenParts();
    ASSERT_TRUE(parts);
    fs::FilesystemOptions options;
    options.pool_objects = 2;
    auto opened = Filesystem::Open(std::move(*parts), options, &kernel, &clock);
    ASSERT_TRUE(opened) << opened.error().ToString();
    body(**opened);
  }
  // Changes the tree behind the filesystem's back.
  void Spoil(const std::function<Status(cow::Txn&)>& body) {
    const auto store = fs::StoreDir::Open(dir_, /*create=*/false);
    ASSERT_TRUE(store);
    const auto parts = store->OpenParts();
    ASSERT_TRUE(parts);
    const Status done = parts->store->Update(body);
    ASSERT_TRUE(done) << done.error().ToString();
  }
  void SpoilInode(NodeKey node, const std::function<void(cow::InodeItem*)>& change) {
    Spoil([&](cow::Txn& txn) -> Status {
      const std::string key = cow::ItemKey(node.ino, cow::ItemType::kInode);
      PX_ASSIGN(const std::string bytes, txn.Get(node.volume, key));
      PX_ASSIGN(cow::InodeItem item, cow::FromBytes<cow::InodeItem>(bytes));
      change(&item);
      return txn.Put(node.volume, key, cow::AsBytes(item));
    });
  }
  // All lines.
  std::string Fsck(bool repair = false) {
    std::string lines;
    const auto report = fs::Fsck(dir_, {.repair = repair, .data = true},
                                 [&](const std::string& line) { lines += line + "\n"; });
    EXPECT_TRUE(report) << report.error().ToString();
    if (report && repair) all_repaired_ = report->repaired == report->findings;
    return lines;
  }
  // Finds `text`, repairs it, and finds nothing more.
  void ExpectRepaired(const std::string& text) {
    EXPECT_NE(Fsck().find(text), std::string::npos) << Fsck();
    EXPECT_NE(Fsck(/*repair=*/true).find(text), std::string::npos);
    EXPECT_TRUE(all_repaired_);
    EXPECT_EQ(Fsck(), "");
  }

  std::string dir_;
  NodeKey v_, f_, sub_;
  bool all_repaired_ = false;
};

// Of the tree's database. Page 1 is its header, 2 the root of the nodes; then come the counts of
// nodes and of objects, the volumes, the queue, the counters, the last use, the volumes' copy.
class DamagedPagesTest : public FsckTest {
 protected:
  void SetUp() override {
    FsckTest::SetUp();
    ASSERT_TRUE(SetLogLevel("off"));
    With([this](Filesystem& fs) { ASSERT_TRUE(fs.Snapshot(v_, "s", kRoot)); });
    ASSERT_EQ(Fsck(), "");
  }
  // More than can be put right by itself.
  void Damage(uint64_t page) const {
    std::fstream meta(dir_ + "/meta.db", std::ios::in | std::ios::out | std::ios::binary);
    meta.seekp(static_cast<std::streamoff>((page - 1) * 4096 + 100));
    meta << "something else";
  }
  // Which files do not hold what they should, and what was damaged.
  std::string Wrong() {
    std::string wrong;
    With([&](Filesystem& fs) {
      if (Read(fs, v_, "f") != "content of f") wrong += "f ";
      if (Read(fs, v_, "g") != "content of g") wrong += "g ";
      if (Read(fs, sub_, "inner") != "inner") wrong += "inner ";
    });
    return wrong;
  }
};

TEST_F(DamagedPagesTest, CountsAreCountedAnew) {
  for (const uint64_t page : {3, 4}) {
    Damage(page);
    EXPECT_NE(Fsck().find(fmt::format("meta.db: page {} is damaged\n", page)), std::string::npos);
    EXPECT_EQ(Wrong(), "") << "what has no count can be read all the same";
    ExpectRepaired(fmt::format("meta.db: page {} is damaged\n", page));
    EXPECT_EQ(Wrong(), "");
  }
}

TEST_F(DamagedPagesTest, VolumesAreThereTwice) {
  for (const uint64_t page : {5, 9}) {
    Damage(page);
    ExpectRepaired(fmt::format("meta.db: page {} is damaged\n", page));
    EXPECT_EQ(Wrong(), "");
  }
  Damage(5);
  Damage(9);
  const auto report = fs::Fsck(dir_, {.repair = true}, [](const std::string&) {});
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().ToString().find("where the root volume begins"), std::string::npos);
}

TEST_F(DamagedPagesTest, QueueCountersAndHeaderAreMadeAnew) {
  for (const uint64_t page : {1, 6, 7, 8}) {
    Damage(page);
    const auto report = fs::Fsck(dir_, {.repair = true}, [](const std::string&) {});
    ASSERT_TRUE(report) << page << ": " << report.error().ToString();
    EXPECT_EQ(Fsck(), "") << page;
    EXPECT_EQ(Wrong(), "") << page;
  }
}

TEST_F(DamagedPagesTest, NodesBelowADamagedPageAreFound) {
  With([this](Filesystem& fs) {
    for (int i = 0; i < 300; ++i) Write(fs, v_, fmt::format("{:0>200}", i), "small");
  });
  ASSERT_EQ(Fsck(), "");
  Damage(2);  // the root of their table: with so many it leads to other pages
  EXPECT_NE(Fsck(/*repair=*/true).find("meta.db: page 2 is damaged"), std::string::npos);
  EXPECT_EQ(Fsck(), "");
  EXPECT_EQ(Wrong(), "");
}

TEST_F(DamagedPagesTest, ARebuildThatWasKilledIsFinished) {
  stdfs::create_directory(dir_ + "/rebuilt");
  for (const char* name : {"/meta.db", "/meta.log.0", "/meta.log.1"}) {
    stdfs::copy_file(dir_ + name, dir_ + "/rebuilt" + name);
  }
  Damage(2);
  // Killed when one file was in its place already.
  stdfs::rename(dir_ + "/meta.log.0", dir_ + "/meta.log.0.damaged");
  stdfs::rename(dir_ + "/rebuilt/meta.log.0", dir_ + "/meta.log.0");
  EXPECT_EQ(Wrong(), "");
  EXPECT_EQ(Fsck(), "");
  EXPECT_FALSE(stdfs::exists(dir_ + "/rebuilt"));
  EXPECT_TRUE(stdfs::exists(dir_ + "/meta.db.damaged"));
}

TEST_F(DamagedPagesTest, AMissingDatabaseIsNoEmptyStore) {
  stdfs::rename(dir_ + "/meta.db", dir_ + "/away");
  const auto report = fs::Fsck(dir_, {.repair = true}, [](const std::string&) {});
  ASSERT_FALSE(report);
  EXPECT_FALSE(stdfs::exists(dir_ + "/meta.db"));
  stdfs::rename(dir_ + "/away", dir_ + "/meta.db");
  EXPECT_EQ(Wrong(), "");
  EXPECT_EQ(Fsck(), "");
}

TEST_F(FsckTest, CountsOfLinksAndEntriesArePutRight) {
  SpoilInode(f_, [](cow::InodeItem* item) { item->nlink = 7; });
  SpoilInode(sub_, [](cow::InodeItem* item) { item->entries = 3; });
  SpoilInode(v_, [](cow::InodeItem* item) { item->nlink = 2; });
  ExpectRepaired("link count 7, has 1 names");
  With([this](Filesystem& fs) {
    EXPECT_EQ(fs.GetAttr(f_)->st_nlink, 1u);
    EXPECT_EQ(fs.GetAttr(v_)->st_nlink, 3u);
    EXPECT_TRUE(fs.Unlink(sub_, "inner"));
    EXPECT_TRUE(fs.Rmdir(v_, "dir"));
  });
}

TEST_F(FsckTest, WhatHasNoNameGetsOneInLostAndFound) {
  Spoil([this](cow::Txn& txn) -> Status {
    PX_TRY(txn.Erase(v_.volume, cow::DentryKey(cow::kRootIno, "f")));
    return txn.Erase(v_.volume, cow::DentryKey(cow::kRootIno, "dir"));
  });
  ExpectRepaired("has no name");
  With([this](Filesystem& fs) {
    const auto lost = fs.Lookup(v_, "lost+found");
    ASSERT_TRUE(lost);
    EXPECT_EQ(Read(fs, lost->node, "#" + std::to_string(f_.ino.value)), "content of f");
    const auto dir = fs.Lookup(lost->node, "#" + std::to_string(sub_.ino.value));
    ASSERT_TRUE(dir);
    EXPECT_EQ(Read(fs, dir->node, "inner"), "inner");
    EXPECT_EQ(Read(fs, v_, "g"), "content of g");
  });
  // And once more, into the same directory; or beside a file of that name.
  Spoil([this](cow::Txn& txn) -> Status {
    return txn.Erase(v_.volume, cow::DentryKey(cow::kRootIno, "g"));
  });
  ExpectRepaired("has no name");
}

TEST_F(FsckTest, ANameOfNothingGoes) {
  Spoil([this](cow::Txn& txn) -> Status {
    return txn.Erase(v_.volume, cow::ItemKey(f_.ino, cow::ItemType::kInode));
  });
  ExpectRepaired("'f' names inode");
  With([this](Filesystem& fs) {
    EXPECT_EQ(Read(fs, v_, "g"), "content of g");
    Write(fs, v_, "f", "anew");
    EXPECT_EQ(Read(fs, v_, "f"), "anew");
  });
}

TEST_F(FsckTest, AnEntryUnderAWrongHashDoesNotTakeAnothersPlace) {
  Spoil([this](cow::Txn& txn) -> Status {
    const std::string key = cow::DentryKey(cow::kRootIno, "f");
    PX_ASSIGN(const std::string value, txn.Get(v_.volume, key));
    PX_TRY(txn.Erase(v_.volume, key));
    std::string wrong = cow::DentryKey(cow::kRootIno, "g");
    wrong[9] = static_cast<char>(wrong[9] ^ 1);
    return txn.Put(v_.volume, wrong, value);
  });
  ExpectRepaired("there is another entry 'g'");
  With([this](Filesystem& fs) {
    EXPECT_EQ(Read(fs, v_, "g"), "content of g");
    const auto lost = fs.Lookup(v_, "lost+found");
    ASSERT_TRUE(lost);
    EXPECT_EQ(Read(fs, lost->node, fmt::format("#{}", f_.ino.value)), "content of f");
  });
}

TEST_F(FsckTest, AnEntryUnderAWrongHashIsPutInItsPlace) {
  Spoil([this](cow::Txn& txn) -> Status {
    const std::string key = cow::DentryKey(cow::kRootIno, "f");
    PX_ASSIGN(const std::string value, txn.Get(v_.volume, key));
    PX_TRY(txn.Erase(v_.volume, key));
    std::string wrong = key;
    wrong[9] = static_cast<char>(wrong[9] ^ 1);
    return txn.Put(v_.volume, wrong, value);
  });
  ExpectRepaired("wrong hash");
  With([this](Filesystem& fs) { EXPECT_EQ(Read(fs, v_, "f"), "content of f"); });
}

TEST_F(FsckTest, TheSizeIsTheObjects) {
  SpoilInode(f_, [](cow::InodeItem* item) { item->size = 1000; });
  ExpectRepaired("has 1000 bytes");
  With([this](Filesystem& fs) { EXPECT_EQ(Read(fs, v_, "f"), "content of f"); });
}

TEST_F(FsckTest, AMissingObjectIsNamedAndStaysAFinding) {
  uint64_t object = 0;
  Spoil([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(const std::string bytes,
              txn.Get(f_.volume, cow::ItemKey(f_.ino, cow::ItemType::kInode)));
    PX_ASSIGN(const cow::InodeItem item, cow::FromBytes<cow::InodeItem>(bytes));
    object = item.object;
    return {};
  });
  stdfs::remove(dir_ + "/objects/" + fs::ObjectName(cow::ObjectId{object}));
  EXPECT_NE(Fsck().find("its file is missing: v/f"), std::string::npos) << Fsck();
  EXPECT_NE(Fsck(/*repair=*/true), "");
  EXPECT_FALSE(all_repaired_);
  With([this](Filesystem& fs) {
    EXPECT_TRUE(Read(fs, v_, "f").starts_with("!open"));
    EXPECT_EQ(Read(fs, v_, "g"), "content of g");
  });
}

}  // namespace
}  // namespace px::testing
