// Starts the experiments filesystem when it is not up.
#pragma once

#include "launcher/config.h"

namespace px::launcher {

// Returns at once if a px filesystem answers at config.outputs. Else runs `px-fs mount` (found next
// to this program, then on the PATH), under a lock, so that any number of commands may come at the
// same time and one of them mounts.
Done EnsureMounted(const Config& config);

}  // namespace px::launcher
