// From a decided request to a running supervisor.
//
// A kill at any point leaves either no row, or a row whose owner is dead, which the next command's
// reconciliation marks failed: first the row is made, owned by this process; then its volumes; then
// the supervisor takes it over.
#pragma once

#include "launcher/context.h"

namespace px::launcher {

// Makes the row, its volumes, and starts its supervisor. If a step fails the experiment is marked
// failed with the reason, what was made for it is removed, and the Failure says why.
Outcome<catalog::Experiment> Launch(Context& context, const catalog::NewExperiment& request);

// For an experiment that has its row and is owned by this process: makes its outputs (new, cloned,
// or for a resume a snapshot of the root's and a link to them), the clone of its code to run in,
// and records what it inherits.
Done PrepareVolumes(Context& context, const catalog::Experiment& experiment);

// Starts the supervisor of an experiment owned by this process and returns once it has taken over.
Done StartSupervisor(Context& context, const catalog::Experiment& experiment);

// Removes what PrepareVolumes made, or made a part of. Best effort: what stays behind is harmless,
// and `delete` removes it.
void RemoveVolumes(Context& context, const catalog::Experiment& experiment);

// Prepares and starts an experiment that has its row; marks it failed if that cannot be done.
Done PrepareAndStart(Context& context, const catalog::Experiment& experiment);

}  // namespace px::launcher
