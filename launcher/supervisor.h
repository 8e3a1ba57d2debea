// The supervisor: one process per unfinished experiment, which starts its job and answers for it
// until the end.
//
// It leads its own session, is the subreaper of the job, and is the only writer of the job's log,
// metrics and statuses from the moment it took the experiment over. If it dies, its identity in the
// catalog tells (reconcile.h). SIGTERM or SIGINT, or a stop request in the catalog, stops the job:
// SIGTERM to all of it, a grace, SIGKILL.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"

namespace px::launcher {

// The command line with which StartDetached makes a supervisor that takes the experiment over from
// this process.
std::vector<std::string> SuperviseArguments(catalog::ExperimentId id);

// The supervisor's whole life; the exit code. `starter_pid` and `starter_ticks` name the process to
// take over from.
int Supervise(Context& context, catalog::ExperimentId id, int64_t starter_pid,
              int64_t starter_ticks);

}  // namespace px::launcher
