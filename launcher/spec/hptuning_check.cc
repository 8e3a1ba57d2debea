#include <cmath>

#include "fmt/format.h"
#include "launcher/spec/checker.h"
#include "launcher/spec/matrix.h"

namespace px::spec {
namespace {

constexpr const char* kAlgorithms[] = {"grid_search", "random_search", "hyperband", "bo"};

bool Has(const Json& section, const char* name) {
  const auto it = section.find(name);
  return it != section.end() && !it->is_null();
}

// Grid search needs lists of values; Bayesian optimization knows intervals besides.
void CheckDistributions(Checker& checker, const Json& hptuning, const std::string& pointer) {
  const bool bo = Has(hptuning, "bo");
  const bool grid = !bo && !Has(hptuning, "random_search") && !Has(hptuning, "hyperband");
  const auto matrix = hptuning.find("matrix");
  if ((!bo && !grid) || matrix == hptuning.end() || !matrix->is_object()) return;
  Checker silent(nullptr, Checker::Stage::kRaw);
  for (const auto& [name, section] : matrix->items()) {
    const std::string child = Child(Child(pointer, "matrix"), name);
    const std::optional<Parameter> parameter = ReadParameter(silent, name, section, child);
    if (!parameter || parameter->distribution == Distribution::kDiscrete) continue;
    if (bo && parameter->distribution == Distribution::kUniform) continue;
    checker.Add(
        child,
        bo ? fmt::format("`{}` defines a non uniform distribution, and it cannot be used with "
                         "bayesian optimization.",
                         name)
           : fmt::format("`{}` defines a distribution, and it cannot be used with grid search.",
                         name),
        bo ? "use uniform, or a list of values" : "use a list of values, or random_search");
  }
}

void CheckBo(Checker& checker, const Json& bo, const std::string& pointer) {
  const auto utility = bo.find("utility_function");
  if (utility == bo.end() || !utility->is_object()) return;
  const std::string where = Child(pointer, "utility_function");
  const auto function = utility->find("acquisition_function");
  const bool named = function != utility->end() && function->is_string();
  const std::string name = named ? function->get<std::string>() : "ucb";
  const char* needed = name == "ucb" ? "kappa" : "eps";
  if (named && (name == "ucb" || name == "ei" || name == "poi") && !Has(*utility, needed)) {
    checker.Add(where, fmt::format("the acquisition function `{}` requires a parameter `{}`", name,
                                   needed));
  }
  const auto process = utility->find("gaussian_process");
  if (process == utility->end() || !process->is_object()) return;
  const auto nu = process->find("nu");
  if (nu == process->end() || !nu->is_number()) return;
  const double value = nu->get<double>();
  if (value != 0.5 && value != 1.5 && value != 2.5) {
    checker.Add(Child(Child(where, "gaussian_process"), "nu"),
                fmt::format("'nu' must be 0.5, 1.5 or 2.5, not {}", value));
  }
}

}  // namespace

void CheckHptuning(Checker& checker, const Json& hptuning, const std::string& pointer) {
  if (!hptuning.is_object()) return;
  std::string first;
  for (const char* name : kAlgorithms) {
    if (!Has(hptuning, name)) continue;
    if (first.empty()) {
      first = name;
      continue;
    }
    checker.Add(Child(pointer, name), "Only one search algorithm can be used.",
                fmt::format("remove '{}' or '{}'", first, name));
  }
  CheckDistributions(checker, hptuning, pointer);
  const auto random = hptuning.find("random_search");
  if (random != hptuning.end() && random->is_object() && !Has(*random, "n_experiments")) {
    checker.Add(Child(pointer, "random_search"), "random_search needs 'n_experiments'",
                "say how many experiments to run");
  }
  const auto hyperband = hptuning.find("hyperband");
  if (hyperband != hptuning.end() && hyperband->is_object()) {
    const auto eta = hyperband->find("eta");
    if (eta != hyperband->end() && eta->is_number() && eta->get<double>() <= 1) {
      checker.Add(Child(Child(pointer, "hyperband"), "eta"), "'eta' must be larger than 1",
                  "3 is usual: each round keeps a third of the experiments");
    }
  }
  const auto bo = hptuning.find("bo");
  if (bo != hptuning.end() && bo->is_object()) CheckBo(checker, *bo, Child(pointer, "bo"));
}

}  // namespace px::spec
