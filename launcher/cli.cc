#include "launcher/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>

#include "base/log.h"
#include "launcher/group_scheduler.h"
#include "launcher/guardian.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"
#include "launcher/spec/problem.h"
#include "launcher/supervisor.h"

namespace px::launcher {
namespace {

constexpr const char* kVersion = "px-launch 0.1.0";

void Declare(CLI::App& app, Session& session) {
  app.set_version_flag("--version", kVersion);
  app.add_flag("-v,--verbose", session.verbose, "Say what is done.");
  app.add_flag("--json", session.json, "Answer in JSON.");
  app.add_option("--store", session.flags.store, "The store's directory.")->type_name("DIR");
  app.add_option("--outputs-path", session.flags.outputs, "Where outputs are mounted.")
      ->type_name("DIR");
  app.add_option("--logs-path", session.flags.logs, "Where consoles are kept.")->type_name("DIR");
  app.require_subcommand(1);
  app.fallthrough();
  AddInit(app, session);
  AddRun(app, session);
  AddCheck(app, session);
  AddUpload(app, session);
  AddConfig(app, session);
  AddProject(app, session);
  AddExperiment(app, session);
  AddJob(app, session);
  AddBuild(app, session);
  AddGroup(app, session);
  AddBookmark(app, session);
  AddTree(app, session);
  AddCompare(app, session);
  AddGpus(app, session);
  AddTop(app, session);
  AddCompletion(app, session, kVersion);
  AddCommand(app, session, "version", "Print the version.", [](Context& context, Session&) -> Done {
    context.Say(kVersion, {{"version", kVersion}});
    return {};
  });
}

// The deepest sub-command that was understood.
const CLI::App* Deepest(const CLI::App& app) {
  const CLI::App* deepest = &app;
  while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
  return deepest;
}

std::string FullName(const CLI::App* app) {
  if (app->get_parent() == nullptr) return "px-launch";
  return FullName(app->get_parent()) + " " + app->get_name();
}

std::vector<std::string> NamesOf(const CLI::App* app, bool options) {
  std::vector<std::string> names;
  if (!options) {
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(command->get_name());
    }
  }
  for (; options && app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

// Commands of Polyaxon that were about its server and its cluster.
bool IsAboutServer(const std::string& word) {
  constexpr std::array<std::string_view, 14> kWords{
      "login",  "logout",   "whoami",   "user",        "superuser", "cluster", "dashboard",
      "deploy", "teardown", "notebook", "tensorboard", "admin",     "upgrade", "activate"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

// What the parser could not make sense of, and what was probably meant.
Failure UsageFailure(const CLI::App& app, const CLI::ParseError& error) {
  Failure failure{ExitCode::kUsage, error.what(), ""};
  const CLI::App* command = Deepest(app);
  failure.hint = FullName(command) + " --help";
  const auto unknown = command->remaining(/*recurse=*/true);
  const auto left = app.remaining(/*recurse=*/true);
  const std::vector<std::string>& words = unknown.empty() ? left : unknown;
  if (words.empty()) return failure;
  const bool option = words.front().starts_with("-");
  const bool wants_command = !option && !NamesOf(command, false).empty();
  failure.message = option          ? "no such option: " + words.front()
                    : wants_command ? "no such command: " + words.front()
                                    : "unexpected argument: " + words.front();
  if (wants_command && command->get_parent() == nullptr && IsAboutServer(words.front())) {
    failure.message = "px has no '" + words.front() + "': there is no server and no cluster";
    return failure;
  }
  const std::string nearest = spec::NearestName(words.front(), NamesOf(command, option));
  if ((option || wants_command) && !nearest.empty()) {
    failure.hint = "did you mean '" + nearest + "'?";
  }
  return failure;
}

int Report(const Failure& failure, std::ostream& err) {
  // A polyaxonfile's problems come as several lines that name their places: nothing to put in front
  // of each.
  err << "px-launch: error: " << failure.message << '\n';
  if (!failure.hint.empty()) err << "hint: " << failure.hint << '\n';
  return static_cast<int>(failure.exit_code);
}

// px-launch --supervise|--schedule ID PID START: what StartDetached starts.
int RunDetached(const std::vector<std::string>& arguments, const OutputsFsFactory& factory,
                std::ostream& out, std::ostream& err) {
  if (arguments.size() != 4) return static_cast<int>(ExitCode::kUsage);
  auto config = LoadConfig({});
  if (!config) {
    ReportReady(config.error().message);
    return Report(config.error(), err);
  }
  const auto number = [&](size_t i) { return std::strtoll(arguments[i].c_str(), nullptr, 10); };
  // A scheduler's descendants are the supervisors that it started: they outlive it.
  const bool supervise = arguments.front() == "--supervise";
  const auto life = [&] {
    Context context(*config, factory, out, err);
    if (!supervise) {
      return ScheduleGroup(context, catalog::GroupId{number(1)}, number(2), number(3));
    }
    return Supervise(context, catalog::ExperimentId{number(1)}, number(2), number(3));
  };
  const auto put_right = [&] {
    Context context(*config, factory, out, err);
    return Reconcile(context);
  };
  return Guard(*config, /*owns_descendants=*/supervise, life, put_right);
}

int RunAction(Session& session, const OutputsFsFactory& factory, std::ostream& out,
              std::ostream& err) {
  auto config = LoadConfig(session.flags);
  if (!config) return Report(config.error(), err);
  Context context(std::move(*config), factory, out, err, session.json);
  const Done done = session.action(context);
  if (!done) return Report(done.error(), err);
  context.FinishAnswer();
  return static_cast<int>(ExitCode::kOk);
}

int Parse(const std::vector<std::string>& arguments, const OutputsFsFactory& factory,
          std::ostream& out, std::ostream& err) {
  Session session;
  CLI::App app("Runs experiments and resumes, restarts and copies them.", "px-launch");
  Declare(app, session);
  std::vector<std::string> reversed = RewriteArguments(arguments);
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    out << Deepest(app)->help();
    return 0;
  } catch (const CLI::CallForAllHelp&) {
    out << app.help("", CLI::AppFormatMode::All);
    return 0;
  } catch (const CLI::CallForVersion&) {
    out << kVersion << '\n';
    return 0;
  } catch (const CLI::ParseError& error) {
    return Report(UsageFailure(app, error), err);
  }
  static_cast<void>(SetLogLevel(session.verbose ? "debug" : "warn"));
  return RunAction(session, factory, out, err);
}

}  // namespace

std::vector<std::string> RewriteArguments(const std::vector<std::string>& arguments) {
  std::vector<std::string> rewritten;
  bool plain = false;
  for (const std::string& argument : arguments) {
    if (argument == "--") plain = true;
    if (plain) {
      rewritten.push_back(argument);
    } else if (argument == "-xp" || argument.starts_with("-xp=")) {
      rewritten.push_back("--experiment" + argument.substr(3));
    } else if (argument == "-def") {
      rewritten.push_back("--definition");
    } else {
      rewritten.push_back(argument);
    }
  }
  return rewritten;
}

int RunCommandLine(const std::vector<std::string>& arguments, const OutputsFsFactory& factory,
                   std::ostream& out, std::ostream& err) {
  try {
    const std::string first = arguments.empty() ? "" : arguments.front();
    if (first == "--supervise" || first == "--schedule") {
      return RunDetached(arguments, factory, out, err);
    }
    return Parse(arguments, factory, out, err);
  } catch (const std::bad_alloc&) {
    return Report({ExitCode::kFailed, "out of memory", ""}, err);
  }
}

}  // namespace px::launcher
