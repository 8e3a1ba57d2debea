// Finds experiments whose supervisor (or launcher, before there was one) is dead, ends what is left
// of them and records it.
#pragma once

#include "launcher/context.h"

namespace px::launcher {

// Run at the start of every command that reads or changes experiments, and by guardians. Any number
// of processes may do it at once: each dead experiment is taken over by one of them, and, if its
// max_restarts allows another attempt, started again. An experiment on another machine is given up
// when its heartbeat is minutes old.
Done Reconcile(Context& context);

}  // namespace px::launcher
