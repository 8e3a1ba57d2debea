// The commands of Polyaxon 0.x's documentation, as a user types them under the name polyaxon, and
// what must never come back: each test of Regressions names the issue of polyaxon/polyaxon it
// stands for.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

class PolyaxonBook : public LauncherTest {
 protected:
  // "polyaxon experiment -xp 23 resume" split at blanks, without the program's name.
  CommandResult Type(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream text(line);
    for (std::string word; text >> word;) words.push_back(word);
    EXPECT_EQ(words.front(), "polyaxon");
    words.erase(words.begin());
    return Launch(words);
  }
  void Says(const std::string& line, const std::string& out) {
    const CommandResult result = Type(line);
    EXPECT_EQ(result.exit_code, 0) << line << ": " << result.err;
    EXPECT_EQ(result.out, out) << line;
  }
  // What Polyaxon says comes first; more may follow.
  void SaysFirst(const std::string& line, const std::string& out) {
    const CommandResult result = Type(line);
    EXPECT_EQ(result.exit_code, 0) << line << ": " << result.err;
    EXPECT_EQ(result.out.substr(0, out.size()), out) << line;
  }
  void Exits(const std::string& line, int code) {
    const CommandResult result = Type(line);
    EXPECT_EQ(result.exit_code, code) << line << ": " << result.out << result.err;
  }
};

constexpr const char* kTrain =
    "version: 1\nkind: experiment\ndeclarations: {lr: 0.5}\n"
    "run: {cmd: 'echo lr={{ lr }}; echo epoch >> $POLYAXON_OUTPUTS_PATH/model.ckpt'}\n";

TEST_P(PolyaxonBook, SaveResumeRestart) {
  Write("polyaxonfile.yml", kTrain);
  Write("polyaxonfile_override.yml", "declarations: {lr: 0.25}\n");
  Says("polyaxon run -f polyaxonfile.yml",
       "Creating an independent experiment.\nExperiment `1` was created\n");
  WaitDone(1);
  Says("polyaxon experiment -xp 1 resume", "Experiment was resumed with id 2\n");
  WaitDone(2);
  Says("polyaxon experiment -xp 1 resume -u", "Experiment was resumed with id 3\n");
  WaitDone(3);
  Says("polyaxon experiment -xp 1 resume -f polyaxonfile_override.yml",
       "Experiment was resumed with id 4\n");
  WaitDone(4);
  Says("polyaxon experiment -xp 1 restart", "Experiment was restarted with id 5\n");
  Says("polyaxon experiment -xp 1 restart -u", "Experiment was restarted with id 6\n");
  Says("polyaxon experiment -xp 1 restart -f polyaxonfile_override.yml",
       "Experiment was restarted with id 7\n");
  Says("polyaxon experiment -xp 1 restart --copy", "Experiment was copied with id 8\n");
  Says("polyaxon experiment -xp 1 restart --copy -u", "Experiment was copied with id 9\n");
  Says("polyaxon experiment -xp 1 --copy restart -f polyaxonfile_override.yml",
       "Experiment was copied with id 10\n");
  for (int64_t number = 5; number <= 10; ++number) EXPECT_EQ(WaitDone(number), "succeeded");
  // The command line is rendered anew from the changed declaration.
  EXPECT_EQ(Logs(4), "lr=0.25\n");
  EXPECT_EQ(Logs(7), "lr=0.25\n");
  EXPECT_EQ(ReadFile(OutputsOf(1) + "/model.ckpt"), "epoch\nepoch\nepoch\nepoch\n");
  EXPECT_EQ(ReadFile(OutputsOf(5) + "/model.ckpt"), "epoch\n");
  EXPECT_EQ(ReadFile(OutputsOf(10) + "/model.ckpt"), "epoch\nepoch\nepoch\nepoch\nepoch\n");
}

TEST_P(PolyaxonBook, WordingAndExitCodes) {
  Write("polyaxonfile.yml", kTrain);
  Exits("polyaxon run", 0);
  WaitDone(1);
  Exits("polyaxon experiment get", 0);  // run made it the current one
  Exits("polyaxon experiment -xp=1 statuses", 0);
  Exits("polyaxon experiment --experiment=1 logs --past", 0);
  Exits("polyaxon experiment -xp 1 resources", 0);
  Exits("polyaxon experiment -xp 1 outputs", 0);
  Exits("polyaxon experiment -xp 1 bookmark", 0);
  Exits("polyaxon experiment", 2);
  Exits("polyaxon experiment -xp abc get", 2);
  Exits("polyaxon experiment -xp 404 resume", 10);
  Says("polyaxon experiment -xp 1 update", "No argument was provided to update the experiment.\n");
  Exits("polyaxon experiment -xp 1 update --name best --tags a,b", 0);
  EXPECT_EQ(Get(1)["name"], "best");
  const std::string info = Type("polyaxon experiment -xp 1 get").out;
  for (const char* title :
       {"Experiment params:", "Experiment info:", "unique_name", "last_status"}) {
    EXPECT_NE(info.find(title), std::string::npos) << title;
  }
  EXPECT_EQ(Type("polyaxon check -f polyaxonfile.yml").out.find("Polyaxonfile valid"), 0U);
  Exits("polyaxon config --list", 0);
  Exits("polyaxon project list", 0);
  Exits("polyaxon project experiments", 0);
  Exits("polyaxon upload", 0);
  SaysFirst("polyaxon experiment -xp 1 delete -y", "Experiment `1` was delete successfully\n");
  // Standard input is empty: like Ctrl-D at the question.
  Exits("polyaxon run", 0);
  Exits("polyaxon experiment -xp 2 delete", 1);
}

TEST_P(PolyaxonBook, ParametersOnTheCommandLine) {
  Write("polyaxonfile.yml", kTrain);
  Exits("polyaxon run -f polyaxonfile.yml -P lr=2 --name n --description d --tags x,y", 0);
  WaitDone(1);
  EXPECT_EQ(Logs(1), "lr=2\n");
  Exits("polyaxon run -P lr", 1);
  Exits("polyaxon run -P lr=1 -P lr=2", 1);
}

TEST_P(PolyaxonBook, Groups) {
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {concurrency: 2, matrix: {lr: {values: [1, 2]}}}\n"
        "run: {cmd: 'echo {{ lr }}'}\n");
  const CommandResult check = Type("polyaxon check -f group.yml -def");
  EXPECT_NE(check.out.find("2 concurrent runs"), std::string::npos) << check.out;
  const CommandResult run = Type("polyaxon run -f group.yml");
  EXPECT_EQ(run.out.find("Creating an experiment group with the following definition:"), 0U);
  EXPECT_NE(run.out.find("Experiment group 1 was created"), std::string::npos) << run.out;
  for (const char* verb : {"get", "experiments", "statuses", "update --name n"}) {
    Exits(std::string("polyaxon group -g 1 ") + verb, 0);
  }
  WaitFor("the group", [&] { return Json({"group", "-g", "1", "get"})["status"] == "succeeded"; });
  SaysFirst("polyaxon group -g 1 delete -y", "Experiment group `1` was delete successfully\n");
}

TEST_P(PolyaxonBook, JsonIsAllThatIsOnStandardOutput) {
  Write("polyaxonfile.yml", kTrain);
  Exits("polyaxon run", 0);
  WaitDone(1);
  for (const char* line :
       {"experiment -xp 1 get", "experiment -xp 1 statuses", "experiment -xp 1 metrics",
        "experiment -xp 1 resources", "experiment -xp 1 outputs", "experiment -xp 1 code",
        "project get", "project list", "project experiments", "project groups", "config --list",
        "gpus", "top", "tree 1", "compare 1 1", "check -f polyaxonfile.yml"}) {
    // Even when everything is logged.
    const CommandResult result = Type(std::string("polyaxon -v ") + line + " --json");
    EXPECT_EQ(result.exit_code, 0) << line << ": " << result.err;
    EXPECT_FALSE(nlohmann::json::parse(result.out, nullptr, false).is_discarded())
        << line << ": " << result.out;
  }
}

class Regressions : public PolyaxonBook {};

// #553: a resume cleaned the directory that it was to go on in.
TEST_P(Regressions, AResumeWipesNothing) {
  Run("cd $POLYAXON_OUTPUTS_PATH; ls -A; echo x > a.pt; echo x > .hidden; mkdir -p empty");
  WaitDone(1);
  CloneOf(1, {"resume"});
  EXPECT_EQ(WaitDone(2), "succeeded");
  EXPECT_EQ(Logs(2), ".hidden\na.pt\nempty\n");
}

// #461: a copy was nested in a folder named after its source. Dotfiles and times were lost, too.
TEST_P(Regressions, ACopyIsNotNestedAndKeepsDotfilesAndTimes) {
  Run("cd $POLYAXON_OUTPUTS_PATH; ls -A; echo x > .dot; echo x > a.pt; touch -d @1000 a.pt .dot");
  WaitDone(1);
  CloneOf(1, {"restart", "--copy"});
  EXPECT_EQ(WaitDone(2), "succeeded");
  EXPECT_EQ(Logs(2), ".dot\na.pt\n");
  struct stat status{};
  ASSERT_EQ(::stat((OutputsOf(1) + "/a.pt").c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_sec, 1000);
}

// #281: the outputs of a resume were shown as empty.
TEST_P(Regressions, AResumesOutputsAreSeenUnderItsOwnName) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  EXPECT_TRUE(fs::exists(home_ + "/outputs/user/demo/experiments/2/a.pt"));
  ASSERT_EQ(Launch({"experiment", "-xp", "2", "outputs", "--archive", "all.tar.gz"}).exit_code, 0);
  EXPECT_EQ(std::system(("tar -tzf " + project_ + "/all.tar.gz | grep -q a.pt").c_str()), 0);
}

// #215: the resume of a group's experiment was created and never started. #444: it left its group.
TEST_P(Regressions, AResumeInAFinishedGroupIsStartedAndStaysInIt) {
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1]}}}\n"
        "run: {cmd: 'echo x >> $POLYAXON_OUTPUTS_PATH/a.pt'}\n");
  ASSERT_EQ(Launch({"run", "-f", "group.yml"}).exit_code, 0);
  WaitFor("the group", [&] { return Json({"group", "-g", "1", "get"})["status"] == "succeeded"; });
  for (const char* verb : {"resume", "restart"}) {
    const int64_t number = CloneOf(1, {verb});
    EXPECT_EQ(WaitDone(number), "succeeded");
    EXPECT_EQ(Get(number)["group"], 1);
  }
}

// 0.0.8 to 0.1.0: a copy that failed was logged, and the job was started on what there was of it.
TEST_P(Regressions, NothingStartsOnHalfACopy) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  // The copy's name is taken by something else.
  fs::create_directories(home_ + "/outputs/user/demo/experiments/2");
  EXPECT_NE(Launch({"experiment", "-xp", "1", "restart", "--copy"}).exit_code, 0);
  EXPECT_EQ(StateOf(2), "failed");
  EXPECT_EQ(Get(2)["runs"].size(), 0U);
}

// #237, #452: an experiment that failed fast left no log. #347: nothing was shown while it ran.
TEST_P(Regressions, EveryWordIsInTheLog) {
  Run("echo last words; kill -KILL $$");
  EXPECT_EQ(WaitDone(1), "failed");
  EXPECT_EQ(Logs(1), "last words\n");
  Run("echo first words; sleep 1000");
  WaitFor("the words", [&] { return Logs(2) == "first words\n"; });
  EXPECT_EQ(StateOf(2), "running");
}

// #339: outputs stayed after a delete.
TEST_P(Regressions, DeleteRemovesOutputsAndLogs) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  ASSERT_EQ(Launch({"experiment", "-xp", "1", "delete", "-y"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(home_ + "/outputs/user/demo/experiments/1"));
  EXPECT_FALSE(fs::exists(home_ + "/logs/user/demo/experiments/1"));
}

// Stopping an experiment that had succeeded rewrote its status.
TEST_P(Regressions, StopLeavesWhatHasEndedAsItIs) {
  Run("true");
  WaitDone(1);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "stop", "-y"}).exit_code, 0);
  EXPECT_EQ(StateOf(1), "succeeded");
}

PX_LAUNCHER_SUITE(PolyaxonBook);
PX_LAUNCHER_SUITE(Regressions);

}  // namespace
}  // namespace px::testing
