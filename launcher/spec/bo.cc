#include <algorithm>
#include <cmath>
#include <set>

#include "launcher/spec/gaussian_process.h"

namespace px::spec {
namespace {

// Maps suggestions to points of the unit cube and back. A number has one coordinate, from its
// smallest to its largest value; values that are not all numbers have one coordinate each, 1 for
// the chosen.
class Space {
 public:
  explicit Space(const std::vector<Parameter>& matrix) {
    for (const Parameter& parameter : matrix) {
      Axis axis;
      axis.parameter = &parameter;
      axis.first = size_;
      const std::vector<Json>& values = parameter.values;
      const bool numbers = std::all_of(values.begin(), values.end(),
                                       [](const Json& value) { return value.is_number(); });
      axis.categories = numbers ? 0 : values.size();
      axis.low = parameter.a;
      axis.high = parameter.b;
      if (!values.empty() && numbers) {
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        axis.low = low->get<double>();
        axis.high = high->get<double>();
      }
      size_ += std::max<size_t>(1, axis.categories);
      axes_.push_back(axis);
    }
  }

  size_t size() const { return size_; }

  // Nothing for a suggestion that is not of this matrix.
  std::optional<Point> ToPoint(const Json& suggestion) const {
    Point point(size_, 0.0);
    for (const Axis& axis : axes_) {
      const auto value = suggestion.find(axis.parameter->name);
      if (value == suggestion.end()) return std::nullopt;
      if (axis.categories == 0) {
        if (!value->is_number()) return std::nullopt;
        const double width = axis.high - axis.low;
        point[axis.first] = width > 0 ? (value->get<double>() - axis.low) / width : 0;
        continue;
      }
      const std::vector<Json>& values = axis.parameter->values;
      const auto found = std::find(values.begin(), values.end(), *value);
      if (found == values.end()) return std::nullopt;
      point[axis.first + static_cast<size_t>(found - values.begin())] = 1;
    }
    return point;
  }

  Json ToSuggestion(const Point& point) const {
    Json suggestion = Json::object();
    for (const Axis& axis : axes_) suggestion[axis.parameter->name] = ValueAt(axis, point);
    return suggestion;
  }

 private:
  struct Axis {
    const Parameter* parameter = nullptr;
    size_t first = 0;       // coordinate
    size_t categories = 0;  // 0: a number
    double low = 0;
    double high = 0;
  };

  static Json ValueAt(const Axis& axis, const Point& point) {
    const std::vector<Json>& values = axis.parameter->values;
    if (axis.categories > 0) {
      const auto begin = point.begin() + static_cast<std::ptrdiff_t>(axis.first);
      const auto best =
          std::max_element(begin, begin + static_cast<std::ptrdiff_t>(axis.categories));
      return values[static_cast<size_t>(best - begin)];
    }
    const double number = axis.low + (axis.high - axis.low) * point[axis.first];
    if (values.empty()) return number;
    return *std::min_element(values.begin(), values.end(), [&](const Json& a, const Json& b) {
      return std::fabs(a.get<double>() - number) < std::fabs(b.get<double>() - number);
    });
  }

  std::vector<Axis> axes_;
  size_t size_ = 0;
};

// The trials as points with values to maximize, moved and scaled to mean 0 and deviation 1.
struct Observations {
  std::vector<Point> points;
  std::vector<double> values;
  std::set<std::string> tried;
  double mean = 0;
  double scale = 1;
  double best = 0;  // in the metric's units, sign turned for minimizing
};

Observations Observe(const Space& space, const std::vector<Trial>& trials, bool maximize) {
  Observations seen;
  for (const Trial& trial : trials) {
    const std::optional<Point> point = space.ToPoint(trial.suggestion);
    if (!point || !std::isfinite(trial.metric)) continue;
    seen.points.push_back(*point);
    seen.values.push_back(maximize ? trial.metric : -trial.metric);
    seen.tried.insert(space.ToSuggestion(*point).dump());
  }
  if (seen.values.empty()) return seen;
  seen.best = *std::max_element(seen.values.begin(), seen.values.end());
  const auto n = static_cast<double>(seen.values.size());
  for (const double value : seen.values) seen.mean += value / n;
  double variance = 0;
  for (const double value : seen.values) variance += (value - seen.mean) * (value - seen.mean) / n;
  if (variance > 0) seen.scale = std::sqrt(variance);
  for (double& value : seen.values) value = (value - seen.mean) / seen.scale;
  return seen;
}

class Maximizer {
 public:
  Maximizer(const BoOptions& options, const GaussianProcess& process, const Observations& seen)
      : options_(options), process_(process), seen_(seen) {}

  double Value(const Point& point) const {
    Prediction prediction = process_.Predict(point);
    prediction.mean = prediction.mean * seen_.scale + seen_.mean;
    prediction.deviation *= seen_.scale;
    return Acquisition(options_, prediction, seen_.best);
  }

  // Walks along the coordinates uphill, with steps that get smaller.
  double Climb(Point& point) const {
    double value = Value(point);
    for (double step = 0.1; step > 1e-4; step /= 2) {
      for (double& coordinate : point) {
        for (const double change : {step, -step}) {
          const double before = coordinate;
          coordinate = std::clamp(before + change, 0.0, 1.0);
          const double changed = Value(point);
          if (changed > value) {
            value = changed;
          } else {
            coordinate = before;
          }
        }
      }
    }
    return value;
  }

 private:
  const BoOptions& options_;
  const GaussianProcess& process_;
  const Observations& seen_;
};

Json RandomSuggestion(const GroupSpec& spec, Rng& rng) {
  Json suggestion = Json::object();
  for (const Parameter& parameter : spec.matrix)
    suggestion[parameter.name] = Sample(parameter, rng);
  return suggestion;
}

}  // namespace

Json SuggestBo(const GroupSpec& spec, const std::vector<Trial>& trials, Rng& rng) {
  const Space space(spec.matrix);
  const Observations seen = Observe(space, trials, spec.bo.metric.maximize);
  std::optional<GaussianProcess> process;
  if (!seen.points.empty()) {
    process = FitLengthScale(seen.points, seen.values, spec.bo.gaussian_process);
  }
  if (!process) return RandomSuggestion(spec, rng);

  const Maximizer maximizer(spec.bo, *process, seen);
  std::vector<std::pair<double, Point>> candidates;
  const int warmup = std::clamp(spec.bo.n_warmup, 1, 100'000);
  for (int i = 0; i < warmup; ++i) {
    // Points that some suggestion has, so that lists of values are looked at where they are.
    const std::optional<Point> point = space.ToPoint(RandomSuggestion(spec, rng));
    if (point) candidates.emplace_back(maximizer.Value(*point), *point);
  }
  const auto larger = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  std::sort(candidates.begin(), candidates.end(), larger);
  const size_t refined =
      std::min(candidates.size(), static_cast<size_t>(std::clamp(spec.bo.n_iter, 0, 1000)));
  for (size_t i = 0; i < refined; ++i) {
    Point point = candidates[i].second;
    maximizer.Climb(point);
    // Worth what the suggestion it stands for is worth.
    point = space.ToPoint(space.ToSuggestion(point)).value_or(point);
    candidates.emplace_back(maximizer.Value(point), std::move(point));
  }
  std::sort(candidates.begin(), candidates.end(), larger);
  for (const auto& [value, point] : candidates) {
    Json suggestion = space.ToSuggestion(point);
    if (!seen.tried.contains(suggestion.dump())) return suggestion;
  }
  return RandomSuggestion(spec, rng);  // every value of the matrix was tried
}

}  // namespace px::spec
