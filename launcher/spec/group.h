// Groups: the hptuning section, and the algorithms that turn its matrix into suggestions.
//
// A suggestion is an object of values by matrix name, in the order of the matrix. All functions are
// pure: what is random depends on the generator given, and is the same on every machine.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "launcher/spec/spec.h"

namespace px::spec {

using Rng = std::mt19937_64;

enum class Distribution {
  kDiscrete,  // values, range, linspace, logspace, geomspace: all in Parameter::values
  kPvalues,
  kUniform,
  kQuniform,
  kLoguniform,
  kQloguniform,
  kNormal,
  kQnormal,
  kLognormal,
  kQlognormal,
};

// One name of the matrix.
struct Parameter {
  std::string name;
  std::string form;  // as written: "values", "linspace", "uniform", ...
  Distribution distribution = Distribution::kDiscrete;
  std::vector<Json> values;           // discrete and pvalues
  std::vector<double> probabilities;  // pvalues only; sums to 1
  double a = 0;                       // low, or loc
  double b = 0;                       // high, or scale
  double q = 0;                       // step of the q... distributions

  // True if a list of the possible values exists.
  bool IsDiscrete() const {
    return distribution == Distribution::kDiscrete || distribution == Distribution::kPvalues;
  }
};

enum class Algorithm { kGrid, kRandom, kHyperband, kBo };

struct Metric {
  std::string name;
  bool maximize = true;
};

struct EarlyStopping {
  Metric metric;
  double value = 0;
  // all: stops the group; experiment: the one experiment; median, average, truncation: those that
  // are worse than the others, looked at every `evaluation_interval` steps (0: not said).
  std::string policy = "all";
  int evaluation_interval = 0;
  int percent = 0;  // truncation only: how many of the experiments are stopped
};

struct Hyperband {
  double max_iter = 0;
  double eta = 3;
  std::string resource_name;
  bool resource_is_int = false;
  Metric metric;
  bool resume = false;
};

struct GaussianProcessOptions {
  std::string kernel = "matern";  // matern | rbf
  double length_scale = 1.0;
  double nu = 1.5;               // matern: 0.5, 1.5 or 2.5
  int n_restarts_optimizer = 0;  // how much finer the search for the length scale is
};

struct BoOptions {
  int n_initial_trials = 0;
  int n_iterations = 0;
  std::string acquisition = "ucb";  // ucb | ei | poi
  double kappa = 2.576;
  double eps = 0;
  GaussianProcessOptions gaussian_process;
  int n_warmup = 1000;  // random points tried when the acquisition function is maximized
  int n_iter = 25;      // of them, how many are refined
  Metric metric;
};

struct GroupSpec {
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  int concurrency = 1;
  std::optional<uint64_t> seed;
  Algorithm algorithm = Algorithm::kGrid;
  // Of grid and random search: how many at most; unset means all (grid only).
  std::optional<int> n_experiments;
  std::vector<Parameter> matrix;
  Hyperband hyperband;
  BoOptions bo;
  std::vector<EarlyStopping> early_stopping;
  Json raw = Json::object();  // the specification it was made from
};

struct GroupOptions {
  const Marks* marks = nullptr;
};

constexpr uint64_t kMaxSuggestions = 100'000;

// Validates a specification of kind group and reads its hptuning, rendered with the declarations.
// Renders one member to find what would fail there, too. Fails as well for a grid of more than
// kMaxSuggestions without grid_search.n_experiments.
Result<GroupSpec> ParseGroup(const Json& raw, const GroupOptions& options = {});

// The raw specification of one member: kind experiment, no hptuning, the suggestion added to its
// declarations. This is what a member is to be stored with, so that it can be overridden on its
// own.
Json MemberSpec(const Json& group_raw, const Json& suggestion);

// The generator that `spec.seed` asks for; without a seed, `fallback` seeds it.
Rng MakeRng(const GroupSpec& spec, uint64_t fallback);

// How many suggestions Grid has without a limit (saturates), and the suggestions, the last name of
// the matrix changing fastest. Empty for a matrix with continuous parameters.
uint64_t GridSize(const GroupSpec& spec);
std::vector<Json> Grid(const GroupSpec& spec);

// One value of one parameter.
Json Sample(const Parameter& parameter, Rng& rng);
// `count` samples; different from each other as far as a discrete matrix has that many.
std::vector<Json> RandomSample(const GroupSpec& spec, int count, Rng& rng);
// `n_experiments` of them; for Bayesian optimization `n_initial_trials`.
std::vector<Json> RandomSearch(const GroupSpec& spec, Rng& rng);

// ---- Hyperband (Li et al., 2016) ----

// One round of successive halving: run `n_configs` for `resource` each, keep the best `n_keep`.
struct Rung {
  int n_configs = 0;
  int n_keep = 0;  // how many go on to the next rung; 0 in the last one
  double resource = 0;
};
struct Bracket {
  int s = 0;  // s_max first, 0 last
  std::vector<Rung> rungs;
};
std::vector<Bracket> HyperbandBrackets(double max_iter, double eta);
// The resource value for a suggestion of a rung, an integer if the specification says so.
Json ResourceValue(const GroupSpec& spec, const Rung& rung);

// ---- Bayesian optimization ----

// What became of a suggestion. Trials without a metric are left out.
struct Trial {
  Json suggestion;
  double metric = 0;
};

// The next suggestion given all trials so far; random while there are none.
Json SuggestBo(const GroupSpec& spec, const std::vector<Trial>& trials, Rng& rng);

// The indexes of the best `count` trials, best first; ties keep their order.
std::vector<size_t> BestTrials(const std::vector<Trial>& trials, bool maximize, size_t count);

}  // namespace px::spec
