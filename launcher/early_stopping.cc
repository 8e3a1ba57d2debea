#include "launcher/early_stopping.h"

#include <algorithm>
#include <numeric>

namespace px::launcher {
namespace {

double Best(const Curve& curve, size_t steps, bool maximize) {
  const auto end = curve.values.begin() + static_cast<ptrdiff_t>(steps);
  return maximize ? *std::max_element(curve.values.begin(), end)
                  : *std::min_element(curve.values.begin(), end);
}

double Average(const Curve& curve, size_t steps) {
  const auto end = curve.values.begin() + static_cast<ptrdiff_t>(steps);
  return std::accumulate(curve.values.begin(), end, 0.0) / static_cast<double>(steps);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

bool HasReached(const spec::EarlyStopping& rule, const Curve& curve) {
  if (curve.values.empty()) return false;
  const double last = curve.values.back();
  return rule.metric.maximize ? last >= rule.value : last <= rule.value;
}

std::vector<size_t> WorstToStop(const spec::EarlyStopping& rule, const std::vector<Curve>& curves) {
  const bool maximize = rule.metric.maximize;
  const auto worse = [&](double a, double b) { return maximize ? a < b : a > b; };
  const auto interval = static_cast<size_t>(std::max(rule.evaluation_interval, 1));
  std::vector<size_t> stop;
  for (size_t i = 0; i < curves.size(); ++i) {
    // Steps that were passed between two looks count as well.
    const size_t steps = curves[i].values.size() / interval * interval;
    if (!curves[i].running || steps == 0) continue;
    std::vector<double> averages;
    std::vector<double> bests;
    for (size_t other = 0; other < curves.size(); ++other) {
      if (other == i || curves[other].values.size() < steps) continue;
      averages.push_back(Average(curves[other], steps));
      bests.push_back(Best(curves[other], steps, maximize));
    }
    if (averages.size() < 2) continue;
    const double own = Best(curves[i], steps, maximize);
    if (rule.policy == "median" && worse(own, Median(averages))) stop.push_back(i);
    if (rule.policy == "average") {
      const double mean = std::accumulate(averages.begin(), averages.end(), 0.0) /
                          static_cast<double>(averages.size());
      if (worse(own, mean)) stop.push_back(i);
    }
    if (rule.policy == "truncation") {
      const auto better =
          std::count_if(bests.begin(), bests.end(), [&](double best) { return worse(own, best); });
      const double cut = static_cast<double>(bests.size() + 1) * (100.0 - rule.percent) / 100.0;
      if (static_cast<double>(better) >= cut) stop.push_back(i);
    }
  }
  return stop;
}

}  // namespace px::launcher
