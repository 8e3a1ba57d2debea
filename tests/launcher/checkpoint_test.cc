// What a resume finds, says and refuses.
#include <unistd.h>

#include <fstream>

#include "launcher/checkpoint_formats.h"
#include "launcher/process.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class CheckpointTest : public LauncherTest {
 protected:
  void Refused(const std::vector<std::string>& verb, int code, const std::string& message,
               const std::string& hint) {
    std::vector<std::string> arguments{"experiment", "-xp", "1"};
    arguments.insert(arguments.end(), verb.begin(), verb.end());
    const CommandResult result = Launch(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(hint), std::string::npos) << result.err;
  }
  std::string Checkpoint(int64_t number) {
    const auto json = Get(number)["inherited"]["checkpoint"];
    return json.is_null() ? ""
                          : json["kind"].get<std::string>() + " " + json["path"].get<std::string>();
  }
};

TEST_P(CheckpointTest, TheNewestWholeOneIsRecorded) {
  Run("cd $POLYAXON_OUTPUTS_PATH; echo log > train.log; "
      "python3 -c \"import zipfile; zipfile.ZipFile('epoch1.pt', 'w').writestr('a', 'x' * 100); "
      "zipfile.ZipFile('epoch2.pt', 'w').writestr('a', 'y' * 100)\"; "
      "touch -d '2001-01-01' epoch1.pt; touch -d '2001-01-02' epoch2.pt; "
      "head -c 80 epoch2.pt > epoch3.pt; echo events > events.out.tfevents.1");
  ASSERT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(CloneOf(1, {"resume"}), 2);
  EXPECT_EQ(Checkpoint(2), "torch epoch2.pt");
  const std::string shown = Launch({"experiment", "-xp", "2", "get"}).out;
  EXPECT_NE(shown.find("epoch2.pt (torch), written "), std::string::npos) << shown;
  EXPECT_NE(shown.find("snapshot before-2"), std::string::npos) << shown;
}

TEST_P(CheckpointTest, CheckpointsOfSeveralFilesAreWholeOrNot) {
  Run("cd $POLYAXON_OUTPUTS_PATH; "
      "echo x > model-5.index; echo x > model-5.data-00000-of-00002; "
      "mkdir checkpoint-10 checkpoint-20 step.orbax-checkpoint-tmp-1; "
      "echo x > checkpoint-10/optimizer.pt; echo x > checkpoint-10/trainer_state.json; "
      "echo x > checkpoint-20/optimizer.pt; echo x > step.orbax-checkpoint-tmp-1/data; "
      "touch -d '2001-01-01' checkpoint-10/*; echo model-5 > checkpoint");
  ASSERT_EQ(WaitDone(1), "succeeded");
  EXPECT_EQ(CloneOf(1, {"resume"}), 2);
  EXPECT_EQ(Checkpoint(2), "directory checkpoint-10");
  WaitDone(2);
}

TEST_P(CheckpointTest, WithoutAWholeOneItIsRefusedWithTheReason) {
  Run("cd $POLYAXON_OUTPUTS_PATH; printf 'PK\\003\\004 and no end' > model.pt; echo x > train.log");
  WaitDone(1);
  Refused({"resume"}, 1, "no whole checkpoint: model.pt: the archive has no end", "--allow-fresh");
  EXPECT_EQ(CloneOf(1, {"resume", "--allow-fresh"}), 2);
  EXPECT_EQ(Checkpoint(2), "");
}

TEST_P(CheckpointTest, LogsAloneAreNoCheckpoint) {
  Run("echo x > $POLYAXON_OUTPUTS_PATH/train.log");
  WaitDone(1);
  Refused({"resume"}, 1, "it saved nothing to resume from: none of the 1 entries", "--allow-fresh");
}

TEST_P(CheckpointTest, FromASnapshotGoesBackInTime) {
  Run("cd $POLYAXON_OUTPUTS_PATH; echo $PX_EXPERIMENT >> model.pt; touch of-$PX_EXPERIMENT.pt; "
      "cat model.pt");
  WaitDone(1);
  for (int number = 2; number <= 3; ++number) {
    EXPECT_EQ(CloneOf(1, {"resume"}), number);
    EXPECT_EQ(WaitDone(number), "succeeded");
  }
  EXPECT_EQ(Logs(3), "1\n2\n3\n");
  Refused({"resume", "--from", "before-33"}, 10, "its outputs have no snapshot before-33",
          "did you mean 'before-3'?");
  EXPECT_EQ(CloneOf(3, {"resume", "--from", "before-3"}), 4);
  EXPECT_EQ(WaitDone(4), "succeeded");
  EXPECT_EQ(Logs(4), "1\n2\n4\n");
  EXPECT_NE(::access((OutputsOf(1) + "/of-3.pt").c_str(), F_OK), 0);
  EXPECT_EQ(Get(4)["inherited"]["from"], "before-3");
  // And back again to what was there before that.
  EXPECT_EQ(CloneOf(4, {"resume", "--from", "before-4"}), 5);
  EXPECT_EQ(WaitDone(5), "succeeded");
  EXPECT_EQ(Logs(5), "1\n2\n3\n5\n");
}

// Overwrites its checkpoint in place, as torch.save does, and is killed half-way in the second
// time.
constexpr const char* kKilledWhileSaving = R"(python3 - <<'END'
import os, signal
path = os.environ['POLYAXON_OUTPUTS_PATH'] + '/model.bin'
if os.path.exists(path):
    print('found', open(path, 'rb').read()[:4])
else:
    with open(path, 'wb') as f:
        f.write(b'good' + b'x' * 100000)
    f = open(path, 'wb')
    f.write(b'half')
    f.flush()
    os.kill(os.getpid(), signal.SIGKILL)
END)";

TEST_P(CheckpointTest, AHalfOverwrittenOneIsOfferedBack) {
  if (GetParam() == Backend::kPlain) return;  // only px-fs keeps versions
  Run(kKilledWhileSaving);
  EXPECT_EQ(WaitDone(1), "failed");
  Refused({"resume"}, 1, "a write to model.bin never ended; its last whole version (97.7 KiB",
          "--restore-checkpoint");
  EXPECT_EQ(CloneOf(1, {"resume", "--restore-checkpoint"}), 2);
  EXPECT_EQ(WaitDone(2), "succeeded");
  EXPECT_EQ(Logs(2), "found b'good'\n");
  EXPECT_EQ(Get(2)["inherited"]["restored"], (std::vector<std::string>{"model.bin"}));
  EXPECT_EQ(Checkpoint(2), "torch model.bin");
  // What was taken away is kept as a version in turn, and no reason to refuse another resume.
  EXPECT_EQ(CloneOf(2, {"resume"}), 3);
}

TEST_P(CheckpointTest, AnotherAttemptBeginsWithTheLastWholeVersion) {
  if (GetParam() == Backend::kPlain) return;  // only px-fs keeps versions
  const nlohmann::json spec{{"version", 1},
                            {"kind", "experiment"},
                            {"environment", {{"max_restarts", 1}}},
                            {"run", {{"cmd", kKilledWhileSaving}}}};
  Write("polyaxonfile.yml", spec.dump());
  ASSERT_EQ(Launch({"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  EXPECT_EQ(WaitDone(1), "succeeded");
  EXPECT_NE(Logs(1).find("found b'good'"), std::string::npos) << Logs(1);
}

PX_LAUNCHER_SUITE(CheckpointTest);

class FormatTest : public ::testing::Test {
 protected:
  std::string Check(const std::string& name, const std::string& bytes) {
    const std::string path = ::testing::TempDir() + "/px-format-" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return launcher::CheckFormat(path);
  }
  static std::string Le64(uint64_t value) {
    return {reinterpret_cast<const char*>(&value), sizeof(value)};
  }
};

TEST_F(FormatTest, Hdf5EndsWhereItsSuperblockSays) {
  const std::string start = std::string("\x89HDF\r\n\x1a\n", 8) +
                            std::string("\x02\x08\x08\x00", 4) + Le64(0) + Le64(~uint64_t{0}) +
                            Le64(200);
  EXPECT_EQ(Check("a.h5", start + std::string(164, 'x')), "");
  EXPECT_NE(Check("b.h5", start + std::string(150, 'x')), "");
}

TEST_F(FormatTest, SafetensorsEndWithTheirLastTensor) {
  const std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string start = Le64(header.size()) + header;
  EXPECT_EQ(Check("a.safetensors", start + "12345678"), "");
  EXPECT_EQ(Check("b.safetensors", start + "1234"), "it was cut off in its tensors");
  EXPECT_EQ(Check("c.safetensors", Le64(5000) + "{"), "it was cut off in its header");
}

TEST_F(FormatTest, OtherFilesAreTakenAsTheyAre) {
  EXPECT_EQ(Check("a.pt", "\x80\x02 an old pickle"), "");
  EXPECT_EQ(Check("b.pt", ""), "");
  EXPECT_EQ(Check("c.pt", std::string(4096, '\0')), "it begins with zeros");
}

}  // namespace
}  // namespace px::testing
