// Upkeep: periodic work on a store that any one of many processes may do, at most one at a time.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "launcher/failure.h"

namespace px::launcher {

// Does `work` if nobody did for `interval`; `stamp` is a file whose modification time says when
// that was. Returns at once if it is not due or another process is at it. A stamp from the future
// counts as due: clocks are set back.
Done DoIfDue(const std::string& stamp, std::chrono::milliseconds interval,
             const std::function<Done()>& work);

}  // namespace px::launcher
