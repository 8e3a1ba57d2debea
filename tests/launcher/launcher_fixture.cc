#include "tests/launcher/launcher_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "catalog/sqlite.h"
#include "launcher/process.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Runs a program in `directory`, its output going through files: what it leaves running may keep
// them open.
CommandResult RunIn(const std::string& directory, const std::vector<std::string>& environment,
                    std::vector<std::string> arguments, const std::string& scratch) {
  const std::string out = scratch + "/stdout";
  const std::string err = scratch + "/stderr";
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(directory.c_str()) != 0) ::_exit(99);
    for (const std::string& entry : environment) {
      const size_t equals = entry.find('=');
      ::setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
    }
    ::dup2(::open("/dev/null", O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::close_range(3, ~0U, 0);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(98);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Slurp(out), Slurp(err)};
}

}  // namespace

void LauncherTest::SetUp() {
  if (GetParam() == Backend::kMount && ::access("/dev/fuse", R_OK | W_OK) != 0) {
    GTEST_SKIP() << "/dev/fuse cannot be used here";
  }
  std::string pattern = (fs::temp_directory_path() / "px-launcher-XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  home_ = pattern;
  project_ = home_ + "/work";
  fs::create_directories(project_);
  const CommandResult init = Launch({"init", "demo"});
  ASSERT_EQ(init.exit_code, 0) << init.err;
  fs::remove(project_ + "/polyaxonfile.yaml");
}

void LauncherTest::TearDown() {
  if (home_.empty()) return;
  for (const auto& group :
       nlohmann::json::parse(Launch({"project", "groups", "--json"}).out, nullptr, false)) {
    Launch({"group", "-g", group["id"].dump(), "stop", "-y"});
  }
  for (const auto& one : nlohmann::json::parse(Launch({"top", "--json"}).out, nullptr, false)) {
    const std::string kind = one["kind"];
    Launch({kind, "--" + kind, one["id"].dump(), "stop", "-y"});
  }
  if (GetParam() == Backend::kMount) {
    RunIn("/", {}, {PX_FS_PROGRAM, "umount", home_ + "/outputs"}, home_);
  }
  // Supervisors and schedulers write to the home until their last moment.
  WaitFor("the end of all that this test started",
          [&] { return launcher::ProcessesWithEnvironment("PX_HOME=" + home_).empty(); });
  if (!HasFailure()) fs::remove_all(home_);
}

CommandResult LauncherTest::Launch(const std::vector<std::string>& arguments) {
  return LaunchWith({}, arguments);
}

CommandResult LauncherTest::LaunchWith(const std::vector<std::string>& environment,
                                       const std::vector<std::string>& arguments) {
  std::vector<std::string> all{
      "PX_HOME=" + home_,
      "PX_USER=user",
      "PX_STORE=",
      "PX_OUTPUTS=",
      "PX_LOGS=",
      "PX_HEARTBEAT=0.05",
      "PX_GRACE=5",
      "PX_ENGINE=none",
      "PATH=" + fs::path(PX_FS_PROGRAM).parent_path().string() + ":" + ::getenv("PATH")};
  all.insert(all.end(), environment.begin(), environment.end());
  std::vector<std::string> line{GetParam() == Backend::kPlain ? PX_LAUNCH_PLAIN_PROGRAM
                                                              : PX_LAUNCH_PROGRAM};
  line.insert(line.end(), arguments.begin(), arguments.end());
  return RunIn(project_, all, line, home_);
}

nlohmann::json LauncherTest::Json(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const CommandResult result = Launch(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out, nullptr, false);
}

void LauncherTest::Write(const std::string& name, const std::string& text) {
  std::ofstream(project_ + "/" + name, std::ios::binary) << text;
}

void LauncherTest::WriteSpec(const std::string& command, const std::string& name) {
  const nlohmann::json spec{{"version", 1}, {"kind", "experiment"}, {"run", {{"cmd", command}}}};
  // JSON is YAML, too.
  Write(name, spec.dump(2));
}

int64_t LauncherTest::Run(const std::string& command) {
  WriteSpec(command);
  return Json({"run", "-f", "polyaxonfile.yml"}).value("id", int64_t{0});
}

int64_t LauncherTest::CloneOf(int64_t number, const std::vector<std::string>& verb) {
  std::vector<std::string> arguments{"experiment", "-xp", std::to_string(number)};
  arguments.insert(arguments.end(), verb.begin(), verb.end());
  const CommandResult result = Launch(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const size_t id = result.out.find("with id ");
  return id == std::string::npos ? 0 : std::stoll(result.out.substr(id + 8));
}

int64_t LauncherTest::SubmitSpec(const std::string& text) {
  Write("polyaxonfile.yml", text);
  return Json({"run", "-f", "polyaxonfile.yml"}).value("id", int64_t{0});
}

std::string LauncherTest::WaitEnd(const std::string& kind, int64_t number) {
  std::string state;
  WaitFor("the end of " + kind + " " + std::to_string(number), [&] {
    state = Json({kind, "--" + kind, std::to_string(number), "get"})["status"];
    return state == "succeeded" || state == "failed" || state == "stopped";
  });
  return state;
}

nlohmann::json LauncherTest::Get(int64_t number) {
  return Json({"experiment", "-xp", std::to_string(number), "get"});
}

std::string LauncherTest::WaitDone(int64_t number) {
  std::string state;
  WaitFor("the end of experiment " + std::to_string(number), [&] {
    state = StateOf(number);
    return state == "succeeded" || state == "failed" || state == "stopped";
  });
  return state;
}

void LauncherTest::WaitState(int64_t number, const std::string& wanted) {
  WaitFor("experiment " + std::to_string(number) + " to be " + wanted,
          [&] { return StateOf(number) == wanted; });
}

void LauncherTest::WaitFor(const std::string& what, const std::function<bool()>& condition) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    ASSERT_LT(steady_clock::now(), deadline) << "waited in vain for " << what;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string LauncherTest::Logs(int64_t number) {
  return Launch({"experiment", "-xp", std::to_string(number), "logs", "--hide_time"}).out;
}

int LauncherTest::Number(const char* variable, int fallback) {
  const char* text = ::getenv(variable);
  return text == nullptr ? fallback : std::atoi(text);
}

double LauncherTest::Seconds(steady_clock::time_point since) {
  return std::chrono::duration<double>(steady_clock::now() - since).count();
}

void LauncherTest::ChangeCatalog(const std::string& sql) {
  const auto database = catalog::Database::Open(home_ + "/store/catalog.db", SQLITE_OPEN_READWRITE,
                                                10'000, catalog::kCheckedVfs);
  ASSERT_TRUE(database) << database.error().ToString();
  const Status changed = database->Execute(sql);
  ASSERT_TRUE(changed) << changed.error().ToString();
}

std::string LauncherTest::ReadFile(const std::string& path) { return Slurp(path); }

}  // namespace px::testing
