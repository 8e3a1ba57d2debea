// Processes: who they are beyond their pid, whether they still live, and how to start one that
// outlives us.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "catalog/catalog_types.h"

namespace px::launcher {

using catalog::ProcessIdentity;

enum class Liveness { kAlive, kDead, kElsewhere };

std::string HostName();
// Of this process.
ProcessIdentity Self();
// ENOENT if there is no such process.
Result<ProcessIdentity> Identify(pid_t pid);
// A zombie is dead. kElsewhere: it ran on another machine, nothing can be said.
Liveness LivenessOf(const ProcessIdentity& process);
// ESRCH if it is dead or elsewhere. Never reaches another process that got the same pid.
Status SignalProcess(const ProcessIdentity& process, int signal);
// All processes below `root`, children of children included, as far as /proc shows them.
std::vector<pid_t> Descendants(pid_t root);
// All processes whose environment holds `NAME=VALUE` (only those of the same user can be seen).
std::vector<pid_t> ProcessesWithEnvironment(const std::string& entry);

struct Finished {
  int exit_code = 0;   // -1 if a signal ended it
  std::string output;  // standard output and error together
};
// Runs a program to its end.
Result<Finished> RunProgram(const std::vector<std::string>& arguments);

using Environment = std::vector<std::pair<std::string, std::string>>;

// Starts this very program again with `arguments` in a new session, its output appended to `log`,
// its parent init (or the nearest subreaper). The child finds the writing end of a pipe in
// $PX_READY_FD: it writes "ok\n" once it has taken charge, or what went wrong. Returns when it did
// either; EIO with its words if it failed.
Status StartDetached(const std::vector<std::string>& arguments, const Environment& extra,
                     const std::string& log);
// In such a child: reports "ok" or `problem`, once. Without $PX_READY_FD nothing happens.
void ReportReady(const std::string& problem = {});
// Closes it without a report: a forked child will make it.
void LeaveReady();

}  // namespace px::launcher
