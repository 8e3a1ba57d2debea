// px-launch experiment -xp N update
#include <memory>

#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Update(Context& context, const Session& session, const Details& details) {
  PXL_ASSIGN(catalog::Experiment experiment, ResolveExperiment(context, session));
  if (details.empty()) {
    context.Say("No argument was provided to update the " +
                std::string(catalog::KindName(experiment.kind)) + ".");
    return {};
  }
  details.Apply(experiment);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateExperiment(experiment));
  context.Say(TitleOf(experiment.kind) + " updated.", ExperimentJson(experiment, context.layout()));
  if (!context.json()) PrintDetails(context, details);
  return {};
}

}  // namespace

void AddExperimentUpdate(CLI::App& experiment, Session& session) {
  auto details = std::make_shared<Details>();
  CLI::App* command =
      AddCommand(experiment, session, "update", "Change its name, description or tags.",
                 [details](Context& context, Session& s) { return Update(context, s, *details); });
  AddDetails(*command, *details);
}

}  // namespace px::launcher
