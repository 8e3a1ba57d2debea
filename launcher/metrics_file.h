// The file a job reports metrics in: JSON lines {"at": SECONDS or ISO time or nothing, "metrics":
// {"loss": 0.1, …}}.
#pragma once

#include <string>

#include "launcher/context.h"

namespace px::launcher {

// Adds the complete lines that were written since the last call to the catalog. Lines that are not
// understood, and values that are no numbers, are passed over.
Status IngestMetrics(catalog::Catalog& catalog, Clock& clock, catalog::ExperimentId id,
                     const std::string& path);

}  // namespace px::launcher
