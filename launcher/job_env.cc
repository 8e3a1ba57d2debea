#include "launcher/job_env.h"

#include <fmt/format.h>

namespace px::launcher {
namespace {

using spec::Json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Join(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ","));
}

Json ExperimentInfo(const JobEnvironmentInput& input) {
  const catalog::Experiment& e = *input.experiment;
  const std::string project = e.project_user + "." + e.project_name;
  Json info{{"project_name", project},
            {"experiment_group_name", nullptr},
            {"experiment_name", e.UniqueName()},
            {"project_uuid", input.project->uuid},
            {"experiment_uuid", e.uuid}};
  if (e.group_number != 0) {
    info["experiment_group_name"] = project + "." + std::to_string(e.group_number);
    info["experiment_group_uuid"] = input.group_uuid;
  }
  info["role"] = "master";
  info["type"] = "experiment";
  info["app"] = "px";
  return info;
}

Json JobInfo(const JobEnvironmentInput& input) {
  const catalog::Experiment& e = *input.experiment;
  return {{"project_name", e.project_user + "." + e.project_name},
          {"job_name", e.UniqueName()},
          {"project_uuid", input.project->uuid},
          {"job_uuid", e.uuid},
          {"role", "master"},
          {"type", catalog::KindName(e.kind)},
          {"app", "px"}};
}

// Keys only where they are used.
void AddReferences(const JobEnvironmentInput& input, Environment& environment) {
  Json references = Json::object();
  if (!input.referenced_outputs.empty()) references["experiments"] = input.referenced_outputs;
  if (!input.referenced_jobs.empty()) references["jobs"] = input.referenced_jobs;
  if (!references.empty()) {
    environment.emplace_back("POLYAXON_REFS_OUTPUTS_PATHS", Dump(references));
  }
}

void AddGpus(const JobEnvironmentInput& input, Environment& environment) {
  if (!input.gpus.empty()) {
    const std::string list = Join(input.gpus);
    environment.emplace_back("CUDA_VISIBLE_DEVICES", list);
    environment.emplace_back("NVIDIA_VISIBLE_DEVICES", list);
    const catalog::Experiment& e = *input.experiment;
    environment.emplace_back("PX_GPU_FRACTION",
                             fmt::format("{:g}", static_cast<double>(e.gpu_share) /
                                                     static_cast<double>(catalog::kWholeGpu)));
    return;
  }
  environment.emplace_back("NVIDIA_VISIBLE_DEVICES", "none");
  if (input.hide_gpus) environment.emplace_back("CUDA_VISIBLE_DEVICES", "");
}

}  // namespace

Environment JobEnvironment(const JobEnvironmentInput& input) {
  const catalog::Experiment& e = *input.experiment;
  const std::string outputs = input.layout->Outputs(e);
  const std::string declarations = Dump(input.spec->declarations);
  const Json cluster{{"master", Json::array({HostName() + ":2222"})},
                     {"worker", Json::array()},
                     {"ps", Json::array()}};
  Environment environment{
      {"POLYAXON_OUTPUTS_PATH", outputs},
      {"POLYAXON_RUN_OUTPUTS_PATH", outputs},
      {"POLYAXON_LOGS_PATH", input.layout->Log(e)},
      {"POLYAXON_DECLARATIONS", declarations},
      {"POLYAXON_PARAMS", declarations},
      e.kind == catalog::Kind::kExperiment
          ? std::pair<std::string, std::string>("POLYAXON_EXPERIMENT_INFO",
                                                Dump(ExperimentInfo(input)))
          : std::pair<std::string, std::string>("POLYAXON_JOB_INFO", Dump(JobInfo(input))),
      {"POLYAXON_TASK_INFO", R"({"type":"master","index":0})"},
      {"POLYAXON_CLUSTER", Dump(cluster)},
      {"POLYAXON_LOG_LEVEL", input.spec->logging_level},
      {"POLYAXON_IS_MANAGED", "1"},
      {"POLYAXON_DATA_PATHS", "{}"},
      {"POLYAXON_RUN_DATA_PATHS", "{}"},
      {"PX_EXPERIMENT", std::to_string(e.number)},
      {"PX_PROJECT", e.project_user + "/" + e.project_name},
      {"PX_CLONING_STRATEGY", std::string(catalog::StrategyName(e.strategy))},
      {"PX_ORIGINAL", e.is_clone() ? std::to_string(e.original_number) : ""},
      {"PX_METRICS_PATH", input.layout->MetricsFile(e)},
      // A console that comes as it is written, not when some buffer is full.
      {"PYTHONUNBUFFERED", "1"},
  };
  AddReferences(input, environment);
  if (input.spec->build) {
    for (const auto& [name, value] : input.spec->build->env_vars) {
      environment.emplace_back(name, value);
    }
  }
  AddGpus(input, environment);
  return environment;
}

}  // namespace px::launcher
