// Checksums of database pages: what is damaged is found, and is not read.
#include "catalog/checked_vfs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "catalog/database_image.h"
#include "catalog/log_frames.h"

namespace px::catalog {
namespace {

constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
constexpr int kRows = 2000;

class CheckedVfsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/px-checked-vfs.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    ASSERT_TRUE(SetLogLevel("off"));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Path() const { return dir_ + "/a.db"; }
  Database Open(const char* vfs = kCheckedVfs) const {
    auto opened = Database::Open(Path(), kFlags, 1000, vfs);
    EXPECT_TRUE(opened) << opened.error().ToString();
    return std::move(*opened);
  }
  static void Run(const Database& database, const std::string& sql) {
    const Status done = database.Execute(sql);
    EXPECT_TRUE(done) << sql << ": " << done.error().ToString();
  }
  static void Fill(const Database& database) {
    Run(database, "PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    Run(database,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        "INSERT INTO t SELECT i, i * 7 FROM n");
  }
  // The rows; an error where one cannot be read.
  static Result<std::vector<int64_t>> Rows(const Database& database) {
    PX_ASSIGN(Statement all, database.Prepare("SELECT x FROM t ORDER BY id"));
    std::vector<int64_t> rows;
    for (;;) {
      PX_ASSIGN(const bool more, all.Step());
      if (!more) return rows;
      rows.push_back(all.Int(0));
    }
  }
  static void ExpectRight(const Database& database) {
    const auto rows = Rows(database);
    ASSERT_TRUE(rows) << rows.error().ToString();
    EXPECT_EQ(*rows, Right());
  }
  static std::vector<int64_t> Right() {
    std::vector<int64_t> rows;
    for (int i = 1; i <= kRows; ++i) rows.push_back(int64_t{i} * 7);
    return rows;
  }
  std::vector<uint32_t> Damaged() const {
    std::vector<uint32_t> pages;
    const auto image = DatabaseImage::Open(Path(), Path() + "-log");
    EXPECT_TRUE(image && image->FindDamaged(
                             1, 1000000, [&](uint32_t page, PageState) { pages.push_back(page); }));
    return pages;
  }
  static void Flip(const std::string& path, uint64_t bit) {
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    char byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(bit / 8)), 1);
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(bit / 8)), 1);
  }

  std::string dir_;
};

TEST_F(CheckedVfsTest, EveryFlippedBitIsFoundAndReadAsItWas) {
  {
    const Database database = Open();
    ASSERT_TRUE(ReserveSums(database));
    Fill(database);
  }
  EXPECT_EQ(Damaged(), std::vector<uint32_t>{});
  ExpectRight(Open());
  const uint64_t bits = std::filesystem::file_size(Path()) * 8;
  // Every bit of the header, and others.
  for (uint64_t bit = 0; bit < bits; bit += bit < 800 ? 7 : 1601) {
    Flip(Path(), bit);
    EXPECT_EQ(Damaged(), std::vector<uint32_t>{static_cast<uint32_t>(bit / 8 / 4096) + 1}) << bit;
    ExpectRight(Open());
    // Nor is anything wrong read where that is too much to be put right.
    const uint64_t other = bit / 8 / 4096 * 4096 * 8 + (bit + 12345) % (4096 * 8);
    Flip(Path(), other);
    auto opened = Database::Open(Path(), SQLITE_OPEN_READWRITE, 1000, kCheckedVfs);
    ASSERT_TRUE(opened);
    const auto rows = Rows(*opened);
    EXPECT_FALSE(rows) << bit;
    if (!rows) {
      EXPECT_EQ(rows.error().code(), EUCLEAN) << bit << ": " << rows.error().ToString();
    }
    Flip(Path(), other);
    Flip(Path(), bit);
  }
  ExpectRight(Open());
}

TEST_F(CheckedVfsTest, APageThatIsAnotherIsFound) {
  {
    const Database database = Open();
    ASSERT_TRUE(ReserveSums(database));
    Fill(database);
  }
  std::string page(4096, '\0');
  {
    std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(3 * 4096);
    file.read(page.data(), 4096);
    file.seekp(4 * 4096);
    file.write(page.data(), 4096);
  }
  EXPECT_EQ(Damaged(), std::vector<uint32_t>{5});
  EXPECT_FALSE(Rows(Open()));
}

TEST_F(CheckedVfsTest, AVacuumBringsChecksums) {
  {
    const Database database = Open();
    Fill(database);
  }
  EXPECT_TRUE(*IsWithoutSums(Open()));
  {
    // One that had it open before reads and writes on.
    const Database other = Open();
    ExpectRight(other);
    const Database database = Open();
    ASSERT_TRUE(ReserveSums(database));
    Run(database, "VACUUM");
    ExpectRight(other);
    Run(other, "UPDATE t SET x = x + 1; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET x = x - 1");
    Run(other, "PRAGMA wal_checkpoint(TRUNCATE)");
    ExpectRight(database);
  }
  EXPECT_EQ(Damaged(), std::vector<uint32_t>{});
  ExpectRight(Open());
}

TEST_F(CheckedVfsTest, OneWithoutChecksumsStaysSo) {
  {
    const Database database = Open(kPlainVfs);
    Fill(database);
  }
  {
    const Database database = Open();
    ASSERT_TRUE(ReserveSums(database));
    ExpectRight(database);
    Run(database, "UPDATE t SET x = x + 1");
  }
  const Database database = Open(kPlainVfs);
  Run(database, "UPDATE t SET x = x - 1");
  ExpectRight(database);
}

// It would write pages without checksums, if only when it closes.
TEST_F(CheckedVfsTest, NoOtherProgramOpensIt) {
  const Database database = Open();
  ASSERT_TRUE(ReserveSums(database));
  Fill(database);
  {
    const auto other = Database::Open(Path(), SQLITE_OPEN_READWRITE, 1000, kPlainVfs);
    ASSERT_TRUE(other);
    const auto rows = Rows(*other);
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().code(), EUCLEAN);
  }
  ExpectRight(database);
}

TEST_F(CheckedVfsTest, ADamagedFrameOfTheLogIsNotMovedIntoTheDatabase) {
  const Database database = Open();
  ASSERT_TRUE(ReserveSums(database));
  Run(database, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  Fill(database);
  // The newest of some page.
  const uint64_t last = std::filesystem::file_size(Path() + "-log") - LogFrames::kFrame;
  for (const uint64_t byte : {last + LogFrames::kFrameHeader + 99, last + 17}) {
    Flip(Path() + "-log", byte * 8 + 3);
    const Status moved = database.Execute("PRAGMA wal_checkpoint(PASSIVE)");
    EXPECT_FALSE(moved);
    Flip(Path() + "-log", byte * 8 + 3);
  }
  Run(database, "PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_EQ(Damaged(), std::vector<uint32_t>{});
  ExpectRight(database);
}

// --- The log as it is on disk ---

class LogFramesTest : public CheckedVfsTest {
 protected:
  // Ten transactions of a row each.
  void SetUp() override {
    CheckedVfsTest::SetUp();
    const Database database = Open();
    ASSERT_TRUE(ReserveSums(database));
    Run(database, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
    Run(database, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); PRAGMA wal_checkpoint(TRUNCATE)");
    for (int i = 0; i < 10; ++i) Run(database, "INSERT INTO t(x) VALUES(1)");
    std::filesystem::copy_file(Path() + "-log", Log());
  }
  std::string Log() const { return dir_ + "/log"; }
  LogFrames::Found Scan() {
    const UniqueFd file(::open(Log().c_str(), O_RDONLY | O_CLOEXEC));
    sound_ = 0;
    const auto found = LogFrames::Scan(file.get(), [&](const LogFrames::Frame& frame) -> Status {
      if (frame.sound) ++sound_;
      return {};
    });
    EXPECT_TRUE(found);
    return found ? *found : LogFrames::Found();
  }

  uint64_t sound_ = 0;
};

TEST_F(LogFramesTest, ASoundOneIsReadToItsEnd) {
  const auto found = Scan();
  EXPECT_NE(found.salts, 0U);
  EXPECT_GE(found.frames, 10U);
  EXPECT_EQ(found.frames, sound_);
  EXPECT_EQ(found.damaged, 0U);
  EXPECT_EQ(found.hidden, 0U);
}

TEST_F(LogFramesTest, ADamagedFrameIsToldFromTheEnd) {
  const uint64_t frames = Scan().frames;
  for (const uint64_t in_frame : {uint64_t{9}, uint64_t{17}, uint64_t{24}, uint64_t{4000}}) {
    const uint64_t bit = (LogFrames::kHeader + 3 * LogFrames::kFrame + in_frame) * 8;
    Flip(Log(), bit);
    const auto found = Scan();
    EXPECT_EQ(found.frames, 3U);
    // The stored checksum is also where the next one begins.
    EXPECT_EQ(found.damaged, in_frame == 17 ? 2U : 1U);
    EXPECT_EQ(found.hidden, frames - 3 - found.damaged);
    EXPECT_EQ(sound_, frames - found.damaged);
    Flip(Log(), bit);
  }
}

TEST_F(LogFramesTest, AnUnfinishedTransactionIsTheEnd) {
  const uint64_t frames = Scan().frames;
  std::filesystem::resize_file(Log(), LogFrames::kHeader + frames * LogFrames::kFrame - 100);
  const auto found = Scan();
  EXPECT_EQ(found.frames, frames - 1);
  EXPECT_EQ(found.damaged, 0U);
}

}  // namespace
}  // namespace px::catalog
