#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"

namespace px::catalog {
namespace {

constexpr const char* kSelect =
    "SELECT e.id, e.project_id, e.number, e.uuid, e.user, u.name, p.name, e.name, e.description, "
    "e.tags, e.group_id, e.group_number, e.strategy, e.original_id, e.original_number, e.root_id, "
    "e.root_number, e.root_group_number, e.raw_spec, e.overrides, e.rendered_spec, "
    "e.code_snapshot, e.inherited_files, e.inherited_bytes, e.inherited_snapshot, e.gpus, e.ttl_s, "
    "e.max_restarts, e.state, e.last_message, e.created_at, e.updated_at, e.started_at, "
    "e.finished_at, e.stop_requested_at, e.owner_host, e.owner_boot, e.owner_pid, e.owner_start, "
    "e.inherited_checkpoint, e.inherited_checkpoint_kind, e.inherited_checkpoint_at, "
    "e.inherited_restored, e.resume_from, e.restore_checkpoint, e.plan, e.bookmarked, e.kind, "
    "e.gpu_share "
    "FROM experiments e JOIN projects p ON p.id = e.project_id JOIN users u ON u.id = p.user_id ";

Result<Experiment> ReadExperiment(const Statement& row) {
  int column = 0;
  const auto integer = [&] { return row.Int(column++); };
  const auto text = [&] { return std::string(row.Text(column++)); };
  Experiment e;
  e.id = ExperimentId{integer()};
  e.project = ProjectId{integer()};
  e.number = integer();
  e.uuid = text();
  e.user = text();
  e.project_user = text();
  e.project_name = text();
  e.name = text();
  e.description = text();
  PX_ASSIGN(e.tags, ParseTags(text()));
  e.group = GroupId{integer()};
  e.group_number = integer();
  PX_ASSIGN(e.strategy, ParseStrategy(text()));
  e.original = ExperimentId{integer()};
  e.original_number = integer();
  e.root = ExperimentId{integer()};
  e.root_number = integer();
  e.root_group_number = integer();
  e.raw_spec = text();
  e.overrides = text();
  e.rendered_spec = text();
  e.code_snapshot = text();
  e.inherited.files = integer();
  e.inherited.bytes = integer();
  e.inherited.snapshot = text();
  e.gpus = integer();
  e.ttl_s = integer();
  e.max_restarts = integer();
  PX_ASSIGN(e.state, ParseState(text()));
  e.last_message = text();
  e.created_at = integer();
  e.updated_at = integer();
  e.started_at = integer();
  e.finished_at = integer();
  e.stop_requested_at = integer();
  e.owner = {.host = text(), .boot_id = text(), .pid = integer(), .start_ticks = integer()};
  e.inherited.checkpoint = text();
  e.inherited.checkpoint_kind = text();
  e.inherited.checkpoint_at = integer();
  PX_ASSIGN(e.inherited.restored, ParseTags(text()));
  e.resume_from = text();
  e.restore_checkpoint = integer() != 0;
  e.plan = text();
  e.bookmarked = integer() != 0;
  PX_ASSIGN(e.kind, ParseKind(text()));
  e.gpu_share = integer();
  return e;
}

std::string FilterSql(const ExperimentFilter& filter) {
  std::string sql = "WHERE e.project_id = ?1 ";
  if (filter.independent_only) sql += "AND e.group_id IS NULL ";
  if (filter.group) sql += "AND e.group_id = ?2 ";
  if (filter.bookmarked_only) sql += "AND e.bookmarked <> 0 ";
  if (filter.kind) sql += "AND e.kind = '" + std::string(KindName(*filter.kind)) + "' ";
  return sql;
}

void BindFilter(Statement& statement, const ExperimentFilter& filter) {
  statement.Bind(1, filter.project.value);
  if (filter.group) statement.Bind(2, filter.group.value);
}

}  // namespace

Result<std::vector<Experiment>> Catalog::SelectExperiments(
    const std::string& tail, const std::function<void(Statement&)>& bind) const {
  PX_ASSIGN(Statement select, database_.Prepare(kSelect + tail));
  bind(select);
  std::vector<Experiment> experiments;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return experiments;
    PX_ASSIGN(Experiment experiment, ReadExperiment(select));
    experiments.push_back(std::move(experiment));
  }
}

Result<Experiment> Catalog::FindExperiment(ProjectId project, int64_t number) const {
  PX_ASSIGN(auto found,
            SelectExperiments("WHERE e.project_id = ? AND e.number = ?", [&](Statement& statement) {
              statement.Bind(1, project.value).Bind(2, number);
            }));
  if (found.empty()) return Fail(ENOENT, "experiment " + std::to_string(number));
  return std::move(found.front());
}

Result<Experiment> Catalog::GetExperiment(ExperimentId id) const {
  PX_ASSIGN(auto found, SelectExperiments("WHERE e.id = ?", [&](Statement& statement) {
              statement.Bind(1, id.value);
            }));
  if (found.empty()) return Fail(ENOENT, "experiment with id " + std::to_string(id.value));
  return std::move(found.front());
}

Result<std::vector<Experiment>> Catalog::ListExperiments(const ExperimentFilter& filter) const {
  std::string tail = FilterSql(filter) + "ORDER BY e.number DESC";
  if (filter.limit > 0) {
    tail += " LIMIT " + std::to_string(filter.limit) + " OFFSET " + std::to_string(filter.offset);
  }
  return SelectExperiments(tail, [&](Statement& statement) { BindFilter(statement, filter); });
}

Result<int64_t> Catalog::CountExperiments(const ExperimentFilter& filter) const {
  PX_ASSIGN(Statement count,
            database_.Prepare("SELECT count(*) FROM experiments e " + FilterSql(filter)));
  BindFilter(count, filter);
  PX_TRY(count.Step());
  return count.Int(0);
}

Result<std::vector<Experiment>> Catalog::Unfinished() const {
  return SelectExperiments("WHERE e.state NOT IN " + std::string(kDoneStates) + " ORDER BY e.id",
                           [](Statement&) {});
}

Result<std::vector<Experiment>> Catalog::UnfinishedWithRoot(ExperimentId root) const {
  return SelectExperiments(
      "WHERE e.root_id = ? AND e.state NOT IN " + std::string(kDoneStates) + " ORDER BY e.id",
      [&](Statement& statement) { statement.Bind(1, root.value); });
}

Result<std::vector<Experiment>> Catalog::ResumesOf(ExperimentId root) const {
  return SelectExperiments("WHERE e.root_id = ?1 AND e.id <> ?1 ORDER BY e.number",
                           [&](Statement& statement) { statement.Bind(1, root.value); });
}

Result<std::vector<Experiment>> Catalog::ClonesOf(ExperimentId original) const {
  return SelectExperiments("WHERE e.original_id = ? ORDER BY e.number",
                           [&](Statement& statement) { statement.Bind(1, original.value); });
}

// Must be called inside a transaction.
Result<ExperimentId> Catalog::InsertExperiment(const NewExperiment& request) {
  const int64_t now = Now();
  Experiment original;
  if (request.original) {
    PX_ASSIGN(original, GetExperiment(request.original));
  }
  const bool resume = request.strategy == Strategy::kResume;
  if (resume) {
    PX_ASSIGN(const auto busy, UnfinishedWithRoot(original.root));
    if (!busy.empty()) {
      return Fail(EBUSY, "experiment " + std::to_string(busy.front().number) + " uses its outputs");
    }
  }
  std::string group_number = "0";
  if (request.group) {
    PX_ASSIGN(const Group group, GetGroup(request.group));
    group_number = std::to_string(group.number);
  }
  PX_ASSIGN(const int64_t number, NextNumber(request.project, "last_experiment"));
  PX_ASSIGN(const std::string uuid, NewUuid());
  const std::string tags = FormatTags(request.tags);
  PX_ASSIGN(
      Statement insert,
      database_.Prepare(
          "INSERT INTO experiments (project_id, number, uuid, user, name, description, tags, "
          "group_id, group_number, strategy, original_id, original_number, root_id, root_number, "
          "root_group_number, raw_spec, overrides, rendered_spec, code_snapshot, gpus, ttl_s, "
          "max_restarts, state, created_at, updated_at, owner_host, owner_boot, owner_pid, "
          "owner_start, resume_from, restore_checkpoint, plan, kind, gpu_share) VALUES (?1, ?2, "
          "?3, ?4, ?5, ?6, ?7, "
          "?8, " +
          group_number +
          ", ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, 'created', ?22, ?22, "
          "?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)"));
  insert.Bind(1, request.project.value).Bind(2, number).BindText(3, uuid).BindText(4, request.user);
  insert.BindText(5, request.name).BindText(6, request.description).BindText(7, tags);
  insert.BindNull(8);
  if (request.group) insert.Bind(8, request.group.value);
  insert.BindText(9, StrategyName(request.strategy)).BindNull(10).Bind(11, original.number);
  // The original of a resume is the root of the chain, never another clone.
  if (request.original) insert.Bind(10, resume ? original.root.value : original.id.value);
  if (resume) insert.Bind(11, original.root_number);
  insert.Bind(12, resume ? original.root.value : 0)
      .Bind(13, resume ? original.root_number : number);
  if (resume) {
    insert.Bind(14, original.root_group_number);
  } else {
    insert.Bind(14, std::stoll(group_number));
  }
  insert.BindText(15, request.raw_spec).BindText(16, request.overrides);
  insert.BindText(17, request.rendered_spec).BindText(18, request.code_snapshot);
  insert.Bind(19, request.gpus)
      .Bind(20, request.ttl_s)
      .Bind(21, request.max_restarts)
      .Bind(22, now);
  insert.BindText(23, request.owner.host).BindText(24, request.owner.boot_id);
  insert.Bind(25, request.owner.pid).Bind(26, request.owner.start_ticks);
  insert.BindText(27, request.resume_from).Bind(28, request.restore_checkpoint ? 1 : 0);
  insert.BindText(29, request.plan).BindText(30, KindName(request.kind));
  insert.Bind(31, request.gpu_share);
  PX_TRY(insert.Run());
  const ExperimentId id{database_.LastInsertRowId()};
  if (!resume) {
    PX_ASSIGN(Statement root,
              database_.Prepare("UPDATE experiments SET root_id = id WHERE id = ?"));
    PX_TRY(root.Bind(1, id.value).Run());
  }
  PX_TRY(AddStatus(id, State::kCreated, "", now));
  return id;
}

Result<Experiment> Catalog::CreateExperiment(const NewExperiment& request) {
  ExperimentId id;
  const auto body = [&]() -> Status {
    PX_ASSIGN(id, InsertExperiment(request));
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return GetExperiment(id);
}

Status Catalog::UpdateExperiment(const Experiment& experiment) {
  const std::string tags = FormatTags(experiment.tags);
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE experiments SET name = ?, description = ?, "
                                                "tags = ?, updated_at = ? WHERE id = ?"));
  update.BindText(1, experiment.name).BindText(2, experiment.description).BindText(3, tags);
  return update.Bind(4, Now()).Bind(5, experiment.id.value).Run();
}

Status Catalog::SetInherited(ExperimentId id, const Inherited& inherited) {
  const std::string restored = FormatTags(inherited.restored);
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE experiments SET inherited_files = ?, inherited_bytes = ?, "
                              "inherited_snapshot = ?, inherited_checkpoint = ?, "
                              "inherited_checkpoint_kind = ?, inherited_checkpoint_at = ?, "
                              "inherited_restored = ? WHERE id = ?"));
  update.Bind(1, inherited.files).Bind(2, inherited.bytes).BindText(3, inherited.snapshot);
  update.BindText(4, inherited.checkpoint).BindText(5, inherited.checkpoint_kind);
  update.Bind(6, inherited.checkpoint_at).BindText(7, restored);
  return update.Bind(8, id.value).Run();
}

Status Catalog::SetBookmark(ExperimentId id, bool bookmarked) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE experiments SET bookmarked = ? WHERE id = ?"));
  return update.Bind(1, bookmarked ? 1 : 0).Bind(2, id.value).Run();
}

Status Catalog::Pin(ExperimentId root, const std::string& path, bool pinned) {
  PX_ASSIGN(Statement change,
            database_.Prepare(pinned ? "INSERT OR IGNORE INTO pinned_checkpoints "
                                       "(experiment_id, path) VALUES (?, ?)"
                                     : "DELETE FROM pinned_checkpoints WHERE experiment_id = ? "
                                       "AND path = ?"));
  return change.Bind(1, root.value).BindText(2, path).Run();
}

Result<std::vector<std::string>> Catalog::Pinned(ExperimentId root) const {
  PX_ASSIGN(Statement select, database_.Prepare("SELECT path FROM pinned_checkpoints WHERE "
                                                "experiment_id = ? ORDER BY path"));
  select.Bind(1, root.value);
  std::vector<std::string> paths;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return paths;
    paths.emplace_back(select.Text(0));
  }
}

Status Catalog::SetCode(ExperimentId id, const std::string& code_snapshot) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE experiments SET code_snapshot = ? WHERE id = ?"));
  return update.BindText(1, code_snapshot).Bind(2, id.value).Run();
}

Status Catalog::DeleteExperiment(ExperimentId id) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Experiment experiment, GetExperiment(id));
    if (!IsDone(experiment.state)) return Fail(EBUSY, "it is not finished");
    PX_ASSIGN(const auto resumes, ResumesOf(id));
    if (!resumes.empty()) {
      return Fail(EBUSY, "experiment " + std::to_string(resumes.front().number) + " resumed it");
    }
    PX_ASSIGN(Statement remove, database_.Prepare("DELETE FROM experiments WHERE id = ?"));
    return remove.Bind(1, id.value).Run();
  });
}

Status Catalog::TakeOver(ExperimentId id, const ProcessIdentity& before,
                         const ProcessIdentity& now) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Experiment experiment, GetExperiment(id));
    if (IsDone(experiment.state)) {
      return Fail(EBUSY, "it is already " + std::string(StateName(experiment.state)));
    }
    if (experiment.owner != before) return Fail(EBUSY, "another process took it");
    PX_ASSIGN(Statement update,
              database_.Prepare("UPDATE experiments SET owner_host = ?, owner_boot = ?, "
                                "owner_pid = ?, owner_start = ? WHERE id = ?"));
    update.BindText(1, now.host).BindText(2, now.boot_id).Bind(3, now.pid).Bind(4, now.start_ticks);
    return update.Bind(5, id.value).Run();
  });
}

}  // namespace px::catalog
