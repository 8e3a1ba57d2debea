// From a rendered and checked specification to the structures of spec.h. Internal to launcher/spec.
#pragma once

#include <string>

#include "launcher/spec/spec.h"

namespace px::spec {

// `params` is the name of the section of declarations. EINVAL if what only shows now is wrong.
Result<ExperimentSpec> ExtractExperiment(Json rendered, Kind kind, const std::string& params);

// A command as it is given to bash: "\" alone between blanks is dropped (it stood at the end of a
// line that YAML joined), white space at the ends too. Everything else stays as written.
std::string CleanCommand(std::string_view command);

}  // namespace px::spec
