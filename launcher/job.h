// Starts a job's command.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"
#include "launcher/job_group.h"
#include "launcher/process.h"

namespace px::launcher {

struct JobCommand {
  std::string command;    // for /bin/bash -c
  std::string directory;  // to run it in
  Environment environment;
};

struct JobProcess {
  pid_t pid = 0;
  UniqueFd console;  // what it and its children write to standard output and error; non-blocking
};

// Forks the job as leader of its own session, in `group`, standard input empty. What goes wrong
// between fork and exec is written to its console, and it exits with 126 or 127 as a shell would.
// It is killed when the calling thread ends; what it started is not.
Result<JobProcess> StartJob(const JobCommand& command, const JobGroup& group);

}  // namespace px::launcher
