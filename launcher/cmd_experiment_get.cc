// px-launch experiment -xp N get
#include "launcher/describe.h"
#include "launcher/local_cache.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Experiment;

std::string InheritedText(const Experiment& e) {
  std::string text =
      std::to_string(e.inherited.files) + " entries, " + FormatSize(e.inherited.bytes);
  if (!e.resume_from.empty()) text += " of snapshot " + e.resume_from;
  if (!e.inherited.snapshot.empty())
    text += ", what was there before: snapshot " + e.inherited.snapshot;
  return text;
}

std::string CheckpointText(const Experiment& e, int64_t now) {
  if (!e.is_clone() || e.strategy == catalog::Strategy::kRestart) return "";
  const catalog::Inherited& from = e.inherited;
  std::string text = from.checkpoint.empty()
                         ? "none was found"
                         : from.checkpoint + " (" + from.checkpoint_kind + "), written " +
                               FormatAgo(from.checkpoint_at, now);
  for (const std::string& file : from.restored) {
    text += "; " + file + " was put back to its last whole version";
  }
  return text;
}

Pairs Info(const Experiment& e, const Layout& layout, int64_t now) {
  Pairs info{{"id", std::to_string(e.number)},
             {"unique_name", e.UniqueName()},
             {"user", e.user},
             {"name", e.name},
             {"experiment_group", e.group_number == 0 ? "" : std::to_string(e.group_number)},
             {"last_status", std::string(StateName(e.state))},
             {"message", e.last_message},
             {"is_clone", StrategyText(e)},
             {"inherited",
              e.is_clone() && e.strategy != catalog::Strategy::kRestart ? InheritedText(e) : ""},
             {"checkpoint", CheckpointText(e, now)},
             {"outputs", layout.Outputs(e)},
             {"logs", layout.Log(e)},
             {"code", e.code_snapshot},
             {"created_at", FormatAgo(e.created_at, now)},
             {"started_at", FormatAgo(e.started_at, now)},
             {"finished_at", FormatAgo(e.finished_at, now)},
             {"total_run",
              e.started_at == 0
                  ? ""
                  : FormatDuration((e.finished_at != 0 ? e.finished_at : now) - e.started_at)}};
  std::string tags;
  for (const std::string& tag : e.tags) tags += (tags.empty() ? "" : ", ") + tag;
  info.emplace_back("tags", tags);
  info.emplace_back("bookmarked", e.bookmarked ? "yes" : "");
  std::erase_if(info, [](const auto& pair) { return pair.second.empty(); });
  return info;
}

Pairs Resources(const Experiment& e) {
  Pairs resources;
  const auto spec = spec::Json::parse(e.rendered_spec, nullptr, /*allow_exceptions=*/false);
  const spec::Json::json_pointer place("/environment/resources");
  if (!spec.is_object() || !spec.contains(place) || !spec.at(place).is_object()) return resources;
  for (const auto& [name, amount] : spec.at(place).items()) {
    resources.emplace_back(name, ValueText(amount));
  }
  return resources;
}

Pairs Attempts(const std::vector<catalog::Run>& runs) {
  Pairs attempts;
  for (const catalog::Run& run : runs) {
    std::string text = run.containment;
    if (run.finished_at == 0 && run.job.pid != 0) {
      text = "pid " + std::to_string(run.job.pid) + " on " + run.job.host + ", " + text;
    }
    if (!run.reason.empty()) text = run.reason + " (" + text + ")";
    attempts.emplace_back(std::to_string(run.attempt), text);
  }
  return attempts;
}

Done Get(Context& context, const Session& session) {
  PXL_ASSIGN(const Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto runs, catalog->Runs(experiment.id));
  PXL_ASSIGN(const auto metrics, catalog->LastMetrics(experiment.id));
  WriteCachedExperiment(experiment);
  if (session.json) {
    spec::Json json = ExperimentJson(experiment, context.layout());
    json["spec"] = spec::Json::parse(experiment.rendered_spec, nullptr, false);
    json["overrides"] = spec::Json::parse(experiment.overrides, nullptr, false);
    json["runs"] = spec::Json::array();
    for (const auto& run : runs) json["runs"].push_back(RunJson(run));
    json["last_metrics"] = spec::Json::object();
    for (const auto& point : metrics) json["last_metrics"][point.name] = point.value;
    context.Answer(json);
    return {};
  }
  if (!experiment.description.empty()) {
    context.out() << '\n'
                  << TitleOf(experiment.kind) << " description:\n\n"
                  << experiment.description << '\n';
  }
  const std::string title = TitleOf(experiment.kind);
  Pairs declarations;
  const spec::Json declared = DeclarationsOf(experiment);
  for (const auto& [name, value] : declared.items()) {
    declarations.emplace_back(name, ValueText(value));
  }
  Pairs last;
  for (const auto& point : metrics) last.emplace_back(point.name, FormatNumber(point.value));
  PrintSection(context.out(), title + " resources:", Resources(experiment));
  PrintSection(context.out(), title + " params:", declarations);
  PrintSection(context.out(), title + " last metrics:", last);
  PrintSection(context.out(), title + " attempts:", Attempts(runs));
  PrintSection(context.out(),
               title + " info:", Info(experiment, context.layout(), NowNs(context.clock())));
  return {};
}

}  // namespace

void AddExperimentGet(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "get", "Show an experiment and make it the current one.", Get);
}

}  // namespace px::launcher
