// Another name for a project, with all that lies under its name.
#pragma once

#include <string>

#include "launcher/context.h"

namespace px::launcher {

// Moves the project's directories in the outputs and in the logs to the new name, then changes the
// catalog, and makes the working directory go on with the name if it is the project's. What is
// interrupted is finished by the same call, with the old name. Refused while anything
// of the project runs, or if the name is another project's.
Done RenameProject(Context& context, const catalog::Project& project, const std::string& name);

}  // namespace px::launcher
