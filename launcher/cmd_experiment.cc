// px-launch experiment -xp N ..., job -j N ..., build -b N ...: the same commands for each kind, as
// far as they make sense for it.
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Kind;

CLI::App* AddKind(CLI::App& app, Session& session, Kind kind, const std::string& option) {
  const std::string name(catalog::KindName(kind));
  CLI::App* command = app.add_subcommand(name, "Work with " + name + "s.");
  command->add_option(option, session.experiment, "The " + name + "'s number.")
      ->type_name("NUMBER")
      ->check(CLI::PositiveNumber);
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
  command->require_subcommand(1);
  command->preparse_callback([&session, kind](size_t) { session.kind = kind; });
  return command;
}

void AddCommon(CLI::App& parent, Session& session) {
  AddExperimentGet(parent, session);
  AddExperimentStatuses(parent, session);
  AddExperimentLogs(parent, session);
  AddExperimentStop(parent, session);
  AddExperimentUpdate(parent, session);
  AddExperimentDelete(parent, session);
  AddExperimentResources(parent, session);
  AddExperimentCode(parent, session);
  AddExperimentBookmark(parent, session);
}

void AddRunAgain(CLI::App& parent, Session& session) {
  parent.add_flag("-c,--copy", session.copy_before, "With restart: copy the outputs.");
  AddExperimentOutputs(parent, session);
  AddExperimentResume(parent, session);
  AddExperimentRestart(parent, session);
  AddExperimentMetrics(parent, session);
  AddExperimentPrune(parent, session);
}

}  // namespace

void AddExperiment(CLI::App& app, Session& session) {
  // -xp becomes --experiment before the parser sees it.
  CLI::App* experiment = AddKind(app, session, Kind::kExperiment, "--experiment");
  AddCommon(*experiment, session);
  AddRunAgain(*experiment, session);
  AddExperimentJobs(*experiment, session);
}

void AddJob(CLI::App& app, Session& session) {
  CLI::App* job = AddKind(app, session, Kind::kJob, "-j,--job");
  AddCommon(*job, session);
  AddRunAgain(*job, session);
}

void AddBuild(CLI::App& app, Session& session) {
  AddCommon(*AddKind(app, session, Kind::kBuild, "-b,--build"), session);
}

}  // namespace px::launcher
