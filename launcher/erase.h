// Deleting an experiment with all it owns.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"

namespace px::launcher {

// Refused if something that is not among them resumed one of them: before anything is stopped.
Done CheckErasable(Context& context, const std::vector<catalog::Experiment>& experiments);

struct Erased {
  std::vector<std::string> trashed;  // the outputs that are in the trash now, by where they were
};

// Stops it if it runs, then puts its outputs (of a resume only the link goes: the directory is its
// root's) and its code clone into the trash, and removes its log and row. An experiment that others
// resumed is refused, unless `with_resumes` deletes those first. Copies and restarts of it stay.
// Outputs go before the row: what is interrupted half-way can be deleted again.
Outcome<Erased> EraseExperiment(Context& context, const catalog::Experiment& experiment,
                                bool with_resumes);

// Puts all code snapshots into the trash and removes the directories of a project whose experiments
// are gone.
Done EraseCode(Context& context, const catalog::Project& project);

// Tells how to get the outputs back.
void SayWhereItWent(Context& context, OutputsFs& outputs, const Erased& erased);

}  // namespace px::launcher
