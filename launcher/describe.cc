#include "launcher/describe.h"

#include <fmt/format.h>

#include <ctime>

namespace px::launcher {

using catalog::Experiment;
using spec::Json;

int64_t NowNs(Clock& clock) { return ToNanoseconds(clock.Now()); }

std::string TitleOf(catalog::Kind kind) {
  std::string title(catalog::KindName(kind));
  title.front() = static_cast<char>(title.front() - 'a' + 'A');
  return title;
}

std::string CommandOf(catalog::Kind kind) {
  const std::string name(catalog::KindName(kind));
  return name + (kind == catalog::Kind::kExperiment ? " -xp" : " -" + name.substr(0, 1));
}

std::string CommandFor(const Experiment& experiment) {
  return "px-launch " + CommandOf(experiment.kind) + " " + std::to_string(experiment.number);
}

std::string NameFor(const Experiment& experiment) {
  return std::string(catalog::KindName(experiment.kind)) + " " + std::to_string(experiment.number);
}

Json TimeJson(int64_t at_ns) {
  if (at_ns == 0) return nullptr;
  const auto seconds = static_cast<time_t>(at_ns / 1'000'000'000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     at_ns % 1'000'000'000);
}

Json DeclarationsOf(const Experiment& experiment) {
  const Json spec = Json::parse(experiment.rendered_spec, nullptr, /*allow_exceptions=*/false);
  if (!spec.is_object()) return Json::object();
  for (const char* name : {"params", "declarations"}) {
    if (spec.contains(name) && spec[name].is_object()) return spec[name];
  }
  return Json::object();
}

std::string ValueText(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string StrategyText(const Experiment& experiment) {
  if (!experiment.is_clone()) return "";
  return std::string(StrategyName(experiment.strategy)) + " of " +
         std::to_string(experiment.original_number);
}

Json ExperimentJson(const Experiment& e, const Layout& layout) {
  Json json{{"id", e.number},
            {"kind", catalog::KindName(e.kind)},
            {"uuid", e.uuid},
            {"unique_name", e.UniqueName()},
            {"user", e.user},
            {"project", e.project_user + "/" + e.project_name},
            {"name", e.name},
            {"description", e.description},
            {"tags", e.tags},
            {"group", nullptr},
            {"status", StateName(e.state)},
            {"message", e.last_message},
            {"strategy", nullptr},
            {"original", nullptr},
            {"outputs_of", e.root_number},
            {"outputs", layout.Outputs(e)},
            {"logs", layout.Log(e)},
            {"code", nullptr},
            {"declarations", DeclarationsOf(e)},
            {"inherited", nullptr},
            {"gpus", e.gpus},
            {"bookmarked", e.bookmarked},
            {"created_at", TimeJson(e.created_at)},
            {"updated_at", TimeJson(e.updated_at)},
            {"started_at", TimeJson(e.started_at)},
            {"finished_at", TimeJson(e.finished_at)}};
  if (e.gpu_share != catalog::kWholeGpu) {
    json["gpus"] = static_cast<double>(e.gpu_share) / static_cast<double>(catalog::kWholeGpu);
  }
  if (e.group_number != 0) json["group"] = e.group_number;
  if (!e.plan.empty()) json["plan"] = Json::parse(e.plan, nullptr, /*allow_exceptions=*/false);
  if (!e.code_snapshot.empty()) json["code"] = e.code_snapshot;
  if (e.is_clone()) {
    json["strategy"] = StrategyName(e.strategy);
    json["original"] = e.original_number;
    json["inherited"] = {{"entries", e.inherited.files}, {"bytes", e.inherited.bytes}};
    Json& inherited = json["inherited"];
    if (!e.inherited.snapshot.empty()) inherited["snapshot"] = e.inherited.snapshot;
    if (!e.resume_from.empty()) inherited["from"] = e.resume_from;
    inherited["restored"] = e.inherited.restored;
    inherited["checkpoint"] = nullptr;
    if (!e.inherited.checkpoint.empty()) {
      inherited["checkpoint"] = {{"path", e.inherited.checkpoint},
                                 {"kind", e.inherited.checkpoint_kind},
                                 {"at", TimeJson(e.inherited.checkpoint_at)}};
    }
  }
  return json;
}

Json GroupJson(const catalog::Group& group) {
  Json json{{"id", group.number},
            {"uuid", group.uuid},
            {"user", group.user},
            {"name", group.name},
            {"description", group.description},
            {"tags", group.tags},
            {"algorithm", group.algorithm},
            {"concurrency", group.concurrency},
            {"status", StateName(group.state)},
            {"created_at", TimeJson(group.created_at)},
            {"started_at", TimeJson(group.started_at)},
            {"finished_at", TimeJson(group.finished_at)},
            {"bookmarked", group.bookmarked},
            {"strategy", nullptr},
            {"original", nullptr}};
  if (group.strategy != catalog::Strategy::kNone) {
    json["strategy"] = StrategyName(group.strategy);
    json["original"] = group.original_number;
  }
  return json;
}

Json RunJson(const catalog::Run& run) {
  Json json{{"attempt", run.attempt},
            {"uuid", run.uuid},
            {"containment", run.containment},
            {"host", run.job.host},
            {"pid", run.job.pid},
            {"started_at", TimeJson(run.started_at)},
            {"finished_at", TimeJson(run.finished_at)},
            {"heartbeat_at", TimeJson(run.heartbeat_at)},
            {"exit_code", nullptr},
            {"signal", nullptr},
            {"reason", run.reason}};
  if (run.exit_code) json["exit_code"] = *run.exit_code;
  if (run.signal) json["signal"] = *run.signal;
  return json;
}

Json StatusJson(const catalog::StatusEntry& entry) {
  return {{"id", entry.id},
          {"created_at", TimeJson(entry.created_at)},
          {"status", StateName(entry.state)},
          {"message", entry.message}};
}

std::vector<std::string> ExperimentHeaders() {
  return {"id",     "unique_name", "user",       "group",       "clone",
          "status", "created_at",  "started_at", "finished_at", "total_run"};
}

std::vector<std::string> ExperimentRow(const Experiment& e, int64_t now_ns) {
  const int64_t end = e.finished_at != 0 ? e.finished_at : now_ns;
  return {std::to_string(e.number),
          e.UniqueName(),
          e.user,
          e.group_number == 0 ? "" : std::to_string(e.group_number),
          StrategyText(e),
          std::string(StateName(e.state)),
          FormatAgo(e.created_at, now_ns),
          FormatAgo(e.started_at, now_ns),
          FormatAgo(e.finished_at, now_ns),
          e.started_at == 0 ? "" : FormatDuration(end - e.started_at)};
}

}  // namespace px::launcher
