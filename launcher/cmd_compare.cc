// px-launch compare N M...
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
// One value for each experiment, by name.
using Columns = std::map<std::string, std::vector<std::string>>;

Columns Parameters(const std::vector<Experiment>& experiments) {
  Columns columns;
  for (size_t i = 0; i < experiments.size(); ++i) {
    const spec::Json declared = DeclarationsOf(experiments[i]);
    for (const auto& [name, value] : declared.items()) {
      columns[name].resize(experiments.size());
      columns[name][i] = ValueText(value);
    }
  }
  return columns;
}

Outcome<Columns> LastMetrics(catalog::Catalog& catalog,
                             const std::vector<Experiment>& experiments) {
  Columns columns;
  for (size_t i = 0; i < experiments.size(); ++i) {
    PXL_ASSIGN(const auto points, catalog.LastMetrics(experiments[i].id));
    for (const auto& point : points) {
      columns[point.name].resize(experiments.size());
      columns[point.name][i] = FormatNumber(point.value);
    }
  }
  return columns;
}

void AddRows(Table& table, const std::string& kind, const Columns& columns) {
  for (const auto& [name, values] : columns) {
    std::vector<std::string> row{kind, name};
    row.insert(row.end(), values.begin(), values.end());
    table.Add(std::move(row));
  }
}

// The filesystem goes by who wrote what: of files that two runs wrote alike only their bytes tell.
// Large ones count as different all the same.
bool IsSame(const std::string& first, const std::string& other, const Difference& difference) {
  constexpr int64_t kMostBytes = int64_t{64} << 20;
  if (difference.change != "modified" || difference.bytes > kMostBytes) return false;
  std::error_code error;
  const std::string a = first + "/" + difference.path;
  const std::string b = other + "/" + difference.path;
  const auto regular = std::filesystem::file_type::regular;
  if (std::filesystem::symlink_status(a, error).type() != regular) return false;
  if (std::filesystem::symlink_status(b, error).type() != regular) return false;
  if (static_cast<int64_t>(std::filesystem::file_size(a, error)) != difference.bytes) return false;
  const auto before = ReadFile(a);
  const auto after = ReadFile(b);
  return before && after && *before == *after;
}

struct TreeDiff {
  int64_t from = 0;
  int64_t to = 0;
  std::vector<Difference> changes;
};

// Of the first with each of the others, where both have such a directory.
Outcome<std::vector<TreeDiff>> DiffTrees(
    Context& context, const std::vector<Experiment>& experiments,
    const std::function<std::string(const Experiment&)>& directory) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  std::vector<TreeDiff> diffs;
  const std::string first = directory(experiments.front());
  for (size_t i = 1; i < experiments.size(); ++i) {
    TreeDiff diff{.from = experiments.front().number, .to = experiments[i].number, .changes = {}};
    const std::string other = directory(experiments[i]);
    if (first.empty() || other.empty()) continue;
    PXL_ASSIGN(const bool here, outputs->Exists(first));
    PXL_ASSIGN(const bool there, outputs->Exists(other));
    if (!here || !there) continue;
    // A resume is in the same directory.
    if (first != other) {
      PXL_ASSIGN(diff.changes, outputs->Diff(first, other));
      std::erase_if(diff.changes, [&](const Difference& one) { return IsSame(first, other, one); });
    }
    std::sort(diff.changes.begin(), diff.changes.end(),
              [](const Difference& a, const Difference& b) { return a.path < b.path; });
    diffs.push_back(std::move(diff));
  }
  return diffs;
}

spec::Json ToJson(const std::vector<TreeDiff>& diffs) {
  spec::Json list = spec::Json::array();
  for (const TreeDiff& diff : diffs) {
    spec::Json changes = spec::Json::array();
    for (const Difference& one : diff.changes) {
      changes.push_back({{"path", one.path}, {"change", one.change}, {"bytes", one.bytes}});
    }
    list.push_back({{"from", diff.from}, {"to", diff.to}, {"changes", changes}});
  }
  return list;
}

void PrintDiffs(Context& context, const std::string& what, const std::vector<TreeDiff>& diffs) {
  constexpr size_t kMost = 20;
  for (const TreeDiff& diff : diffs) {
    context.out() << '\n' << what << ", " << diff.from << " to " << diff.to << ": ";
    if (diff.changes.empty()) {
      context.out() << "the same\n";
      continue;
    }
    context.out() << diff.changes.size() << (diff.changes.size() == 1 ? " file" : " files")
                  << " differ\n";
    for (size_t i = 0; i < std::min(kMost, diff.changes.size()); ++i) {
      const Difference& one = diff.changes[i];
      context.out() << "  " << one.change << ' ' << one.path
                    << (one.change == "removed" ? "" : ", " + FormatSize(one.bytes)) << '\n';
    }
    if (diff.changes.size() > kMost) {
      context.out() << "  ... and " << diff.changes.size() - kMost << " more: --json has all\n";
    }
  }
}

Done Compare(Context& context, Session& session, const std::vector<int64_t>& numbers) {
  std::vector<Experiment> experiments;
  for (const int64_t number : numbers) {
    session.experiment = number;
    PXL_ASSIGN(Experiment experiment, ResolveExperiment(context, session));
    experiments.push_back(std::move(experiment));
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  const Columns parameters = Parameters(experiments);
  PXL_ASSIGN(const Columns metrics, LastMetrics(*catalog, experiments));
  const Layout& layout = context.layout();
  PXL_ASSIGN(const auto outputs, DiffTrees(context, experiments,
                                           [&](const Experiment& e) { return layout.Outputs(e); }));
  PXL_ASSIGN(const auto code, DiffTrees(context, experiments, [&](const Experiment& e) {
               return e.code_snapshot.empty() ? "" : layout.Code(e);
             }));
  if (session.json) {
    const spec::Json json{{"experiments", numbers},
                          {"params", parameters},
                          {"metrics", metrics},
                          {"outputs", ToJson(outputs)},
                          {"code", ToJson(code)}};
    context.Answer(json);
    return {};
  }
  std::vector<std::string> headers{"", "name"};
  Columns states;
  for (const Experiment& experiment : experiments) {
    headers.push_back(std::to_string(experiment.number));
    states["status"].emplace_back(StateName(experiment.state));
    states["clone"].push_back(StrategyText(experiment));
    states["code"].push_back(experiment.code_snapshot);
  }
  Table table(headers);
  AddRows(table, "info", states);
  AddRows(table, "param", parameters);
  AddRows(table, "metric", metrics);
  table.Print(context.out());
  PrintDiffs(context, "Outputs", outputs);
  PrintDiffs(context, "Code", code);
  return {};
}

}  // namespace

void AddCompare(CLI::App& app, Session& session) {
  auto numbers = std::make_shared<std::vector<int64_t>>();
  CLI::App* command =
      AddCommand(app, session, "compare", "Show what differs: parameters, metrics, outputs, code.",
                 [numbers](Context& context, Session& s) { return Compare(context, s, *numbers); });
  command->add_option("NUMBER", *numbers, "The experiments.")->required()->expected(1, 50);
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
}

}  // namespace px::launcher
