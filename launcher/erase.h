// Deleting an experiment with all it owns.
#pragma once

#include "launcher/context.h"

namespace px::launcher {

// Stops it if it runs, then removes its outputs (of a resume only the link: the directory is its
// root's), its code clone, log and row. An experiment that others resumed is refused, unless
// `with_resumes` deletes those first. Copies and restarts of it stay. Outputs go before the row:
// what is interrupted half-way can be deleted again.
Done EraseExperiment(Context& context, const catalog::Experiment& experiment, bool with_resumes);

// All code snapshots and the directories of a project whose experiments are gone.
Done EraseCode(Context& context, const catalog::Project& project);

}  // namespace px::launcher
