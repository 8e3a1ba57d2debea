#include "launcher/clone.h"

#include <algorithm>

#include "launcher/checkpoints.h"
#include "launcher/describe.h"
#include "launcher/launch.h"
#include "launcher/process.h"
#include "launcher/submit.h"
#include "launcher/table.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::Strategy;

std::string Verb(Strategy strategy) {
  return strategy == Strategy::kNone ? "run" : std::string(StrategyName(strategy));
}

tl::unexpected<Failure> RefuseBusy(catalog::Catalog& catalog, const Experiment& source,
                                   const Experiment& user, const std::string& verb) {
  int64_t pid = user.owner.pid;
  if (const auto runs = catalog.Runs(user.id); runs && !runs->empty() && runs->back().job.pid > 0) {
    pid = runs->back().job.pid;
  }
  const std::string where = " (pid " + std::to_string(pid) + " on " + user.owner.host + ")";
  const std::string who = user.id == source.id ? "it"
                          : user.is_resume()   ? NameFor(user) + ", which resumed it,"
                                               : NameFor(user) + ", whose outputs it shares,";
  return Refuse(ExitCode::kBusy,
                "cannot " + verb + " " + NameFor(source) + ": " + who + " is still " +
                    std::string(StateName(user.state)) + where,
                CommandFor(user) + " stop");
}

std::string What(const Experiment& source, const CloneOptions& options) {
  return "cannot " + Verb(options.strategy) + " " + NameFor(source);
}

Done CheckHasOutputs(Context& context, const Experiment& source, const CloneOptions& options) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string path = context.layout().Outputs(source);
  PXL_ASSIGN(const bool exists, outputs->Exists(path));
  if (exists) return {};
  return Refuse(ExitCode::kNotFound, What(source, options) + ": its outputs " + path + " are gone",
                CommandFor(source) + " restart");
}

// The directory that a resume would go on in, or that it would become equal to.
Outcome<std::string> StartingPoint(Context& context, const Experiment& source,
                                   const CloneOptions& options) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string path = context.layout().Outputs(source);
  if (options.from.empty()) return path;
  PXL_ASSIGN(const auto names, outputs->Snapshots(path));
  if (std::find(names.begin(), names.end(), options.from) != names.end()) {
    return outputs->SnapshotPath(path, options.from);
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  const std::string nearest = spec::NearestName(options.from, names);
  return Refuse(ExitCode::kNotFound,
                What(source, options) + ": its outputs have no snapshot " + options.from,
                !nearest.empty() ? "did you mean '" + nearest + "'?"
                : list.empty()   ? "it has none yet; the first is taken by its first resume"
                                 : "there are " + list);
}

tl::unexpected<Failure> RefuseTorn(const Experiment& source, const CloneOptions& options,
                                   const Checkpoint& torn) {
  return Refuse(ExitCode::kFailed,
                What(source, options) + ": a write to " + torn.path +
                    " never ended; its last whole version (" + FormatSize(torn.kept_bytes) +
                    ", written " + FormatTime(torn.kept_at_ns) + ") was kept",
                "add --restore-checkpoint to put it back first, or --allow-fresh to go on with "
                "what is there");
}

tl::unexpected<Failure> RefuseNothing(const Experiment& source, const CloneOptions& options,
                                      const std::string& path, int64_t entries,
                                      const std::vector<Checkpoint>& found) {
  std::string reason = "it saved nothing to resume from, " + path + " is empty";
  if (!found.empty()) {
    reason = "it has no whole checkpoint: " + found.front().path + ": " + found.front().problem;
  } else if (entries > 0) {
    reason = "it saved nothing to resume from: none of the " + std::to_string(entries) +
             " entries of " + path + " can be a checkpoint";
  }
  return Refuse(ExitCode::kFailed, What(source, options) + ": " + reason,
                "add --allow-fresh to start it in the same directory all the same");
}

Done CheckCheckpoint(Context& context, const Experiment& source, const CloneOptions& options) {
  if (options.strategy != Strategy::kResume) return {};
  PXL_ASSIGN(const std::string path, StartingPoint(context, source, options));
  if (options.allow_fresh) return {};
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(auto found, FindCheckpoints(*outputs, path));
  for (Checkpoint& checkpoint : found) {
    if (!checkpoint.restorable) continue;
    if (!options.restore_checkpoint) return RefuseTorn(source, options, checkpoint);
    checkpoint.problem.clear();
  }
  if (NewestWhole(found) != nullptr) return {};
  PXL_ASSIGN(const VolumeUsage usage, outputs->Usage(context.layout().Outputs(source)));
  return RefuseNothing(source, options, path, static_cast<int64_t>(usage.entries), found);
}

// The merged override files, checked; an empty mapping if there are none.
Outcome<spec::Json> ReadOverride(const Experiment& source, const CloneOptions& options,
                                 spec::Marks& marks) {
  if (options.files.empty()) return spec::Json::object();
  PXL_ASSIGN(const spec::Json raw, spec::ReadText(source.raw_spec, "experiment.json"));
  PXL_ASSIGN(spec::Json override, ReadSpecFiles(options.files, marks));
  const auto kind = spec::ParseKind(raw.value("kind", "experiment"));
  const auto problems = spec::Validate(override, {.marks = &marks, .override_of = kind});
  if (!problems.empty()) PXL_TRY(Status(Forward(spec::ToError(problems))));
  return override;
}

// All overrides so far, with this one.
std::string AddOverride(const std::string& earlier, const spec::Json& override) {
  if (override.empty()) return earlier;
  spec::Json all = spec::Json::parse(earlier, nullptr, /*allow_exceptions=*/false);
  if (!all.is_array()) all = spec::Json::array();
  all.push_back(override);
  return Dump(all);
}

Outcome<catalog::NewExperiment> Make(Context& context, const Experiment& source,
                                     const CloneOptions& options, const spec::Json& override,
                                     const spec::Marks& marks) {
  catalog::NewExperiment request;
  PXL_ASSIGN(spec::Json raw, spec::ReadText(source.raw_spec, "experiment.json"));
  raw = spec::Merge(raw, override);
  request.overrides = AddOverride(source.overrides, override);
  PXL_ASSIGN(const spec::ExperimentSpec rendered, CheckRunnable(raw, marks));
  if (options.strategy != Strategy::kRestart) PXL_TRY(CheckHasOutputs(context, source, options));
  PXL_TRY(CheckCheckpoint(context, source, options));
  request.project = source.project;
  request.kind = source.kind;
  request.user = context.config().user;
  request.name = source.name;
  request.description = source.description;
  request.tags = source.tags;
  request.group = source.group;
  request.strategy = options.strategy;
  request.original = source.id;
  request.raw_spec = Dump(raw);
  request.ttl_s = source.ttl_s;
  request.resume_from = options.from;
  request.restore_checkpoint = options.restore_checkpoint;
  ApplySpec(rendered, request);
  request.code_snapshot = source.code_snapshot;
  return request;
}

}  // namespace

Done CheckNotInUse(catalog::Catalog& catalog, const Experiment& source, const std::string& verb) {
  PXL_ASSIGN(const auto users, catalog.UnfinishedWithRoot(source.root));
  if (users.empty()) return {};
  return RefuseBusy(catalog, source, users.front(), verb);
}

Outcome<catalog::NewExperiment> MakeClone(Context& context, const Experiment& source,
                                          const CloneOptions& options, const spec::Json& override) {
  return Make(context, source, options, override, {});
}

Outcome<Experiment> Clone(Context& context, const Experiment& source, const CloneOptions& options) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const bool resume = options.strategy == Strategy::kResume;
  if (resume) PXL_TRY(CheckNotInUse(*catalog, source));
  spec::Marks marks;
  PXL_ASSIGN(const spec::Json override, ReadOverride(source, options, marks));
  PXL_ASSIGN(catalog::NewExperiment request, Make(context, source, options, override, marks));
  request.owner = Self();
  if (options.upload) {
    PXL_ASSIGN(const catalog::Project project, catalog->GetProject(source.project));
    PXL_ASSIGN(request.code_snapshot, SnapshotWorkingDirectory(context, project));
  }
  auto launched = Launch(context, request);
  // Another resume may have come first since it was looked at.
  if (!launched && resume && launched.error().exit_code == ExitCode::kBusy) {
    PXL_TRY(CheckNotInUse(*catalog, source));
  }
  return launched;
}

}  // namespace px::launcher
