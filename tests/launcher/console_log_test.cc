#include "launcher/console_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

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
  ConsoleLogWriter Writer() { return std::move(*ConsoleLogWriter::Open(Files(), limits_, clock_)); }
  std::string Log() const { return directory_ + "/experiments/1"; }
  std::string Index() const { return directory_ + "/.px/1.times"; }

  LogFiles Files() const {
    return {.log = Log(), .index = Index(), .parts = directory_ + "/.px/1.log"};
  }

  std::string directory_;
  LogLimits limits_;
  FakeClock clock_;
};

TEST_F(ConsoleLogTest, LinesCarryTheTimeOfTheirFirstByte) {
  ConsoleLogWriter writer = Writer();
  ASSERT_TRUE(writer.Append("one\ntw"));
  ASSERT_TRUE(writer.Append("o\nthree\n"));
  ConsoleLogReader reader(Files());
  const auto lines = reader.Next(false);
  ASSERT_EQ(lines->size(), 3U);
  EXPECT_EQ((*lines)[0].text, "one");
  EXPECT_EQ((*lines)[1].text, "two");
  EXPECT_EQ((*lines)[1].at_ns, 100'000'000'000);
  EXPECT_EQ((*lines)[2].at_ns, 101'000'000'000);
}

TEST_F(ConsoleLogTest, AReaderFollowsAWriterWithoutLosingOrRepeating) {
  ConsoleLogReader reader(Files());
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
  ConsoleLogReader reader(Files());
  EXPECT_EQ(reader.Next(true)->size(), 1U);
  const auto rest = reader.Next(true);
  ASSERT_EQ(rest->size(), 1U);
  EXPECT_EQ((*rest)[0].text, "half");
}

TEST_F(ConsoleLogTest, ASecondAttemptAppends) {
  ASSERT_TRUE(Writer().Append("first\n"));
  ASSERT_TRUE(Writer().Append("second\n"));
  ConsoleLogReader reader(Files());
  const auto lines = reader.Next(true);
  ASSERT_EQ(lines->size(), 2U);
  EXPECT_EQ((*lines)[1].at_ns, 101'000'000'000);
}

TEST_F(ConsoleLogTest, ALogWithoutIndexIsStillShown) {
  ASSERT_TRUE(Writer().Append("a\n"));
  std::filesystem::remove(Index());
  ConsoleLogReader reader(Files());
  EXPECT_EQ((*reader.Next(true))[0].at_ns, 0);
}

TEST_F(ConsoleLogTest, RotatedPartsAreOneStream) {
  limits_ = {.rotate_bytes = 100, .total_bytes = 0};
  ConsoleLogWriter writer = Writer();
  ConsoleLogReader follower(Files());
  std::vector<std::string> expected;
  std::vector<std::string> followed;
  for (int i = 0; i < 200; ++i) {
    expected.push_back("line " + std::to_string(i));
    // A line comes in two pieces: parts end between lines all the same.
    ASSERT_TRUE(writer.Append(expected.back().substr(0, 3)));
    ASSERT_TRUE(writer.Append(expected.back().substr(3) + "\n"));
    if (i % 37 != 0) continue;
    for (auto lines = follower.Next(false); !lines->empty(); lines = follower.Next(false)) {
      for (const auto& line : *lines) followed.push_back(line.text);
    }
  }
  for (auto lines = follower.Next(true); !lines->empty(); lines = follower.Next(true)) {
    for (const auto& line : *lines) followed.push_back(line.text);
  }
  EXPECT_EQ(followed, expected);
  EXPECT_GT(Files().PartNumbers().size(), 10U);
  for (const int64_t part : Files().PartNumbers()) {
    std::ifstream file(Files().Part(part));
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text.back(), '\n');
    EXPECT_LE(text.size(), 110U);
  }
  std::vector<std::string> later;
  ConsoleLogReader reader(Files());
  for (auto lines = reader.Next(true); !lines->empty(); lines = reader.Next(true)) {
    for (const auto& line : *lines) {
      later.push_back(line.text);
      EXPECT_NE(line.at_ns, 0);
    }
  }
  EXPECT_EQ(later, expected);
}

TEST_F(ConsoleLogTest, AReaderInAnotherThreadLosesAndRepeatsNothing) {
  limits_ = {.rotate_bytes = 10'000, .total_bytes = 0};
  constexpr int kLines = 200'000;
  std::atomic<bool> written = false;
  std::thread writing([&] {
    ConsoleLogWriter writer = Writer();
    std::string chunk;
    for (int i = 0; i < kLines; ++i) {
      chunk += std::to_string(i) + "\n";
      if (chunk.size() > 3000) {
        ASSERT_TRUE(writer.Append(chunk.substr(0, 1234)));
        chunk.erase(0, 1234);
      }
    }
    ASSERT_TRUE(writer.Append(chunk));
    written = true;
  });
  ConsoleLogReader reader(Files());
  int next = 0;
  while (true) {
    const bool over = written;
    const auto lines = reader.Next(over);
    ASSERT_TRUE(lines);
    for (const auto& line : *lines) {
      if (line.text != std::to_string(next)) ADD_FAILURE() << line.text << " is not " << next;
      ++next;
    }
    if (over && lines->empty()) break;
  }
  writing.join();
  EXPECT_EQ(next, kLines);
}

TEST_F(ConsoleLogTest, TheOldestPartsGoWhenTheLimitIsReached) {
  limits_ = {.rotate_bytes = 1000, .total_bytes = 5000};
  ConsoleLogWriter writer = Writer();
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(writer.Append("line " + std::to_string(i) + "\n"));
  uint64_t total = std::filesystem::file_size(Log());
  for (const int64_t part : Files().PartNumbers()) {
    total += std::filesystem::file_size(Files().Part(part));
  }
  EXPECT_LE(total, 5100U);
  EXPECT_GE(total, 3000U);
  ConsoleLogReader reader(Files());
  std::string last;
  for (auto lines = reader.Next(true); !lines->empty(); lines = reader.Next(true)) {
    last = lines->back().text;
  }
  EXPECT_EQ(last, "line 4999");
}

TEST_F(ConsoleLogTest, ABrokenOffLineIsNotJoinedWithTheNextAttempts) {
  ASSERT_TRUE(Writer().Append("half"));
  ASSERT_TRUE(Writer().Append("second\n"));
  ConsoleLogReader reader(Files());
  const auto lines = reader.Next(true);
  ASSERT_EQ(lines->size(), 2U);
  EXPECT_EQ((*lines)[0].text, "half");
  EXPECT_EQ((*lines)[1].text, "second");
}

}  // namespace
}  // namespace px::launcher
