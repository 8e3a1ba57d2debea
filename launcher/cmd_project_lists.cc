// px-launch project experiments|jobs|builds|groups
#include <memory>

#include "launcher/describe.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Project;

struct Options {
  bool independent = false;
  bool bookmarked = false;
  int64_t group = 0;
  int64_t page = 1;
};

Done Experiments(Context& context, const Session& session, const Options& options,
                 catalog::Kind kind) {
  constexpr int64_t kPageSize = 30;
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
  PXL_ASSIGN(const int64_t count, catalog->CountExperiments(filter));
  if (!session.json) {
    filter.limit = kPageSize;
    filter.offset = (options.page - 1) * kPageSize;
  }
  PXL_ASSIGN(const auto experiments, catalog->ListExperiments(filter));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const auto& e : experiments) list.push_back(ExperimentJson(e, context.layout()));
    context.Answer(list);
    return {};
  }
  context.out() << TitleOf(kind) << "s for project `" << project.user << "/" << project.name
                << "`.\n";
  Pairs navigation{{"count", std::to_string(count)}};
  if (filter.offset + kPageSize < count) {
    navigation.insert(navigation.begin(), {"next", "--page=" + std::to_string(options.page + 1)});
  }
  PrintSection(context.out(), "Navigation:", navigation);
  context.out() << '\n' << TitleOf(kind) << "s:\n\n";
  Table table(ExperimentHeaders());
  for (const auto& e : experiments) table.Add(ExperimentRow(e, NowNs(context.clock())));
  table.Print(context.out());
  return {};
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

void AddProjectLists(CLI::App& project, Session& session) {
  for (const catalog::Kind kind :
       {catalog::Kind::kExperiment, catalog::Kind::kJob, catalog::Kind::kBuild}) {
    auto options = std::make_shared<Options>();
    CLI::App* list = AddCommand(project, session, std::string(catalog::KindName(kind)) + "s",
                                "List its " + std::string(catalog::KindName(kind)) + "s.",
                                [options, kind](Context& context, Session& s) {
                                  return Experiments(context, s, *options, kind);
                                });
    list->add_flag("--bookmarked", options->bookmarked, "Only those that are bookmarked.");
    list->add_option("--page", options->page, "Which page.")->check(CLI::PositiveNumber);
    if (kind != catalog::Kind::kExperiment) continue;
    list->add_flag("-i,--independent", options->independent, "Only those in no group.");
    list->add_option("-g,--group", options->group, "Only those of this group.");
  }
  auto options = std::make_shared<Options>();
  AddCommand(project, session, "groups", "List its groups.",
             [options](Context& context, Session& s) { return Groups(context, s, *options); })
      ->add_flag("--bookmarked", options->bookmarked, "Only those that are bookmarked.");
}

}  // namespace px::launcher
