// A console at full speed through the supervisor, rotated, while somebody follows it: every line
// once. Prints how fast it went.
#include <chrono>
#include <sstream>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class LogTest : public LauncherTest {
 protected:
  // Two attempts of `megabytes` each, in numbered lines of 100 bytes; the first attempt fails.
  static nlohmann::json Spec(int megabytes) {
    const std::string lines = std::to_string(megabytes * 10'000);
    const std::string program =
        "python3 - <<'END'\nimport os, sys\n"
        "mark = os.environ['POLYAXON_OUTPUTS_PATH'] + '/second'\n"
        "again = os.path.exists(mark)\nopen(mark, 'w').close()\n"
        "first = " +
        lines +
        " if again else 0\n"
        "rest = ' ' + 'x' * 90 + '\\n'\n"
        "for i in range(first, first + " +
        lines +
        ", 1000):\n"
        "    sys.stdout.write(''.join(['%08d' % n + rest for n in range(i, i + 1000)]))\n"
        "sys.stdout.flush()\nsys.exit(0 if again else 1)\nEND";
    return {{"version", 1},
            {"kind", "experiment"},
            {"environment", {{"max_restarts", 1}}},
            {"run", {{"cmd", program}}}};
  }
};

TEST_P(LogTest, FollowShowsEveryLineOfBothAttemptsOnce) {
  constexpr int kMegabytes = 200;
  Write("polyaxonfile.yml", Spec(kMegabytes).dump());
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(LaunchWith({"PX_LOG_ROTATE=10MiB"}, {"run", "-f", "polyaxonfile.yml"}).exit_code, 0);
  const CommandResult followed = Launch({"experiment", "-xp", "1", "logs", "-f", "--hide_time"});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(StateOf(1), "succeeded");
  std::istringstream lines(followed.out);
  std::string line;
  int next = 0;
  int wrong = 0;
  while (std::getline(lines, line)) {
    if (line.size() != 99 || std::stol(line.substr(0, 8)) != next) ++wrong;
    ++next;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(next, 2 * kMegabytes * 10'000);
  // The pause between the attempts is 1 s.
  std::printf("%d MB in two attempts, followed in %.1f s: %.0f MB/s without the pause\n",
              2 * kMegabytes, took.count(), 2 * kMegabytes / (took.count() - 1));
}

PX_LAUNCHER_SUITE(LogTest);

}  // namespace
}  // namespace px::testing
