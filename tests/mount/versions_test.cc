// Truncate-safe replace: a checkpoint that is truncated and written again, as torch.save does, is
// not lost when the writer is killed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>

#include "tests/fuzz/random.h"
#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

constexpr size_t kSize = 600'000;
constexpr size_t kPart = 20'000;
constexpr int kKills = 40;

// A checkpoint: its number, then bytes that follow from it.
std::string Checkpoint(uint64_t number) {
  Random random(number);
  std::string bytes(kSize, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  for (size_t i = 8; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = random.Next();
    std::memcpy(bytes.data() + i, &word, sizeof word);
  }
  return bytes;
}

// 0 if it is none.
uint64_t NumberOf(const std::string& bytes) {
  uint64_t number = 0;
  if (bytes.size() != kSize) return 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return bytes == Checkpoint(number) ? number : 0;
}

struct Progress {
  std::atomic<uint64_t> saved;  // closed
  std::atomic<uint64_t> parts;  // written in all
};

class VersionsTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Create("v");
    void* memory = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    progress_ = new (memory) Progress();
  }
  static void Save(uint64_t number, Progress* progress) {
    const std::string bytes = Checkpoint(number);
    const int fd = ::open("v/checkpoint", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    for (size_t done = 0; done < bytes.size(); done += kPart) {
      if (::write(fd, bytes.data() + done, kPart) != static_cast<ssize_t>(kPart)) ::_exit(1);
      if (progress != nullptr) ++progress->parts;
    }
    ::close(fd);
    if (progress != nullptr) progress->saved = number;
  }
  Progress* progress_ = nullptr;
};

TEST_F(VersionsTest, NoKillOfTheWriterLosesACheckpoint) {
  Save(1, nullptr);
  progress_->saved = 1;
  Random random(1);
  int restored = 0;
  uint64_t last = 1;
  for (int kill = 0; kill < kKills; ++kill) {
    const uint64_t first = last + 1;
    const uint64_t until = progress_->parts + 1 + random.Below(3 * kSize / kPart);
    const pid_t child = ::fork();
    if (child == 0) {
      for (uint64_t number = first;; ++number) Save(number, progress_);
    }
    while (progress_->parts < until) {
      ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "the writer ended by itself";
    }
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const uint64_t saved = progress_->saved;
    uint64_t there = NumberOf(Get("v/checkpoint"));
    std::string how = fmt::format("found {}", there);
    if (there == 0) {
      how += "; kept: " + TheMount().PxFs({"versions", "v/checkpoint", "--json"}).output;
      const RunResult restore = TheMount().PxFs({"restore", "v/checkpoint"});
      ASSERT_EQ(restore.exit_code, 0) << restore.output;
      there = NumberOf(Get("v/checkpoint"));
      ++restored;
    }
    ASSERT_GE(there, saved) << "after kill " << kill << ": " << how;
    // One that is whole without having been closed does not count as saved.
    last = std::max(there, first);
  }
  // Else it was not tried.
  EXPECT_GT(restored, 0);
}

TEST_F(VersionsTest, ACleanOverwriteLeavesNoVersion) {
  Save(1, nullptr);
  Save(2, nullptr);
  std::string versions;
  const auto limit = std::chrono::steady_clock::now() + kTestLimit;
  do {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << versions;
    versions = TheMount().PxFs({"versions", "v/checkpoint", "--json"}).output;
  } while (versions.find("version") != std::string::npos);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 2U);
}

// A process is killed with the first bytes of a new content written.
void KillWhileSaving() {
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open("v/checkpoint", O_TRUNC | O_WRONLY);
    if (::write(fd, "half", 4) != 4) ::_exit(1);
    ::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

// Many times: the clock has ticks of milliseconds, and the versions of one tick must not be taken
// for each other.
TEST_F(VersionsTest, ARestoreCanBeTakenBack) {
  Save(1, nullptr);
  KillWhileSaving();
  EXPECT_EQ(Get("v/checkpoint"), "half");
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(RestoreFile("v/checkpoint"), 0);
    ASSERT_EQ(NumberOf(Get("v/checkpoint")), 1U);
    ASSERT_EQ(RestoreFile("v/checkpoint"), 0);
    ASSERT_EQ(Get("v/checkpoint"), "half");
  }
  ASSERT_EQ(TheMount().PxFs({"restore", "v/checkpoint"}).exit_code, 0);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 1U);
}

// A save whose last byte was written, but whose close never returned, is as good as one that was
// closed, though nobody can know: when the job goes on from it and the next save is killed, both
// are there.
TEST_F(VersionsTest, WhatIsWholeButWasNeverClosedIsKeptToo) {
  Save(1, nullptr);
  const auto kill_whole = [](uint64_t number) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string bytes = Checkpoint(number);
      const int fd = ::open("v/checkpoint", O_TRUNC | O_WRONLY);
      if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) ::_exit(1);
      ::raise(SIGKILL);
    }
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  };
  for (const uint64_t number : {2, 3, 4}) kill_whole(number);
  KillWhileSaving();
  const auto list = [] {
    const std::string lines = TheMount().PxFs({"versions", "v/checkpoint", "--json"}).output;
    return nlohmann::json::parse(lines);
  };
  // Not more than two of these, however often that happens.
  const nlohmann::json versions = list();
  ASSERT_EQ(versions.size(), 3U) << versions;
  EXPECT_EQ(versions[0]["closed"], false);
  EXPECT_EQ(versions[1]["closed"], false);
  EXPECT_EQ(versions[2]["closed"], true);
  ASSERT_EQ(TheMount().PxFs({"restore", "v/checkpoint"}).exit_code, 0);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 1U) << "the last one that was closed";
  const std::string newest = std::to_string(versions[0]["version"].get<uint64_t>());
  ASSERT_EQ(TheMount().PxFs({"restore", "v/checkpoint", "--to", newest}).exit_code, 0);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 4U);
  // The one that was closed is so still.
  ASSERT_EQ(TheMount().PxFs({"restore", "v/checkpoint"}).exit_code, 0);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 1U);
}

TEST_F(VersionsTest, AKillOfTheDaemonKeepsTheVersionToo) {
  Save(1, nullptr);
  KillWhileSaving();
  KillAndRemount();
  ASSERT_EQ(TheMount().PxFs({"restore", "v/checkpoint"}).exit_code, 0);
  EXPECT_EQ(NumberOf(Get("v/checkpoint")), 1U);
}

}  // namespace
}  // namespace px::testing
