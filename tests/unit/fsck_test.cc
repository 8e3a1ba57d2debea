// px-fs fsck --repair: what it puts right is right, a second run finds nothing, and what it cannot
// know it leaves.
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "catalog/catalog.h"
#include "tests/unit/fsck_fixture.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;

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

TEST_F(DamagedPagesTest, ZeroedPagesAreDamaged) {
  for (uint64_t page = 1; page <= 9; ++page) {
    std::fstream(dir_ + "/meta.db", std::ios::in | std::ios::out | std::ios::binary)
            .seekp(static_cast<std::streamoff>((page - 1) * 4096))
        << std::string(4096, '\0');
    EXPECT_NE(Fsck(/*repair=*/true).find(fmt::format("meta.db: page {} is damaged\n", page)),
              std::string::npos);
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

TEST_F(FsckTest, ADamagedCatalogIsMadeAnew) {
  SystemClock clock;
  const std::string path = dir_ + "/catalog.db";
  ASSERT_TRUE(catalog::Catalog::Open(path, clock)->CreateProject("ann", "vision", ""));
  EXPECT_EQ(Fsck(), "");
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(2 * 4096)
      << std::string(4096, 'x');
  ExpectRepaired("catalog.db: page 3 is damaged");
  EXPECT_TRUE(catalog::Catalog::Open(path, clock)->FindProject("ann", "vision"));
  // One of which nothing is left is said to be, and does not keep the rest from being checked.
  std::ofstream(path) << std::string(8192, 'x');
  SpoilInode(f_, [](cow::InodeItem* item) { item->nlink = 7; });
  const std::string lines = Fsck(/*repair=*/true);
  EXPECT_FALSE(all_repaired_);
  EXPECT_NE(lines.find("nothing of the catalog can be read"), std::string::npos) << lines;
  EXPECT_NE(Fsck().find("catalog.db"), std::string::npos);
  EXPECT_EQ(Fsck().find("link"), std::string::npos) << "repaired all the same";
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
