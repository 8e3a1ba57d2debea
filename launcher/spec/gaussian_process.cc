#include "launcher/spec/gaussian_process.h"

#include <cmath>
#include <numbers>

namespace px::spec {
namespace {

constexpr double kJitter = 1e-10;  // as scikit-learn's alpha

double Distance(const Point& a, const Point& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

using Matrix = std::vector<std::vector<double>>;

// The lower triangle L with L L^T = `matrix`; false if it is not positive definite.
bool Cholesky(Matrix& matrix) {
  for (size_t i = 0; i < matrix.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = matrix[i][j];
      for (size_t k = 0; k < j; ++k) sum -= matrix[i][k] * matrix[j][k];
      if (i != j) {
        matrix[i][j] = sum / matrix[j][j];
      } else if (sum > 0) {
        matrix[i][i] = std::sqrt(sum);
      } else {
        return false;
      }
    }
  }
  return true;
}

// L x = b.
std::vector<double> SolveLower(const Matrix& lower, std::vector<double> b) {
  for (size_t i = 0; i < b.size(); ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= lower[i][k] * b[k];
    b[i] /= lower[i][i];
  }
  return b;
}

// L^T x = b.
std::vector<double> SolveUpper(const Matrix& lower, std::vector<double> b) {
  for (size_t i = b.size(); i-- > 0;) {
    for (size_t k = i + 1; k < b.size(); ++k) b[i] -= lower[k][i] * b[k];
    b[i] /= lower[i][i];
  }
  return b;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double NormalDensity(double z) { return std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi); }
double NormalProbability(double z) { return std::erfc(-z / std::numbers::sqrt2) / 2; }

}  // namespace

double Kernel(const GaussianProcessOptions& options, double distance) {
  const double d = distance / options.length_scale;
  if (options.kernel == "rbf") return std::exp(-d * d / 2);
  if (options.nu == 0.5) return std::exp(-d);
  if (options.nu == 1.5) {
    const double t = std::numbers::sqrt3 * d;
    return (1 + t) * std::exp(-t);
  }
  const double t = std::sqrt(5.0) * d;
  return (1 + t + t * t / 3) * std::exp(-t);
}

std::optional<GaussianProcess> GaussianProcess::Fit(std::vector<Point> points,
                                                    const std::vector<double>& values,
                                                    const GaussianProcessOptions& options) {
  const size_t n = points.size();
  Matrix kernel(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) kernel[i][j] = Kernel(options, Distance(points[i], points[j]));
  }
  GaussianProcess process;
  bool good = false;
  // The same point tried twice makes the matrix singular; then a larger jitter helps.
  for (double jitter = kJitter; !good && jitter < 1e-2; jitter *= 100) {
    process.cholesky_ = kernel;
    for (size_t i = 0; i < n; ++i) process.cholesky_[i][i] += jitter;
    good = Cholesky(process.cholesky_);
  }
  if (!good) return std::nullopt;
  process.options_ = options;
  process.points_ = std::move(points);
  process.weights_ = SolveUpper(process.cholesky_, SolveLower(process.cholesky_, values));
  double log_determinant = 0;
  for (size_t i = 0; i < n; ++i) log_determinant += std::log(process.cholesky_[i][i]);
  process.log_marginal_likelihood_ = -Dot(values, process.weights_) / 2 - log_determinant -
                                     static_cast<double>(n) * std::log(2 * std::numbers::pi) / 2;
  return process;
}

Prediction GaussianProcess::Predict(const Point& point) const {
  std::vector<double> k(points_.size());
  for (size_t i = 0; i < k.size(); ++i) k[i] = Kernel(options_, Distance(point, points_[i]));
  Prediction prediction;
  prediction.mean = Dot(k, weights_);
  const std::vector<double> v = SolveLower(cholesky_, std::move(k));
  prediction.deviation = std::sqrt(std::max(0.0, 1 - Dot(v, v)));
  return prediction;
}

std::optional<GaussianProcess> FitLengthScale(const std::vector<Point>& points,
                                              const std::vector<double>& values,
                                              const GaussianProcessOptions& options) {
  std::optional<GaussianProcess> best;
  const int steps = 1 + std::min(options.n_restarts_optimizer, 20);
  for (int i = -5 * steps; i <= 3 * steps; ++i) {
    GaussianProcessOptions candidate = options;
    candidate.length_scale *= std::exp2(static_cast<double>(i) / steps);
    std::optional<GaussianProcess> fit = GaussianProcess::Fit(points, values, candidate);
    if (!fit) continue;
    if (!best || fit->log_marginal_likelihood() > best->log_marginal_likelihood()) {
      best = std::move(fit);
    }
  }
  return best;
}

double Acquisition(const BoOptions& options, const Prediction& prediction, double best) {
  if (options.acquisition == "ucb") return prediction.mean + options.kappa * prediction.deviation;
  const double gain = prediction.mean - best - options.eps;
  if (prediction.deviation <= 0)
    return options.acquisition == "ei" ? std::max(0.0, gain) : gain > 0;
  const double z = gain / prediction.deviation;
  if (options.acquisition == "poi") return NormalProbability(z);
  return gain * NormalProbability(z) + prediction.deviation * NormalDensity(z);
}

}  // namespace px::spec
