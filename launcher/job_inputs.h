// What a job's environment is made of, looked up in the catalog.
#pragma once

#include "launcher/context.h"
#include "launcher/job_env.h"

namespace px::launcher {

struct JobGpus {
  std::vector<std::string> leased;
  bool hide_others = false;  // the machine has GPUs: a job without any sees none
};

// A Failure if what it refers to (its group, outputs of others) is gone.
Outcome<Environment> EnvironmentFor(const Layout& layout, const catalog::Catalog& catalog,
                                    const catalog::Experiment& experiment,
                                    const spec::ExperimentSpec& spec, const JobGpus& gpus);

}  // namespace px::launcher
