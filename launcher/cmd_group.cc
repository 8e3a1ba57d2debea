// px-launch group -g N get|experiments|statuses|stop|update|bookmark|delete
#include <memory>

#include "launcher/describe.h"
#include "launcher/erase.h"
#include "launcher/experiment_list.h"
#include "launcher/local_cache.h"
#include "launcher/session.h"
#include "launcher/stop.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::Group;

struct Options {
  bool yes = false;
  bool pending = false;
  bool with_resumes = false;
  Details details;
  ListOptions list;
};

Outcome<std::vector<Experiment>> MembersOf(Context& context, const Group& group) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(auto members,
             catalog->ListExperiments(
                 {.project = group.project, .independent_only = false, .group = group.id}));
  return members;
}

Done Get(Context& context, const Session& session) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const catalog::Project project, catalog->GetProject(group.project));
  PXL_ASSIGN(const auto members, MembersOf(context, group));
  WriteCachedGroup(project, group);
  std::map<std::string, int> counts;
  for (const Experiment& member : members) ++counts[std::string(StateName(member.state))];
  if (session.json) {
    spec::Json json = GroupJson(group);
    json["num_experiments"] = members.size();
    json["experiments_by_status"] = counts;
    context.Answer(json);
    return {};
  }
  const int64_t now = NowNs(context.clock());
  Pairs info{
      {"id", std::to_string(group.number)},
      {"unique_name", project.user + "." + project.name + "." + std::to_string(group.number)},
      {"user", group.user},
      {"name", group.name},
      {"description", group.description},
      {"search_algorithm", group.algorithm},
      {"concurrency", std::to_string(group.concurrency)},
      {"last_status", std::string(StateName(group.state))},
      {"created_at", FormatAgo(group.created_at, now)},
      {"started_at", FormatAgo(group.started_at, now)},
      {"finished_at", FormatAgo(group.finished_at, now)},
      {"bookmarked", group.bookmarked ? "yes" : ""},
      {"num_experiments", std::to_string(members.size())}};
  for (const auto& [state, count] : counts)
    info.emplace_back("num_" + state, std::to_string(count));
  std::erase_if(info, [](const auto& pair) { return pair.second.empty(); });
  PrintSection(context.out(), "Experiment group info:", info);
  return {};
}

Done Experiments(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  PXL_ASSIGN(auto members, MembersOf(context, group));
  if (!session.json) {
    context.out() << "Experiments for experiment group `" << group.number << "`.\n";
  }
  return PrintList(context, std::move(members), options.list, "Experiments");
}

Done Statuses(Context& context, const Session& session) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto entries, catalog->GroupStatuses(group.id));
  spec::Json list = spec::Json::array();
  Table table({"id", "created_at", "status", "message"});
  for (const auto& entry : entries) {
    list.push_back(StatusJson(entry));
    table.Add({std::to_string(entry.id), FormatTime(entry.created_at),
               std::string(StateName(entry.state)), entry.message});
  }
  if (session.json) {
    context.Answer(list);
    return {};
  }
  context.out() << "Statuses for group `" << group.number << "`.\n\nStatuses:\n\n";
  table.Print(context.out());
  return {};
}

Done StopAll(Context& context, const Group& group, bool pending_only) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  // On record first: the scheduler starts no more of them.
  if (!pending_only) PXL_TRY(catalog->RequestGroupStop(group.id));
  PXL_ASSIGN(const auto members, MembersOf(context, group));
  for (const Experiment& member : members) {
    if (catalog::IsDone(member.state) || (pending_only && member.owner.pid != 0)) continue;
    PXL_TRY(RequestStop(context, member));
  }
  return {};
}

Done Stop(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  const std::string number = std::to_string(group.number);
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to stop experiments in group `" + number + "`"));
    if (!go) {
      context.Say("Existing without stopping experiments in group.");
      return {};
    }
  }
  PXL_TRY(StopAll(context, group, options.pending));
  context.Say("Experiments in group are being stopped.", {{"id", group.number}});
  return {};
}

Done Update(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(Group group, ResolveGroup(context, session));
  if (options.details.empty()) {
    context.Say("No argument was provided to update the experiment group.");
    return {};
  }
  options.details.Apply(group);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateGroup(group));
  context.Say("Experiment group updated.", GroupJson(group));
  if (!context.json()) PrintDetails(context, options.details);
  return {};
}

Done Bookmark(Context& context, const Session& session, bool bookmarked) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->SetBookmark(group.id, bookmarked));
  context.Say(std::string("Experiment group is ") + (bookmarked ? "bookmarked." : "unbookmarked."),
              {{"id", group.number}, {"bookmarked", bookmarked}});
  return {};
}

Done Delete(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  const std::string number = std::to_string(group.number);
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to delete experiment group `" + number + "`"));
    if (!go) {
      context.Say("Existing without deleting experiment group.");
      return {};
    }
  }
  if (!options.with_resumes) {
    PXL_ASSIGN(const auto all, MembersOf(context, group));
    PXL_TRY(CheckErasable(context, all));
  }
  PXL_TRY(StopAll(context, group, /*pending_only=*/false));
  PXL_TRY(WaitUntilGroupDone(context, group.id));
  // Newest first: resumes before what they resumed.
  PXL_ASSIGN(const auto members, MembersOf(context, group));
  Erased all;
  for (const Experiment& member : members) {
    PXL_ASSIGN(const Erased erased, EraseExperiment(context, member, options.with_resumes));
    all.trashed.insert(all.trashed.end(), erased.trashed.begin(), erased.trashed.end());
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->DeleteGroup(group.id));
  context.Say("Experiment group `" + number + "` was delete successfully", {{"id", group.number}});
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  SayWhereItWent(context, *outputs, all);
  return {};
}

}  // namespace

void AddGroup(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  const auto with = [options](Done (*function)(Context&, const Session&, const Options&)) {
    return [options, function](Context& context, Session& s) {
      return function(context, s, *options);
    };
  };
  CLI::App* group = app.add_subcommand("group", "Work with groups of experiments.");
  group->add_option("-g,--group", session.group, "The group's number.")->check(CLI::PositiveNumber);
  group->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
  group->require_subcommand(1);
  AddCommand(*group, session, "get", "Show a group and make it the current one.", Get);
  options->list.declarations = true;  // they are what members differ in
  AddListOptions(
      *AddCommand(*group, session, "experiments", "List its experiments.", with(Experiments)),
      options->list);
  AddCommand(*group, session, "statuses", "List its statuses.", Statuses);
  CLI::App* stop = AddCommand(*group, session, "stop", "Stop its experiments.", with(Stop));
  AddYes(*stop, options->yes);
  stop->add_flag("--pending", options->pending, "Only those that were not started yet.");
  CLI::App* update =
      AddCommand(*group, session, "update", "Change its name, description or tags.", with(Update));
  AddDetails(*update, options->details);
  AddCommand(*group, session, "bookmark", "Mark it, for lists with --bookmarked.",
             [](Context& context, Session& s) { return Bookmark(context, s, true); });
  AddCommand(*group, session, "unbookmark", "Take the mark away.",
             [](Context& context, Session& s) { return Bookmark(context, s, false); });
  AddGroupClones(*group, session);
  CLI::App* remove = AddCommand(*group, session, "delete",
                                "Stop and remove it with its experiments.", with(Delete));
  AddYes(*remove, options->yes);
  remove->add_flag("--with-resumes", options->with_resumes,
                   "Also what resumed them outside of it: that shares their outputs.");
}

}  // namespace px::launcher
