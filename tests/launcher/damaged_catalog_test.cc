// A damaged catalog.db: each command works or says what is wrong and ends with 12, and none makes
// it worse.
#include <filesystem>
#include <fstream>

#include "tests/fuzz/random.h"
#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;

class DamagedCatalogTest : public LauncherTest {
 protected:
  std::string Path() const { return home_ + "/store/catalog.db"; }

  static void Flip(const std::string& path, uint64_t bits, Random* random) {
    const uint64_t size = stdfs::file_size(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (uint64_t i = 0; i < bits; ++i) {
      const auto at = static_cast<std::streamoff>(random->Below(size));
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ (1 << random->Below(8))));
    }
  }
};

TEST_P(DamagedCatalogTest, CommandsWorkOrSayWhatIsWrong) {
  WaitDone(Run("true"));
  ChangeCatalog("PRAGMA wal_checkpoint(TRUNCATE)");  // the database alone, without a log
  const std::string sound = home_ + "/sound.db";
  stdfs::copy_file(Path(), sound);
  const std::vector<std::vector<std::string>> commands = {
      {"project", "experiments", "--json"}, {"experiment", "-xp", "1", "get", "--json"}};
  std::vector<std::string> answers;
  for (const auto& command : commands) answers.push_back(Launch(command).out);
  Random random(1);
  int refused = 0, answered = 0;
  for (int round = 0; round < 30; ++round) {
    stdfs::copy_file(sound, Path(), stdfs::copy_options::overwrite_existing);
    for (const char* rest : {"-log", "-shm"}) stdfs::remove(Path() + rest);
    if (round == 0) stdfs::resize_file(Path(), stdfs::file_size(Path()) / 2);
    if (round == 1) std::ofstream(Path()) << std::string(8192, 'x');
    if (round > 1) Flip(Path(), 1 + random.Below(round % 2 == 0 ? 2 : 40), &random);
    for (size_t i = 0; i < commands.size(); ++i) {
      const CommandResult result = Launch(commands[i]);
      if (result.exit_code == 0) {
        EXPECT_EQ(result.out, answers[i]) << round << ": other than it was";
        ++answered;
        continue;
      }
      EXPECT_EQ(result.exit_code, 12) << round << ": " << result.err;
      EXPECT_NE(result.err.find("px-launch: error: "), std::string::npos) << result.err;
      EXPECT_NE(result.err.find("hint: "), std::string::npos) << result.err;
      ++refused;
    }
    if (round == 1) {
      EXPECT_EQ(refused, 4) << "a catalog cut, and one that is none";
    }
  }
  EXPECT_GT(refused, 10);
  EXPECT_GT(answered, 5) << "one bit of a page is put right";
  // Nothing beside it was touched.
  stdfs::copy_file(sound, Path(), stdfs::copy_options::overwrite_existing);
  for (const char* rest : {"-log", "-shm"}) stdfs::remove(Path() + rest);
  EXPECT_EQ(StateOf(1), "succeeded");
}

PX_LAUNCHER_SUITE(DamagedCatalogTest);

}  // namespace
}  // namespace px::testing
