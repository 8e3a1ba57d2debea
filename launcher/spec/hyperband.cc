#include <algorithm>
#include <cmath>
#include <numeric>

#include "launcher/spec/group.h"

namespace px::spec {
namespace {

// What rounding may take from a number that is meant to be whole.
constexpr double kSlack = 1e-9;

int Floor(double value) { return static_cast<int>(std::floor(value * (1 + kSlack))); }
int Ceil(double value) { return static_cast<int>(std::ceil(value * (1 - kSlack))); }

}  // namespace

std::vector<Bracket> HyperbandBrackets(double max_iter, double eta) {
  std::vector<Bracket> brackets;
  if (!(max_iter >= 1) || !(eta > 1)) return brackets;
  // Not log(max_iter) / log(eta): that is 4.9999... for 243 and 3.
  int s_max = 0;
  for (double power = eta; power <= max_iter * (1 + kSlack) && s_max < 60; power *= eta) ++s_max;
  for (int s = s_max; s >= 0; --s) {
    Bracket bracket;
    bracket.s = s;
    // Line 4 of algorithm 1 in arXiv:1603.06560: n = ceil(B / R * eta^s / (s + 1)), B = (s_max + 1)
    // R.
    const int n = Ceil((s_max + 1) * std::pow(eta, s) / (s + 1));
    for (int i = 0; i <= s; ++i) {
      Rung rung;
      rung.n_configs = Floor(n * std::pow(eta, -i));
      rung.resource = max_iter * std::pow(eta, i - s);
      if (rung.n_configs < 1) break;
      if (!bracket.rungs.empty()) bracket.rungs.back().n_keep = rung.n_configs;
      bracket.rungs.push_back(rung);
    }
    brackets.push_back(std::move(bracket));
  }
  return brackets;
}

Json ResourceValue(const GroupSpec& spec, const Rung& rung) {
  if (!spec.hyperband.resource_is_int) return rung.resource;
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(rung.resource * (1 + kSlack))));
}

std::vector<size_t> BestTrials(const std::vector<Trial>& trials, bool maximize, size_t count) {
  std::vector<size_t> order;
  for (size_t i = 0; i < trials.size(); ++i) {
    if (!std::isnan(trials[i].metric)) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const double x = trials[a].metric;
    const double y = trials[b].metric;
    if (x == y) return a < b;
    return maximize ? x > y : x < y;
  });
  order.resize(std::min(count, order.size()));
  return order;
}

}  // namespace px::spec
