#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <set>

#include "launcher/spec/group.h"

namespace px::spec {
namespace {

// From 0 up to, not including, 1. The standard library's distributions differ between machines.
double Uniform01(Rng& rng) { return static_cast<double>(rng() >> 11) * 0x1p-53; }

// Box and Muller, 1958; the second number is not kept, so that a draw depends on nothing else.
double Normal01(Rng& rng) {
  const double u = 1.0 - Uniform01(rng);
  const double angle = 2 * std::numbers::pi * Uniform01(rng);
  return std::sqrt(-2 * std::log(u)) * std::cos(angle);
}

double Quantize(double value, double q) { return std::floor(value / q) * q; }

size_t PickIndex(size_t count, Rng& rng) {
  const auto index = static_cast<size_t>(Uniform01(rng) * static_cast<double>(count));
  return std::min(index, count - 1);
}

size_t PickWeighted(const std::vector<double>& probabilities, Rng& rng) {
  double rest = Uniform01(rng);
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (rest < probabilities[i]) return i;
    rest -= probabilities[i];
  }
  // Rounding left a little: the last value that is possible at all.
  for (size_t i = probabilities.size(); i-- > 0;) {
    if (probabilities[i] > 0) return i;
  }
  return 0;
}

Json At(const GroupSpec& spec, uint64_t index) {
  std::vector<size_t> digits(spec.matrix.size());
  for (size_t i = spec.matrix.size(); i-- > 0;) {
    const size_t base = spec.matrix[i].values.size();
    digits[i] = static_cast<size_t>(index % base);
    index /= base;
  }
  Json suggestion = Json::object();
  for (size_t i = 0; i < digits.size(); ++i) {
    suggestion[spec.matrix[i].name] = spec.matrix[i].values[digits[i]];
  }
  return suggestion;
}

bool AllDiscrete(const GroupSpec& spec) {
  return std::all_of(spec.matrix.begin(), spec.matrix.end(),
                     [](const Parameter& parameter) { return parameter.IsDiscrete(); });
}

}  // namespace

uint64_t GridSize(const GroupSpec& spec) {
  if (spec.matrix.empty() || !AllDiscrete(spec)) return 0;
  uint64_t size = 1;
  for (const Parameter& parameter : spec.matrix) {
    if (__builtin_mul_overflow(size, parameter.values.size(), &size)) {
      return std::numeric_limits<uint64_t>::max();
    }
  }
  return size;
}

std::vector<Json> Grid(const GroupSpec& spec) {
  uint64_t count = std::min(GridSize(spec), kMaxSuggestions);
  if (spec.n_experiments) count = std::min(count, static_cast<uint64_t>(*spec.n_experiments));
  std::vector<Json> suggestions;
  for (uint64_t i = 0; i < count; ++i) suggestions.push_back(At(spec, i));
  return suggestions;
}

Json Sample(const Parameter& parameter, Rng& rng) {
  const double a = parameter.a;
  const double b = parameter.b;
  const double q = parameter.q;
  switch (parameter.distribution) {
    case Distribution::kDiscrete:
      return parameter.values[PickIndex(parameter.values.size(), rng)];
    case Distribution::kPvalues:
      return parameter.values[PickWeighted(parameter.probabilities, rng)];
    case Distribution::kUniform:
      return a + (b - a) * Uniform01(rng);
    case Distribution::kQuniform:
      return Quantize(a + (b - a) * Uniform01(rng), q);
    case Distribution::kLoguniform:
      return std::exp(a + (b - a) * Uniform01(rng));
    case Distribution::kQloguniform:
      return Quantize(std::exp(a + (b - a) * Uniform01(rng)), q);
    case Distribution::kNormal:
      return a + b * Normal01(rng);
    case Distribution::kQnormal:
      return Quantize(a + b * Normal01(rng), q);
    case Distribution::kLognormal:
      return std::exp(a + b * Normal01(rng));
    case Distribution::kQlognormal:
      return Quantize(std::exp(a + b * Normal01(rng)), q);
  }
  return nullptr;
}

std::vector<Json> RandomSample(const GroupSpec& spec, int count, Rng& rng) {
  std::vector<Json> suggestions;
  std::set<std::string> seen;
  const auto wanted = static_cast<size_t>(std::max(count, 0));
  const auto add = [&](Json suggestion) {
    if (seen.insert(suggestion.dump()).second) suggestions.push_back(std::move(suggestion));
  };
  const uint64_t total = GridSize(spec);
  for (size_t tries = 0; suggestions.size() < wanted && tries < 20 * wanted + 100; ++tries) {
    if (total > 0 && seen.size() >= total) break;
    Json suggestion = Json::object();
    for (const Parameter& parameter : spec.matrix) {
      suggestion[parameter.name] = Sample(parameter, rng);
    }
    add(std::move(suggestion));
  }
  // Few are left, and chance does not find them: take them in order.
  for (uint64_t i = 0; i < std::min(total, kMaxSuggestions) && suggestions.size() < wanted; ++i) {
    add(At(spec, i));
  }
  return suggestions;
}

std::vector<Json> RandomSearch(const GroupSpec& spec, Rng& rng) {
  const int initial = spec.algorithm == Algorithm::kBo ? spec.bo.n_initial_trials : 0;
  return RandomSample(spec, spec.n_experiments.value_or(initial), rng);
}

}  // namespace px::spec
