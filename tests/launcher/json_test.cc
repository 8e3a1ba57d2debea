// Every command answers in JSON when it is asked to: taken from the program's own list of commands,
// so that a new one cannot be forgotten.
#include <algorithm>
#include <map>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class JsonTest : public LauncherTest {
 protected:
  // What to type behind the command's own words, where something is needed. The order is that of
  // the commands: deletes come last.
  std::vector<std::string> ArgumentsFor(const std::string& command) {
    static const std::map<std::string, std::vector<std::string>> kArguments{
        {"init", {"demo"}},
        {"run", {"-f", "polyaxonfile.yml"}},
        {"check", {"-f", "polyaxonfile.yml"}},
        {"config get", {"user"}},
        {"config set", {"--log_limit", "1GiB"}},
        {"project create", {"--name", "other"}},
        {"project update", {"--description", "d"}},
        {"compare", {"1", "1"}},
        {"tree", {"1"}},
        {"completion", {"bash"}},
        {"top", {"--once"}},
    };
    const auto found = kArguments.find(command);
    return found == kArguments.end() ? std::vector<std::string>{} : found->second;
  }

  // Commands before may have started experiments and jobs that still run.
  void WaitForAll() {
    for (const char* kind : {"groups", "experiments", "jobs"}) {
      for (const auto& one : Json({"project", kind})) {
        WaitFor(one.dump(), [&] {
          const auto all = Json({"project", kind});
          const auto same = std::find_if(
              all.begin(), all.end(), [&](const auto& other) { return other["id"] == one["id"]; });
          if (same == all.end()) return true;
          const std::string status = (*same)["status"];
          return status == "succeeded" || status == "failed" || status == "stopped";
        });
      }
    }
  }

  static std::string Last(const std::string& command) {
    return command.substr(command.find_last_of(' ') + 1);
  }
};

TEST_P(JsonTest, EveryCommandAnswersInIt) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nrun: {cmd: 'echo x > $POLYAXON_OUTPUTS_PATH/a.pt'}\n");
  Write("job.yml", "version: 1\nkind: job\nrun: {cmd: 'echo x > $POLYAXON_OUTPUTS_PATH/a.pt'}\n");
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1, 2]}}}\n"
        "run: {cmd: 'test {{ lr }} = 1'}\n");
  ASSERT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  ASSERT_EQ(Launch({"run", "-f", "job.yml"}).exit_code, 0);
  ASSERT_EQ(Launch({"run", "-f", "group.yml"}).exit_code, 0);
  WaitDone(1);
  WaitEnd("job", 2);
  WaitFor("the group", [&] { return Json({"group", "-g", "1", "get"})["status"] == "succeeded"; });
  int64_t checked = 0;
  // What removes something is tried when all others were, and the project's end last.
  for (const int stage : {0, 1, 2}) {
    if (stage == 2) WaitForAll();
    for (const auto& entry : Json({"man"})) {
      const std::string command = entry["command"];
      const std::string verb = Last(command);
      const bool leaf = entry["commands"].empty() || command == "config";
      const bool removes = verb == "delete" || verb == "purge";
      if (!leaf || (command == "project delete" ? 2 : removes ? 1 : 0) != stage) continue;
      if (command.starts_with("build")) continue;  // the same code as for jobs
      std::vector<std::string> line;
      if (command.starts_with("experiment")) line = {"-xp", "1"};
      if (command.starts_with("job")) line = {"-j", "2"};
      if (command.starts_with("group")) line = {"-g", "1"};
      const size_t blank = command.find(' ');
      line.insert(line.begin(), command.substr(0, blank));
      if (blank != std::string::npos) line.push_back(command.substr(blank + 1));
      for (const std::string& word : ArgumentsFor(command)) line.push_back(word);
      if (verb == "delete" || verb == "stop") line.emplace_back("-y");
      if (verb == "delete" && !command.starts_with("project")) {
        line.emplace_back("--with-resumes");
      }
      if (verb == "prune") line.insert(line.end(), {"--keep-last", "1", "-y"});
      if (verb == "resume") line.emplace_back("--allow-fresh");
      line.emplace_back("--json");
      const CommandResult result = Launch(line);
      std::string typed;
      for (const std::string& word : line) typed += word + " ";
      EXPECT_EQ(result.exit_code, 0) << typed << result.err;
      // logs: one object a line.
      if (verb == "logs") {
        EXPECT_TRUE(result.out.empty() || result.out.front() == '{') << typed << result.out;
      } else {
        EXPECT_FALSE(nlohmann::json::parse(result.out, nullptr, false).is_discarded())
            << typed << result.out;
      }
      ++checked;
    }
  }
  EXPECT_GT(checked, 55);
  Launch({"init", "demo"});
}

PX_LAUNCHER_SUITE(JsonTest);

}  // namespace
}  // namespace px::testing
