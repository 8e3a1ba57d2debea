#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"

namespace px::catalog {
namespace {

constexpr const char* kSelect =
    "SELECT id, project_id, number, uuid, user, name, description, tags, raw_spec, algorithm, "
    "concurrency, code_snapshot, state, created_at, started_at, finished_at, stop_requested_at, "
    "owner_host, owner_boot, owner_pid, owner_start, strategy, original_number, seed, bookmarked "
    "FROM groups ";

Result<Group> ReadGroup(const Statement& row) {
  int column = 0;
  const auto integer = [&] { return row.Int(column++); };
  const auto text = [&] { return std::string(row.Text(column++)); };
  Group group;
  group.id = GroupId{integer()};
  group.project = ProjectId{integer()};
  group.number = integer();
  group.uuid = text();
  group.user = text();
  group.name = text();
  group.description = text();
  PX_ASSIGN(group.tags, ParseTags(text()));
  group.raw_spec = text();
  group.algorithm = text();
  group.concurrency = integer();
  group.code_snapshot = text();
  PX_ASSIGN(group.state, ParseState(text()));
  group.created_at = integer();
  group.started_at = integer();
  group.finished_at = integer();
  group.stop_requested_at = integer();
  group.owner = {.host = text(), .boot_id = text(), .pid = integer(), .start_ticks = integer()};
  PX_ASSIGN(group.strategy, ParseStrategy(text()));
  group.original_number = integer();
  group.seed = integer();
  group.bookmarked = integer() != 0;
  return group;
}

}  // namespace

Result<std::vector<Group>> Catalog::SelectGroups(
    const std::string& tail, const std::function<void(Statement&)>& bind) const {
  PX_ASSIGN(Statement select, database_.Prepare(kSelect + tail));
  bind(select);
  std::vector<Group> groups;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return groups;
    PX_ASSIGN(Group group, ReadGroup(select));
    groups.push_back(std::move(group));
  }
}

Result<Group> Catalog::CreateGroup(const NewGroup& request,
                                   const std::vector<NewExperiment>& members) {
  GroupId id;
  const auto body = [&]() -> Status {
    const int64_t now = Now();
    PX_ASSIGN(const int64_t number, NextNumber(request.project, "last_group"));
    PX_ASSIGN(const std::string uuid, NewUuid());
    const std::string tags = FormatTags(request.tags);
    PX_ASSIGN(
        Statement insert,
        database_.Prepare("INSERT INTO groups (project_id, number, uuid, user, name, "
                          "description, tags, raw_spec, algorithm, concurrency, code_snapshot, "
                          "state, created_at, owner_host, owner_boot, owner_pid, owner_start, "
                          "strategy, original_number, seed) "
                          "VALUES (?,?,?,?,?,?,?,?,?,?,?,'created',?,?,?,?,?,?,?,?)"));
    insert.Bind(1, request.project.value).Bind(2, number).BindText(3, uuid);
    insert.BindText(4, request.user).BindText(5, request.name).BindText(6, request.description);
    insert.BindText(7, tags).BindText(8, request.raw_spec).BindText(9, request.algorithm);
    insert.Bind(10, request.concurrency).BindText(11, request.code_snapshot).Bind(12, now);
    insert.BindText(13, request.owner.host).BindText(14, request.owner.boot_id);
    insert.Bind(15, request.owner.pid).Bind(16, request.owner.start_ticks);
    insert.BindText(17, StrategyName(request.strategy)).Bind(18, request.original_number);
    PX_TRY(insert.Bind(19, request.seed).Run());
    id = GroupId{database_.LastInsertRowId()};
    PX_ASSIGN(Statement status,
              database_.Prepare("INSERT INTO statuses (group_id, state, created_at) "
                                "VALUES (?, 'created', ?)"));
    PX_TRY(status.Bind(1, id.value).Bind(2, now).Run());
    for (NewExperiment member : members) {
      member.project = request.project;
      member.group = id;
      PX_TRY(InsertExperiment(member));
    }
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return GetGroup(id);
}

Result<std::vector<ExperimentId>> Catalog::AddMembers(const ProcessIdentity& owner, GroupId id,
                                                      const std::vector<NewExperiment>& members) {
  std::vector<ExperimentId> made;
  const auto body = [&]() -> Status {
    PX_ASSIGN(const Group group, GetGroup(id));
    if (IsDone(group.state)) return Fail(EINVAL, "the group has ended");
    if (group.owner != owner) return Fail(EBUSY, "another process took the group");
    for (NewExperiment member : members) {
      member.project = group.project;
      member.group = id;
      PX_ASSIGN(const ExperimentId experiment, InsertExperiment(member));
      made.push_back(experiment);
    }
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return made;
}

Status Catalog::SetBookmark(GroupId id, bool bookmarked) {
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE groups SET bookmarked = ? WHERE id = ?"));
  return update.Bind(1, bookmarked ? 1 : 0).Bind(2, id.value).Run();
}

Result<Group> Catalog::FindGroup(ProjectId project, int64_t number) const {
  PX_ASSIGN(auto found,
            SelectGroups("WHERE project_id = ? AND number = ?", [&](Statement& statement) {
              statement.Bind(1, project.value).Bind(2, number);
            }));
  if (found.empty()) return Fail(ENOENT, "group " + std::to_string(number));
  return std::move(found.front());
}

Result<Group> Catalog::GetGroup(GroupId id) const {
  PX_ASSIGN(auto found, SelectGroups("WHERE id = ?",
                                     [&](Statement& statement) { statement.Bind(1, id.value); }));
  if (found.empty()) return Fail(ENOENT, "group with id " + std::to_string(id.value));
  return std::move(found.front());
}

Result<std::vector<Group>> Catalog::ListGroups(ProjectId project) const {
  return SelectGroups("WHERE project_id = ? ORDER BY number DESC",
                      [&](Statement& statement) { statement.Bind(1, project.value); });
}

Result<std::vector<Group>> Catalog::UnfinishedGroups() const {
  return SelectGroups("WHERE state NOT IN " + std::string(kDoneStates) + " ORDER BY id",
                      [](Statement&) {});
}

Status Catalog::UpdateGroup(const Group& group) {
  const std::string tags = FormatTags(group.tags);
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE groups SET name = ?, description = ?, "
                                                "tags = ? WHERE id = ?"));
  update.BindText(1, group.name).BindText(2, group.description).BindText(3, tags);
  return update.Bind(4, group.id.value).Run();
}

Status Catalog::DeleteGroup(GroupId id) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Group group, GetGroup(id));
    if (!IsDone(group.state)) return Fail(EBUSY, "it is not finished");
    PX_ASSIGN(Statement members,
              database_.Prepare("SELECT number FROM experiments WHERE group_id = ?"));
    PX_ASSIGN(const bool row, members.Bind(1, id.value).Step());
    if (row) return Fail(EBUSY, "experiment " + std::to_string(members.Int(0)) + " is in it");
    PX_ASSIGN(Statement remove, database_.Prepare("DELETE FROM groups WHERE id = ?"));
    return remove.Bind(1, id.value).Run();
  });
}

Status Catalog::SetGroupState(GroupId id, State state, const std::string& message) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Group group, GetGroup(id));
    if (!MayBecome(group.state, state)) {
      return Fail(EINVAL, "group " + std::to_string(group.number) + " is " +
                              std::string(StateName(group.state)) + " and cannot become " +
                              std::string(StateName(state)));
    }
    const int64_t now = Now();
    PX_ASSIGN(Statement update,
              database_.Prepare("UPDATE groups SET state = ?1, "
                                "started_at = CASE WHEN ?2 THEN ?3 ELSE started_at END, "
                                "finished_at = CASE WHEN ?4 THEN ?3 ELSE finished_at END "
                                "WHERE id = ?5"));
    update.BindText(1, StateName(state)).Bind(2, state == State::kRunning ? 1 : 0).Bind(3, now);
    PX_TRY(update.Bind(4, IsDone(state) ? 1 : 0).Bind(5, id.value).Run());
    PX_ASSIGN(Statement status, database_.Prepare("INSERT INTO statuses (group_id, state, message, "
                                                  "created_at) VALUES (?, ?, ?, ?)"));
    status.Bind(1, id.value).BindText(2, StateName(state)).BindText(3, message).Bind(4, now);
    return status.Run();
  });
}

Result<std::vector<StatusEntry>> Catalog::GroupStatuses(GroupId id) const {
  return ReadStatuses(
      "SELECT id, state, message, created_at FROM statuses WHERE group_id = ? "
      "ORDER BY id",
      id.value);
}

Status Catalog::TakeOverGroup(GroupId id, const ProcessIdentity& before,
                              const ProcessIdentity& now) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(const Group group, GetGroup(id));
    if (IsDone(group.state)) return Fail(EBUSY, "it is already finished");
    if (group.owner != before) return Fail(EBUSY, "another process took it");
    PX_ASSIGN(Statement update,
              database_.Prepare("UPDATE groups SET owner_host = ?, owner_boot = ?, owner_pid = ?, "
                                "owner_start = ? WHERE id = ?"));
    update.BindText(1, now.host).BindText(2, now.boot_id).Bind(3, now.pid).Bind(4, now.start_ticks);
    return update.Bind(5, id.value).Run();
  });
}

Status Catalog::RequestGroupStop(GroupId id) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE groups SET stop_requested_at = ? WHERE id = ? "
                              "AND stop_requested_at = 0"));
  return update.Bind(1, Now()).Bind(2, id.value).Run();
}

}  // namespace px::catalog
