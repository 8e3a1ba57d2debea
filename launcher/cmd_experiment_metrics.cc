// px-launch experiment -xp N metrics
#include <map>
#include <memory>

#include "launcher/describe.h"
#include "launcher/plot.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  std::string name;
  bool plot = false;
};

void PrintPlots(Context& context, const std::vector<catalog::MetricPoint>& points) {
  std::map<std::string, std::vector<double>> curves;
  for (const auto& point : points) curves[point.name].push_back(point.value);
  for (const auto& [name, values] : curves) PrintPlot(context.out(), name, values);
  if (curves.empty()) context.out() << "It has reported no metrics.\n";
}

Done Metrics(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(auto points, catalog->Metrics(experiment.id));
  if (!options.name.empty()) {
    std::erase_if(points, [&](const auto& point) { return point.name != options.name; });
  }
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const auto& point : points) {
      list.push_back({{"at", TimeJson(point.at)}, {"name", point.name}, {"value", point.value}});
    }
    context.Answer(list);
    return {};
  }
  if (options.plot) {
    PrintPlots(context, points);
    return {};
  }
  Table table({"created_at", "name", "value"});
  for (const auto& point : points) {
    table.Add({FormatTime(point.at), point.name, FormatNumber(point.value)});
  }
  table.Print(context.out());
  return {};
}

}  // namespace

void AddExperimentMetrics(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(experiment, session, "metrics", "List the metrics it reported.",
                 [options](Context& context, Session& s) { return Metrics(context, s, *options); });
  command->add_flag("--plot", options->plot, "Draw each as a curve.");
  command->add_option("--name", options->name, "Only this one.")->type_name("METRIC");
}

}  // namespace px::launcher
