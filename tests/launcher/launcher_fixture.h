// A home of its own for each test, and px-launch run in it as people run it: as a program, in a
// project's directory.
//
// Every test of LauncherTest runs twice: on plain directories, and on a real mount (skipped without
// /dev/fuse).
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace px::testing {

struct CommandResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

enum class Backend { kPlain, kMount };

class LauncherTest : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Runs px-launch in the project's directory.
  CommandResult Launch(const std::vector<std::string>& arguments);
  // The same with other variables set ("NAME=VALUE").
  CommandResult LaunchWith(const std::vector<std::string>& environment,
                           const std::vector<std::string>& arguments);
  // Launch, which must succeed; its JSON.
  nlohmann::json Json(std::vector<std::string> arguments);

  // Writes a file into the project's directory.
  void Write(const std::string& name, const std::string& text);
  // A polyaxonfile that runs `command`, named `name`.
  void WriteSpec(const std::string& command, const std::string& name = "polyaxonfile.yml");
  // Runs the polyaxonfile; the experiment's number.
  int64_t Run(const std::string& command);
  // Runs this polyaxonfile, of any kind; the number.
  int64_t SubmitSpec(const std::string& text);
  // As WaitDone, of a "job" or a "build".
  std::string WaitEnd(const std::string& kind, int64_t number);
  // `experiment -xp N VERB...`; the new experiment's number.
  int64_t CloneOf(int64_t number, const std::vector<std::string>& verb);

  nlohmann::json Get(int64_t number);
  std::string StateOf(int64_t number) { return Get(number)["status"]; }
  // Waits until the experiment has ended; its status.
  std::string WaitDone(int64_t number);
  void WaitState(int64_t number, const std::string& state);
  // Polls until `condition` holds; fails the test after half a minute.
  void WaitFor(const std::string& what, const std::function<bool()>& condition);

  std::string OutputsOf(int64_t number) { return Get(number)["outputs"]; }
  std::string Logs(int64_t number);
  std::string ReadFile(const std::string& path);
  // Behind the launcher's back.
  void ChangeCatalog(const std::string& sql);
  // For tests that are also run longer by hand: a number from the environment, and how long
  // something took.
  static int Number(const char* variable, int fallback);
  static double Seconds(std::chrono::steady_clock::time_point since);

  std::string home_;     // $PX_HOME
  std::string project_;  // the working directory, initialised as user/demo
};

#define PX_LAUNCHER_SUITE(Suite)                                                                  \
  INSTANTIATE_TEST_SUITE_P(                                                                       \
      , Suite, ::testing::Values(::px::testing::Backend::kPlain, ::px::testing::Backend::kMount), \
      [](const auto& instance) {                                                                  \
        return instance.param == ::px::testing::Backend::kPlain ? "plain" : "mount";              \
      })

}  // namespace px::testing
