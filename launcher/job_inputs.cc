#include "launcher/job_inputs.h"

namespace px::launcher {
namespace {

Outcome<std::vector<std::string>> OutputsOf(const Layout& layout, const catalog::Catalog& catalog,
                                            catalog::ProjectId project,
                                            const std::vector<spec::Json>& references) {
  std::vector<std::string> outputs;
  for (const spec::Json& reference : references) {
    if (!reference.is_number_integer()) continue;
    PXL_ASSIGN(const catalog::Experiment other,
               catalog.FindExperiment(project, reference.get<int64_t>()));
    outputs.push_back(layout.Outputs(other));
  }
  return outputs;
}

}  // namespace

Outcome<Environment> EnvironmentFor(const Layout& layout, const catalog::Catalog& catalog,
                                    const catalog::Experiment& experiment,
                                    const spec::ExperimentSpec& spec, const JobGpus& gpus) {
  PXL_ASSIGN(const catalog::Project project, catalog.GetProject(experiment.project));
  JobEnvironmentInput input{.experiment = &experiment,
                            .project = &project,
                            .group_uuid = {},
                            .spec = &spec,
                            .layout = &layout,
                            .gpus = gpus.leased,
                            .hide_gpus = gpus.hide_others,
                            .referenced_outputs = {},
                            .referenced_jobs = {}};
  if (experiment.group) {
    PXL_ASSIGN(const catalog::Group group, catalog.GetGroup(experiment.group));
    input.group_uuid = group.uuid;
  }
  PXL_ASSIGN(input.referenced_outputs,
             OutputsOf(layout, catalog, experiment.project, spec.environment.outputs_experiments));
  PXL_ASSIGN(input.referenced_jobs,
             OutputsOf(layout, catalog, experiment.project, spec.environment.outputs_jobs));
  return JobEnvironment(input);
}

}  // namespace px::launcher
