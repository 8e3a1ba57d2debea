// px-launch project experiments|jobs|builds|groups, px-launch bookmark ...
#include <memory>

#include "launcher/describe.h"
#include "launcher/experiment_list.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Project;

struct Options {
  bool independent = false;
  bool bookmarked = false;
  int64_t group = 0;
  ListOptions list;
};

Done Experiments(Context& context, const Session& session, const Options& options,
                 catalog::Kind kind) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  catalog::ExperimentFilter filter;
  filter.project = project.id;
  filter.kind = kind;
  filter.independent_only = options.independent;
  filter.bookmarked_only = options.bookmarked;
  if (options.group != 0) {
    PXL_ASSIGN(const catalog::Group group, catalog->FindGroup(project.id, options.group));
    filter.group = group.id;
  }
  PXL_ASSIGN(auto experiments, catalog->ListExperiments(filter));
  if (!session.json) {
    context.out() << TitleOf(kind) << "s for project `" << project.user << "/" << project.name
                  << "`.\n";
  }
  return PrintList(context, std::move(experiments), options.list, TitleOf(kind) + "s");
}

Done Groups(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(auto groups, catalog->ListGroups(project.id));
  if (options.bookmarked)
    std::erase_if(groups, [](const auto& group) { return !group.bookmarked; });
  spec::Json list = spec::Json::array();
  Table table({"id", "name", "algorithm", "concurrency", "status", "created_at"});
  for (const auto& group : groups) {
    list.push_back(GroupJson(group));
    table.Add({std::to_string(group.number), group.name, group.algorithm,
               std::to_string(group.concurrency), std::string(StateName(group.state)),
               FormatAgo(group.created_at, NowNs(context.clock()))});
  }
  if (session.json) {
    context.Answer(list);
    return {};
  }
  context.out() << "Groups for project `" << project.user << "/" << project.name << "`.\n\n";
  table.Print(context.out());
  return {};
}

}  // namespace

namespace {

// The lists of one parent: "experiments", "jobs", "builds", "groups". Each with options of its own.
void AddLists(CLI::App& parent, Session& session, bool bookmarked) {
  for (const catalog::Kind kind :
       {catalog::Kind::kExperiment, catalog::Kind::kJob, catalog::Kind::kBuild}) {
    auto options = std::make_shared<Options>();
    options->bookmarked = bookmarked;
    const std::string plural = std::string(catalog::KindName(kind)) + "s";
    CLI::App* list = AddCommand(parent, session, plural,
                                (bookmarked ? "List the bookmarked " : "List its ") + plural + ".",
                                [options, kind](Context& context, Session& s) {
                                  return Experiments(context, s, *options, kind);
                                });
    AddListOptions(*list, options->list);
    if (!bookmarked) {
      list->add_flag("--bookmarked", options->bookmarked, "Only those that are bookmarked.");
    }
    if (kind != catalog::Kind::kExperiment) continue;
    list->add_flag("-i,--independent", options->independent, "Only those in no group.");
    list->add_option("-g,--group", options->group, "Only those of this group.");
  }
  auto options = std::make_shared<Options>();
  options->bookmarked = bookmarked;
  CLI::App* groups = AddCommand(
      parent, session, "groups", bookmarked ? "List the bookmarked groups." : "List its groups.",
      [options](Context& context, Session& s) { return Groups(context, s, *options); });
  if (!bookmarked) {
    groups->add_flag("--bookmarked", options->bookmarked, "Only those that are bookmarked.");
  }
}

}  // namespace

void AddProjectLists(CLI::App& project, Session& session) { AddLists(project, session, false); }

void AddBookmark(CLI::App& app, Session& session) {
  CLI::App* bookmark = app.add_subcommand("bookmark", "List what is bookmarked.");
  bookmark->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
  bookmark->require_subcommand(1);
  AddLists(*bookmark, session, true);
}

}  // namespace px::launcher
