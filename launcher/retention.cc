#include "launcher/retention.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "launcher/files.h"

namespace px::launcher {
namespace {

// "epoch-10.pt" is 10, "run2/checkpoint-500" 500.
std::optional<int64_t> StepOf(const std::string& path) {
  const std::string name = NameOf("/" + path);
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  // ".h5" is no step.
  const size_t dot = name.rfind('.');
  const size_t end = dot == std::string::npos || dot == 0 ? name.size() : dot;
  size_t last = end;
  while (last > 0 && !digit(name[last - 1])) --last;
  size_t first = last;
  while (first > 0 && digit(name[first - 1])) --first;
  int64_t step = 0;
  const auto [stop, error] = std::from_chars(name.data() + first, name.data() + last, step);
  if (first == last || error != std::errc()) return std::nullopt;
  return step;
}

std::optional<double> ValueAt(const std::vector<catalog::MetricPoint>& points, int64_t at_ns) {
  if (points.empty()) return std::nullopt;
  const auto after =
      std::upper_bound(points.begin(), points.end(), at_ns,
                       [](int64_t at, const catalog::MetricPoint& point) { return at < point.at; });
  return after == points.begin() ? points.front().value : std::prev(after)->value;
}

void Keep(Judged& judged, const std::string& why) {
  judged.why += (judged.why.empty() ? "" : ", ") + why;
}

void KeepBest(std::vector<Judged>& all, const RetentionRules& rules) {
  std::vector<Judged*> ranked;
  for (Judged& judged : all) {
    if (judged.checkpoint.problem.empty() && judged.value) ranked.push_back(&judged);
  }
  // Of equals the newer one.
  std::sort(ranked.begin(), ranked.end(), [&](const Judged* a, const Judged* b) {
    if (*a->value == *b->value) return a->checkpoint.at_ns > b->checkpoint.at_ns;
    return rules.minimize ? *a->value < *b->value : *a->value > *b->value;
  });
  const auto count = std::min(ranked.size(), static_cast<size_t>(rules.best));
  for (size_t i = 0; i < count; ++i) Keep(*ranked[i], "best " + std::to_string(i + 1));
}

}  // namespace

std::vector<Judged> Judge(const std::vector<Checkpoint>& checkpoints,
                          const std::vector<catalog::MetricPoint>& points,
                          const std::vector<std::string>& pinned, const RetentionRules& rules) {
  const Checkpoint* newest = NewestWhole(checkpoints);
  std::vector<Judged> all;
  int64_t whole = 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    all.push_back({.checkpoint = checkpoint,
                   .value = ValueAt(points, checkpoint.at_ns),
                   .step = StepOf(checkpoint.path),
                   .why = ""});
    Judged& judged = all.back();
    if (&checkpoint == newest) Keep(judged, "newest");
    if (std::find(pinned.begin(), pinned.end(), checkpoint.path) != pinned.end()) {
      Keep(judged, "pinned");
    }
    if (!checkpoint.problem.empty()) {
      Keep(judged, "not whole");
      continue;
    }
    if (checkpoint.kind == "file") {
      Keep(judged, "unknown kind");
      continue;
    }
    if (++whole <= rules.last) Keep(judged, "last " + std::to_string(whole));
    if (rules.every > 0 && judged.step && *judged.step % rules.every == 0) {
      Keep(judged, "step " + std::to_string(*judged.step));
    }
  }
  if (rules.best > 0) KeepBest(all, rules);
  return all;
}

}  // namespace px::launcher
