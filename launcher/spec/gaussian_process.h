// Gaussian-process regression without noise, and the acquisition functions of Bayesian
// optimization. Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1.
// Internal to launcher/spec; exposed for its tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/spec/group.h"

namespace px::spec {

using Point = std::vector<double>;

struct Prediction {
  double mean = 0;
  double deviation = 0;
};

// The kernel between points at `distance`, with the variance 1: rbf exp(-d^2 / 2l^2), matern with
// nu 0.5, 1.5 or 2.5.
double Kernel(const GaussianProcessOptions& options, double distance);

class GaussianProcess {
 public:
  // Nothing if the kernel matrix is not positive definite even with a little on its diagonal.
  static std::optional<GaussianProcess> Fit(std::vector<Point> points,
                                            const std::vector<double>& values,
                                            const GaussianProcessOptions& options);
  Prediction Predict(const Point& point) const;
  double log_marginal_likelihood() const { return log_marginal_likelihood_; }

 private:
  GaussianProcessOptions options_;
  std::vector<Point> points_;
  std::vector<std::vector<double>> cholesky_;  // lower triangle
  std::vector<double> weights_;                // K^-1 y
  double log_marginal_likelihood_ = 0;
};

// The best fit over length scales from 1/32 to 8 times the one in `options`, by marginal
// likelihood.
std::optional<GaussianProcess> FitLengthScale(const std::vector<Point>& points,
                                              const std::vector<double>& values,
                                              const GaussianProcessOptions& options);

// How much a point with this prediction is worth trying, the larger the better: ucb, ei or poi.
double Acquisition(const BoOptions& options, const Prediction& prediction, double best);

}  // namespace px::spec
