#include "launcher/spec/extract.h"

#include <limits>

#include "fmt/format.h"

namespace px::spec {
namespace {

const Json& Section(const Json& parent, const char* name) {
  static const Json kNothing = Json::object();
  const auto it = parent.find(name);
  return it != parent.end() && it->is_object() ? *it : kNothing;
}

std::string Text(const Json& section, const char* name) {
  const auto it = section.find(name);
  return it != section.end() && it->is_string() ? it->get<std::string>() : std::string();
}

int Integer(const Json& section, const char* name) {
  const auto it = section.find(name);
  if (it == section.end() || !it->is_number_integer()) return 0;
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(it->get<int64_t>(), kMax));
}

std::vector<std::string> Texts(const Json& section, const char* name) {
  std::vector<std::string> list;
  const auto it = section.find(name);
  if (it == section.end() || !it->is_array()) return list;
  for (const Json& element : *it) list.push_back(element.get<std::string>());
  return list;
}

std::vector<Json> References(const Json& section, const char* name) {
  const auto it = section.find(name);
  if (it == section.end() || !it->is_array()) return {};
  return {it->begin(), it->end()};
}

Amount ExtractAmount(const Json& resources, const char* name) {
  const Json& section = Section(resources, name);
  Amount amount;
  for (auto [key, target] :
       {std::pair("requests", &amount.requests), std::pair("limits", &amount.limits)}) {
    const auto it = section.find(key);
    if (it != section.end() && it->is_number()) *target = it->get<double>();
  }
  return amount;
}

Environment ExtractEnvironment(const Json& section) {
  Environment environment;
  const Json& resources = Section(section, "resources");
  environment.resources = {ExtractAmount(resources, "cpu"), ExtractAmount(resources, "memory"),
                           ExtractAmount(resources, "gpu"), ExtractAmount(resources, "tpu")};
  environment.max_restarts = Integer(section, "max_restarts");
  environment.replicas.raw = Section(section, "replicas");
  environment.replicas.n_workers = Integer(environment.replicas.raw, "n_workers");
  environment.replicas.n_ps = Integer(environment.replicas.raw, "n_ps");
  environment.node_selector = Section(section, "node_selector");
  const Json& outputs = Section(section, "outputs");
  environment.outputs_experiments = References(outputs, "experiments");
  environment.outputs_jobs = References(outputs, "jobs");
  const Json& persistence = Section(section, "persistence");
  environment.persistence_data = Texts(persistence, "data");
  environment.persistence_outputs = Text(persistence, "outputs");
  return environment;
}

BuildSpec ExtractBuild(const Json& section) {
  BuildSpec build;
  build.image = Text(section, "image");
  build.dockerfile = Text(section, "dockerfile");
  build.context = Text(section, "context");
  build.build_steps = Texts(section, "build_steps");
  build.commit = Text(section, "commit");
  build.branch = Text(section, "branch");
  build.git = Text(section, "git");
  const auto nocache = section.find("nocache");
  build.nocache = nocache != section.end() && *nocache == true;
  const auto variables = section.find("env_vars");
  if (variables != section.end() && variables->is_array()) {
    for (const Json& pair : *variables) {
      build.env_vars.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
    }
  }
  return build;
}

std::string ExtractCommand(const Json& run) {
  const auto cmd = run.find("cmd");
  if (cmd == run.end()) return {};
  if (cmd->is_string()) return CleanCommand(cmd->get_ref<const std::string&>());
  std::string joined;
  if (!cmd->is_array()) return joined;
  for (const Json& element : *cmd) {
    const std::string one = CleanCommand(element.get_ref<const std::string&>());
    if (one.empty()) continue;
    joined += (joined.empty() ? "" : " && ") + one;
  }
  return joined;
}

Status CheckAmounts(const Resources& resources) {
  const std::pair<const char*, const Amount*> amounts[] = {
      {"cpu", &resources.cpu}, {"memory", &resources.memory}, {"gpu", &resources.gpu}};
  for (const auto& [name, amount] : amounts) {
    if (amount->requests && amount->limits && *amount->requests > *amount->limits) {
      return Fail(EINVAL, fmt::format("'environment.resources.{}' requests {}, which is more than "
                                      "its limit of {}",
                                      name, *amount->requests, *amount->limits));
    }
  }
  for (const std::optional<double>& gpus : {resources.gpu.requests, resources.gpu.limits}) {
    const bool fraction = gpus && *gpus > 0 && *gpus < 1;
    if (gpus && !fraction && *gpus != static_cast<double>(static_cast<int64_t>(*gpus))) {
      return Fail(EINVAL, fmt::format("'environment.resources.gpu' must be whole devices, or a "
                                      "fraction of one, not {}",
                                      *gpus));
    }
  }
  return {};
}

}  // namespace

std::string CleanCommand(std::string_view command) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  std::string clean;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    const bool last = i + 1 == command.size();
    if (quote == 0 && c == '\\') {
      const bool starts = clean.empty() || blank(clean.back()) || clean.back() == '\n';
      if (starts && (last || blank(command[i + 1]))) continue;
      clean += c;
      if (!last) clean += command[++i];
      continue;
    }
    if (quote == '"' && c == '\\' && !last) {
      clean += c;
      clean += command[++i];
      continue;
    }
    if (quote != 0 ? c == quote : (c == '\'' || c == '"')) quote = quote != 0 ? '\0' : c;
    clean += c;
  }
  const size_t begin = clean.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return clean.substr(begin, clean.find_last_not_of(" \t\r\n") - begin + 1);
}

Result<ExperimentSpec> ExtractExperiment(Json rendered, Kind kind, const std::string& params) {
  ExperimentSpec spec;
  spec.kind = kind;
  spec.name = Text(rendered, "name");
  spec.description = Text(rendered, "description");
  spec.tags = Texts(rendered, "tags");
  spec.declarations = Section(rendered, params.c_str());
  spec.cmd = ExtractCommand(Section(rendered, "run"));
  spec.framework = Text(rendered, "framework");
  spec.backend = Text(rendered, "backend");
  const std::string level = Text(Section(rendered, "logging"), "level");
  if (!level.empty()) spec.logging_level = level;
  spec.environment = ExtractEnvironment(Section(rendered, "environment"));
  PX_TRY(CheckAmounts(spec.environment.resources));
  if (rendered.contains("build") && rendered["build"].is_object()) {
    spec.build = ExtractBuild(rendered["build"]);
  } else if (kind == Kind::kBuild) {
    spec.build = ExtractBuild(rendered);
  }
  if (kind == Kind::kJob && spec.cmd.empty()) return Fail(EINVAL, "'run.cmd' of the job is empty");
  spec.rendered = std::move(rendered);
  return spec;
}

}  // namespace px::spec
