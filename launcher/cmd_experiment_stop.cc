// px-launch experiment -xp N stop
#include <signal.h>

#include <memory>

#include "launcher/describe.h"
#include "launcher/session.h"
#include "launcher/stop.h"

namespace px::launcher {
namespace {

struct Options {
  bool yes = false;
  bool no_wait = false;
};

Done StopCommand(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  const std::string noun(catalog::KindName(experiment.kind));
  const std::string number = std::to_string(experiment.number);
  if (catalog::IsDone(experiment.state)) {
    context.Say(TitleOf(experiment.kind) + " `" + number + "` is already " +
                    std::string(StateName(experiment.state)) + ".",
                {{"id", experiment.number}, {"status", StateName(experiment.state)}});
    return {};
  }
  if (!options.yes) {
    PXL_ASSIGN(const bool go,
               Confirm(context, "Are sure you want to stop " + noun + " `" + number + "`"));
    if (!go) {
      context.Say("Existing without stopping " + noun + ".");
      return {};
    }
  }
  PXL_TRY(RequestStop(context, experiment));
  context.Say(TitleOf(experiment.kind) + " is being stopped.", {{"id", experiment.number}});
  if (options.no_wait) return {};
  return WaitUntilDone(context, experiment.id);
}

}  // namespace

void AddExperimentStop(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(
      experiment, session, "stop", "End its job: SIGTERM, a grace, SIGKILL.",
      [options](Context& context, Session& s) { return StopCommand(context, s, *options); });
  AddYes(*command, options->yes);
  command->add_flag("--no-wait", options->no_wait, "Do not wait until it has ended.");
}

}  // namespace px::launcher
