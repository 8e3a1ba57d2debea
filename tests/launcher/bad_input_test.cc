#include <filesystem>

#include "catalog/schema/migrations.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class BadInputTest : public LauncherTest {
 protected:
  // The command fails with `code`, its message holds `message`, its hint `hint`.
  void Refused(const std::vector<std::string>& arguments, int code, const std::string& message,
               const std::string& hint = "") {
    const CommandResult result = Launch(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_EQ(result.err.find("px-launch: error: "), 0U) << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    if (!hint.empty()) {
      EXPECT_NE(result.err.find("hint: " + hint), std::string::npos) << result.err;
    }
  }
  void NothingWasMade() { EXPECT_EQ(Json({"project", "experiments"}).size(), 0U); }
};

TEST_P(BadInputTest, UnknownCommandsAndOptions) {
  Refused({"experimnt", "get"}, 2, "no such command: experimnt", "did you mean 'experiment'?");
  Refused({"experiment", "-xp", "1", "resmue"}, 2, "no such command: resmue",
          "did you mean 'resume'?");
  Refused({"run", "--fil", "x"}, 2, "no such option: --fil", "did you mean '--file'?");
  Refused({}, 2, "");
  Refused({"experiment"}, 2, "");
  Refused({"experiment", "-xp", "abc", "get"}, 2, "abc");
  Refused({"experiment", "-xp", "1", "--copy", "resume"}, 2, "--copy goes with restart");
}

TEST_P(BadInputTest, UnknownExperimentAndProject) {
  Refused({"experiment", "-xp", "404", "resume"}, 10,
          "there is no experiment 404 in project user/demo");
  Refused({"experiment", "-xp", "1", "-p", "demi", "get"}, 10, "there is no project user/demi",
          "did you mean 'user/demo'?");
  Refused({"experiment", "get"}, 2, "No experiment id was provided.");
}

TEST_P(BadInputTest, BadFiles) {
  Refused({"run", "-f", "nope.yml"}, 10, "Path \"nope.yml\" does not exist.");
  Write("broken.yml", "version: 1\nkind: [experiment\n");
  Refused({"run", "-f", "broken.yml"}, 1, "broken.yml:");
  Write("section.yml", "version: 1\nkind: experiment\nenvironmnt: {}\nrun: {cmd: ls}\n");
  Refused({"run", "-f", "section.yml"}, 1, "section.yml:3:1: ");
  Write("empty.yml", "version: 1\nkind: experiment\n");
  Refused({"run", "-f", "empty.yml"}, 1, "there is nothing to run");
  Write(
      "gpu.yml",
      "version: 1\nkind: experiment\nenvironment: {resources: {gpu: {limits: 64, requests: 64}}}\n"
      "run: {cmd: ls}\n");
  Refused({"run", "-f", "gpu.yml"}, 1, "unschedulable: it asks for 64 GPUs");
  NothingWasMade();
}

TEST_P(BadInputTest, BadOverridesChangeNothing) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/f");
  WaitDone(1);
  Write("kind.yml", "kind: group\n");
  Refused({"experiment", "-xp", "1", "resume", "-f", "kind.yml"}, 1, "kind.yml:1");
  Refused({"experiment", "-xp", "1", "restart", "--copy", "-f", "nope.yml"}, 10, "nope.yml");
  EXPECT_EQ(Json({"project", "experiments"}).size(), 1U);
  EXPECT_FALSE(std::filesystem::exists(home_ + "/outputs/user/demo/experiments/2"));
}

TEST_P(BadInputTest, ACatalogOfANewerPxIsRefused) {
  ASSERT_EQ(Launch({"project", "list"}).exit_code, 0);
  ChangeCatalog("PRAGMA user_version = 99");
  Refused({"project", "list"}, 1, "made by a newer px", "install the newer px again");
  ChangeCatalog("PRAGMA user_version = " + std::to_string(catalog::Migrations().size()));
}

TEST_P(BadInputTest, ABrokenConfigurationIsRefusedWithItsPlace) {
  // yaml-cpp takes a file that begins with a comma for an empty one, or never returns from it.
  for (const char* text :
       {",", ", grace: 1\n", ",a\n--- b: [", "grace: [1, 2]\n", "grace: 1\n---\n"}) {
    Write("../config.yml", text);
    Refused({"config", "--list"}, 1, home_ + "/config.yml");
  }
  Write("../config.yml", "grase: 1\n");
  Refused({"config", "--list"}, 1, "unknown key 'grase'", "did you mean 'grace'?");
  Write("../config.yml", "# nothing\n\n");
  EXPECT_EQ(Launch({"config", "--list"}).exit_code, 0);
  Write("../config.yml", "{}");
  EXPECT_EQ(Launch({"config", "set", "--grace", "0.5"}).exit_code, 0);
  EXPECT_EQ(LaunchWith({"PX_GRACE="}, {"config", "get", "grace"}).out,
            "-----  ---\ngrace  0.5\n-----  ---\n");
}

PX_LAUNCHER_SUITE(BadInputTest);

}  // namespace
}  // namespace px::testing
