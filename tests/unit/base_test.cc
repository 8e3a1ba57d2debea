#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace px {
namespace {

Result<int> Half(int number) {
  if (number % 2 != 0) return Fail(EINVAL, "odd");
  return number / 2;
}

Result<int> Quarter(int number) {
  PX_ASSIGN(const int half, Half(number));
  return Half(half);
}

Status CheckEven(int number) {
  PX_TRY(Half(number));
  return {};
}

Result<std::unique_ptr<int>> Boxed(int number) {
  PX_ASSIGN(const int half, Half(number));
  PX_ASSIGN(auto box, Result<std::unique_ptr<int>>(std::make_unique<int>(half)));
  return box;
}

TEST(ResultTest, AssignTakesTheValue) { EXPECT_EQ(Quarter(12).value(), 3); }

TEST(ResultTest, AssignReturnsTheErrorOfEitherStep) {
  for (const int number : {3, 6}) {
    const auto result = Quarter(number);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), EINVAL);
    EXPECT_EQ(result.error().context(), "odd");
  }
}

TEST(ResultTest, AssignMovesWhatCannotBeCopied) { EXPECT_EQ(**Boxed(8), 4); }

TEST(ResultTest, TryForwardsOnlyErrors) {
  EXPECT_TRUE(CheckEven(2));
  EXPECT_EQ(CheckEven(1).error().code(), EINVAL);
}

TEST(ErrorTest, TextNamesContextThenReason) {
  EXPECT_EQ(Error(ENOENT, "open a").ToString(), "open a: No such file or directory");
  EXPECT_EQ(Error(ENOENT).ToString(), "No such file or directory");
}

TEST(ErrorTest, WrapPutsTheOuterContextFirst) {
  EXPECT_EQ(Error(EIO, "read").Wrap("load node 7").context(), "load node 7: read");
  EXPECT_EQ(Error(EIO).Wrap("load node 7").context(), "load node 7");
}

TEST(ErrorTest, KernelSeesCorruptionAsEio) {
  EXPECT_EQ(Error(EUCLEAN).ToKernel(), EIO);
  EXPECT_EQ(Error(EBADMSG).ToKernel(), EIO);
  EXPECT_EQ(Error(ENOSPC).ToKernel(), ENOSPC);
}

TEST(ErrorTest, FailErrnoTakesTheCurrentErrno) {
  errno = EACCES;
  const Status status = FailErrno("open");
  EXPECT_EQ(status.error().code(), EACCES);
}

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesWhatItOwns) {
  int raw = -1;
  {
    const UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.get();
    EXPECT_TRUE(fd);
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFdTest, MoveLeavesTheSourceEmpty) {
  UniqueFd from(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = from.get();
  const UniqueFd to(std::move(from));
  EXPECT_EQ(to.get(), raw);
  EXPECT_FALSE(from);  // NOLINT(bugprone-use-after-move): this is what the test is about
}

TEST(UniqueFdTest, MoveAssignClosesTheOld) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int old = first.get();
  UniqueFd second(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(IsOpen(old));
  EXPECT_TRUE(IsOpen(kept));
  EXPECT_EQ(first.get(), kept);
}

TEST(UniqueFdTest, ResetKeepsErrno) {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::close(fd.get());  // so that the close inside Reset fails
  errno = ENOSPC;
  fd.Reset();
  EXPECT_EQ(errno, ENOSPC);
}

TEST(UniqueFdTest, ReleaseGivesUpOwnership) {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = fd.Release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(IsOpen(raw));
  ::close(raw);
}

// Before any test of LogTest sends the log to a file.
TEST(Log, GoesToStandardErrorUnlessToldOtherwise) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  LogError("seen {}", 1);
  Logger().flush();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("seen 1"), std::string::npos);
}

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "px-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    level_ = Logger().level();
  }
  void TearDown() override {
    Logger().set_level(level_);
    std::filesystem::remove_all(directory_);
  }
  std::string Written() const {
    std::ifstream file(directory_ / "log");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::filesystem::path directory_;
  spdlog::level::level_enum level_ = spdlog::level::info;
};

TEST_F(LogTest, LevelDecidesWhatIsWritten) {
  ASSERT_TRUE(LogToFile(directory_ / "log"));
  ASSERT_TRUE(SetLogLevel("warn"));
  LogInfo("quiet {}", 1);
  LogWarn("loud {}", 2);
  Logger().flush();
  EXPECT_EQ(Written().find("quiet"), std::string::npos);
  EXPECT_NE(Written().find("loud 2"), std::string::npos);
}

TEST_F(LogTest, EveryDocumentedLevelIsKnown) {
  for (const char* level : {"trace", "debug", "info", "warn", "error", "off"}) {
    EXPECT_TRUE(SetLogLevel(level)) << level;
  }
}

TEST_F(LogTest, UnknownLevelIsEinvalAndChangesNothing) {
  ASSERT_TRUE(SetLogLevel("error"));
  EXPECT_EQ(SetLogLevel("loud").error().code(), EINVAL);
  EXPECT_EQ(Logger().level(), spdlog::level::err);
}

TEST_F(LogTest, FileThatCannotBeOpenedIsAnError) {
  std::ofstream(directory_ / "file") << "x";
  EXPECT_FALSE(LogToFile(directory_ / "file" / "log"));
}

TEST_F(LogTest, LaterRunsAppend) {
  for (const char* line : {"first", "second"}) {
    ASSERT_TRUE(LogToFile(directory_ / "log"));
    LogInfo("{}", line);
  }
  EXPECT_NE(Written().find("first"), std::string::npos);
  EXPECT_NE(Written().find("second"), std::string::npos);
}

TEST(CheckDeathTest, BrokenInvariantAbortsNamingIt) { EXPECT_DEATH(PX_CHECK(1 + 1 == 3), ""); }

TEST(MutexTest, CondVarWakesAWaiter) {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  std::thread setter([&] {
    const MutexLock lock(mutex);
    ready = true;
    changed.NotifyAll();
  });
  {
    const MutexLock lock(mutex);
    while (!ready) changed.Wait(mutex);
    EXPECT_TRUE(ready);
  }
  setter.join();
}

TEST(ClockTest, SystemClockIsNotBeforeThisProject) {
  SystemClock clock;
  EXPECT_GT(clock.Now().tv_sec, 1700000000);
}

}  // namespace
}  // namespace px
