#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"

namespace px::catalog {
namespace {

// Commits without syncing the log, for what may be lost in a power cut; back to FULL at the end of
// the scope.
class Unsynced {
 public:
  explicit Unsynced(const Database& database) : database_(database) {
    active_ = database_.Execute("PRAGMA synchronous = NORMAL").has_value();
  }
  ~Unsynced() {
    // If it fails, later commits of this connection are still atomic and ordered.
    if (active_) static_cast<void>(database_.Execute("PRAGMA synchronous = FULL"));
  }
  Unsynced(const Unsynced&) = delete;
  Unsynced& operator=(const Unsynced&) = delete;

 private:
  const Database& database_;
  bool active_ = false;
};

}  // namespace

// Must be called inside a transaction.
Status Catalog::AddStatus(ExperimentId id, State state, const std::string& message, int64_t now) {
  PX_ASSIGN(Statement insert,
            database_.Prepare("INSERT INTO statuses (experiment_id, state, message, "
                              "created_at) VALUES (?, ?, ?, ?)"));
  insert.Bind(1, id.value).BindText(2, StateName(state)).BindText(3, message).Bind(4, now);
  return insert.Run();
}

// Must be called inside a transaction.
Status Catalog::ChangeState(ExperimentId id, State state, const std::string& message) {
  PX_ASSIGN(const Experiment experiment, GetExperiment(id));
  if (!MayBecome(experiment.state, state)) {
    return Fail(EINVAL, "experiment " + std::to_string(experiment.number) + " is " +
                            std::string(StateName(experiment.state)) + " and cannot become " +
                            std::string(StateName(state)));
  }
  const int64_t now = Now();
  PX_ASSIGN(
      Statement update,
      database_.Prepare("UPDATE experiments SET state = ?1, last_message = ?2, updated_at = ?3, "
                        "started_at = CASE WHEN ?4 AND started_at = 0 THEN ?3 ELSE started_at "
                        "END, finished_at = CASE WHEN ?5 THEN ?3 ELSE finished_at END "
                        "WHERE id = ?6"));
  update.BindText(1, StateName(state)).BindText(2, message).Bind(3, now);
  update.Bind(4, state == State::kRunning ? 1 : 0).Bind(5, IsDone(state) ? 1 : 0);
  PX_TRY(update.Bind(6, id.value).Run());
  if (IsDone(state)) {
    PX_ASSIGN(Statement free, database_.Prepare("DELETE FROM gpu_leases WHERE experiment_id = ?"));
    PX_TRY(free.Bind(1, id.value).Run());
  }
  return AddStatus(id, state, message, now);
}

Status Catalog::SetState(ExperimentId id, State state, const std::string& message) {
  return database_.Transaction([&] { return ChangeState(id, state, message); });
}

Status Catalog::SetStateAs(const ProcessIdentity& owner, ExperimentId id, State state,
                           const std::string& message) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Experiment experiment, GetExperiment(id));
    if (experiment.owner != owner) return Fail(EBUSY, "another process took it");
    return ChangeState(id, state, message);
  });
}

Status Catalog::FinishExperiment(ExperimentId id, RunId run, const RunEnd& end, State state,
                                 const std::string& message) {
  return database_.Transaction([&]() -> Status {
    PX_TRY(FinishRun(run, end));
    return ChangeState(id, state, message);
  });
}

Result<std::vector<StatusEntry>> Catalog::ReadStatuses(std::string_view sql, int64_t id) const {
  PX_ASSIGN(Statement select, database_.Prepare(sql));
  select.Bind(1, id);
  std::vector<StatusEntry> entries;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return entries;
    StatusEntry entry;
    entry.id = select.Int(0);
    PX_ASSIGN(entry.state, ParseState(select.Text(1)));
    entry.message = select.Text(2);
    entry.created_at = select.Int(3);
    entries.push_back(std::move(entry));
  }
}

Result<std::vector<StatusEntry>> Catalog::Statuses(ExperimentId id) const {
  return ReadStatuses(
      "SELECT id, state, message, created_at FROM statuses WHERE experiment_id = ? "
      "ORDER BY id",
      id.value);
}

Status Catalog::RequestStop(ExperimentId id) {
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE experiments SET stop_requested_at = ? "
                                                "WHERE id = ? AND stop_requested_at = 0"));
  return update.Bind(1, Now()).Bind(2, id.value).Run();
}

Status Catalog::SetMessage(ExperimentId id, const std::string& message) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE experiments SET last_message = ? WHERE id = ?"));
  return update.BindText(1, message).Bind(2, id.value).Run();
}

Result<Run> Catalog::StartRun(ExperimentId id) {
  Run run;
  PX_ASSIGN(run.uuid, NewUuid());
  run.experiment = id;
  run.started_at = Now();
  const auto body = [&]() -> Status {
    PX_ASSIGN(Statement last, database_.Prepare("SELECT coalesce(max(attempt), 0) FROM runs "
                                                "WHERE experiment_id = ?"));
    PX_TRY(last.Bind(1, id.value).Step());
    run.attempt = last.Int(0) + 1;
    last.Reset();
    PX_ASSIGN(Statement insert,
              database_.Prepare("INSERT INTO runs (experiment_id, attempt, uuid, started_at, "
                                "heartbeat_at) VALUES (?1, ?2, ?3, ?4, ?4)"));
    insert.Bind(1, id.value).Bind(2, run.attempt).BindText(3, run.uuid).Bind(4, run.started_at);
    PX_TRY(insert.Run());
    run.id = RunId{database_.LastInsertRowId()};
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return run;
}

Status Catalog::SetContainment(RunId id, const std::string& containment,
                               const std::string& cgroup) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE runs SET containment = ?, cgroup = ? WHERE id = ?"));
  return update.BindText(1, containment).BindText(2, cgroup).Bind(3, id.value).Run();
}

Status Catalog::SetJob(RunId id, const ProcessIdentity& job) {
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE runs SET job_host = ?, job_boot = ?, "
                                                "job_pid = ?, job_start = ? WHERE id = ?"));
  update.BindText(1, job.host).BindText(2, job.boot_id).Bind(3, job.pid).Bind(4, job.start_ticks);
  return update.Bind(5, id.value).Run();
}

Status Catalog::FinishRun(RunId id, const RunEnd& end) {
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE runs SET finished_at = ?, exit_code = ?, "
                                                "signal = ?, reason = ? WHERE id = ? AND "
                                                "finished_at = 0"));
  update.Bind(1, Now()).BindNull(2).BindNull(3).BindText(4, end.reason).Bind(5, id.value);
  if (end.exit_code) update.Bind(2, *end.exit_code);
  if (end.signal) update.Bind(3, *end.signal);
  return update.Run();
}

Result<std::vector<Run>> Catalog::Runs(ExperimentId id) const {
  PX_ASSIGN(Statement select,
            database_.Prepare("SELECT id, attempt, uuid, containment, cgroup, job_host, job_boot, "
                              "job_pid, job_start, gpus, started_at, finished_at, heartbeat_at, "
                              "exit_code, signal, reason FROM runs WHERE experiment_id = ? "
                              "ORDER BY attempt"));
  select.Bind(1, id.value);
  std::vector<Run> runs;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return runs;
    Run run;
    run.id = RunId{select.Int(0)};
    run.experiment = id;
    run.attempt = select.Int(1);
    run.uuid = select.Text(2);
    run.containment = select.Text(3);
    run.cgroup = select.Text(4);
    run.job = {.host = std::string(select.Text(5)),
               .boot_id = std::string(select.Text(6)),
               .pid = select.Int(7),
               .start_ticks = select.Int(8)};
    run.gpus = select.Text(9);
    run.started_at = select.Int(10);
    run.finished_at = select.Int(11);
    run.heartbeat_at = select.Int(12);
    if (!select.IsNull(13)) run.exit_code = select.Int(13);
    if (!select.IsNull(14)) run.signal = select.Int(14);
    run.reason = select.Text(15);
    runs.push_back(std::move(run));
  }
}

Result<bool> Catalog::Heartbeat(ExperimentId id, RunId run) {
  const Unsynced unsynced(database_);
  PX_ASSIGN(Statement beat, database_.Prepare("UPDATE runs SET heartbeat_at = ? WHERE id = ?"));
  PX_TRY(beat.Bind(1, Now()).Bind(2, run.value).Run());
  PX_ASSIGN(Statement stop,
            database_.Prepare("SELECT stop_requested_at FROM experiments WHERE id = ?"));
  PX_ASSIGN(const bool row, stop.Bind(1, id.value).Step());
  return row && stop.Int(0) != 0;
}

}  // namespace px::catalog
