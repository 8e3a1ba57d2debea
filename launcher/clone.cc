#include "launcher/clone.h"

#include "launcher/launch.h"
#include "launcher/process.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::Strategy;

std::string Verb(Strategy strategy) {
  return strategy == Strategy::kNone ? "run" : std::string(StrategyName(strategy));
}

tl::unexpected<Failure> RefuseBusy(catalog::Catalog& catalog, const Experiment& source,
                                   const Experiment& user) {
  int64_t pid = user.owner.pid;
  if (const auto runs = catalog.Runs(user.id); runs && !runs->empty() && runs->back().job.pid > 0) {
    pid = runs->back().job.pid;
  }
  const std::string where = " (pid " + std::to_string(pid) + " on " + user.owner.host + ")";
  const std::string who =
      user.id == source.id ? "it"
      : user.is_resume()
          ? "experiment " + std::to_string(user.number) + ", which resumed it,"
          : "experiment " + std::to_string(user.number) + ", whose outputs it shares,";
  return Refuse(ExitCode::kBusy,
                "cannot resume experiment " + std::to_string(source.number) + ": " + who +
                    " is still " + std::string(StateName(user.state)) + where,
                "px-launch experiment -xp " + std::to_string(user.number) + " stop");
}

Done CheckNotInUse(catalog::Catalog& catalog, const Experiment& source) {
  PXL_ASSIGN(const auto users, catalog.UnfinishedWithRoot(source.root));
  if (users.empty()) return {};
  return RefuseBusy(catalog, source, users.front());
}

Done CheckHasOutputs(Context& context, const Experiment& source, const CloneOptions& options) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string path = context.layout().Outputs(source);
  const std::string what =
      "cannot " + Verb(options.strategy) + " experiment " + std::to_string(source.number);
  PXL_ASSIGN(const bool exists, outputs->Exists(path));
  if (!exists) {
    return Refuse(ExitCode::kNotFound, what + ": its outputs " + path + " are gone",
                  "px-launch experiment -xp " + std::to_string(source.number) + " restart");
  }
  if (options.strategy != Strategy::kResume || options.allow_fresh) return {};
  PXL_ASSIGN(const VolumeUsage usage, outputs->Usage(path));
  if (usage.logical_bytes > 0) return {};
  return Refuse(ExitCode::kFailed,
                what + ": it saved nothing to resume from, " + path + " is empty",
                "add --allow-fresh to start from the beginning in the same directory");
}

// The source's raw specification with the overrides merged in, and the list of all overrides so
// far.
Done Override(const Experiment& source, const CloneOptions& options, spec::Marks& marks,
              spec::Json& raw, catalog::NewExperiment& request) {
  PXL_ASSIGN(raw, spec::ReadText(source.raw_spec, "experiment.json"));
  request.overrides = source.overrides;
  if (options.files.empty()) return {};
  PXL_ASSIGN(const spec::Json override, ReadSpecFiles(options.files, marks));
  const auto kind = spec::ParseKind(raw.value("kind", "experiment"));
  const auto problems = spec::Validate(override, {.marks = &marks, .override_of = kind});
  if (!problems.empty()) PXL_TRY(Status(Forward(spec::ToError(problems))));
  raw = spec::Merge(raw, override);
  spec::Json all = spec::Json::parse(source.overrides, nullptr, /*allow_exceptions=*/false);
  if (!all.is_array()) all = spec::Json::array();
  all.push_back(override);
  request.overrides = Dump(all);
  return {};
}

}  // namespace

Outcome<Experiment> Clone(Context& context, const Experiment& source, const CloneOptions& options) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const bool resume = options.strategy == Strategy::kResume;
  if (resume) PXL_TRY(CheckNotInUse(*catalog, source));

  catalog::NewExperiment request;
  spec::Marks marks;
  spec::Json raw;
  PXL_TRY(Override(source, options, marks, raw, request));
  PXL_ASSIGN(const spec::ExperimentSpec rendered, CheckRunnable(raw, marks));
  if (options.strategy != Strategy::kRestart) PXL_TRY(CheckHasOutputs(context, source, options));

  request.project = source.project;
  request.user = context.config().user;
  request.name = source.name;
  request.description = source.description;
  request.tags = source.tags;
  request.group = source.group;
  request.strategy = options.strategy;
  request.original = source.id;
  request.raw_spec = Dump(raw);
  request.ttl_s = source.ttl_s;
  request.owner = Self();
  ApplySpec(rendered, request);
  request.code_snapshot = source.code_snapshot;
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
