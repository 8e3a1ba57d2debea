// Telling an experiment to end.
#pragma once

#include "launcher/context.h"

namespace px::launcher {

// Records the request and wakes the supervisor. An experiment without one (it waits in its group)
// becomes stopped at once.
Done RequestStop(Context& context, const catalog::Experiment& experiment);

// Returns when it has ended, however; busy if that takes much longer than the grace.
Done WaitUntilDone(Context& context, catalog::ExperimentId id);
Done WaitUntilGroupDone(Context& context, catalog::GroupId id);

}  // namespace px::launcher
