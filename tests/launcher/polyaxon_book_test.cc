// The commands of Polyaxon 0.x's documentation, as a user types them under the name polyaxon, and
// what must never come back: each test of Regressions names the issue of polyaxon/polyaxon it
// stands for.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
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

// Section 1.1: its commands, and those that were about its server.
TEST_P(PolyaxonBook, CommandTree) {
  for (const char* command : {"bookmark", "build", "check", "completion", "config", "experiment",
                              "group", "init", "job", "project", "run", "upload", "version"}) {
    Exits(std::string("polyaxon ") + command + " --help", 0);
  }
  for (const char* command : {"login", "cluster", "notebook", "superuser"}) {
    const CommandResult result = Type(std::string("polyaxon ") + command);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find("there is no server"), std::string::npos) << result.err;
  }
  EXPECT_NE(Type("polyaxon expermient get").err.find("did you mean 'experiment'?"),
            std::string::npos);
}

// Sections 1.2 and 1.3: lists, by query and sorted.
TEST_P(PolyaxonBook, Lists) {
  Write("group.yml",
        "version: 1\nkind: group\nhptuning: {concurrency: 3, matrix: {lr: {values: [1, 2, 3]}}}\n"
        "run: {cmd: 'echo \"{\\\"metrics\\\": {\\\"loss\\\": $((10 - {{ lr }}))}}\" >> "
        "$PX_METRICS_PATH'}\n");
  Exits("polyaxon run -f group.yml", 0);
  WaitFor("the group", [&] { return Json({"group", "-g", "1", "get"})["status"] == "succeeded"; });
  const auto numbers = [&](const std::vector<std::string>& options) {
    std::vector<std::string> line{"group", "-g", "1", "experiments"};
    line.insert(line.end(), options.begin(), options.end());
    std::vector<int64_t> ids;
    for (const auto& one : Json(line)) ids.push_back(one["id"]);
    return ids;
  };
  using Ids = std::vector<int64_t>;
  EXPECT_EQ(numbers({}), (Ids{3, 2, 1}));
  EXPECT_EQ(numbers({"-s", "-metric.loss"}), (Ids{1, 2, 3}));
  EXPECT_EQ(numbers({"--sort", "metric__loss"}), (Ids{3, 2, 1}));
  EXPECT_EQ(numbers({"-q", "metric.loss:<=8, status:succeeded"}), (Ids{3, 2}));
  EXPECT_EQ(numbers({"-q", "params.lr:1|3"}), (Ids{3, 1}));
  EXPECT_EQ(numbers({"-q", "params.lr:~1..2"}), (Ids{3}));
  EXPECT_EQ(Launch({"group", "-g", "1", "experiments", "-q", "statsu:failed"}).exit_code, 2);
  const std::string table = Type("polyaxon group -g 1 experiments -m -s id").out;
  for (const char* word : {"Navigation:", "count  3", "loss", "lr"}) {
    EXPECT_NE(table.find(word), std::string::npos) << word << table;
  }
  EXPECT_NE(Type("polyaxon project experiments -g 1 --metrics").out.find("loss"),
            std::string::npos);
  Exits("polyaxon experiment -xp 1 jobs", 0);
  Exits("polyaxon experiment -xp 1 bookmark", 0);
  EXPECT_EQ(Json({"bookmark", "experiments"}).size(), 1U);
}

// Section 1.5: what run says of each kind, and of what it cannot do.
TEST_P(PolyaxonBook, KindsThatRun) {
  Write("job.yml", "version: 1\nkind: job\nrun: {cmd: 'echo done'}\n");
  Says("polyaxon run -f job.yml", "Creating a job.\nJob 1 was created\n");
  WaitEnd("job", 1);
  Says("polyaxon job -j 1 logs --past --hide_time", "done\n");
  Says("polyaxon job -j 1 restart", "Job was restarted with id 2\n");
  WaitEnd("job", 2);
  Says("polyaxon job -j 1 bookmark", "Job is bookmarked.\n");
  Says("polyaxon job -j 1 update", "No argument was provided to update the job.\n");
  for (const char* verb : {"get", "statuses", "resources", "outputs", "code", "unbookmark"}) {
    Exits(std::string("polyaxon job -j 1 ") + verb, 0);
  }
  Exits("polyaxon project jobs", 0);
  Exits("polyaxon project builds", 0);
  SaysFirst("polyaxon job -j 1 delete -y", "Job `1` was delete successfully\n");
  for (const char* kind : {"notebook", "tensorboard"}) {
    Write("other.yml", std::string("version: 1\nkind: ") + kind + "\nbuild: {image: 'a:1'}\n");
    Exits("polyaxon run -f other.yml", 1);
  }
  Write("bare.yml", "version: 1\nkind: experiment\n");
  Exits("polyaxon run -f bare.yml", 1);
  Exits("polyaxon run -f nowhere.yml", 10);
}

// Section 1.5: -u uploads the directory of one project, and -p may name another.
TEST_P(PolyaxonBook, UploadingIsRefusedAcrossProjects) {
  Write("polyaxonfile.yml", kTrain);
  Exits("polyaxon project create --name other", 0);
  const CommandResult refused = Type("polyaxon run -u -p other");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("uploading is not supported when switching project context"),
            std::string::npos)
      << refused.err;
  // Polyaxon had no such guard here, and uploaded one project's code to another.
  Exits("polyaxon run", 0);
  WaitDone(1);
  Exits("polyaxon run -p other -f polyaxonfile.yml", 0);
  WaitFor("the other project's", [&] {
    return Json({"experiment", "-p", "other", "-xp", "1", "get"})["status"] == "succeeded";
  });
  Exits("polyaxon experiment -p other -xp 1 restart -u", 1);
}

// Section 1.6.
TEST_P(PolyaxonBook, CheckInitConfigProject) {
  Write("polyaxonfile.yml", kTrain);
  Says("polyaxon check -f polyaxonfile.yml -def",
       "Polyaxonfile valid\nThis polyaxon specification has One experiment\n");
  Write("wrong.yml", "version: 1\nkind: experiment\nrnu: {cmd: 'true'}\nenviroment: {}\n");
  const CommandResult wrong = Type("polyaxon check -f wrong.yml");
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_EQ(wrong.err.find("px-launch: error: Polyaxonfile is not valid\n"), 0U) << wrong.err;
  // Both of them, each with its place.
  EXPECT_NE(wrong.err.find("wrong.yml:3:"), std::string::npos) << wrong.err;
  EXPECT_NE(wrong.err.find("wrong.yml:4:"), std::string::npos) << wrong.err;
  EXPECT_EQ(Type("polyaxon config set --grace 3").out, "Config was updated.\n");
  EXPECT_EQ(Json({"config", "get", "grace"})["grace"], "5");  // the environment's wins
  Exits("polyaxon config purge", 0);
  Says("polyaxon project create --name made --description d",
       "Project `user/made` was created successfully.\n");
  Exits("polyaxon project create --name made", 1);
  Says("polyaxon project -p made update", "No argument was provided to update the project.\n");
  SaysFirst("polyaxon project -p made update --description e", "Project updated.\n");
  SaysFirst("polyaxon project -p made delete -y",
            "Project `user/made` was deleted successfully.\n");
  Exits("polyaxon project -p made create --name made", 0);  // #337: its name is free at once
}

// Section 1.7: which one is meant if none is named.
TEST_P(PolyaxonBook, TheCurrentOne) {
  Exits("polyaxon experiment get", 2);
  Exits("polyaxon group get", 2);
  Exits("polyaxon job get", 2);
  Write("polyaxonfile.yml", kTrain);
  Exits("polyaxon run", 0);
  WaitDone(1);
  // A restart leaves it as it is; a resume becomes it.
  Exits("polyaxon experiment restart", 0);
  Exits("polyaxon experiment resume", 0);
  const auto current = Json({"experiment", "get"});
  EXPECT_EQ(current["id"], 3);
  EXPECT_EQ(current["original"], 1);
  WaitDone(2);
  WaitDone(3);
  Exits("polyaxon experiment -xp 3 delete -y", 0);
  Exits("polyaxon experiment get", 2);
}

// Section 1.8: the questions, with nobody to answer them.
TEST_P(PolyaxonBook, QuestionsAndTheirEnds) {
  Run("sleep 1000");
  WaitState(1, "running");
  const CommandResult asked = Type("polyaxon experiment -xp 1 stop");
  EXPECT_EQ(asked.exit_code, 1);
  EXPECT_EQ(asked.out, "Are sure you want to stop experiment `1` [y/N]: \n");
  EXPECT_NE(asked.err.find("Aborted!"), std::string::npos);
  Says("polyaxon experiment -xp 1 stop -y", "Experiment is being stopped.\n");
  EXPECT_EQ(StateOf(1), "stopped");
}

// Section 3: every name that any version had for it, and the shapes.
TEST_P(PolyaxonBook, TheEnvironmentOfAJob) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\ndeclarations: {lr: 0.01, batch_size: 128}\n"
        "run: {cmd: 'env > $POLYAXON_OUTPUTS_PATH/environment'}\n");
  Exits("polyaxon run", 0);
  WaitDone(1);
  std::map<std::string, std::string> environment;
  std::istringstream lines(ReadFile(OutputsOf(1) + "/environment"));
  for (std::string line; std::getline(lines, line);) {
    environment[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
  }
  EXPECT_EQ(environment["POLYAXON_OUTPUTS_PATH"], OutputsOf(1));
  EXPECT_EQ(environment["POLYAXON_RUN_OUTPUTS_PATH"], OutputsOf(1));
  EXPECT_EQ(environment["POLYAXON_LOGS_PATH"], home_ + "/logs/user/demo/experiments/1");
  for (const char* name : {"POLYAXON_DECLARATIONS", "POLYAXON_PARAMS"}) {
    EXPECT_EQ(nlohmann::json::parse(environment[name]),
              (nlohmann::json{{"lr", 0.01}, {"batch_size", 128}}))
        << name;
  }
  const auto info = nlohmann::json::parse(environment["POLYAXON_EXPERIMENT_INFO"]);
  EXPECT_EQ(info["project_name"], "user.demo");
  EXPECT_EQ(info["experiment_name"], "user.demo.1");
  EXPECT_TRUE(info["experiment_group_name"].is_null());
  EXPECT_EQ(info["experiment_uuid"].get<std::string>().size(), 32U);
  EXPECT_EQ(nlohmann::json::parse(environment["POLYAXON_TASK_INFO"]),
            (nlohmann::json{{"type", "master"}, {"index", 0}}));
  EXPECT_EQ(nlohmann::json::parse(environment["POLYAXON_CLUSTER"])["master"].size(), 1U);
  EXPECT_EQ(environment["POLYAXON_LOG_LEVEL"], "INFO");
  EXPECT_EQ(environment["POLYAXON_IS_MANAGED"], "1");
  EXPECT_EQ(environment["NVIDIA_VISIBLE_DEVICES"], "none");
}

class Regressions : public PolyaxonBook {};

// Section 9, where Polyaxon's text and its code disagreed: what is decided here.
class Decisions : public PolyaxonBook {};

// 1: a resume has the next number, the original's directory and a log of its own; its original is
// the root of the chain, also of a resume of a resume.
TEST_P(Decisions, AResumeIsANewNumberInTheRootsDirectory) {
  Run("echo $PX_EXPERIMENT; echo x >> $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  for (const int64_t source : {1, 2}) {
    CloneOf(source, {"resume"});
    WaitDone(source + 1);
  }
  EXPECT_EQ(Get(3)["original"], 1);
  EXPECT_EQ(OutputsOf(3), OutputsOf(1));
  EXPECT_EQ(Logs(3), "3\n");
  EXPECT_EQ(Logs(1), "1\n");
}

// 2b: not while it runs.
TEST_P(Decisions, WhatRunsIsNotResumed) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/a.pt; sleep 1000");
  WaitState(1, "running");
  Exits("polyaxon experiment -xp 1 resume", 11);
  Exits("polyaxon experiment -xp 1 resume --allow-fresh", 11);
}

// 2c and 2e: parameters are rendered again, and those of the one that is named are kept along a
// chain.
TEST_P(Decisions, OverridesReachTheCommandAndStay) {
  Write("polyaxonfile.yml", kTrain);
  Write("override.yml", "declarations: {lr: 0.25}\n");
  Exits("polyaxon run", 0);
  WaitDone(1);
  Exits("polyaxon experiment -xp 1 resume -f override.yml", 0);
  WaitDone(2);
  Exits("polyaxon experiment -xp 2 resume", 0);
  WaitDone(3);
  EXPECT_EQ(Logs(3), "lr=0.25\n");
  Exits("polyaxon experiment -xp 1 resume", 0);
  WaitDone(4);
  EXPECT_EQ(Logs(4), "lr=0.5\n");
}

// 2d and 2g: the copy of a resume has what its root has, as it was when it was asked for.
TEST_P(Decisions, ACopyIsOfTheRootAndOfItsMoment) {
  Run("echo x >> $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  Write("look.yml", "run: {cmd: 'cat $POLYAXON_OUTPUTS_PATH/a.pt'}\n");
  CloneOf(2, {"restart", "--copy", "-f", "look.yml"});
  CloneOf(1, {"resume"});
  WaitDone(3);
  WaitDone(4);
  EXPECT_EQ(Logs(3), "x\nx\n");
}

// 2f: the directory of a resume is not taken away under it.
TEST_P(Decisions, AnOriginalWithResumesIsNotDeleted) {
  Run("echo x >> $POLYAXON_OUTPUTS_PATH/a.pt");
  WaitDone(1);
  CloneOf(1, {"resume"});
  WaitDone(2);
  Exits("polyaxon experiment -xp 1 delete -y", 11);
  Exits("polyaxon experiment -xp 1 delete -y --with-resumes", 0);
  EXPECT_EQ(Json({"project", "experiments"}).size(), 0U);
}

// 4: no declarations are an empty object, under both names.
TEST_P(Decisions, NoDeclarationsAreAnEmptyObject) {
  Run("echo $POLYAXON_DECLARATIONS$POLYAXON_PARAMS");
  WaitDone(1);
  EXPECT_EQ(Logs(1), "{}{}\n");
}

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
PX_LAUNCHER_SUITE(Decisions);

}  // namespace
}  // namespace px::testing
