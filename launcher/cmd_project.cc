// px-launch project create|list|get|update|delete|experiments|groups
#include <memory>

#include "launcher/describe.h"
#include "launcher/erase.h"
#include "launcher/local_cache.h"
#include "launcher/reconcile.h"
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
  std::string tags;
  bool init = false;
  bool yes = false;
  bool independent = false;
  bool bookmarked = false;
  int64_t group = 0;
  int64_t page = 1;
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
    context.out() << ProjectJson(*project).dump(2) << '\n';
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
    context.out() << list.dump(2) << '\n';
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

Done Get(Context& context, const Session& session) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(
      const int64_t experiments,
      catalog->CountExperiments({.project = project.id, .independent_only = false, .group = {}}));
  if (session.json) {
    spec::Json json = ProjectJson(project);
    json["num_experiments"] = experiments;
    context.out() << json.dump(2) << '\n';
    return {};
  }
  PrintSection(context.out(), "Project info:",
               {{"user", project.user},
                {"name", project.name},
                {"description", project.description},
                {"created_at", FormatAgo(project.created_at, NowNs(context.clock()))},
                {"num_experiments", std::to_string(experiments)}});
  return {};
}

Done Update(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(Project project, ResolveProject(context, session));
  if (!options.description.empty()) project.description = options.description;
  if (!options.tags.empty()) project.tags = SplitTags(options.tags);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateProject(project));
  context.out() << "Project updated.\n";
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
      context.out() << "Existing without deleting project.\n";
      return {};
    }
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  // Newest first: resumes before what they resumed.
  PXL_ASSIGN(
      const auto experiments,
      catalog->ListExperiments({.project = project.id, .independent_only = false, .group = {}}));
  for (const auto& experiment : experiments) PXL_TRY(EraseExperiment(context, experiment, false));
  PXL_TRY(EraseCode(context, project));
  PXL_TRY(catalog->DeleteProject(project.id));
  context.out() << "Project `" << full << "` was deleted successfully.\n";
  return {};
}

Done Experiments(Context& context, const Session& session, const Options& options) {
  constexpr int64_t kPageSize = 30;
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  catalog::ExperimentFilter filter{
      .project = project.id, .independent_only = options.independent, .group = {}};
  filter.bookmarked_only = options.bookmarked;
  if (options.group != 0) {
    PXL_ASSIGN(const catalog::Group group, catalog->FindGroup(project.id, options.group));
    filter.group = group.id;
  }
  PXL_ASSIGN(const int64_t count, catalog->CountExperiments(filter));
  if (!session.json) {
    filter.limit = kPageSize;
    filter.offset = (options.page - 1) * kPageSize;
  }
  PXL_ASSIGN(const auto experiments, catalog->ListExperiments(filter));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const auto& e : experiments) list.push_back(ExperimentJson(e, context.layout()));
    context.out() << list.dump(2) << '\n';
    return {};
  }
  context.out() << "Experiments for project `" << project.user << "/" << project.name << "`.\n";
  Pairs navigation{{"count", std::to_string(count)}};
  if (filter.offset + kPageSize < count) {
    navigation.insert(navigation.begin(), {"next", "--page=" + std::to_string(options.page + 1)});
  }
  PrintSection(context.out(), "Navigation:", navigation);
  context.out() << "\nExperiments:\n\n";
  Table table(ExperimentHeaders());
  for (const auto& e : experiments) table.Add(ExperimentRow(e, NowNs(context.clock())));
  table.Print(context.out());
  return {};
}

Done Groups(Context& context, const Session& session) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto groups, catalog->ListGroups(project.id));
  spec::Json list = spec::Json::array();
  Table table({"id", "name", "algorithm", "concurrency", "status", "created_at"});
  for (const auto& group : groups) {
    list.push_back(GroupJson(group));
    table.Add({std::to_string(group.number), group.name, group.algorithm,
               std::to_string(group.concurrency), std::string(StateName(group.state)),
               FormatAgo(group.created_at, NowNs(context.clock()))});
  }
  if (session.json) {
    context.out() << list.dump(2) << '\n';
    return {};
  }
  context.out() << "Groups for project `" << project.user << "/" << project.name << "`.\n\n";
  table.Print(context.out());
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
  update->add_option("--description", options->description, "The new description.");
  update->add_option("--tags", options->tags, "The new tags, comma separated.");
  AddYes(
      *AddCommand(*project, session, "delete", "Remove a project and all it holds.", with(Delete)),
      options->yes);
  CLI::App* experiments =
      AddCommand(*project, session, "experiments", "List its experiments.", with(Experiments));
  experiments->add_flag("-i,--independent", options->independent, "Only those in no group.");
  experiments->add_flag("--bookmarked", options->bookmarked, "Only those that are bookmarked.");
  experiments->add_option("-g,--group", options->group, "Only those of this group.");
  experiments->add_option("--page", options->page, "Which page.")->check(CLI::PositiveNumber);
  AddCommand(*project, session, "groups", "List its groups.", Groups);
}

}  // namespace px::launcher
