// px-launch group -g N get|experiments|statuses|stop|update|delete
#include <memory>

#include "launcher/describe.h"
#include "launcher/erase.h"
#include "launcher/group_clone.h"
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
  std::string name;
  std::string description;
  std::string tags;
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
    context.out() << json.dump(2) << '\n';
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
      {"num_experiments", std::to_string(members.size())}};
  for (const auto& [state, count] : counts)
    info.emplace_back("num_" + state, std::to_string(count));
  std::erase_if(info, [](const auto& pair) { return pair.second.empty(); });
  PrintSection(context.out(), "Experiment group info:", info);
  return {};
}

Done Experiments(Context& context, const Session& session) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  PXL_ASSIGN(const auto members, MembersOf(context, group));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const Experiment& member : members)
      list.push_back(ExperimentJson(member, context.layout()));
    context.out() << list.dump(2) << '\n';
    return {};
  }
  context.out() << "Experiments for experiment group `" << group.number << "`.\n\n";
  auto headers = ExperimentHeaders();
  headers.emplace_back("params");
  Table table(headers);
  for (const Experiment& member : members) {
    auto row = ExperimentRow(member, NowNs(context.clock()));
    row.push_back(ValueText(DeclarationsOf(member)));
    table.Add(std::move(row));
  }
  table.Print(context.out());
  return {};
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
    context.out() << list.dump(2) << '\n';
    return {};
  }
  context.out() << "Statuses for group `" << group.number << "`.\n\nStatuses:\n\n";
  table.Print(context.out());
  return {};
}

std::string Count(int64_t number, const std::string& what, const std::string& list) {
  if (number == 0) return list;
  return list + (list.empty() ? "" : ", ") + std::to_string(number) + " " + what;
}

Done CloneIt(Context& context, const Session& session, CloneOptions options) {
  PXL_ASSIGN(const Group source, ResolveGroup(context, session));
  PXL_ASSIGN(const GroupCloneResult result, CloneGroup(context, source, options));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const catalog::Project project, catalog->GetProject(source.project));
  if (options.strategy == catalog::Strategy::kResume) WriteCachedGroup(project, result.group);
  if (session.json) {
    spec::Json json = GroupJson(result.group);
    json["resumed"] = result.resumed;
    json["copied"] = result.copied;
    json["fresh"] = result.fresh;
    json["kept"] = result.kept;
    context.out() << json.dump(2) << '\n';
    return {};
  }
  std::string list = Count(result.resumed, "resumed", "");
  list = Count(result.copied, "copied", list);
  list = Count(result.fresh, "from the beginning", list);
  list = Count(result.kept, "had succeeded", list);
  const char* verb = options.strategy == catalog::Strategy::kResume    ? "resumed"
                     : options.strategy == catalog::Strategy::kRestart ? "restarted"
                                                                       : "copied";
  context.out() << "Experiment group was " << verb << " with id " << result.group.number << ": "
                << list << '\n';
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
      context.out() << "Existing without stopping experiments in group.\n";
      return {};
    }
  }
  PXL_TRY(StopAll(context, group, options.pending));
  context.out() << "Experiments in group are being stopped.\n";
  return {};
}

Done Update(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(Group group, ResolveGroup(context, session));
  if (options.name.empty() && options.description.empty() && options.tags.empty()) {
    context.out() << "No argument was provided to update the experiment group.\n";
    return {};
  }
  if (!options.name.empty()) group.name = options.name;
  if (!options.description.empty()) group.description = options.description;
  if (!options.tags.empty()) group.tags = SplitTags(options.tags);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateGroup(group));
  context.out() << "Experiment group updated.\n";
  return {};
}

Done Delete(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const Group group, ResolveGroup(context, session));
  const std::string number = std::to_string(group.number);
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to delete experiment group `" + number + "`"));
    if (!go) {
      context.out() << "Existing without deleting experiment group.\n";
      return {};
    }
  }
  PXL_TRY(StopAll(context, group, /*pending_only=*/false));
  PXL_TRY(WaitUntilGroupDone(context, group.id));
  // Newest first: resumes before what they resumed.
  PXL_ASSIGN(const auto members, MembersOf(context, group));
  for (const Experiment& member : members) PXL_TRY(EraseExperiment(context, member, false));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->DeleteGroup(group.id));
  context.out() << "Experiment group `" << number << "` was delete successfully\n";
  return {};
}

}  // namespace

namespace {

void AddClones(CLI::App& group, Session& session) {
  auto resume = std::make_shared<CloneOptions>();
  resume->strategy = catalog::Strategy::kResume;
  CLI::App* command =
      AddCommand(group, session, "resume", "Go on with those that did not succeed, as a new group.",
                 [resume](Context& context, Session& s) { return CloneIt(context, s, *resume); });
  AddFiles(*command, resume->files, "Overrides its polyaxonfile.");
  command->add_flag("-u,--upload", resume->upload, "Run the working directory's code.");
  command->add_flag("--allow-fresh", resume->allow_fresh,
                    "In the same outputs, even where there is no whole checkpoint.");
  command->add_flag("--restore-checkpoint", resume->restore_checkpoint,
                    "Put back the last whole version of files whose last write never ended.");
  auto restart = std::make_shared<CloneOptions>();
  auto copy = std::make_shared<bool>(false);
  command = AddCommand(group, session, "restart", "Run all of it again, as a new group.",
                       [restart, copy](Context& context, Session& s) {
                         restart->strategy =
                             *copy ? catalog::Strategy::kCopy : catalog::Strategy::kRestart;
                         return CloneIt(context, s, *restart);
                       });
  command->add_flag("-c,--copy", *copy, "Each begins with a copy of its outputs.");
  AddFiles(*command, restart->files, "Overrides its polyaxonfile.");
  command->add_flag("-u,--upload", restart->upload, "Run the working directory's code.");
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
  AddCommand(*group, session, "experiments", "List its experiments.", Experiments);
  AddCommand(*group, session, "statuses", "List its statuses.", Statuses);
  CLI::App* stop = AddCommand(*group, session, "stop", "Stop its experiments.", with(Stop));
  AddYes(*stop, options->yes);
  stop->add_flag("--pending", options->pending, "Only those that were not started yet.");
  CLI::App* update =
      AddCommand(*group, session, "update", "Change its name, description or tags.", with(Update));
  update->add_option("--name", options->name, "The new name.");
  update->add_option("--description", options->description, "The new description.");
  update->add_option("--tags", options->tags, "The new tags, comma separated.");
  AddClones(*group, session);
  AddYes(*AddCommand(*group, session, "delete", "Stop and remove it with its experiments.",
                     with(Delete)),
         options->yes);
}

}  // namespace px::launcher
