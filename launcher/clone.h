// resume, restart and copy: a new experiment made from one that there is.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"

namespace px::launcher {

struct CloneOptions {
  catalog::Strategy strategy = catalog::Strategy::kRestart;
  std::vector<std::string> files;  // overrides, merged into the source's raw specification
  bool upload = false;             // run the working directory's code, not the source's
  bool allow_fresh = false;        // resume although nothing was saved
};

// The new experiment, its supervisor running. A resume is refused while the source's outputs are in
// use, or hold nothing to resume from. Nothing is left behind if it is refused.
Outcome<catalog::Experiment> Clone(Context& context, const catalog::Experiment& source,
                                   const CloneOptions& options);

}  // namespace px::launcher
