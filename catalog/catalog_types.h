// The catalog's records and words: plain values, no behaviour but names and the rules of statuses.
//
// Times are nanoseconds since 1970, UTC; 0 means "not yet". JSON fields hold JSON text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace px::catalog {

// An id that cannot be mistaken for another kind of id. 0 is no id.
template <typename Tag>
struct Id {
  int64_t value = 0;
  explicit operator bool() const { return value != 0; }
  friend bool operator==(Id, Id) = default;
  friend auto operator<=>(Id, Id) = default;
};
using ProjectId = Id<struct ProjectTag>;
using ExperimentId = Id<struct ExperimentTag>;
using GroupId = Id<struct GroupTag>;
using RunId = Id<struct RunTag>;

enum class State {
  kCreated,
  kResuming,
  kBuilding,
  kScheduled,
  kUnschedulable,
  kStarting,
  kRunning,
  kWarning,
  kUnknown,
  kSucceeded,
  kFailed,
  kStopped,
  kSkipped,
};

std::string_view StateName(State state);
Result<State> ParseState(std::string_view name);
// Succeeded, failed, stopped, skipped: final, and never rewritten.
bool IsDone(State state);
// Whether an experiment may go from `from` to `to`. Nothing leaves a done state.
bool MayBecome(State from, State to);

// What a row of the experiments is. They share their numbers: one number names one of a project.
enum class Kind { kExperiment, kJob, kBuild };
// "experiment", "job", "build".
std::string_view KindName(Kind kind);
Result<Kind> ParseKind(std::string_view name);

enum class Strategy { kNone, kResume, kRestart, kCopy };
// "resume", "restart", "copy"; empty for kNone.
std::string_view StrategyName(Strategy strategy);
Result<Strategy> ParseStrategy(std::string_view name);

// Names one process for good: a pid alone may be another process's tomorrow.
struct ProcessIdentity {
  std::string host;
  std::string boot_id;
  int64_t pid = 0;
  int64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

struct Project {
  ProjectId id;
  std::string user;
  std::string name;
  std::string uuid;
  std::string description;
  std::vector<std::string> tags;
  int64_t created_at = 0;
};

// What a start found in the outputs directory it was given.
struct Inherited {
  int64_t files = 0;
  int64_t bytes = 0;
  std::string snapshot;  // name below .snapshots of the outputs; empty if none was taken
  // The newest whole checkpoint, below the outputs; empty if none was found.
  std::string checkpoint;
  std::string checkpoint_kind;
  int64_t checkpoint_at = 0;          // when it was written
  std::vector<std::string> restored;  // files put back to their last whole version
};

// Shares of GPUs are counted in thousandths.
inline constexpr int64_t kWholeGpu = 1000;

struct Experiment {
  ExperimentId id;
  ProjectId project;
  Kind kind = Kind::kExperiment;
  int64_t number = 0;
  std::string uuid;
  std::string user;          // who asked for it
  std::string project_user;  // whose project it is
  std::string project_name;
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  GroupId group;
  int64_t group_number = 0;
  Strategy strategy = Strategy::kNone;
  // What it was cloned from: for a resume the root of the chain. The number stays known after the
  // original's deletion.
  ExperimentId original;
  int64_t original_number = 0;
  // The experiment whose outputs directory it uses: itself, or for a resume the root.
  ExperimentId root;
  int64_t root_number = 0;
  int64_t root_group_number = 0;
  std::string raw_spec;       // JSON, before rendering
  std::string overrides;      // JSON array of the override documents merged so far
  std::string rendered_spec;  // JSON
  std::string code_snapshot;  // name of the code volume; empty if none
  Inherited inherited;
  std::string resume_from;          // of a resume: the snapshot that the outputs went back to first
  bool restore_checkpoint = false;  // of a resume: half-written files were to be put back first
  std::string plan;                 // of a group's member: its place in the search; JSON, or empty
  bool bookmarked = false;
  int64_t gpus = 0;
  int64_t gpu_share = kWholeGpu;  // of each of them
  int64_t ttl_s = 0;
  int64_t max_restarts = 0;
  State state = State::kCreated;
  std::string last_message;
  int64_t created_at = 0;
  int64_t updated_at = 0;
  int64_t started_at = 0;
  int64_t finished_at = 0;
  int64_t stop_requested_at = 0;
  // The process that answers for it: the launcher that made it, then its supervisor. pid 0: nobody
  // yet.
  ProcessIdentity owner;

  bool is_clone() const { return strategy != Strategy::kNone; }
  bool is_resume() const { return strategy == Strategy::kResume; }
  // USER.PROJECT[.GROUP].NUMBER; of a job USER.PROJECT.jobs.NUMBER, of a build ...builds.NUMBER
  std::string UniqueName() const;
};

struct NewExperiment {
  ProjectId project;
  Kind kind = Kind::kExperiment;
  std::string user;
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  GroupId group;
  Strategy strategy = Strategy::kNone;
  ExperimentId original;  // the requested experiment; the catalog finds the root
  std::string raw_spec;
  std::string overrides = "[]";
  std::string rendered_spec;
  std::string code_snapshot;
  std::string resume_from;
  bool restore_checkpoint = false;
  std::string plan;
  int64_t gpus = 0;
  int64_t gpu_share = kWholeGpu;
  int64_t ttl_s = 0;
  int64_t max_restarts = 0;
  ProcessIdentity owner;
};

struct StatusEntry {
  int64_t id = 0;
  State state = State::kCreated;
  std::string message;
  int64_t created_at = 0;
};

// One attempt to run an experiment's command.
struct Run {
  RunId id;
  ExperimentId experiment;
  int64_t attempt = 0;
  std::string uuid;
  std::string containment;  // how the job's processes are held together, for people
  std::string cgroup;       // directory; empty if there is none
  ProcessIdentity job;      // the job's first process
  std::string gpus;         // JSON array of UUIDs
  int64_t started_at = 0;
  int64_t finished_at = 0;
  int64_t heartbeat_at = 0;
  std::optional<int64_t> exit_code;
  std::optional<int64_t> signal;
  std::string reason;

  // What its cgroup is called, and what PX_JOB holds in its processes' environment.
  std::string GroupName() const { return "px-" + uuid; }
};

struct RunEnd {
  std::optional<int64_t> exit_code;
  std::optional<int64_t> signal;
  std::string reason;
};

struct MetricPoint {
  int64_t at = 0;
  std::string name;
  double value = 0;
};

// A GPU, or a share of one, that an experiment holds.
struct GpuLease {
  std::string gpu;  // UUID
  ExperimentId experiment;
  int64_t share = kWholeGpu;
  int64_t since = 0;
};

// One line of the history of leases.
struct GpuEvent {
  std::string gpu;
  ExperimentId experiment;
  int64_t share = kWholeGpu;
  bool given = false;  // else it was given back
  int64_t at = 0;      // to the millisecond
};

struct Group {
  GroupId id;
  ProjectId project;
  int64_t number = 0;
  std::string uuid;
  std::string user;
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  std::string raw_spec;
  std::string algorithm;
  int64_t concurrency = 1;
  std::string code_snapshot;
  State state = State::kCreated;
  int64_t created_at = 0;
  int64_t started_at = 0;
  int64_t finished_at = 0;
  int64_t stop_requested_at = 0;
  Strategy strategy = Strategy::kNone;  // how it was made from the group `original_number`
  int64_t original_number = 0;
  int64_t seed = 0;  // of what is random in it
  bool bookmarked = false;
  ProcessIdentity owner;  // the process that schedules its experiments
};

struct NewGroup {
  ProjectId project;
  std::string user;
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  std::string raw_spec;
  std::string algorithm;
  int64_t concurrency = 1;
  std::string code_snapshot;
  Strategy strategy = Strategy::kNone;
  int64_t original_number = 0;
  int64_t seed = 0;
  ProcessIdentity owner;
};

}  // namespace px::catalog
