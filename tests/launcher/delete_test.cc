// Deleting goes to the trash, and what update changes.
#include <filesystem>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

class DeleteTest : public LauncherTest {
 protected:
  // Types what the message says.
  void TakeBack(const std::string& message) {
    const size_t at = message.find(GetParam() == Backend::kMount ? "px-fs undelete" : "mv ");
    ASSERT_NE(at, std::string::npos) << message;
    const std::string bin = fs::path(PX_FS_PROGRAM).parent_path().string();
    const std::string line = message.substr(at, message.find_first_of("\n", at) - at);
    EXPECT_EQ(std::system(("PATH=" + bin + ":$PATH " + line).c_str()), 0) << line;
  }
};

TEST_P(DeleteTest, TheOutputsOfADeletedExperimentCanBeHadBack) {
  Run("echo precious > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  const std::string outputs = OutputsOf(1);
  const CommandResult deleted = Launch({"experiment", "-xp", "1", "delete", "-y"});
  EXPECT_EQ(deleted.exit_code, 0) << deleted.err;
  EXPECT_EQ(deleted.out.find("Experiment `1` was delete successfully\n"), 0U);
  EXPECT_FALSE(fs::exists(outputs));
  TakeBack(deleted.out);
  EXPECT_EQ(ReadFile(outputs + "/a.pt"), "precious\n");
}

TEST_P(DeleteTest, SoCanThoseOfAGroupAndOfAProject) {
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1, 2]}}}\n"
        "run: {cmd: 'echo {{ lr }} > $POLYAXON_OUTPUTS_PATH/a.pt'}\n");
  ASSERT_EQ(Launch({"run", "-f", "group.yml"}).exit_code, 0);
  WaitFor("the group", [&] { return Json({"group", "-g", "1", "get"})["status"] == "succeeded"; });
  const CommandResult deleted = Launch({"group", "-g", "1", "delete", "-y"});
  EXPECT_EQ(deleted.exit_code, 0) << deleted.err;
  EXPECT_NE(deleted.out.find("The outputs of 2 experiments are in the trash"), std::string::npos);
  TakeBack(deleted.out.substr(0, deleted.out.find(" brings")));
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/groups/1/2/a.pt"), "2\n");
  const int64_t number = Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(number);
  const auto gone = Json({"project", "delete", "-y"});
  EXPECT_EQ(gone["project"], "user/demo");
  EXPECT_EQ(gone["trashed"][0], home_ + "/outputs/user/demo/experiments/" + std::to_string(number));
  EXPECT_EQ(Launch({"init", "demo"}).exit_code, 0);  // the name is free at once
}

TEST_P(DeleteTest, UpdateChangesWhatIsGivenAndTakesAwayWhatIsEmpty) {
  Run("true");
  WaitDone(1);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "update", "--name", "n", "--tags", "a, b",
                    "--description", "d"})
                .out.find("Experiment updated.\n"),
            0U);
  EXPECT_EQ(Get(1)["tags"], (nlohmann::json{"a", "b"}));
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "update", "--description", ""}).exit_code, 0);
  EXPECT_EQ(Get(1)["description"], "");
  EXPECT_EQ(Get(1)["name"], "n");
}

TEST_P(DeleteTest, AProjectIsRenamedWithAllThatIsItsOwn) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  Run("sleep 1000");
  WaitState(3, "running");
  EXPECT_EQ(Launch({"project", "update", "--name", "better"}).exit_code, 11);
  Launch({"experiment", "-xp", "3", "stop", "-y"});
  ASSERT_EQ(Launch({"project", "update", "--name", "better", "--description", "d"}).exit_code, 0);
  EXPECT_EQ(Json({"project", "get"})["name"], "better");  // the directory goes on with it
  EXPECT_EQ(Get(2)["unique_name"], "user.better.2");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/better/experiments/2/a.pt"), "x\n");
  EXPECT_EQ(CloneOf(2, {"resume"}), 4);
  EXPECT_EQ(WaitDone(4), "succeeded");
  ASSERT_EQ(Launch({"project", "create", "--name", "other"}).exit_code, 0);
  EXPECT_EQ(Launch({"project", "update", "--name", "other"}).exit_code, 1);
  EXPECT_EQ(Launch({"project", "update", "--name", "a/b"}).exit_code, 2);
}

TEST_P(DeleteTest, GroupsAreBookmarked) {
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1]}}}\nrun: {cmd: 'true'}\n");
  ASSERT_EQ(Launch({"run", "-f", "group.yml"}).exit_code, 0);
  EXPECT_EQ(Launch({"group", "bookmark"}).out, "Experiment group is bookmarked.\n");
  EXPECT_EQ(Json({"project", "groups", "--bookmarked"}).size(), 1U);
  EXPECT_EQ(Launch({"group", "-g", "1", "unbookmark"}).exit_code, 0);
  EXPECT_EQ(Json({"project", "groups", "--bookmarked"}).size(), 0U);
}

PX_LAUNCHER_SUITE(DeleteTest);

}  // namespace
}  // namespace px::testing
