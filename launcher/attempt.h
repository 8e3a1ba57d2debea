// One attempt to run a job: start it, pump its console, watch it, end it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "launcher/console_log.h"
#include "launcher/job.h"
#include "launcher/job_group.h"

namespace px::launcher {

enum class Verdict { kSucceeded, kFailed, kStopped };

struct AttemptEnd {
  Verdict verdict = Verdict::kFailed;
  catalog::RunEnd run;
};

struct AttemptOptions {
  int grace_ms = 0;
  int tick_ms = 0;     // how often `on_tick` is called
  int64_t ttl_s = 0;   // 0: no limit
  int signal_fd = -1;  // a signalfd with SIGCHLD, SIGTERM and SIGINT
  // Returns true if the job is to be stopped.
  std::function<bool()> on_tick;
  // The job's first process runs.
  std::function<void(pid_t)> on_started;
};

// Blocks until no process of the job is left (as far as JobGroup can reach them) and all it wrote
// is in `log`.
Result<AttemptEnd> RunAttempt(const JobCommand& command, const JobGroup& group,
                              ConsoleLogWriter& log, const AttemptOptions& options);

// SIGNAL's name: "SIGKILL".
std::string SignalName(int signal);

}  // namespace px::launcher
