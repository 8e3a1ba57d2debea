#include "launcher/spec/group.h"

#include <algorithm>

#include "fmt/format.h"
#include "launcher/spec/checker.h"
#include "launcher/spec/matrix.h"
#include "launcher/spec/render_internal.h"

namespace px::spec {
namespace {

const Json& Section(const Json& parent, const char* name) {
  static const Json kNothing = Json::object();
  const auto it = parent.find(name);
  return it != parent.end() && it->is_object() ? *it : kNothing;
}

bool Has(const Json& section, const char* name) {
  const auto it = section.find(name);
  return it != section.end() && !it->is_null();
}

// Replaces `target` by the field if it is given; its type was checked.
template <typename T>
void Take(const Json& section, const char* name, T& target) {
  if (Has(section, name)) target = section[name].get<T>();
}

Metric ReadMetric(const Json& section) {
  Metric metric;
  Take(section, "name", metric.name);
  metric.maximize = section.value("optimization", Json("maximize")) != "minimize";
  return metric;
}

Hyperband ReadHyperband(const Json& section) {
  Hyperband hyperband;
  Take(section, "max_iter", hyperband.max_iter);
  Take(section, "eta", hyperband.eta);
  Take(section, "resume", hyperband.resume);
  const Json& resource = Section(section, "resource");
  Take(resource, "name", hyperband.resource_name);
  hyperband.resource_is_int = resource.value("type", Json("float")) == "int";
  hyperband.metric = ReadMetric(Section(section, "metric"));
  return hyperband;
}

BoOptions ReadBo(const Json& section) {
  BoOptions bo;
  Take(section, "n_initial_trials", bo.n_initial_trials);
  Take(section, "n_iterations", bo.n_iterations);
  bo.metric = ReadMetric(Section(section, "metric"));
  const Json& utility = Section(section, "utility_function");
  Take(utility, "acquisition_function", bo.acquisition);
  Take(utility, "kappa", bo.kappa);
  Take(utility, "eps", bo.eps);
  Take(utility, "n_warmup", bo.n_warmup);
  Take(utility, "n_iter", bo.n_iter);
  const Json& process = Section(utility, "gaussian_process");
  Take(process, "kernel", bo.gaussian_process.kernel);
  Take(process, "length_scale", bo.gaussian_process.length_scale);
  Take(process, "nu", bo.gaussian_process.nu);
  Take(process, "n_restarts_optimizer", bo.gaussian_process.n_restarts_optimizer);
  return bo;
}

EarlyStopping ReadEarlyStopping(const Json& section) {
  EarlyStopping stopping;
  Take(section, "metric", stopping.metric.name);
  Take(section, "value", stopping.value);
  stopping.metric.maximize = section.value("optimization", Json("maximize")) != "minimize";
  const Json policy = section.value("policy", Json());
  if (policy.is_string()) stopping.policy = policy.get<std::string>();
  if (policy.is_object()) {
    Take(policy, "kind", stopping.policy);
    Take(policy, "evaluation_interval", stopping.evaluation_interval);
    Take(policy, "percent", stopping.percent);
  }
  return stopping;
}

void ReadAlgorithm(const Json& hptuning, GroupSpec& group) {
  int limit = 0;
  if (Has(hptuning, "random_search")) {
    group.algorithm = Algorithm::kRandom;
    Take(hptuning["random_search"], "n_experiments", limit);
  } else if (Has(hptuning, "hyperband")) {
    group.algorithm = Algorithm::kHyperband;
    group.hyperband = ReadHyperband(hptuning["hyperband"]);
  } else if (Has(hptuning, "bo")) {
    group.algorithm = Algorithm::kBo;
    group.bo = ReadBo(hptuning["bo"]);
  } else {
    Take(Section(hptuning, "grid_search"), "n_experiments", limit);
  }
  if (limit > 0) group.n_experiments = limit;
}

// Values that any member could have, to try rendering with.
Json AnySuggestion(const GroupSpec& group) {
  Rng rng(0);
  Json suggestion = Json::object();
  for (const Parameter& parameter : group.matrix) {
    suggestion[parameter.name] =
        parameter.IsDiscrete() ? parameter.values.front() : Sample(parameter, rng);
  }
  if (group.algorithm == Algorithm::kHyperband) {
    suggestion[group.hyperband.resource_name] =
        ResourceValue(group, Rung{1, 0, group.hyperband.max_iter});
  }
  return suggestion;
}

}  // namespace

Result<GroupSpec> ParseGroup(const Json& raw, const GroupOptions& options) {
  std::vector<Problem> problems = Validate(raw, {options.marks, std::nullopt});
  if (!problems.empty()) return Forward(ToError(problems));
  if (raw["kind"] != "group") return Fail(EINVAL, "the specification is not of kind group");

  const Json spec = Normalize(raw);
  Checker inputs(nullptr, Checker::Stage::kRendered);
  Renderer renderer(spec, DeclarationsWithInputs(spec, inputs), options.marks);
  Json rendered = Json::object();
  for (const char* name : {"name", "description", "tags", "hptuning"}) {
    if (!Has(spec, name)) continue;
    std::optional<Json> value = renderer.RenderSection(spec[name], Child("", name));
    if (value) rendered[name] = std::move(*value);
  }
  Checker& checker = renderer.checker();
  checker.CheckSection(rendered, TopLevel(Kind::kGroup), "", "for kind group (version 1)");
  const Json& hptuning = Section(rendered, "hptuning");
  CheckHptuning(checker, hptuning, "/hptuning");

  GroupSpec group;
  for (const auto& [name, section] : Section(hptuning, "matrix").items()) {
    Checker silent(nullptr, Checker::Stage::kRendered);  // CheckSection has reported these
    std::optional<Parameter> parameter = ReadParameter(silent, name, section, "");
    if (parameter) group.matrix.push_back(std::move(*parameter));
  }
  problems = checker.TakeProblems();
  if (!problems.empty()) return Forward(ToError(problems));

  Take(rendered, "name", group.name);
  Take(rendered, "description", group.description);
  Take(rendered, "tags", group.tags);
  Take(hptuning, "concurrency", group.concurrency);
  if (Has(hptuning, "seed")) group.seed = hptuning["seed"].get<uint64_t>();
  ReadAlgorithm(hptuning, group);
  if (Has(hptuning, "early_stopping")) {
    for (const Json& section : hptuning["early_stopping"]) {
      group.early_stopping.push_back(ReadEarlyStopping(section));
    }
  }
  group.raw = raw;
  const bool grid = group.algorithm == Algorithm::kGrid;
  const uint64_t size = group.n_experiments ? static_cast<uint64_t>(*group.n_experiments)
                                            : (grid ? GridSize(group) : 0);
  if (size > kMaxSuggestions) {
    return Fail(EINVAL,
                fmt::format("the matrix makes {} experiments, more than {}; limit them with "
                            "'n_experiments'",
                            size, kMaxSuggestions));
  }
  const Result<ExperimentSpec> member =
      Render(raw, {.marks = options.marks, .matrix = AnySuggestion(group)});
  if (!member) return Forward(member.error());
  return group;
}

Rng MakeRng(const GroupSpec& spec, uint64_t fallback) { return Rng(spec.seed.value_or(fallback)); }

}  // namespace px::spec
