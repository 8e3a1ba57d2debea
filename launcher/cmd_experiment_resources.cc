// px-launch experiment -xp N resources
#include "launcher/describe.h"
#include "launcher/job_group.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Resources(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto runs, catalog->Runs(experiment.id));
  PXL_ASSIGN(const auto leases, catalog->GpuLeases());
  spec::Json gpus = spec::Json::array();
  for (const catalog::GpuLease& lease : leases) {
    if (lease.experiment == experiment.id) gpus.push_back(lease.gpu);
  }
  size_t processes = 0;
  std::string containment;
  if (!runs.empty()) {
    containment = runs.back().containment;
    if (runs.back().finished_at == 0) {
      processes = JobGroup::Adopt(runs.back().GroupName(), runs.back().cgroup).Processes().size();
    }
  }
  if (session.json) {
    context.out()
        << spec::Json{{"containment", containment}, {"processes", processes}, {"gpus", gpus}}.dump(
               2)
        << '\n';
    return {};
  }
  PrintSection(context.out(), TitleOf(experiment.kind) + " resources:",
               {{"containment", containment},
                {"processes", std::to_string(processes)},
                {"gpus", gpus.empty() ? "none" : ValueText(gpus)}});
  return {};
}

}  // namespace

void AddExperimentResources(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "resources", "Show what it holds: processes, limits, GPUs.",
             Resources);
}

}  // namespace px::launcher
