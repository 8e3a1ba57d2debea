// The options that resume, restart and copy share, of experiments, jobs and groups.
#pragma once

#include "launcher/clone.h"
#include "launcher/session.h"

namespace px::launcher {

// -f and -u.
void AddCloneFlags(CLI::App& command, CloneOptions& options);
// --allow-fresh and --restore-checkpoint.
void AddResumeFlags(CLI::App& command, CloneOptions& options);

}  // namespace px::launcher
