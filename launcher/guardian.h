// Guardian: the parent of a supervisor or scheduler, which outlives it if it is killed and then
// puts right what it left.
//
// It does next to nothing and holds nothing open, so there is little that could end it. What it
// would miss (it was killed together with its child) another guardian of the same store finds: each
// of them now and then looks for dead owners, one of them at a time (upkeep.h).
#pragma once

#include <functional>

#include "launcher/config.h"

namespace px::launcher {

// Forks. In the child: `life`, whose exit code this returns. In the parent: waits for the child; if
// it did not end with 0, calls `put_right`; if `owns_descendants`, every process that the child
// left behind is killed first. `put_right` is also called while the child lives, when it is due by
// upkeep.h. The process must not have opened the catalog before. Call with one thread only.
int Guard(const Config& config, bool owns_descendants, const std::function<int()>& life,
          const std::function<Done()>& put_right);

}  // namespace px::launcher
