// The seals of objects: their table, what is left of it after damage and power cuts, sealing in the
// background, and that no legal change is taken for damage.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "catalog/seal_table.h"
#include "fs/object_digest.h"
#include "fs/seals.h"
#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;
using catalog::Seal;
using catalog::SealTable;
using cow::ObjectId;
using fs::Filesystem;
using fs::NodeKey;

class SealsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/px-seals.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { stdfs::remove_all(dir_); }
  std::string File(const char* name) const { return dir_ + "/" + name; }

  std::string dir_;
};

class SealTableTest : public SealsTest {
 protected:
  std::unique_ptr<SealTable> Open(const std::string& boot = "a") const {
    auto table = SealTable::Open(dir_, boot);
    EXPECT_TRUE(table) << (table ? "" : table.error().ToString());
    return table ? std::move(*table) : nullptr;
  }
  static void Put(SealTable& table, uint64_t object, uint64_t size,
                  Seal::State state = Seal::State::kSealed) {
    Seal seal;
    seal.size = size;
    seal.state = state;
    const SealTable::Change change{ObjectId{object}, seal};
    ASSERT_TRUE(table.Apply({&change, 1}));
  }
};

TEST_F(SealTableTest, GivesBackWhatWasPut) {
  {
    const auto table = Open();
    Put(*table, 7, 70);
    Put(*table, 9, 90, Seal::State::kDamaged);
    Put(*table, 8, 80);
    const SealTable::Change gone{ObjectId{8}, std::nullopt};
    ASSERT_TRUE(table->Apply({&gone, 1}));
  }
  const auto table = Open();
  EXPECT_EQ((*table->Find(ObjectId{7}))->size, 70u);
  EXPECT_FALSE((*table->Find(ObjectId{7}))->doubtful);
  EXPECT_EQ(*table->Find(ObjectId{8}), std::nullopt) << "erased";
  EXPECT_EQ(*table->Damaged(), std::vector{ObjectId{9}});
  EXPECT_EQ(table->End()->value, 10u);
}

TEST_F(SealTableTest, RowsAreDoubtfulAfterAPowerCutOnly) {
  Put(*Open("a"), 1, 10);
  EXPECT_FALSE((*Open("a")->Find(ObjectId{1}))->doubtful) << "after a kill";
  {
    const auto table = Open("b");
    EXPECT_TRUE((*table->Find(ObjectId{1}))->doubtful) << "after a power cut";
    Put(*table, 2, 20);
  }
  {
    const auto table = Open("b");
    EXPECT_TRUE((*table->Find(ObjectId{1}))->doubtful);
    EXPECT_FALSE((*table->Find(ObjectId{2}))->doubtful);
    ASSERT_TRUE(table->CloseInOrder());
  }
  const auto table = Open("c");
  EXPECT_TRUE((*table->Find(ObjectId{1}))->doubtful);
  EXPECT_FALSE((*table->Find(ObjectId{2}))->doubtful) << "after a reboot in order";
}

TEST_F(SealTableTest, ADamagedRowCountsAsNone) {
  Put(*Open(), 1, 10);
  {
    auto database = catalog::Database::Open(File("seals.db"), SQLITE_OPEN_READWRITE, 1000,
                                            catalog::kOneProcessVfs);
    ASSERT_TRUE(database);
    ASSERT_TRUE(database->Execute("UPDATE seal SET size = 11"));
  }
  EXPECT_EQ(*Open()->Find(ObjectId{1}), std::nullopt);
}

TEST_F(SealTableTest, WhatIsNoDatabaseIsSetAside) {
  std::ofstream(File("seals.db")) << std::string(100'000, 'x');
  const auto table = Open();
  ASSERT_NE(table, nullptr);
  Put(*table, 1, 10);
  EXPECT_EQ((*table->Find(ObjectId{1}))->size, 10u);
  EXPECT_TRUE(stdfs::exists(File("seals.db.damaged")));
}

TEST_F(SealTableTest, DamageFoundLaterIsSetAsideToo) {
  {
    const auto table = Open();
    for (uint64_t i = 1; i < 2000; ++i) Put(*table, i, i);
    ASSERT_TRUE(table->Sync());
    ASSERT_TRUE(table->CloseInOrder());
  }
  {
    std::fstream file(File("seals.db"), std::ios::in | std::ios::out | std::ios::binary);
    for (int page = 4; page < 40; ++page) file.seekp(page * 4096) << std::string(4000, '\xa5');
  }
  const auto table = Open();
  ASSERT_NE(table, nullptr);
  const auto sound = table->CheckSound();
  ASSERT_TRUE(sound) << sound.error().ToString();
  EXPECT_FALSE(*sound);
  Put(*table, 1, 10);
  EXPECT_EQ((*table->Find(ObjectId{1}))->size, 10u);
}

TEST_F(SealTableTest, ANewerFormatIsRefusedAndLeft) {
  Open();
  {
    auto database = catalog::Database::Open(File("seals.db"), SQLITE_OPEN_READWRITE, 1000,
                                            catalog::kOneProcessVfs);
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 2"));
  }
  const auto table = SealTable::Open(dir_, "a");
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code(), EPROTONOSUPPORT);
}

// A store used in this process, in cached mode.
class SealedStoreTest : public SealsTest {
 protected:
  struct Mounted {
    NoKernel kernel;
    SystemClock clock;
    std::optional<fs::StoreDir> dir;
    std::unique_ptr<Filesystem> fs;
  };
  static std::unique_ptr<Mounted> Mount(const std::string& store, const std::string& boot,
                                        int seal_after_ms = 3'600'000) {
    auto mounted = std::make_unique<Mounted>();
    auto dir = fs::StoreDir::Open(store, /*create=*/true);
    EXPECT_TRUE(dir) << dir.error().ToString();
    mounted->dir.emplace(std::move(*dir));
    auto parts = mounted->dir->OpenParts(boot);
    EXPECT_TRUE(parts) << parts.error().ToString();
    fs::FilesystemOptions options;
    options.pool_objects = 4;
    options.tick = std::chrono::milliseconds(5);
    options.seal_after = std::chrono::milliseconds(seal_after_ms);
    auto opened = Filesystem::Open(std::move(*parts), options, &mounted->kernel, &mounted->clock);
    EXPECT_TRUE(opened) << opened.error().ToString();
    mounted->fs = std::move(*opened);
    return mounted;
  }
  static NodeKey Write(Filesystem& fs, const std::string& name, const std::string& bytes) {
    const auto created = fs.Create(kTop, name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot);
    EXPECT_TRUE(created);
    EXPECT_TRUE(fs.Write(created->entry.node, bytes, 0, false));
    fs.Release(created->entry.node, O_WRONLY);
    return created->entry.node;
  }
  // In place.
  static void Change(Filesystem& fs, const std::string& name, const std::string& bytes) {
    const auto entry = fs.Lookup(kTop, name);
    ASSERT_TRUE(entry);
    ASSERT_TRUE(fs.Open(entry->node, O_RDWR, false));
    ASSERT_TRUE(fs.Write(entry->node, bytes, 0, false));
    fs.Release(entry->node, O_RDWR);
  }
  struct Result {
    nlohmann::json progress;
    std::vector<std::string> findings;  // "KIND PATH"
  };
  static Result Scrub(Filesystem& fs) {
    Result result;
    auto text = std::make_unique<px_ioc_text>();
    *text = {};
    for (bool more = true; more;) {
      std::memset(text->text, 0, sizeof text->text);
      const Status stepped = fs.ScrubStep(text.get(), kRoot);
      EXPECT_TRUE(stepped) << stepped.error().ToString();
      if (!stepped) break;
      std::istringstream lines(std::string(text->text, text->length));
      for (std::string line; std::getline(lines, line);) {
        const auto json = nlohmann::json::parse(line);
        if (json.contains("progress")) {
          result.progress = json["progress"];
        } else {
          result.findings.push_back(json["kind"].get<std::string>() + " " +
                                    json["paths"].at(0).get<std::string>());
        }
      }
      more = std::any_of(std::begin(text->cursor), std::end(text->cursor),
                         [](auto byte) { return byte != 0; });
    }
    return result;
  }
  // What a disk does to a file: other bytes, the same times; the seal's is made that of the file.
  static void Rot(const std::string& store, const std::string& boot, const std::string& content) {
    for (const auto& entry : stdfs::recursive_directory_iterator(store + "/objects")) {
      if (!entry.is_regular_file() || entry.file_size() != content.size()) continue;
      std::ifstream in(entry.path());
      if (std::string(std::istreambuf_iterator<char>(in), {}) != content) continue;
      std::fstream(entry.path(), std::ios::in | std::ios::out).seekp(1) << '\x01';
      auto table = SealTable::Open(store, boot);
      ASSERT_TRUE(table);
      const ObjectId id{std::stoull(entry.path().filename(), nullptr, 16)};
      struct stat file{};
      ASSERT_EQ(::stat(entry.path().c_str(), &file), 0);
      auto seal = *(*table)->Find(id);
      ASSERT_TRUE(seal);
      seal->mtime_ns = ToNanoseconds(file.st_mtim);
      seal->ctime_ns = ToNanoseconds(file.st_ctim);
      const SealTable::Change change{id, seal};
      ASSERT_TRUE((*table)->Apply({&change, 1}));
      return;
    }
    FAIL() << "no object with that content";
  }
};

TEST_F(SealedStoreTest, WhatWasClosedIsSealedByItself) {
  const auto mounted = Mount(dir_, "a", /*seal_after_ms=*/20);
  Write(*mounted->fs, "f", "closed");
  Write(*mounted->fs, "g", std::string(3'000'000, 'g'));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  Result result;
  // At the end there is nothing left for a scrub to seal; which says so without sealing itself.
  for (;;) {
    auto table = SealTable::Open(dir_, "a");
    ASSERT_TRUE(table);
    size_t rows = 0;
    ASSERT_TRUE((*table)->Scan(ObjectId{0}, [&](ObjectId, const Seal&) { return ++rows > 0; }));
    if (rows == 2) break;
    ASSERT_LT(std::chrono::steady_clock::now(), until) << rows << " of 2 sealed";
    std::this_thread::yield();
  }
  result = Scrub(*mounted->fs);
  EXPECT_EQ(result.progress["sealed"], 0);
  EXPECT_EQ(result.progress["verified_bytes"], 3'000'006);
}

TEST_F(SealedStoreTest, RotIsFoundAndRefused) {
  const auto mounted = Mount(dir_, "a");
  const NodeKey node = Write(*mounted->fs, "f", "sound bytes");
  EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 1);
  Rot(dir_, "a", "sound bytes");
  EXPECT_EQ(Scrub(*mounted->fs).findings, std::vector<std::string>{"damaged f"});
  const auto opened = mounted->fs->Open(node, O_RDONLY, false);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), EIO);
  // It is told again, until the bytes are accepted.
  EXPECT_EQ(Scrub(*mounted->fs).findings, std::vector<std::string>{"damaged f"});
  ASSERT_TRUE(mounted->fs->AcceptDamaged(kTop, "f", kRoot));
  EXPECT_EQ(Scrub(*mounted->fs).findings.size(), 0u);
  EXPECT_TRUE(mounted->fs->Open(node, O_RDONLY, false));
}

// A file that is sparse over it would have zeros where it ends.
TEST_F(SealedStoreTest, NothingIsReadOverASharedObjectThatWasCut) {
  const std::string content(1 << 20, 'c');
  {
    const auto mounted = Mount(dir_, "a");
    Filesystem& fs = *mounted->fs;
    ASSERT_TRUE(fs.CreateVolume(kTop, "v", kRoot));
    const NodeKey v = fs.Lookup(kTop, "v")->node;
    const auto made = fs.Create(v, "f", S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot);
    ASSERT_TRUE(made);
    ASSERT_TRUE(fs.Write(made->entry.node, content, 0, false));
    fs.Release(made->entry.node, O_WRONLY);
    EXPECT_EQ(Scrub(fs).progress["sealed"], 1);
    ASSERT_TRUE(fs.CloneVolume(kTop, "w", *fs.IssueToken(v, kRoot), 0, kRoot));
    const NodeKey clone = fs.Lookup(fs.Lookup(kTop, "w")->node, "f")->node;
    ASSERT_TRUE(fs.Open(clone, O_RDWR, false));
    ASSERT_TRUE(fs.Write(clone, "own", 0, false));
    fs.Release(clone, O_RDWR);
  }
  size_t cut = 0;
  for (const auto& entry : stdfs::recursive_directory_iterator(dir_ + "/objects")) {
    if (!entry.is_regular_file() || entry.file_size() != content.size()) continue;
    std::ifstream in(entry.path());
    if (std::string(std::istreambuf_iterator<char>(in), {}) != content) continue;
    stdfs::resize_file(entry.path(), content.size() / 2);
    ++cut;
  }
  ASSERT_EQ(cut, 1u);
  const auto mounted = Mount(dir_, "a");
  for (const char* volume : {"v", "w"}) {
    const NodeKey node = mounted->fs->Lookup(mounted->fs->Lookup(kTop, volume)->node, "f")->node;
    const auto opened = mounted->fs->Open(node, O_RDONLY, false);
    // Where there are reflinks the clone has all of its own.
    if (opened && std::string_view(volume) == "w") {
      std::string bytes(content.size(), '\0');
      ASSERT_TRUE(mounted->fs->Read(node, bytes, 0));
      EXPECT_TRUE(bytes == "own" + content.substr(3));
      continue;
    }
    ASSERT_FALSE(opened) << volume;
    EXPECT_EQ(opened.error().code(), EIO);
  }
}

// The file was written in place, without fsync, when the power went: its bytes are some of the old
// and some of the new, with the old times, and that its seal was taken back is forgotten too.
TEST_F(SealedStoreTest, APowerCutMakesNoDamage) {
  {
    const auto mounted = Mount(dir_, "a");
    Write(*mounted->fs, "f", "sound bytes");
    Write(*mounted->fs, "g", "other bytes");
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 2);
    ASSERT_TRUE(mounted->fs->FsyncDir(kTop));
    // As the disk has it then: a daemon that was not closed in order.
    stdfs::copy(dir_, dir_ + "/../" + stdfs::path(dir_).filename().string() + ".cut",
                stdfs::copy_options::recursive);
  }
  const std::string cut = dir_ + ".cut";
  Rot(cut, "a", "sound bytes");
  {
    const auto mounted = Mount(cut, "b");
    const Result result = Scrub(*mounted->fs);
    EXPECT_EQ(result.findings, std::vector<std::string>{"doubtful f"});
    EXPECT_EQ(result.progress["findings"], 0);
    EXPECT_EQ(result.progress["doubtful"], 1);
    EXPECT_TRUE(mounted->fs->Open(mounted->fs->Lookup(kTop, "f")->node, O_RDONLY, false));
  }
  stdfs::remove_all(cut);
}

TEST_F(SealedStoreTest, ASealIsTakenBackBeforeTheFirstByteChanges) {
  {
    const auto mounted = Mount(dir_, "a");
    Write(*mounted->fs, "f", "sound bytes");
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 1);
    const NodeKey node = mounted->fs->Lookup(kTop, "f")->node;
    ASSERT_TRUE(mounted->fs->Open(node, O_RDWR, false));
    auto table = SealTable::Open(dir_, "a");
    size_t rows = 0;
    ASSERT_TRUE((*table)->Scan(ObjectId{0}, [&](ObjectId, const Seal&) { return ++rows > 0; }));
    EXPECT_EQ(rows, 0u);
    ASSERT_TRUE(mounted->fs->Write(node, "S", 0, false));
    EXPECT_EQ(Scrub(*mounted->fs).progress["busy"], 1);
    mounted->fs->Release(node, O_RDWR);
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 1);
  }
  const auto mounted = Mount(dir_, "a");
  EXPECT_EQ(Scrub(*mounted->fs).findings.size(), 0u);
}

TEST_F(SealedStoreTest, ACopiedStoreIsVerifiedAgainstItsSeals) {
  {
    const auto mounted = Mount(dir_, "a");
    Write(*mounted->fs, "f", "sound bytes");
    Write(*mounted->fs, "g", "other bytes");
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 2);
  }
  const std::string copy = dir_ + ".copy";
  stdfs::copy(dir_, copy, stdfs::copy_options::recursive);
  {
    const auto mounted = Mount(copy, "b");
    const Result result = Scrub(*mounted->fs);
    EXPECT_EQ(result.findings.size(), 0u);
    EXPECT_EQ(result.progress["sealed"], 0);
    EXPECT_EQ(result.progress["verified_bytes"], 22);
  }
  // The times of a copy are others; what its disk does is found as before.
  Rot(copy, "b", "other bytes");
  {
    const auto mounted = Mount(copy, "b");
    EXPECT_EQ(Scrub(*mounted->fs).findings, std::vector<std::string>{"damaged g"});
  }
  stdfs::remove_all(copy);
}

// One that stayed would accuse a sound file.
TEST_F(SealedStoreTest, ASealThatCannotBeTakenBackTakesAllWithIt) {
  {
    const auto mounted = Mount(dir_, "a");
    Write(*mounted->fs, "f", "sound bytes");
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 1);
    {
      auto database = catalog::Database::Open(File("seals.db"), SQLITE_OPEN_READWRITE, 1000,
                                              catalog::kOneProcessVfs);
      ASSERT_TRUE(database->Execute(
          "CREATE TRIGGER no BEFORE DELETE ON seal BEGIN SELECT RAISE(FAIL, 'no'); END"));
    }
    Change(*mounted->fs, "f", "S");
    const Result result = Scrub(*mounted->fs);
    EXPECT_EQ(result.findings.size(), 0u);
    EXPECT_EQ(result.progress["unsealed"], 1);
    EXPECT_FALSE(stdfs::exists(File("seals.db")));
  }
  const auto mounted = Mount(dir_, "a");
  const Result result = Scrub(*mounted->fs);
  EXPECT_EQ(result.findings.size(), 0u);
  EXPECT_EQ(result.progress["sealed"], 1);
}

TEST_F(SealedStoreTest, WithoutSealsEverythingWorks) {
  {
    const auto mounted = Mount(dir_, "a");
    Write(*mounted->fs, "f", "sound bytes");
    EXPECT_EQ(Scrub(*mounted->fs).progress["sealed"], 1);
  }
  for (const char* name : {"seals.db", "seals.db-wal", "seals.db-shm"}) {
    stdfs::remove(dir_ + "/" + name);
  }
  // One of a newer format cannot be had at all.
  {
    auto database =
        catalog::Database::Open(File("seals.db"), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1000,
                                catalog::kOneProcessVfs);
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 9"));
  }
  const auto mounted = Mount(dir_, "a");
  Change(*mounted->fs, "f", "changed");
  const Result result = Scrub(*mounted->fs);
  EXPECT_EQ(result.findings.size(), 0u);
  EXPECT_EQ(result.progress["unsealed"], 1);
}

}  // namespace
}  // namespace px::testing
