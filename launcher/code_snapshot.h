// Code snapshots: a working directory kept as a read-only volume, sharing what did not change with
// the one before it.
#pragma once

#include <string>

#include "launcher/context.h"

namespace px::launcher {

// Snapshots `directory` as the project's newest code and returns its name. If nothing changed since
// the newest snapshot, that one is returned. Files named by .polyaxonignore (or the default rules)
// are left out, as are .polyaxon/ and the store, mount and logs of px itself. Modes, times and
// symbolic links are kept; sockets, pipes and devices are left out. Any number may run at once.
// What a killed one left unfinished is removed by the next that runs alone.
Outcome<std::string> TakeCodeSnapshot(Context& context, const catalog::Project& project,
                                      const std::string& directory);

}  // namespace px::launcher
