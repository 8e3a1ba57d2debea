// px-launch experiment -xp N update
#include <memory>

#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  std::string name;
  std::string description;
  std::string tags;
};

Done Update(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(catalog::Experiment experiment, ResolveExperiment(context, session));
  if (options.name.empty() && options.description.empty() && options.tags.empty()) {
    context.out() << "No argument was provided to update the experiment.\n";
    return {};
  }
  if (!options.name.empty()) experiment.name = options.name;
  if (!options.description.empty()) experiment.description = options.description;
  if (!options.tags.empty()) experiment.tags = SplitTags(options.tags);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->UpdateExperiment(experiment));
  context.out() << "Experiment updated.\n";
  return {};
}

}  // namespace

void AddExperimentUpdate(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(experiment, session, "update", "Change its name, description or tags.",
                 [options](Context& context, Session& s) { return Update(context, s, *options); });
  command->add_option("--name", options->name, "The new name.");
  command->add_option("--description", options->description, "The new description.");
  command->add_option("--tags", options->tags, "The new tags, comma separated.");
}

}  // namespace px::launcher
