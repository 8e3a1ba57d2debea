#include "launcher/experiment_list.h"

#include <algorithm>
#include <map>
#include <set>

#include "launcher/describe.h"
#include "launcher/experiment_query.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using spec::Json;

constexpr int64_t kPageSize = 30;

struct Entry {
  Experiment experiment;
  std::map<std::string, double> metrics;  // the last of each
  Json declarations;
};

const std::vector<std::string>& Keys() {
  static const std::vector<std::string> kKeys{
      "id",         "name",        "status",    "user",        "strategy",         "created_at",
      "started_at", "finished_at", "total_run", "metric.NAME", "declarations.NAME"};
  return kKeys;
}

// The NAME of "metric.NAME", also as "metric__NAME"; empty if the key is none.
std::string Below(const std::string& key, const std::vector<std::string>& prefixes) {
  for (const std::string& prefix : prefixes) {
    for (const char* separator : {".", "__"}) {
      const std::string begin = prefix + separator;
      if (key.starts_with(begin)) return key.substr(begin.size());
    }
  }
  return "";
}

Outcome<Json> ValueOf(const Entry& entry, const std::string& key, int64_t now) {
  const Experiment& e = entry.experiment;
  if (const auto name = Below(key, {"metric", "metrics"}); !name.empty()) {
    const auto found = entry.metrics.find(name);
    return found == entry.metrics.end() ? Json() : Json(found->second);
  }
  if (const auto name = Below(key, {"declarations", "params", "param"}); !name.empty()) {
    return entry.declarations.contains(name) ? entry.declarations[name] : Json();
  }
  if (key == "id") return Json(e.number);
  if (key == "name") return Json(e.name);
  if (key == "status") return Json(StateName(e.state));
  if (key == "user") return Json(e.user);
  if (key == "strategy") return e.is_clone() ? Json(StrategyName(e.strategy)) : Json();
  if (key == "created_at") return TimeJson(e.created_at);
  if (key == "started_at") return TimeJson(e.started_at);
  if (key == "finished_at") return TimeJson(e.finished_at);
  if (key == "total_run") {
    if (e.started_at == 0) return Json();
    return Json(static_cast<double>((e.finished_at != 0 ? e.finished_at : now) - e.started_at) /
                1e9);
  }
  const std::string nearest = spec::NearestName(key, Keys());
  return Refuse(ExitCode::kUsage, "lists have no '" + key + "'",
                nearest.empty() ? "id, status, created_at, metric.NAME, declarations.NAME, ..."
                                : "did you mean '" + nearest + "'?");
}

Outcome<std::vector<Entry>> Sorted(std::vector<Entry> entries, const std::string& sort,
                                   int64_t now) {
  const auto keys = ParseSort(sort);
  std::vector<std::vector<Json>> values;  // of each entry, by key
  std::vector<size_t> order;
  for (const Entry& entry : entries) {
    order.push_back(values.size());
    values.emplace_back();
    for (const SortKey& key : keys) {
      PXL_ASSIGN(Json value, ValueOf(entry, key.key, now));
      values.back().push_back(std::move(value));
    }
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const int compared = CompareForSort(keys[i], values[a][i], values[b][i]);
      if (compared != 0) return compared < 0;
    }
    return a < b;
  });
  std::vector<Entry> sorted;
  for (const size_t i : order) sorted.push_back(std::move(entries[i]));
  return sorted;
}

Outcome<std::vector<Entry>> Choose(Context& context, std::vector<Experiment> all,
                                   const ListOptions& options) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const int64_t now = NowNs(context.clock());
  const bool wants_metrics = options.metrics || options.query.find("metric") != std::string::npos ||
                             options.sort.find("metric") != std::string::npos;
  std::vector<Entry> entries;
  for (Experiment& experiment : all) {
    Entry entry{.experiment = std::move(experiment), .metrics = {}, .declarations = {}};
    entry.declarations = DeclarationsOf(entry.experiment);
    if (wants_metrics) {
      PXL_ASSIGN(const auto points, catalog->LastMetrics(entry.experiment.id));
      for (const auto& point : points) entry.metrics[point.name] = point.value;
    }
    PXL_ASSIGN(const bool wanted, MatchesQuery(options.query, [&](const std::string& key) {
                 return ValueOf(entry, key, now);
               }));
    if (wanted) entries.push_back(std::move(entry));
  }
  return Sorted(std::move(entries), options.sort, now);
}

// A column for each metric and each declaration that any of them has.
Table MakeTable(const std::vector<Entry>& entries, const ListOptions& options, int64_t now) {
  std::set<std::string> metrics;
  std::set<std::string> declarations;
  for (const Entry& entry : entries) {
    if (options.metrics) {
      for (const auto& [name, value] : entry.metrics) metrics.insert(name);
    }
    if (options.declarations) {
      for (const auto& [name, value] : entry.declarations.items()) declarations.insert(name);
    }
  }
  auto headers = ExperimentHeaders();
  headers.insert(headers.end(), metrics.begin(), metrics.end());
  headers.insert(headers.end(), declarations.begin(), declarations.end());
  Table table(headers);
  for (const Entry& entry : entries) {
    auto row = ExperimentRow(entry.experiment, now);
    for (const std::string& name : metrics) {
      const auto found = entry.metrics.find(name);
      row.push_back(found == entry.metrics.end() ? "" : FormatNumber(found->second));
    }
    for (const std::string& name : declarations) {
      row.push_back(entry.declarations.contains(name) ? ValueText(entry.declarations[name]) : "");
    }
    table.Add(std::move(row));
  }
  return table;
}

}  // namespace

void AddListOptions(CLI::App& command, ListOptions& options) {
  command.add_option("-q,--query", options.query, "Only those, as 'status:running, metric.x:<1'.")
      ->type_name("QUERY");
  command.add_option("-s,--sort", options.sort, "By what, as '-metric.acc, id'.")
      ->type_name("KEYS");
  command.add_flag("-m,--metrics", options.metrics, "With the last value of each metric.");
  command.add_flag("-d,--declarations,--params", options.declarations, "With their parameters.");
  command.add_option("--page", options.page, "Which page.")->check(CLI::PositiveNumber);
}

Done PrintList(Context& context, std::vector<Experiment> all, const ListOptions& options,
               const std::string& title) {
  PXL_ASSIGN(auto entries, Choose(context, std::move(all), options));
  if (context.json()) {
    Json list = Json::array();
    for (const Entry& entry : entries) {
      list.push_back(ExperimentJson(entry.experiment, context.layout()));
      if (options.metrics) list.back()["last_metrics"] = entry.metrics;
    }
    context.Answer(list);
    return {};
  }
  const auto count = static_cast<int64_t>(entries.size());
  const int64_t begin = std::min((options.page - 1) * kPageSize, count);
  const int64_t end = std::min(begin + kPageSize, count);
  Pairs navigation;
  if (end < count) navigation.emplace_back("next", "--page=" + std::to_string(options.page + 1));
  if (begin > 0) navigation.emplace_back("previous", "--page=" + std::to_string(options.page - 1));
  navigation.emplace_back("count", std::to_string(count));
  PrintSection(context.out(), "Navigation:", navigation);
  entries.erase(entries.begin() + end, entries.end());
  entries.erase(entries.begin(), entries.begin() + begin);
  context.out() << '\n' << title << ":\n\n";
  MakeTable(entries, options, NowNs(context.clock())).Print(context.out());
  return {};
}

}  // namespace px::launcher
