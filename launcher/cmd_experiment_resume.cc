// px-launch experiment -xp N resume
#include <memory>

#include "launcher/clone_flags.h"
#include "launcher/describe.h"
#include "launcher/local_cache.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Resume(Context& context, const Session& session, const CloneOptions& options) {
  if (session.copy_before) {
    return Refuse(ExitCode::kUsage, "--copy goes with restart, not with resume",
                  "px-launch experiment -xp NUMBER restart --copy");
  }
  PXL_ASSIGN(const catalog::Experiment source, ResolveExperiment(context, session));
  PXL_ASSIGN(const catalog::Experiment clone, Clone(context, source, options));
  WriteCachedExperiment(clone);
  if (session.json) {
    context.Answer(ExperimentJson(clone, context.layout()));
  } else {
    context.out() << TitleOf(clone.kind) << " was resumed with id " << clone.number << '\n';
  }
  return {};
}

}  // namespace

void AddExperimentResume(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<CloneOptions>();
  options->strategy = catalog::Strategy::kResume;
  CLI::App* command =
      AddCommand(experiment, session, "resume", "Go on in its outputs, as a new experiment.",
                 [options](Context& context, Session& s) { return Resume(context, s, *options); });
  AddCloneFlags(*command, *options);
  AddResumeFlags(*command, *options);
  command->add_option("--from", options->from, "Go back to this snapshot of its outputs first.")
      ->type_name("SNAPSHOT");
}

}  // namespace px::launcher
