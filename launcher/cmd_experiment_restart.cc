// px-launch experiment -xp N restart [--copy]
#include <memory>

#include "launcher/clone_flags.h"
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  CloneOptions clone;
  bool copy = false;
};

Done Restart(Context& context, const Session& session, Options options) {
  const bool copy = options.copy || session.copy_before;
  options.clone.strategy = copy ? catalog::Strategy::kCopy : catalog::Strategy::kRestart;
  PXL_ASSIGN(const catalog::Experiment source, ResolveExperiment(context, session));
  PXL_ASSIGN(const catalog::Experiment clone, Clone(context, source, options.clone));
  if (session.json) {
    context.Answer(ExperimentJson(clone, context.layout()));
  } else {
    context.out() << TitleOf(clone.kind) << " was " << (copy ? "copied" : "restarted")
                  << " with id " << clone.number << '\n';
  }
  return {};
}

}  // namespace

void AddExperimentRestart(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(
      experiment, session, "restart", "Run it again from the beginning, as a new experiment.",
      [options](Context& context, Session& s) { return Restart(context, s, *options); });
  command->add_flag("-c,--copy", options->copy, "Begin with a copy of its outputs.");
  AddCloneFlags(*command, options->clone);
}

}  // namespace px::launcher
