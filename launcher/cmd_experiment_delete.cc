// px-launch experiment -xp N delete
#include <memory>

#include "launcher/describe.h"
#include "launcher/erase.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  bool yes = false;
  bool with_resumes = false;
};

Done Delete(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  const std::string noun(catalog::KindName(experiment.kind));
  const std::string number = std::to_string(experiment.number);
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to delete " + noun + " `" + number + "`"));
    if (!go) {
      context.Say("Existing without deleting " + noun + ".");
      return {};
    }
  }
  PXL_ASSIGN(const Erased erased, EraseExperiment(context, experiment, options.with_resumes));
  context.Say(TitleOf(experiment.kind) + " `" + number + "` was delete successfully",
              {{"id", experiment.number}});
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  SayWhereItWent(context, *outputs, erased);
  return {};
}

}  // namespace

void AddExperimentDelete(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(experiment, session, "delete", "Stop it and remove it, its outputs and its log.",
                 [options](Context& context, Session& s) { return Delete(context, s, *options); });
  AddYes(*command, options->yes);
  command->add_flag("--with-resumes", options->with_resumes,
                    "Also what resumed it: that shares its outputs.");
}

}  // namespace px::launcher
