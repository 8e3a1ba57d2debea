// What run, resume, restart and copy share: reading polyaxonfiles and checking what they ask for.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/spec/spec.h"

namespace px::launcher {

// Reads and merges files. A missing one is "not found" and named.
Outcome<spec::Json> ReadSpecFiles(const std::vector<std::string>& files, spec::Marks& marks);

// Renders, and refuses what could never run: no command, a kind this machine cannot run, more GPUs
// than there are.
Outcome<spec::ExperimentSpec> CheckRunnable(const spec::Json& raw, const spec::Marks& marks);

// What the catalog keeps it as.
catalog::Kind KindOf(const spec::ExperimentSpec& rendered);

// Fills in what a rendered specification says about a run: its rendered text, GPUs, restarts.
void ApplySpec(const spec::ExperimentSpec& rendered, catalog::NewExperiment& request);

// Snapshots the working directory as code of `project`. Refused if the directory belongs to another
// project.
Outcome<std::string> SnapshotWorkingDirectory(Context& context, const catalog::Project& project);

std::string Dump(const spec::Json& json);

}  // namespace px::launcher
