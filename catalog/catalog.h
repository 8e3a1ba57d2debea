// Catalog: what px knows about users, projects, experiments, groups and their runs; one SQLite file
// in the store.
//
// Any number of processes open it at once (WAL). A Catalog belongs to one thread, and must not be
// used in a forked child. Every call is one transaction: it happened whole or not at all. What a
// call returned survives a power cut, except heartbeats and metrics, which survive the death of any
// process but are synced only with the next other change.
//
// Errors: ENOENT (no such row), EEXIST, EBUSY (another process held the lock for too long, or,
// where said, the experiment is in use), EINVAL (a change that the rules of statuses forbid),
// EUCLEAN (damaged), ENOSPC, EROFS, EIO.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog_types.h"
#include "catalog/sqlite.h"

namespace px::catalog {

// Which experiments of a project to list. Newest first.
struct ExperimentFilter {
  ProjectId project;
  bool independent_only = false;
  GroupId group;      // only its members
  int64_t limit = 0;  // 0: all
  int64_t offset = 0;
  bool bookmarked_only = false;
  std::optional<Kind> kind;  // without it, of every kind
};

class Catalog {
 public:
  // Opens the catalog at `path`, creating it or bringing its schema up to date. EPROTO if a newer
  // px made it. `clock` must outlive the catalog.
  static Result<Catalog> Open(const std::string& path, Clock& clock);

  // ---- Projects ----
  // EEXIST if the user has one of that name. Makes the user on first use.
  Result<Project> CreateProject(const std::string& user, const std::string& name,
                                const std::string& description);
  Result<Project> FindProject(const std::string& user, const std::string& name) const;
  Result<Project> GetProject(ProjectId id) const;
  // Of one user, or of all if `user` is empty; by name.
  Result<std::vector<Project>> ListProjects(const std::string& user) const;
  Status UpdateProject(const Project& project);
  // EBUSY while it has unfinished experiments. Deletes all rows of it.
  Status DeleteProject(ProjectId id);

  // The newest code snapshot's name; empty if there is none.
  Result<std::string> LatestCode(ProjectId id) const;
  // A name that no other snapshot of the project has or had.
  Result<std::string> ReserveCode(ProjectId id);
  // Makes `name` the newest.
  Status PublishCode(ProjectId id, const std::string& name);

  // ---- Experiments ----
  // Gives the next number and makes the row, its status `created` and its owner. For a resume:
  // EBUSY if an experiment with the same outputs is unfinished, decided in the same transaction.
  Result<Experiment> CreateExperiment(const NewExperiment& request);
  Result<Experiment> FindExperiment(ProjectId project, int64_t number) const;
  Result<Experiment> GetExperiment(ExperimentId id) const;
  Result<std::vector<Experiment>> ListExperiments(const ExperimentFilter& filter) const;
  Result<int64_t> CountExperiments(const ExperimentFilter& filter) const;
  // Every unfinished experiment, oldest first.
  Result<std::vector<Experiment>> Unfinished() const;
  // Unfinished experiments that use the outputs of `root`.
  Result<std::vector<Experiment>> UnfinishedWithRoot(ExperimentId root) const;
  // Resumes of `root`, by number.
  Result<std::vector<Experiment>> ResumesOf(ExperimentId root) const;
  // Everything cloned from `original` directly, by number.
  Result<std::vector<Experiment>> ClonesOf(ExperimentId original) const;
  // Name, description and tags.
  Status UpdateExperiment(const Experiment& experiment);
  Status SetInherited(ExperimentId id, const Inherited& inherited);
  Status SetBookmark(ExperimentId id, bool bookmarked);
  // Checkpoints of the outputs of `root` that are never to be thrown away, by path below them.
  Status Pin(ExperimentId root, const std::string& path, bool pinned);
  Result<std::vector<std::string>> Pinned(ExperimentId root) const;
  Status SetCode(ExperimentId id, const std::string& code_snapshot);
  // EBUSY if unfinished, or if resumes of it exist (their outputs are its directory).
  Status DeleteExperiment(ExperimentId id);

  // `now` takes over from `before`. EBUSY if another process did, or the experiment is done.
  Status TakeOver(ExperimentId id, const ProcessIdentity& before, const ProcessIdentity& now);

  // ---- Statuses ----
  // EINVAL if the transition is not allowed; a done state is never left. `running` sets started_at,
  // done states finished_at.
  Status SetState(ExperimentId id, State state, const std::string& message);
  // The same, unless somebody other than `owner` answers for it by now: EBUSY.
  Status SetStateAs(const ProcessIdentity& owner, ExperimentId id, State state,
                    const std::string& message);
  Result<std::vector<StatusEntry>> Statuses(ExperimentId id) const;
  Status RequestStop(ExperimentId id);
  // What its status is about; the status stays.
  Status SetMessage(ExperimentId id, const std::string& message);

  // ---- Runs ----
  // The next attempt.
  Result<Run> StartRun(ExperimentId id);
  Status SetContainment(RunId id, const std::string& containment, const std::string& cgroup);
  Status SetJob(RunId id, const ProcessIdentity& job);
  Status FinishRun(RunId id, const RunEnd& end);
  // The end of the last run and with it of the experiment, in one transaction: nobody can see (or,
  // after a kill, find) one without the other. EINVAL as SetState.
  Status FinishExperiment(ExperimentId id, RunId run, const RunEnd& end, State state,
                          const std::string& message);
  Result<std::vector<Run>> Runs(ExperimentId id) const;
  // True if a stop was requested. Not synced.
  Result<bool> Heartbeat(ExperimentId id, RunId run);

  // ---- Metrics ----
  // Adds points read from a metrics file up to `offset`, together with that offset, so that none is
  // counted twice.
  Status AddMetrics(ExperimentId id, const std::vector<MetricPoint>& points, int64_t offset);
  Result<int64_t> MetricsOffset(ExperimentId id) const;
  Result<std::vector<MetricPoint>> Metrics(ExperimentId id) const;
  // The newest value of each name, by name.
  Result<std::vector<MetricPoint>> LastMetrics(ExperimentId id) const;

  // ---- GPUs ----
  // Whether no experiment that wants GPUs has waited longer.
  Result<bool> IsNextForGpus(ExperimentId id) const;
  // Leases to the experiment as many of `gpus` as it wants, or its share of one, if no experiment
  // that waits longer wants any and enough are free; the UUIDs. Those it holds already, if it does.
  // Empty if it must wait. `busy` ones are not given now. EINVAL if it wants more than there are,
  // or is done. The schema itself refuses to give a GPU twice.
  Result<std::vector<std::string>> LeaseGpus(ExperimentId id, const std::vector<std::string>& gpus,
                                             const std::set<std::string>& busy = {});
  // Who holds what, by GPU.
  Result<std::vector<GpuLease>> GpuLeases() const;
  // Everything that was ever given and given back, oldest first; with a limit only the newest.
  Result<std::vector<GpuEvent>> GpuHistory(int64_t limit = 0) const;

  // ---- Groups ----
  // The group and its experiments (their `group` and `project` fields are filled in), in one
  // transaction.
  Result<Group> CreateGroup(const NewGroup& request, const std::vector<NewExperiment>& members);
  // More experiments for a group that `owner` schedules. EBUSY if another process does by now, or,
  // for a resume, if what it resumes is in use; EINVAL if the group has ended.
  Result<std::vector<ExperimentId>> AddMembers(const ProcessIdentity& owner, GroupId id,
                                               const std::vector<NewExperiment>& members);
  Status SetBookmark(GroupId id, bool bookmarked);
  Result<Group> FindGroup(ProjectId project, int64_t number) const;
  Result<Group> GetGroup(GroupId id) const;
  Result<std::vector<Group>> ListGroups(ProjectId project) const;
  Result<std::vector<Group>> UnfinishedGroups() const;
  Status UpdateGroup(const Group& group);
  Status DeleteGroup(GroupId id);
  Status SetGroupState(GroupId id, State state, const std::string& message);
  Result<std::vector<StatusEntry>> GroupStatuses(GroupId id) const;
  Status TakeOverGroup(GroupId id, const ProcessIdentity& before, const ProcessIdentity& now);
  Status RequestGroupStop(GroupId id);

 private:
  Catalog(Database database, Clock& clock) : database_(std::move(database)), clock_(&clock) {}

  int64_t Now() const;
  Status Migrate();
  Result<int64_t> NextNumber(ProjectId project, std::string_view counter);
  Result<ExperimentId> InsertExperiment(const NewExperiment& request);
  Status AddStatus(ExperimentId id, State state, const std::string& message, int64_t now);
  Status ChangeState(ExperimentId id, State state, const std::string& message);
  Result<std::vector<StatusEntry>> ReadStatuses(std::string_view sql, int64_t id) const;
  Result<std::vector<Experiment>> SelectExperiments(
      const std::string& tail, const std::function<void(Statement&)>& bind) const;
  Result<std::vector<Group>> SelectGroups(const std::string& tail,
                                          const std::function<void(Statement&)>& bind) const;

  Database database_;
  Clock* clock_;
};

}  // namespace px::catalog
