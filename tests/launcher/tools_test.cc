// Completion, the manual, top, bookmarks, and the retention of checkpoints.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class ToolsTest : public LauncherTest {
 protected:
  // What bash would offer for the last word.
  std::string Complete(const std::string& words) {
    Write("completion.bash", Launch({"completion", "bash"}).out);
    Write(
        "complete.sh",
        "source completion.bash; COMP_WORDS=(" + words +
            "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _px_launch; echo \"${COMPREPLY[*]}\" > out");
    EXPECT_EQ(std::system(("cd " + project_ + " && bash complete.sh").c_str()), 0);
    std::string out = ReadFile(project_ + "/out");
    out.pop_back();
    return out;
  }
};

TEST_P(ToolsTest, BashCompletesCommandsAndTheirOptions) {
  EXPECT_EQ(Complete("px-launch exp"), "experiment");
  EXPECT_EQ(Complete("polyaxon experiment -xp 3 res"), "resources resume restart");
  EXPECT_EQ(Complete("px-launch experiment -xp 3 resume --from"), "--from");
  EXPECT_EQ(Complete("px-launch group -g 1 re"), "resume restart");
  EXPECT_EQ(Complete("px-launch run -f poly"), "");  // the shell's own: a file
}

TEST_P(ToolsTest, EveryCommandIsInTheManualAndInAllCompletions) {
  const std::string man = Launch({"man"}).out;
  const std::string zsh = Launch({"completion", "zsh"}).out;
  const std::string fish = Launch({"completion", "fish"}).out;
  EXPECT_EQ(man.find(".TH PX\\-LAUNCH 1"), 0U);
  for (const char* command : {"experiment resume", "group restart", "run", "top", "compare"}) {
    EXPECT_NE(man.find(std::string(".SS px\\-launch ") + command), std::string::npos) << command;
    EXPECT_NE(zsh.find(std::string("\"") + command + "\")"), std::string::npos) << command;
    EXPECT_NE(fish.find(std::string("'__px_launch_at ") + command + "'"), std::string::npos);
  }
  EXPECT_EQ(Launch({"completion", "csh"}).exit_code, 2);
}

TEST_P(ToolsTest, TopShowsWhatRuns) {
  EXPECT_EQ(Launch({"top"}).out, "Nothing runs.\n");
  Run(R"(echo '{"metrics": {"loss": 0.25}}' >> $PX_METRICS_PATH; sleep 1000)");
  WaitFor("the metric", [&] { return Json({"top"})[0]["last_metrics"].contains("loss"); });
  const auto top = Json({"top"});
  EXPECT_GE(top[0]["processes"], 1);
  EXPECT_GT(top[0]["resident_bytes"], 0);
  EXPECT_NE(Launch({"top", "--once"}).out.find("user.demo.1  running"), std::string::npos);
}

TEST_P(ToolsTest, BookmarksAreListed) {
  Run("true");
  Run("true");
  EXPECT_EQ(Launch({"experiment", "-xp", "2", "bookmark"}).out, "Experiment is bookmarked.\n");
  EXPECT_EQ(Json({"project", "experiments", "--bookmarked"}).size(), 1U);
  EXPECT_EQ(Get(2)["bookmarked"], true);
  EXPECT_EQ(Launch({"experiment", "-xp", "2", "unbookmark"}).exit_code, 0);
  EXPECT_EQ(Json({"project", "experiments", "--bookmarked"}).size(), 0U);
}

TEST_P(ToolsTest, CompareShowsWhichFilesDiffer) {
  Run("cd $POLYAXON_OUTPUTS_PATH; echo same > a; echo one > b; echo gone > c");
  WaitDone(1);
  Write("train.py", "print(2)\n");
  Run("cd $POLYAXON_OUTPUTS_PATH; echo same > a; echo two! > b; mkdir d; echo new > d/e");
  WaitDone(2);
  const auto compared = Json({"compare", "1", "2"});
  const auto& outputs = compared["outputs"][0]["changes"];
  ASSERT_EQ(outputs.size(), 3U) << compared.dump(2);
  EXPECT_EQ(outputs[0], (nlohmann::json{{"path", "b"}, {"change", "modified"}, {"bytes", 5}}));
  EXPECT_EQ(outputs[1]["path"], "c");
  EXPECT_EQ(outputs[1]["change"], "removed");
  EXPECT_EQ(outputs[2]["path"], "d/e");
  EXPECT_EQ(outputs[2]["change"], "added");
  bool code = false;
  for (const auto& one : compared["code"][0]["changes"]) code = code || one["path"] == "train.py";
  EXPECT_TRUE(code) << compared.dump(2);
  EXPECT_NE(Launch({"compare", "1", "2"}).out.find("Outputs, 1 to 2: 3 files differ"),
            std::string::npos);
}

TEST_P(ToolsTest, MetricsAreDrawn) {
  Run(R"(for n in 5 4 3 2 1; do echo "{\"metrics\": {\"loss\": $n}}" >> $PX_METRICS_PATH; done)");
  WaitDone(1);
  EXPECT_EQ(Launch({"experiment", "-xp", "1", "metrics", "--plot", "--name", "loss"}).out,
            "loss (5 values)\n  5 |*\n    |\n    | *\n    |\n    |  *\n    |\n    |\n    |   "
            "*\n    |\n  1 |    *\n    +-----\n");
}

class PruneTest : public LauncherTest {
 protected:
  // Six checkpoints a second apart, each with an accuracy: the fourth is the best.
  void Train() {
    Run(R"(cd $POLYAXON_OUTPUTS_PATH; n=0; for acc in 0.1 0.5 0.3 0.9 0.6 0.7; do n=$((n + 1))
           echo "{\"at\": $((1000 + n)), \"metrics\": {\"acc\": $acc}}" >> $PX_METRICS_PATH
           echo x > epoch$n.pt; touch -d @$((1000 + n)).5 epoch$n.pt; done
           echo notes > notes.txt)");
    EXPECT_EQ(WaitDone(1), "succeeded");
  }
  std::vector<std::string> Left() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(OutputsOf(1))) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  CommandResult Prune(const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"experiment", "-xp", "1", "prune"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return Launch(arguments);
  }
};

TEST_P(PruneTest, KeepsWhatTheRulesSayAndTheNewest) {
  Train();
  const CommandResult dry =
      Prune({"--keep-best", "1", "--metric", "acc", "--keep-every", "2", "--dry-run"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_EQ(Left().size(), 7U);
  EXPECT_EQ(Prune({"--pin", "epoch1.pt"}).exit_code, 0);
  const CommandResult pruned = Prune({"--keep-best", "1", "--metric", "acc", "-y"});
  EXPECT_EQ(pruned.exit_code, 0) << pruned.err;
  EXPECT_NE(pruned.out.find("3 checkpoints were removed; snapshot trash-1 keeps them"),
            std::string::npos)
      << pruned.out;
  EXPECT_EQ(Left(), (std::vector<std::string>{"epoch1.pt", "epoch4.pt", "epoch6.pt", "notes.txt"}));
  // Nothing is lost yet.
  EXPECT_EQ(CloneOf(1, {"resume", "--from", "trash-1"}), 2);
  WaitDone(2);
  EXPECT_EQ(Left().size(), 7U);
  EXPECT_EQ(Prune({"--empty-trash"}).out, "Trash was emptied: 1 snapshot.\n");
}

TEST_P(PruneTest, EveryAndLastAndTheLowest) {
  Train();
  EXPECT_EQ(Prune({"--keep-every", "3", "--keep-best", "1", "--metric", "acc", "--minimize", "-y"})
                .exit_code,
            0);
  EXPECT_EQ(Left(), (std::vector<std::string>{"epoch1.pt", "epoch3.pt", "epoch6.pt", "notes.txt"}));
  EXPECT_EQ(Prune({"--keep-last", "2", "-y"}).exit_code, 0);
  EXPECT_EQ(Left(), (std::vector<std::string>{"epoch3.pt", "epoch6.pt", "notes.txt"}));
}

TEST_P(PruneTest, RefusesWhatMakesNoSense) {
  Train();
  EXPECT_EQ(Prune({}).exit_code, 2);
  EXPECT_EQ(Prune({"--keep-best", "1"}).exit_code, 2);
  EXPECT_EQ(Prune({"--keep-best", "1", "--metric", "nope"}).exit_code, 10);
  const CommandResult pin = Prune({"--pin", "epoch9.pt"});
  EXPECT_EQ(pin.exit_code, 10);
  EXPECT_NE(pin.err.find("did you mean 'epoch"), std::string::npos) << pin.err;
  Write("override.yml", "run: {cmd: 'sleep 1000'}\n");
  EXPECT_EQ(CloneOf(1, {"resume", "-f", "override.yml"}), 2);
  EXPECT_EQ(Prune({"--keep-last", "1", "-y"}).exit_code, 11);
  EXPECT_EQ(Left().size(), 7U);
}

PX_LAUNCHER_SUITE(ToolsTest);
PX_LAUNCHER_SUITE(PruneTest);

}  // namespace
}  // namespace px::testing
