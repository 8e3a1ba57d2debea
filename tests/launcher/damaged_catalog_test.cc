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

  static void Flip(const std::string& path, Random* random) {
    const uint64_t size = stdfs::file_size(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (uint64_t i = 1 + random->Below(40); i > 0; --i) {
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
  Random random(1);
  int refused = 0;
  for (int round = 0; round < 30; ++round) {
    stdfs::copy_file(sound, Path(), stdfs::copy_options::overwrite_existing);
    for (const char* rest : {"-wal", "-shm"}) stdfs::remove(Path() + rest);
    if (round == 0) stdfs::resize_file(Path(), stdfs::file_size(Path()) / 2);
    if (round == 1) std::ofstream(Path()) << std::string(8192, 'x');
    if (round > 1) Flip(Path(), &random);
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"project", "experiments"}, {"experiment", "-xp", "1", "get"}}) {
      const CommandResult result = Launch(command);
      // Names and numbers that are not there any more are no crash either.
      const bool known = result.exit_code == 0 || result.exit_code == 1 || result.exit_code == 10 ||
                         result.exit_code == 12;
      EXPECT_TRUE(known) << round << ": " << result.exit_code << " " << result.err;
      if (result.exit_code != 0) {
        EXPECT_EQ(result.err.find("px-launch: error: "), 0u) << result.err;
      }
      if (result.exit_code == 12) ++refused;
    }
    if (round == 1) {
      EXPECT_EQ(refused, 4) << "a catalog cut, and one that is none";
    }
  }
  // Nothing beside it was touched.
  stdfs::copy_file(sound, Path(), stdfs::copy_options::overwrite_existing);
  for (const char* rest : {"-wal", "-shm"}) stdfs::remove(Path() + rest);
  EXPECT_EQ(StateOf(1), "succeeded");
}

PX_LAUNCHER_SUITE(DamagedCatalogTest);

}  // namespace
}  // namespace px::testing
