// Asking for the GPUs that an experiment waits for.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"

namespace px::launcher {

// What it holds now, of `present`; empty if it has to wait on. Whoever is next in the queue looks
// which of them programs of others use, and its status says so if it waits for those.
Outcome<std::vector<std::string>> TryToLease(Context& context, catalog::Catalog& catalog,
                                             catalog::ExperimentId id,
                                             const std::vector<std::string>& present);

}  // namespace px::launcher
