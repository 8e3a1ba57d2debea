// px-launch experiment -xp N metrics
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Metrics(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto points, catalog->Metrics(experiment.id));
  if (session.json) {
    spec::Json list = spec::Json::array();
    for (const auto& point : points) {
      list.push_back({{"at", TimeJson(point.at)}, {"name", point.name}, {"value", point.value}});
    }
    context.Answer(list);
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
  AddCommand(experiment, session, "metrics", "List the metrics it reported.", Metrics);
}

}  // namespace px::launcher
