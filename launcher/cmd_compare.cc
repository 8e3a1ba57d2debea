// px-launch compare N M...
#include <map>
#include <memory>

#include "launcher/describe.h"
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
  if (session.json) {
    const spec::Json json{{"experiments", numbers}, {"params", parameters}, {"metrics", metrics}};
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
  return {};
}

}  // namespace

void AddCompare(CLI::App& app, Session& session) {
  auto numbers = std::make_shared<std::vector<int64_t>>();
  CLI::App* command =
      AddCommand(app, session, "compare", "Show parameters and last metrics side by side.",
                 [numbers](Context& context, Session& s) { return Compare(context, s, *numbers); });
  command->add_option("NUMBER", *numbers, "The experiments.")->required()->expected(1, 50);
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
}

}  // namespace px::launcher
