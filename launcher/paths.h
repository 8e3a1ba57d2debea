// Layout: the only place that knows where things lie below the outputs mount and the logs
// directory.
//
//   OUTPUTS/USER/PROJECT/experiments/N     volume; for a resume a link to the directory it shares
//   OUTPUTS/USER/PROJECT/groups/G/N        the same, for an experiment of group G
//   OUTPUTS/USER/PROJECT/jobs/N, builds/N  the same, for a job and a build
//   OUTPUTS/USER/PROJECT/.code/K           read-only volume: code snapshot K
//   OUTPUTS/USER/PROJECT/.run/N            volume: the writable clone of the code that experiment N
//   runs in LOGS/USER/PROJECT/experiments/N        regular file: the console; groups/G/N likewise
//   LOGS/USER/PROJECT/.px/…                of N: the console's time index, metrics file,
//   supervisor's
//                                          log; while it is unfinished, the submitter's environment
#pragma once

#include <string>

#include "catalog/catalog_types.h"
#include "launcher/console_log.h"

namespace px::launcher {

class Layout {
 public:
  Layout(std::string outputs, std::string logs)
      : outputs_(std::move(outputs)), logs_(std::move(logs)) {}

  const std::string& outputs() const { return outputs_; }
  const std::string& logs() const { return logs_; }

  std::string Project(const std::string& user, const std::string& project) const;
  // The experiment's own name in the mount.
  std::string OwnOutputs(const catalog::Experiment& experiment) const;
  // The directory its outputs go to: its own, or its root's.
  std::string Outputs(const catalog::Experiment& experiment) const;
  std::string Code(const catalog::Project& project, const std::string& snapshot) const;
  std::string Code(const catalog::Experiment& experiment) const;
  std::string RunDir(const catalog::Experiment& experiment) const;

  std::string Log(const catalog::Experiment& experiment) const;
  // The console: Log, its index of times, and the parts it was rotated to.
  LogFiles Console(const catalog::Experiment& experiment) const;
  std::string MetricsFile(const catalog::Experiment& experiment) const;
  std::string SupervisorLog(const catalog::Experiment& experiment) const;
  std::string EnvironmentFile(const catalog::Experiment& experiment) const;
  std::string GroupLog(const catalog::Project& project, int64_t group) const;
  std::string EnvironmentFile(const catalog::Project& project, int64_t group) const;
  // Held locked by whoever makes a code snapshot.
  std::string CodeLock(const catalog::Project& project) const;

 private:
  std::string Sidecar(const catalog::Experiment& experiment, const std::string& suffix) const;

  std::string outputs_;
  std::string logs_;
};

// The name of the snapshot of the outputs that is taken before experiment `number` starts to add to
// them.
std::string SnapshotBefore(int64_t number, int64_t attempt);

}  // namespace px::launcher
