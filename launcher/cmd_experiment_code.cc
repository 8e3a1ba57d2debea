// px-launch experiment -xp N code
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Code(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  if (experiment.code_snapshot.empty()) {
    return Refuse(ExitCode::kNotFound, NameFor(experiment) + " has no code snapshot",
                  "start experiments with -u to keep their code");
  }
  PXL_TRY(context.Outputs());
  const std::string path = context.layout().Code(experiment);
  if (session.json) {
    context.Answer({{"snapshot", experiment.code_snapshot}, {"path", path}});
  } else {
    context.out() << path << '\n';
  }
  return {};
}

}  // namespace

void AddExperimentCode(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "code", "Print where the code it was started with is kept.",
             Code);
}

}  // namespace px::launcher
