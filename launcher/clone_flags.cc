#include "launcher/clone_flags.h"

namespace px::launcher {

void AddCloneFlags(CLI::App& command, CloneOptions& options) {
  AddFiles(command, options.files, "Overrides its polyaxonfile.");
  command.add_flag("-u,--upload", options.upload, "Run the working directory's code.");
}

void AddResumeFlags(CLI::App& command, CloneOptions& options) {
  command.add_flag("--allow-fresh", options.allow_fresh,
                   "In the same outputs, even where there is no whole checkpoint.");
  command.add_flag("--restore-checkpoint", options.restore_checkpoint,
                   "Put back the last whole version of files whose last write never ended.");
}

}  // namespace px::launcher
