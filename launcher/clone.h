// resume, restart and copy: a new experiment made from one that there is.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/spec/spec.h"

namespace px::launcher {

struct CloneOptions {
  catalog::Strategy strategy = catalog::Strategy::kRestart;
  std::vector<std::string> files;  // overrides, merged into the source's raw specification
  bool upload = false;             // run the working directory's code, not the source's
  // Of a resume only:
  bool allow_fresh = false;         // although there is no whole checkpoint
  std::string from;                 // the snapshot to go back to first; empty: as it is now
  bool restore_checkpoint = false;  // put back files whose last write never ended
};

// The new experiment, its supervisor running. A resume is refused while the source's outputs are in
// use, or hold nothing to resume from, or a checkpoint of which px-fs kept a better version.
// Nothing is left behind if it is refused.
Outcome<catalog::Experiment> Clone(Context& context, const catalog::Experiment& source,
                                   const CloneOptions& options);

// The request that Clone launches, checked in the same way, for whoever starts it later: without an
// owner and with the source's code. `override` is merged into the source's specification.
Outcome<catalog::NewExperiment> MakeClone(Context& context, const catalog::Experiment& source,
                                          const CloneOptions& options, const spec::Json& override);

// Refused if an unfinished experiment uses the outputs of `source`. `verb` for the message.
Done CheckNotInUse(catalog::Catalog& catalog, const catalog::Experiment& source,
                   const std::string& verb = "resume");

}  // namespace px::launcher
