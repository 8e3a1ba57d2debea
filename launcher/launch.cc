#include "launcher/launch.h"

#include <unistd.h>

#include "base/log.h"
#include "launcher/checkpoints.h"
#include "launcher/files.h"
#include "launcher/process.h"
#include "launcher/saved_environment.h"
#include "launcher/supervisor.h"
#include "launcher/sync_tree.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::Strategy;

// Makes the outputs equal to one of their snapshots. What they held is in the snapshot that was
// taken just before; if this is interrupted, that is the way back.
Done GoBack(OutputsFs& outputs, const std::string& directory, const std::string& snapshot) {
  const SyncOptions everything{.ignored = [](const std::string&, bool) { return false; },
                               .prune = [](const std::string&) { return false; }};
  const auto changes = SyncTree(outputs.SnapshotPath(directory, snapshot), directory, everything);
  if (!changes) return Refuse(changes.error(), "cannot go back to snapshot " + snapshot);
  return {};
}

Outcome<catalog::Inherited> PrepareResume(OutputsFs& outputs, const Experiment& experiment,
                                          const std::string& own, const std::string& used) {
  catalog::Inherited inherited;
  inherited.snapshot = SnapshotBefore(experiment.number, 1);
  const Status kept = outputs.Snapshot(used, inherited.snapshot);
  // A member of a group whose scheduler was killed just here: nothing has run since it was taken.
  if (!kept && kept.error().code() != EEXIST) PXL_TRY(kept);
  if (!experiment.resume_from.empty()) PXL_TRY(GoBack(outputs, used, experiment.resume_from));
  if (experiment.restore_checkpoint) {
    PXL_ASSIGN(inherited.restored, PutBackTorn(outputs, used));
  }
  PXL_TRY(MakeDirs(ParentOf(own)));
  if (::symlink(RelativeTo(own, used).c_str(), own.c_str()) != 0) {
    PXL_TRY(Status(FailErrno("link " + own)));
  }
  return inherited;
}

Done PrepareOutputs(Context& context, const Experiment& experiment) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const Layout& layout = context.layout();
  const std::string own = layout.OwnOutputs(experiment);
  const std::string used = layout.Outputs(experiment);
  catalog::Inherited inherited;
  if (experiment.is_resume()) {
    PXL_ASSIGN(inherited, PrepareResume(*outputs, experiment, own, used));
  } else if (experiment.strategy == Strategy::kCopy) {
    PXL_ASSIGN(const Experiment source, catalog->GetExperiment(experiment.original));
    PXL_TRY(outputs->CloneVolume(layout.Outputs(source), own, /*read_only=*/false));
  } else {
    PXL_TRY(outputs->CreateVolume(own));
    return {};
  }
  PXL_ASSIGN(const VolumeUsage usage, outputs->Usage(used));
  inherited.files = static_cast<int64_t>(usage.entries);
  inherited.bytes = static_cast<int64_t>(usage.logical_bytes);
  PXL_ASSIGN(const auto checkpoints, FindCheckpoints(*outputs, used));
  if (const Checkpoint* newest = NewestWhole(checkpoints)) {
    inherited.checkpoint = newest->path;
    inherited.checkpoint_kind = newest->kind;
    inherited.checkpoint_at = newest->at_ns;
  }
  PXL_TRY(catalog->SetInherited(experiment.id, inherited));
  return {};
}

}  // namespace

Done PrepareVolumes(Context& context, const Experiment& experiment) {
  PXL_TRY(PrepareOutputs(context, experiment));
  if (experiment.code_snapshot.empty()) return {};
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_TRY(outputs->CloneVolume(context.layout().Code(experiment),
                               context.layout().RunDir(experiment), /*read_only=*/false));
  return {};
}

void RemoveVolumes(Context& context, const Experiment& experiment) {
  auto outputs = context.Outputs();
  if (!outputs) return;
  const Layout& layout = context.layout();
  const std::string own = layout.OwnOutputs(experiment);
  if (experiment.is_resume()) {
    if (const auto removed = RemoveFile(own); !removed) LogWarn("{}", removed.error().ToString());
  }
  for (const std::string& volume : {own, layout.RunDir(experiment)}) {
    if (!(*outputs)->Exists(volume).value_or(false)) continue;
    if (const auto dropped = (*outputs)->Drop(volume); !dropped) {
      LogWarn("{}", dropped.error().ToString());
    }
  }
}

Done StartSupervisor(Context& context, const Experiment& experiment) {
  PXL_TRY(KeepEnvironment(context.layout().EnvironmentFile(experiment)));
  const Status started =
      StartDetached(SuperviseArguments(experiment.id), context.config().ToEnvironment(),
                    context.layout().SupervisorLog(experiment));
  if (!started) return Refuse(started.error(), "cannot start the supervisor");
  return {};
}

Done PrepareAndStart(Context& context, const Experiment& experiment) {
  Done done = PrepareVolumes(context, experiment);
  if (done) done = StartSupervisor(context, experiment);
  if (done) return {};
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const Status marked =
      catalog->SetStateAs(experiment.owner, experiment.id, catalog::State::kFailed,
                          "not started: " + done.error().message);
  if (marked) RemoveVolumes(context, experiment);
  return done;
}

Outcome<Experiment> Launch(Context& context, const catalog::NewExperiment& request) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  // Mounted before anything is recorded: no mount, no row.
  PXL_TRY(context.Outputs());
  PXL_ASSIGN(const Experiment experiment, catalog->CreateExperiment(request));
  PXL_TRY(PrepareAndStart(context, experiment));
  return experiment;
}

}  // namespace px::launcher
