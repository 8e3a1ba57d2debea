// px-launch experiment -xp N prune
#include <algorithm>
#include <filesystem>
#include <memory>

#include "launcher/clone.h"
#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/retention.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

constexpr const char* kTrash = "trash-";

struct Options {
  RetentionRules rules;
  std::vector<std::string> pin;
  std::vector<std::string> unpin;
  bool dry_run = false;
  bool yes = false;
  bool empty_trash = false;
};

// Of everything that wrote into these outputs, oldest first.
Outcome<std::vector<catalog::MetricPoint>> PointsOf(catalog::Catalog& catalog,
                                                    const catalog::Experiment& root,
                                                    const std::string& metric) {
  PXL_ASSIGN(auto writers, catalog.ResumesOf(root.id));
  writers.push_back(root);
  std::vector<catalog::MetricPoint> found;
  for (const catalog::Experiment& writer : writers) {
    PXL_ASSIGN(const auto points, catalog.Metrics(writer.id));
    for (const auto& point : points) {
      if (point.name == metric) found.push_back(point);
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
  return found;
}

Done CheckPins(const std::vector<Checkpoint>& found, const std::vector<std::string>& pins) {
  std::vector<std::string> paths;
  for (const Checkpoint& checkpoint : found) paths.push_back(checkpoint.path);
  for (const std::string& pin : pins) {
    if (std::find(paths.begin(), paths.end(), pin) != paths.end()) continue;
    const std::string nearest = spec::NearestName(pin, paths);
    return Refuse(ExitCode::kNotFound, "there is no checkpoint " + pin,
                  nearest.empty() ? "px-launch experiment prune --keep-last 1 --dry-run lists them"
                                  : "did you mean '" + nearest + "'?");
  }
  return {};
}

void Show(Context& context, const Session& session, const std::vector<Judged>& all) {
  spec::Json list = spec::Json::array();
  Table table({"checkpoint", "kind", "size", "written", "metric", "kept as"});
  for (const Judged& judged : all) {
    const Checkpoint& checkpoint = judged.checkpoint;
    list.push_back({{"path", checkpoint.path},
                    {"kind", checkpoint.kind},
                    {"bytes", checkpoint.bytes},
                    {"at", TimeJson(checkpoint.at_ns)},
                    {"problem", checkpoint.problem},
                    {"keep", !judged.why.empty()},
                    {"why", judged.why},
                    {"value", nullptr}});
    if (judged.value) list.back()["value"] = *judged.value;
    table.Add({checkpoint.path, checkpoint.kind, FormatSize(checkpoint.bytes),
               FormatTime(checkpoint.at_ns), judged.value ? FormatNumber(*judged.value) : "",
               judged.why.empty() ? "-" : judged.why});
  }
  if (session.json) {
    context.Answer(list);
  } else {
    table.Print(context.out());
  }
}

// The files of one checkpoint: a directory, a file, or all that begin with a TensorFlow prefix.
Done Remove(const std::string& directory, const Checkpoint& checkpoint) {
  const std::string path = directory + "/" + checkpoint.path;
  std::error_code error;
  if (checkpoint.kind != "tensorflow") {
    std::filesystem::remove_all(path, error);
  } else {
    PXL_ASSIGN(const auto names, ListNames(ParentOf(path)));
    for (const std::string& name : names) {
      const bool part = name == NameOf(path) + ".index" || name == NameOf(path) + ".meta" ||
                        name.starts_with(NameOf(path) + ".data-");
      if (part && !error) std::filesystem::remove(ParentOf(path) + "/" + name, error);
    }
  }
  if (error) return Refuse(ExitCode::kFailed, path + ": " + error.message());
  return {};
}

// What is removed stays in this snapshot until the trash is emptied.
Outcome<std::string> MakeTrash(OutputsFs& outputs, const std::string& directory) {
  PXL_ASSIGN(const auto names, outputs.Snapshots(directory));
  for (int64_t number = 1;; ++number) {
    std::string name = kTrash + std::to_string(number);
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    PXL_TRY(outputs.Snapshot(directory, name));
    return name;
  }
}

Done EmptyTrash(Context& context, OutputsFs& outputs, const std::string& directory) {
  PXL_ASSIGN(const auto names, outputs.Snapshots(directory));
  int64_t dropped = 0;
  for (const std::string& name : names) {
    if (!name.starts_with(kTrash)) continue;
    PXL_TRY(outputs.DropSnapshot(directory, name));
    ++dropped;
  }
  context.Say("Trash was emptied: " + std::to_string(dropped) +
                  (dropped == 1 ? " snapshot." : " snapshots."),
              {{"snapshots", dropped}});
  return {};
}

Done Prune(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string directory = context.layout().Outputs(experiment);
  if (options.empty_trash) return EmptyTrash(context, *outputs, directory);
  PXL_ASSIGN(const auto found, FindCheckpoints(*outputs, directory));
  PXL_TRY(CheckPins(found, options.pin));
  for (const std::string& path : options.pin) PXL_TRY(catalog->Pin(experiment.root, path, true));
  for (const std::string& path : options.unpin) PXL_TRY(catalog->Pin(experiment.root, path, false));
  const RetentionRules& rules = options.rules;
  const bool pins_only = !options.pin.empty() || !options.unpin.empty();
  if (rules.last == 0 && rules.best == 0 && rules.every == 0) {
    if (pins_only) {
      PXL_ASSIGN(const auto pinned, catalog->Pinned(experiment.root));
      context.Say("Pinned checkpoints: " + std::to_string(pinned.size()) + ".",
                  {{"pinned", pinned}});
      return {};
    }
    return Refuse(ExitCode::kUsage, "nothing says what to keep",
                  "--keep-last N, --keep-best N --metric NAME, or --keep-every K");
  }
  if (rules.best > 0 && rules.metric.empty()) {
    return Refuse(ExitCode::kUsage, "--keep-best goes by a metric", "add --metric NAME");
  }
  PXL_ASSIGN(const catalog::Experiment root, catalog->GetExperiment(experiment.root));
  PXL_ASSIGN(const auto points, PointsOf(*catalog, root, rules.metric));
  if (rules.best > 0 && points.empty()) {
    return Refuse(ExitCode::kNotFound, "it has not reported the metric " + rules.metric,
                  "px-launch experiment metrics lists those it has");
  }
  PXL_ASSIGN(const auto pinned, catalog->Pinned(experiment.root));
  const auto judged = Judge(found, points, pinned, rules);
  Show(context, session, judged);
  const auto going = std::count_if(judged.begin(), judged.end(),
                                   [](const Judged& one) { return one.why.empty(); });
  if (options.dry_run || going == 0) return {};
  PXL_TRY(CheckNotInUse(*catalog, experiment, "prune"));
  if (!options.yes) {
    PXL_ASSIGN(const bool go, Confirm(context, "Remove " + std::to_string(going) + " checkpoints"));
    if (!go) return {};
  }
  PXL_ASSIGN(const std::string trash, MakeTrash(*outputs, directory));
  for (const Judged& one : judged) {
    if (one.why.empty()) PXL_TRY(Remove(directory, one.checkpoint));
  }
  if (!session.json) {
    context.out() << going << (going == 1 ? " checkpoint was" : " checkpoints were")
                  << " removed; snapshot " << trash << " keeps them until --empty-trash.\n";
  }
  return {};
}

}  // namespace

void AddExperimentPrune(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(experiment, session, "prune", "Remove checkpoints, but for those worth keeping.",
                 [options](Context& context, Session& s) { return Prune(context, s, *options); });
  command->add_option("--keep-last", options->rules.last, "The newest so many.")
      ->check(CLI::PositiveNumber);
  command->add_option("--keep-best", options->rules.best, "The best so many by --metric.")
      ->check(CLI::PositiveNumber);
  command->add_option("--metric", options->rules.metric, "The metric's name.")->type_name("NAME");
  command->add_flag("--minimize", options->rules.minimize, "The lowest value is the best.");
  command->add_option("--keep-every", options->rules.every, "Those whose step it divides.")
      ->check(CLI::PositiveNumber);
  command->add_option("--pin", options->pin, "Never remove this one.")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  command->add_option("--unpin", options->unpin, "No longer.")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  command->add_flag("--dry-run", options->dry_run, "Only say what would be kept, and why.");
  command->add_flag("--empty-trash", options->empty_trash, "Give up what was removed before.");
  AddYes(*command, options->yes);
}

}  // namespace px::launcher
