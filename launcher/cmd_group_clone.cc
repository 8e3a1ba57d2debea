// px-launch group -g N resume|restart
#include <memory>

#include "launcher/clone_flags.h"
#include "launcher/describe.h"
#include "launcher/group_clone.h"
#include "launcher/local_cache.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Group;

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
    context.Answer(json);
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

}  // namespace

void AddGroupClones(CLI::App& group, Session& session) {
  auto resume = std::make_shared<CloneOptions>();
  resume->strategy = catalog::Strategy::kResume;
  CLI::App* command =
      AddCommand(group, session, "resume", "Go on with those that did not succeed, as a new group.",
                 [resume](Context& context, Session& s) { return CloneIt(context, s, *resume); });
  AddCloneFlags(*command, *resume);
  AddResumeFlags(*command, *resume);
  auto restart = std::make_shared<CloneOptions>();
  auto copy = std::make_shared<bool>(false);
  command = AddCommand(group, session, "restart", "Run all of it again, as a new group.",
                       [restart, copy](Context& context, Session& s) {
                         restart->strategy =
                             *copy ? catalog::Strategy::kCopy : catalog::Strategy::kRestart;
                         return CloneIt(context, s, *restart);
                       });
  command->add_flag("-c,--copy", *copy, "Each begins with a copy of its outputs.");
  AddCloneFlags(*command, *restart);
}

}  // namespace px::launcher
