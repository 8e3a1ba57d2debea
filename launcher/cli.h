// The command line of px-launch: parsing, and the one place that turns failures into messages and
// exit codes.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "launcher/context.h"

namespace px::launcher {

// Runs one command; the exit code. `arguments` without the program's name. `factory` makes the
// filesystem ready.
int RunCommandLine(const std::vector<std::string>& arguments, const OutputsFsFactory& factory,
                   std::ostream& out, std::ostream& err);

// Arguments as CLI11 can read them: Polyaxon's options of one dash and several letters become long
// ones (`-xp 23`,
// `-xp=23`, `-def`). What follows a `--` is left alone.
std::vector<std::string> RewriteArguments(const std::vector<std::string>& arguments);

}  // namespace px::launcher
