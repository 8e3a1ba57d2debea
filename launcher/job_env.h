// The environment that a job is started with: Polyaxon's variables under their old and new names
// together, and ours.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "catalog/catalog_types.h"
#include "launcher/paths.h"
#include "launcher/process.h"
#include "launcher/spec/spec.h"

namespace px::launcher {

struct JobEnvironmentInput {
  const catalog::Experiment* experiment = nullptr;
  const catalog::Project* project = nullptr;
  std::string group_uuid;  // empty if independent
  const spec::ExperimentSpec* spec = nullptr;
  const Layout* layout = nullptr;
  std::vector<std::string> gpus;                // leased UUIDs
  bool hide_gpus = false;                       // the machine has GPUs and this job asked for none
  std::vector<std::string> referenced_outputs;  // of environment.outputs.experiments, in order
  std::vector<std::string> referenced_jobs;     // of environment.outputs.jobs
};

// What to set on top of the environment that the launcher was called with.
Environment JobEnvironment(const JobEnvironmentInput& input);

}  // namespace px::launcher
