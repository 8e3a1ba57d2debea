// px-launch experiment -xp N statuses
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Statuses(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto entries, catalog->Statuses(experiment.id));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const auto& entry : entries) list.push_back(StatusJson(entry));
    context.Answer(list);
    return {};
  }
  context.out() << "Statuses for " << catalog::KindName(experiment.kind) << " `"
                << experiment.number << "`.\n\nStatuses:\n\n";
  Table table({"id", "created_at", "status", "message"});
  for (const auto& entry : entries) {
    table.Add({std::to_string(entry.id), FormatTime(entry.created_at),
               std::string(StateName(entry.state)), entry.message});
  }
  table.Print(context.out());
  return {};
}

}  // namespace

void AddExperimentStatuses(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "statuses", "List its statuses with times and reasons.",
             Statuses);
}

}  // namespace px::launcher
