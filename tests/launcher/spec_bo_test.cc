// Bayesian optimization: the process against numbers worked out by hand, the search by what it
// finds.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "launcher/spec/gaussian_process.h"

namespace px::spec {
namespace {

GaussianProcessOptions Rbf(double length_scale) { return {"rbf", length_scale, 1.5, 0}; }

TEST(KernelTest, ValuesByHand) {
  EXPECT_NEAR(Kernel(Rbf(1), 1), std::exp(-0.5), 1e-15);
  EXPECT_NEAR(Kernel(Rbf(2), 2), std::exp(-0.5), 1e-15);
  EXPECT_NEAR(Kernel({"matern", 1, 0.5, 0}, 2), std::exp(-2), 1e-15);
  EXPECT_NEAR(Kernel({"matern", 1, 1.5, 0}, 1), (1 + std::sqrt(3)) * std::exp(-std::sqrt(3)),
              1e-15);
  EXPECT_NEAR(Kernel({"matern", 1, 2.5, 0}, 1),
              (1 + std::sqrt(5) + 5.0 / 3) * std::exp(-std::sqrt(5)), 1e-15);
  EXPECT_EQ(Kernel({"matern", 3, 2.5, 0}, 0), 1);
}

// One point (0, 2): mean 2k and variance 1 - k^2 with k = exp(-x^2 / 2).
TEST(GaussianProcessTest, OnePointByHand) {
  const auto process = GaussianProcess::Fit({{0}}, {2}, Rbf(1));
  ASSERT_TRUE(process);
  const double k = std::exp(-0.5);
  EXPECT_NEAR(process->Predict({1}).mean, 2 * k, 1e-8);
  EXPECT_NEAR(process->Predict({1}).deviation, std::sqrt(1 - k * k), 1e-8);
  EXPECT_NEAR(process->Predict({0}).mean, 2, 1e-8);
  EXPECT_NEAR(process->Predict({0}).deviation, 0, 1e-4);
  EXPECT_NEAR(process->log_marginal_likelihood(), -2 - std::log(2 * M_PI) / 2, 1e-8);
}

// Points 0 and 1 with values 1 and -1, at 1/2: by symmetry the mean is 0. With a = exp(-1/2) and
// b = exp(-1/8) the variance is 1 - 2 b^2 / (1 + a).
TEST(GaussianProcessTest, TwoPointsByHand) {
  const auto process = GaussianProcess::Fit({{0}, {1}}, {1, -1}, Rbf(1));
  ASSERT_TRUE(process);
  const double a = std::exp(-0.5);
  const double b = std::exp(-0.125);
  EXPECT_NEAR(process->Predict({0.5}).mean, 0, 1e-8);
  EXPECT_NEAR(process->Predict({0.5}).deviation, std::sqrt(1 - 2 * b * b / (1 + a)), 1e-6);
  // y K^-1 y = 2 / (1 - a), det K = 1 - a^2.
  EXPECT_NEAR(process->log_marginal_likelihood(),
              -1 / (1 - a) - std::log(1 - a * a) / 2 - std::log(2 * M_PI), 1e-6);
}

TEST(GaussianProcessTest, RepeatedPointsAreNoProblem) {
  const auto process = GaussianProcess::Fit({{0.5}, {0.5}, {0.5}}, {1, 1.1, 0.9}, Rbf(1));
  ASSERT_TRUE(process);
  EXPECT_NEAR(process->Predict({0.5}).mean, 1, 0.05);
}

TEST(AcquisitionTest, ValuesByHand) {
  BoOptions options;
  options.acquisition = "ucb";
  options.kappa = 2;
  EXPECT_NEAR(Acquisition(options, {1, 0.5}, 0), 2, 1e-15);
  // z = 1: probability 0.841344746, density 0.241970725.
  options.acquisition = "ei";
  EXPECT_NEAR(Acquisition(options, {1, 1}, 0), 0.841344746 + 0.241970725, 1e-8);
  options.acquisition = "poi";
  EXPECT_NEAR(Acquisition(options, {1, 1}, 0), 0.841344746, 1e-8);
  options.eps = 1;
  EXPECT_NEAR(Acquisition(options, {1, 1}, 0), 0.5, 1e-15);
  options.acquisition = "ei";
  EXPECT_NEAR(Acquisition(options, {1, 1}, 0), 0.398942280, 1e-8);
  EXPECT_EQ(Acquisition(options, {3, 0}, 1), 1);
  EXPECT_EQ(Acquisition(options, {0, 0}, 1), 0);
}

GroupSpec Group(const std::string& matrix, const std::string& utility, const std::string& aim) {
  const Result<Json> raw =
      ReadText("version: 1\nkind: group\nhptuning:\n  matrix: " + matrix +
                   "\n  bo: {n_initial_trials: 4, n_iterations: 15, metric: {name: "
                   "m, optimization: " +
                   aim + "}, utility_function: " + utility + "}\n",
               "px.yml");
  if (!raw) ADD_FAILURE() << raw.error().context();
  const Result<GroupSpec> spec = ParseGroup(*raw);
  if (!spec) ADD_FAILURE() << spec.error().context();
  return spec ? *spec : GroupSpec{};
}

// The best metric after the initial trials and 12 suggestions.
template <typename Function>
double Search(const GroupSpec& spec, Function function) {
  Rng rng(11);
  std::vector<Trial> trials;
  for (const Json& suggestion : RandomSearch(spec, rng))
    trials.push_back({suggestion, function(suggestion)});
  for (int i = 0; i < 12; ++i) {
    const Json suggestion = SuggestBo(spec, trials, rng);
    trials.push_back({suggestion, function(suggestion)});
  }
  return trials[BestTrials(trials, spec.bo.metric.maximize, 1)[0]].metric;
}

TEST(BoTest, FindsTheTopOfAParabola) {
  const auto parabola = [](const Json& s) {
    const double x = s["x"].get<double>();
    return -(x - 3.7) * (x - 3.7);
  };
  for (const char* utility : {"{acquisition_function: ucb, kappa: 1.5, n_warmup: 200, n_iter: 5}",
                              "{acquisition_function: EI, eps: 0, n_warmup: 200, n_iter: 5}",
                              "{acquisition_function: poi, eps: 0.001, n_warmup: 200, n_iter: 5, "
                              "gaussian_process: {kernel: rbf}}"}) {
    EXPECT_GT(Search(Group("{x: {uniform: '-10:10'}}", utility, "maximize"), parabola), -0.05)
        << utility;
  }
}

TEST(BoTest, MinimizesOverSeveralKindsOfValues) {
  const auto loss = [](const Json& s) {
    const double x = s["x"].get<double>();
    const double n = s["n"].get<double>();
    return (x - 0.2) * (x - 0.2) + std::fabs(n - 6) / 10 + (s["act"] == "relu" ? 0 : 1);
  };
  const GroupSpec spec =
      Group("{x: {uniform: '0:1'}, n: {range: '0:10:2'}, act: {values: [relu, tanh, elu]}}",
            "{acquisition_function: ucb, kappa: 1, n_warmup: 200, n_iter: 5}", "minimize");
  EXPECT_LT(Search(spec, loss), 0.15);
}

TEST(BoTest, TriesEveryValueBeforeRepeatingOne) {
  const GroupSpec spec =
      Group("{n: {values: [1, 2, 3, 4, 5]}}", "{n_warmup: 200, n_iter: 3}", "maximize");
  Rng rng(1);
  std::vector<Trial> trials;
  std::set<std::string> tried;
  for (int i = 0; i < 5; ++i) {
    const Json suggestion = SuggestBo(spec, trials, rng);
    tried.insert(suggestion.dump());
    trials.push_back({suggestion, suggestion["n"].get<double>()});
  }
  EXPECT_EQ(tried.size(), 5u);
  EXPECT_TRUE(SuggestBo(spec, trials, rng).contains("n"));
}

TEST(BoTest, TrialsWithoutNumbersAreLeftOut) {
  const GroupSpec spec = Group("{x: {uniform: '0:1'}}", "{n_warmup: 50, n_iter: 1}", "maximize");
  Rng rng(1);
  const Json x = Json::parse(R"({"x":0.5})");
  EXPECT_TRUE(SuggestBo(spec, {}, rng).contains("x"));
  EXPECT_TRUE(
      SuggestBo(spec, {{x, NAN}, {Json::object(), 1}, {Json::parse(R"({"x":"a"})"), 1}}, rng)
          .contains("x"));
  EXPECT_TRUE(SuggestBo(spec, {{x, 1}, {x, 1}}, rng).contains("x"));
}

TEST(BoTest, IsTheSameForTheSameGenerator) {
  const GroupSpec spec = Group("{x: {uniform: '0:1'}}", "{n_warmup: 50, n_iter: 2}", "maximize");
  const std::vector<Trial> trials = {{Json::parse(R"({"x":0.1})"), 1},
                                     {Json::parse(R"({"x":0.9})"), 2}};
  Rng first(5);
  Rng second(5);
  EXPECT_EQ(SuggestBo(spec, trials, first), SuggestBo(spec, trials, second));
}

}  // namespace
}  // namespace px::spec
