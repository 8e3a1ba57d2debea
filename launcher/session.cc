#include "launcher/session.h"

#include <iostream>

#include "launcher/describe.h"
#include "launcher/local_cache.h"
#include "launcher/reconcile.h"
#include "launcher/spec/problem.h"

namespace px::launcher {
namespace {

constexpr const char* kNoProject = "Please provide a valid project, or init a new project.";

// "user/project", "user.project" or "project".
CachedProject ParseProject(const std::string& text, const std::string& default_user) {
  const size_t separator = text.find_first_of("/.");
  if (separator == std::string::npos) return {default_user, text};
  return {text.substr(0, separator), text.substr(separator + 1)};
}

tl::unexpected<Failure> NoSuchProject(catalog::Catalog& catalog, const CachedProject& wanted) {
  std::vector<std::string> names;
  if (const auto projects = catalog.ListProjects("")) {
    for (const auto& project : *projects) names.push_back(project.user + "/" + project.name);
  }
  const std::string full = wanted.user + "/" + wanted.name;
  const std::string nearest = spec::NearestName(full, names);
  return Refuse(ExitCode::kNotFound, "there is no project " + full,
                nearest.empty() ? "px-launch project create --name " + wanted.name
                                : "did you mean '" + nearest + "'?");
}

}  // namespace

CLI::App* AddCommand(CLI::App& parent, Session& session, const std::string& name,
                     const std::string& help, Action action) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->callback([&session, action = std::move(action)] {
    // A command's own sub-command comes first, and is the one that was meant.
    if (session.action) return;
    session.action = [&session, action](Context& context) { return action(context, session); };
  });
  return command;
}

void AddYes(CLI::App& command, bool& yes) { command.add_flag("-y,--yes", yes, "Do not ask."); }

void AddFiles(CLI::App& command, std::vector<std::string>& files, const std::string& help) {
  // One value each time: `-f a.yml -f b.yml`.
  command.add_option("-f,--file", files, help)->type_name("FILE")->expected(1)->take_all();
}

Outcome<catalog::Project> ResolveProject(Context& context, const Session& session) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  CachedProject wanted;
  if (!session.project.empty()) {
    wanted = ParseProject(session.project, context.config().user);
  } else if (const auto cached = ReadCachedProject()) {
    wanted = *cached;
  } else {
    return Refuse(ExitCode::kUsage, kNoProject, "px-launch init PROJECT_NAME");
  }
  auto project = catalog->FindProject(wanted.user, wanted.name);
  if (!project && project.error().code() == ENOENT) {
    return NoSuchProject(*catalog, wanted);
  }
  PXL_TRY(project);
  return std::move(*project);
}

namespace {

// The one last worked with, if this is its project's directory.
Outcome<int64_t> CurrentNumber(const catalog::Project& project, catalog::Kind kind) {
  const auto cached = ReadCachedProject();
  const bool here = cached && cached->user == project.user && cached->name == project.name;
  const auto last = here ? ReadCachedExperiment(kind) : std::nullopt;
  if (last) return *last;
  return Refuse(ExitCode::kUsage,
                "No " + std::string(catalog::KindName(kind)) + " id was provided.",
                "px-launch " + CommandOf(kind) + " NUMBER ...");
}

}  // namespace

Outcome<catalog::Experiment> ResolveExperiment(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  const catalog::Kind kind = session.kind.value_or(catalog::Kind::kExperiment);
  int64_t number = session.experiment;
  if (number == 0) {
    PXL_ASSIGN(number, CurrentNumber(project, kind));
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  auto experiment = catalog->FindExperiment(project.id, number);
  const std::string name = project.user + "/" + project.name;
  const std::string noun(catalog::KindName(kind));
  if (!experiment && experiment.error().code() == ENOENT) {
    return Refuse(ExitCode::kNotFound,
                  "there is no " + noun + " " + std::to_string(number) + " in project " + name,
                  "px-launch project -p " + name + " " + noun + "s");
  }
  PXL_TRY(experiment);
  if (session.kind && experiment->kind != kind) {
    return Refuse(ExitCode::kNotFound,
                  "there is no " + noun + " " + std::to_string(number) + " in project " + name +
                      ": it is a " + std::string(catalog::KindName(experiment->kind)),
                  CommandFor(*experiment) + " get");
  }
  return std::move(*experiment);
}

Outcome<catalog::Group> ResolveGroup(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  const auto cached = ReadCachedGroup();
  if (session.group == 0 && !cached) {
    return Refuse(ExitCode::kUsage, "No group id was provided.", "px-launch group -g NUMBER ...");
  }
  const int64_t number = session.group != 0 ? session.group : *cached;
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  auto group = catalog->FindGroup(project.id, number);
  if (!group && group.error().code() == ENOENT) {
    return Refuse(ExitCode::kNotFound,
                  "there is no group " + std::to_string(number) + " in project " + project.user +
                      "/" + project.name,
                  "px-launch project -p " + project.user + "/" + project.name + " groups");
  }
  PXL_TRY(group);
  return std::move(*group);
}

Outcome<bool> Confirm(Context& context, const std::string& question) {
  // Standard output is the answer's.
  std::ostream& asked = context.json() ? context.err() : context.out();
  asked << question << " [y/N]: " << std::flush;
  std::string answer;
  if (!std::getline(std::cin, answer)) {
    asked << '\n';
    return Refuse(ExitCode::kFailed, "Aborted!", "add --yes to go on without a question");
  }
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace px::launcher
