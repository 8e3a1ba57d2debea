#include "launcher/console_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace px::launcher {
namespace {

class FakeClock final : public Clock {
 public:
  timespec Now() override { return {.tv_sec = seconds++, .tv_nsec = 0}; }
  time_t seconds = 100;
};

class ConsoleLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "px-log-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  ConsoleLogWriter Writer() { return std::move(*ConsoleLogWriter::Open(Log(), Index(), clock_)); }
  std::string Log() const { return directory_ + "/experiments/1"; }
  std::string Index() const { return directory_ + "/.px/1.times"; }

  std::string directory_;
  FakeClock clock_;
};

TEST_F(ConsoleLogTest, LinesCarryTheTimeOfTheirFirstByte) {
  ConsoleLogWriter writer = Writer();
  ASSERT_TRUE(writer.Append("one\ntw"));
  ASSERT_TRUE(writer.Append("o\nthree\n"));
  ConsoleLogReader reader(Log(), Index());
  const auto lines = reader.Next(false);
  ASSERT_EQ(lines->size(), 3U);
  EXPECT_EQ((*lines)[0].text, "one");
  EXPECT_EQ((*lines)[1].text, "two");
  EXPECT_EQ((*lines)[1].at_ns, 100'000'000'000);
  EXPECT_EQ((*lines)[2].at_ns, 101'000'000'000);
}

TEST_F(ConsoleLogTest, AReaderFollowsAWriterWithoutLosingOrRepeating) {
  ConsoleLogReader reader(Log(), Index());
  EXPECT_TRUE(reader.Next(false)->empty());
  ConsoleLogWriter writer = Writer();
  size_t seen = 0;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(writer.Append("line " + std::to_string(i)));
    EXPECT_TRUE(reader.Next(false)->empty());
    ASSERT_TRUE(writer.Append("\n"));
    const auto lines = reader.Next(false);
    for (const auto& line : *lines) {
      EXPECT_EQ(line.text, "line " + std::to_string(seen));
      EXPECT_NE(line.at_ns, 0);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 500U);
}

TEST_F(ConsoleLogTest, ALastLineWithoutNewlineIsShownAtTheEnd) {
  ASSERT_TRUE(Writer().Append("whole\nhalf"));
  ConsoleLogReader reader(Log(), Index());
  EXPECT_EQ(reader.Next(true)->size(), 1U);
  const auto rest = reader.Next(true);
  ASSERT_EQ(rest->size(), 1U);
  EXPECT_EQ((*rest)[0].text, "half");
}

TEST_F(ConsoleLogTest, ASecondAttemptAppends) {
  ASSERT_TRUE(Writer().Append("first\n"));
  ASSERT_TRUE(Writer().Append("second\n"));
  ConsoleLogReader reader(Log(), Index());
  const auto lines = reader.Next(true);
  ASSERT_EQ(lines->size(), 2U);
  EXPECT_EQ((*lines)[1].at_ns, 101'000'000'000);
}

TEST_F(ConsoleLogTest, ALogWithoutIndexIsStillShown) {
  ASSERT_TRUE(Writer().Append("a\n"));
  std::filesystem::remove(Index());
  ConsoleLogReader reader(Log(), Index());
  EXPECT_EQ((*reader.Next(true))[0].at_ns, 0);
}

}  // namespace
}  // namespace px::launcher
