// px-launch project create|list|get|update|delete
#include <memory>

#include "launcher/describe.h"
#include "launcher/erase.h"
#include "launcher/local_cache.h"
#include "launcher/reconcile.h"
#include "launcher/rename_project.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Project;

spec::Json ProjectJson(const Project& project) {
  return {{"user", project.user}, {"name", project.name},
          {"uuid", project.uuid}, {"description", project.description},
          {"tags", project.tags}, {"created_at", TimeJson(project.created_at)}};
}

struct Options {
  std::string name;
  std::string description;
  Details details;  // of update
  bool init = false;
  bool yes = false;
};

Done Create(Context& context, const Session& session, const Options& options) {
  const size_t separator = options.name.find_first_of("/.");
  const std::string user =
      separator == std::string::npos ? context.config().user : options.name.substr(0, separator);
  const std::string name =
      separator == std::string::npos ? options.name : options.name.substr(separator + 1);
  if (!IsName(user) || !IsName(name)) {
    return Refuse(ExitCode::kUsage, "'" + options.name + "' is no project name",
                  "use letters, digits, - and _");
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const auto project = catalog->CreateProject(user, name, options.description);
  if (!project && project.error().code() == EEXIST) {
    return Refuse(ExitCode::kFailed, "there is a project " + user + "/" + name + " already",
                  "px-launch init " + user + "/" + name);
  }
  PXL_TRY(project);
  if (options.init) PXL_TRY(WriteCachedProject(*project));
  if (session.json) {
    context.Answer(ProjectJson(*project));
  } else {
    context.out() << "Project `" << user << "/" << name << "` was created successfully.\n";
  }
  return {};
}

Done List(Context& context, const Session& session) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto projects, catalog->ListProjects(""));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const Project& project : projects) list.push_back(ProjectJson(project));
    context.Answer(list);
    return {};
  }
  Table table({"user", "name", "description", "created_at"});
  for (const Project& project : projects) {
    table.Add({project.user, project.name, project.description,
               FormatAgo(project.created_at, NowNs(context.clock()))});
  }
  table.Print(context.out());
  return {};
}

Result<int64_t> CountOf(catalog::Catalog& catalog, const Project& project, catalog::Kind kind) {
  catalog::ExperimentFilter filter;
  filter.project = project.id;
  filter.kind = kind;
  return catalog.CountExperiments(filter);
}

Done Get(Context& context, const Session& session) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  using catalog::Kind;
  PXL_ASSIGN(const int64_t experiments, CountOf(*catalog, project, Kind::kExperiment));
  PXL_ASSIGN(const int64_t jobs, CountOf(*catalog, project, Kind::kJob));
  PXL_ASSIGN(const int64_t builds, CountOf(*catalog, project, Kind::kBuild));
  if (session.json) {
    spec::Json json = ProjectJson(project);
    json["num_experiments"] = experiments;
    json["num_jobs"] = jobs;
    json["num_builds"] = builds;
    context.Answer(json);
    return {};
  }
  PrintSection(context.out(), "Project info:",
               {{"user", project.user},
                {"name", project.name},
                {"description", project.description},
                {"created_at", FormatAgo(project.created_at, NowNs(context.clock()))},
                {"num_experiments", std::to_string(experiments)},
                {"num_jobs", std::to_string(jobs)},
                {"num_builds", std::to_string(builds)}});
  return {};
}

Done Update(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(Project project, ResolveProject(context, session));
  if (options.details.empty()) {
    context.Say("No argument was provided to update the project.");
    return {};
  }
  if (options.details.name && *options.details.name != project.name) {
    PXL_TRY(RenameProject(context, project, *options.details.name));
  }
  options.details.Apply(project);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateProject(project));
  context.Say("Project updated.", ProjectJson(project));
  if (!context.json()) PrintDetails(context, options.details);
  return {};
}

Done Delete(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  const std::string full = project.user + "/" + project.name;
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to delete project `" + full + "`"));
    if (!go) {
      context.Say("Existing without deleting project.");
      return {};
    }
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  // Newest first: resumes before what they resumed.
  catalog::ExperimentFilter filter;
  filter.project = project.id;
  PXL_ASSIGN(const auto experiments, catalog->ListExperiments(filter));
  Erased all;
  for (const auto& experiment : experiments) {
    PXL_ASSIGN(const Erased erased, EraseExperiment(context, experiment, false));
    all.trashed.insert(all.trashed.end(), erased.trashed.begin(), erased.trashed.end());
  }
  PXL_TRY(EraseCode(context, project));
  PXL_TRY(catalog->DeleteProject(project.id));
  context.Say("Project `" + full + "` was deleted successfully.", {{"project", full}});
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  SayWhereItWent(context, *outputs, all);
  return {};
}

}  // namespace

void AddProject(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  const auto with = [options](Done (*function)(Context&, const Session&, const Options&)) {
    return [options, function](Context& context, Session& s) {
      return function(context, s, *options);
    };
  };
  CLI::App* project = app.add_subcommand("project", "Work with projects.");
  project->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
  project->require_subcommand(1);
  CLI::App* create = AddCommand(*project, session, "create", "Make a project.", with(Create));
  create->add_option("--name", options->name, "Its name.")->required();
  create->add_option("--description", options->description, "What it is about.");
  create->add_flag("--init", options->init, "Also make this directory its own.");
  AddCommand(*project, session, "list", "List all projects.", List);
  AddCommand(*project, session, "get", "Show a project.", Get);
  CLI::App* update = AddCommand(*project, session, "update", "Change a project.", with(Update));
  AddDetails(*update, options->details);
  AddYes(
      *AddCommand(*project, session, "delete", "Remove a project and all it holds.", with(Delete)),
      options->yes);
  AddProjectLists(*project, session);
}

}  // namespace px::launcher
