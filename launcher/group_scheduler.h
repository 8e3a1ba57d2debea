// The scheduler of a group: one process that starts the group's experiments, so many at a time,
// asks its search for more (search.h), and ends when all have ended and no more are wanted.
//
// All it knows is in the catalog, so it may be killed and started again at any moment (reconcile.h
// does so).
#pragma once

#include "launcher/context.h"
#include "launcher/spec/group.h"

namespace px::launcher {

// Starts the scheduler of a group owned by this process; returns once it has taken over.
Done StartScheduler(Context& context, const catalog::Group& group);

// The scheduler's whole life; the exit code.
int ScheduleGroup(Context& context, catalog::GroupId id, int64_t starter_pid,
                  int64_t starter_ticks);

}  // namespace px::launcher
