// JobGroup: all processes of one attempt, however often they forked, so that they can be told to
// end and made to.
//
// A cgroup (version 2) where one can be had, ended with cgroup.kill; else the job's session and
// everything below this process, which must then be the job's subreaper. Limits are set where the
// machine has the controllers: on the cgroup itself, or on one of the old memory and cpu
// hierarchies. Description() says which it became. One thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace px::launcher {

struct JobLimits {
  std::optional<double> memory_mib;
  std::optional<double> cpus;
};

class JobGroup {
 public:
  // The job must be started with PX_JOB=`name` in its environment. `name` must be unique on the
  // machine. Never fails: what cannot be had is left out, and said.
  static JobGroup Create(const std::string& name, const JobLimits& limits);
  // What an earlier process made, with `cgroup` as of its Cgroup(). For cleaning up after it. Where
  // there is no cgroup its processes are those that have PX_JOB=`name` in their environment.
  static JobGroup Adopt(const std::string& name, const std::string& cgroup);

  JobGroup(JobGroup&&) = default;
  JobGroup& operator=(JobGroup&&) = default;

  // Puts a process in; 0 is the calling one. The forked child calls it before exec, and its parent
  // for it: whoever comes first, after that both are sure of it.
  Status Enter(pid_t pid) const;

  std::vector<pid_t> Processes() const;
  void Signal(int signal) const;
  // SIGKILL to all, again and again until none is left or 20 seconds passed.
  void KillAll() const;
  // How many processes of it the kernel killed for want of memory, as far as that can be seen.
  int64_t OomKills() const;
  // Removes the empty cgroups.
  void Remove() const;

  // The cgroup's directory; empty if it has none.
  const std::string& Cgroup() const { return cgroup_; }
  const std::string& Description() const { return description_; }

 private:
  JobGroup() = default;
  struct Limit {
    std::string file;  // version 2
    std::string value;
    std::string old_file;  // version 1
    std::string old_value;
  };
  void ApplyLimits(const JobLimits& limits);
  void LimitOneResource(const std::string& controller, const Limit& limit);

  std::string name_;
  bool adopted_ = false;
  std::string cgroup_;                 // version 2
  std::vector<std::string> old_ones_;  // version 1 directories that hold limits
  std::string description_;
};

// A directory in a version 2 hierarchy in which this process may make cgroups and move itself;
// empty if there is none.
std::string WritableCgroupParent();

}  // namespace px::launcher
