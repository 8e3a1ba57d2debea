#include "catalog/catalog.h"

#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "catalog/catalog_repair.h"
#include "catalog/catalog_rows.h"
#include "catalog/checked_vfs.h"
#include "catalog/schema/migrations.h"

namespace px::catalog {
namespace {

constexpr int kBusyTimeoutMs = 30'000;
constexpr int64_t kApplicationId = 0x70784341;  // "pxCA"

Result<int64_t> Pragma(const Database& database, const std::string& name) {
  PX_ASSIGN(Statement statement, database.Prepare("PRAGMA " + name));
  PX_ASSIGN(const bool row, statement.Step());
  if (!row) return Fail(EIO, "PRAGMA " + name + " gave nothing");
  return statement.Int(0);
}

// A catalog that was made before there were checksums keeps to that: an older program may have it
// open.
Result<Database> OpenDatabase(const std::string& path) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  PX_ASSIGN(Database database, Database::Open(path, kFlags, kBusyTimeoutMs, kCheckedVfs));
  PX_ASSIGN(const bool plain, IsWithoutSums(database));
  if (plain) return Database::Open(path, kFlags, kBusyTimeoutMs, kPlainVfs);
  PX_TRY(ReserveSums(database));
  return database;
}

// Where two switch a new database at once, SQLite gives SQLITE_BUSY without waiting, since each
// holds what the other needs: it has to be asked again.
Status SwitchToWal(const Database& database) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBusyTimeoutMs);
  for (;;) {
    const Status switched = database.Execute("PRAGMA journal_mode = WAL;");
    if (switched || switched.error().code() != EBUSY) return switched;
    if (std::chrono::steady_clock::now() > limit) return switched;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

Result<Catalog> Catalog::Open(const std::string& path, Clock& clock) {
  if (IsRepairPending(path)) PX_TRY(FinishRepair(path));
  PX_ASSIGN(Database database, OpenDatabase(path));
  // FULL syncs the log at every commit: an experiment that was acknowledged is there after a power
  // cut.
  Status prepared = SwitchToWal(database);
  if (prepared) {
    prepared = database.Execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
  }
  if (!prepared) return Forward(Error(prepared.error()).Wrap(path));
  // One that was begun, and broken off, while this waited for the lock. What was read is not to be
  // believed.
  if (IsRepairPending(path)) return Fail(EBUSY, path + " is being repaired");
  Catalog catalog(std::move(database), clock);
  const Status migrated = catalog.Migrate();
  if (!migrated) return Forward(Error(migrated.error()).Wrap(path));
  return catalog;
}

int64_t Catalog::Now() const { return ToNanoseconds(clock_->Now()); }

Status Catalog::Migrate() {
  const auto scripts = Migrations();
  const auto newest = static_cast<int64_t>(scripts.size());
  PX_ASSIGN(int64_t version, Pragma(database_, "user_version"));
  while (version != newest) {
    // Looked at again inside the transaction: another process may be at the same work.
    const auto body = [&]() -> Status {
      PX_ASSIGN(version, Pragma(database_, "user_version"));
      if (version > newest) {
        return Fail(EPROTO, "made by a newer px (catalog version " + std::to_string(version) +
                                ", this one knows up to " + std::to_string(newest) + ")");
      }
      PX_ASSIGN(const int64_t application, Pragma(database_, "application_id"));
      if (version > 0 && application != kApplicationId) return Fail(EUCLEAN, "not a px catalog");
      if (version == newest) return {};
      PX_TRY(database_.Execute(std::string(scripts[static_cast<size_t>(version)])));
      ++version;
      return database_.Execute("PRAGMA application_id = " + std::to_string(kApplicationId) +
                               "; PRAGMA user_version = " + std::to_string(version) + ";");
    };
    PX_TRY(database_.Transaction(body));
  }
  return {};
}

// ---- Projects ----

namespace {

constexpr const char* kProjectSelect =
    "SELECT p.id, u.name, p.name, p.uuid, p.description, p.tags, p.created_at FROM projects p "
    "JOIN users u ON u.id = p.user_id ";

Result<Project> ReadProject(const Statement& row) {
  Project project;
  project.id = ProjectId{row.Int(0)};
  project.user = row.Text(1);
  project.name = row.Text(2);
  project.uuid = row.Text(3);
  project.description = row.Text(4);
  PX_ASSIGN(project.tags, ParseTags(row.Text(5)));
  project.created_at = row.Int(6);
  return project;
}

Result<Project> OneProject(Statement& statement, const std::string& what) {
  PX_ASSIGN(const bool row, statement.Step());
  if (!row) return Fail(ENOENT, what);
  return ReadProject(statement);
}

}  // namespace

Result<Project> Catalog::CreateProject(const std::string& user, const std::string& name,
                                       const std::string& description) {
  const int64_t now = Now();
  PX_ASSIGN(const std::string uuid, NewUuid());
  const auto body = [&]() -> Status {
    PX_ASSIGN(Statement add_user, database_.Prepare("INSERT INTO users (name, created_at) "
                                                    "VALUES (?, ?) ON CONFLICT DO NOTHING"));
    PX_TRY(add_user.BindText(1, user).Bind(2, now).Run());
    PX_ASSIGN(
        Statement add,
        database_.Prepare("INSERT INTO projects (user_id, name, uuid, description, created_at) "
                          "VALUES ((SELECT id FROM users WHERE name = ?), ?, ?, ?, ?)"));
    add.BindText(1, user).BindText(2, name).BindText(3, uuid).BindText(4, description).Bind(5, now);
    return add.Run();
  };
  PX_TRY(database_.Transaction(body));
  return FindProject(user, name);
}

Result<Project> Catalog::FindProject(const std::string& user, const std::string& name) const {
  PX_ASSIGN(Statement find,
            database_.Prepare(std::string(kProjectSelect) + "WHERE u.name = ? AND p.name = ?"));
  find.BindText(1, user).BindText(2, name);
  return OneProject(find, "project " + user + "/" + name);
}

Result<Project> Catalog::GetProject(ProjectId id) const {
  PX_ASSIGN(Statement find, database_.Prepare(std::string(kProjectSelect) + "WHERE p.id = ?"));
  find.Bind(1, id.value);
  return OneProject(find, "project with id " + std::to_string(id.value));
}

Result<std::vector<Project>> Catalog::ListProjects(const std::string& user) const {
  PX_ASSIGN(Statement list,
            database_.Prepare(std::string(kProjectSelect) +
                              "WHERE ?1 = '' OR u.name = ?1 ORDER BY u.name, p.name"));
  list.BindText(1, user);
  std::vector<Project> projects;
  while (true) {
    PX_ASSIGN(const bool row, list.Step());
    if (!row) return projects;
    PX_ASSIGN(Project project, ReadProject(list));
    projects.push_back(std::move(project));
  }
}

Status Catalog::UpdateProject(const Project& project) {
  const std::string tags = FormatTags(project.tags);
  PX_ASSIGN(Statement update, database_.Prepare("UPDATE projects SET description = ?, tags = ?, "
                                                "name = ? WHERE id = ?"));
  update.BindText(1, project.description).BindText(2, tags).BindText(3, project.name);
  return update.Bind(4, project.id.value).Run();
}

Status Catalog::DeleteProject(ProjectId id) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(Statement busy,
              database_.Prepare("SELECT number FROM experiments WHERE project_id = ? "
                                "AND state NOT IN " +
                                std::string(kDoneStates)));
    PX_ASSIGN(const bool row, busy.Bind(1, id.value).Step());
    if (row) {
      return Fail(EBUSY, "experiment " + std::to_string(busy.Int(0)) + " is not finished");
    }
    PX_ASSIGN(Statement remove, database_.Prepare("DELETE FROM projects WHERE id = ?"));
    return remove.Bind(1, id.value).Run();
  });
}

Result<std::string> Catalog::LatestCode(ProjectId id) const {
  PX_ASSIGN(Statement find, database_.Prepare("SELECT code_snapshot FROM projects WHERE id = ?"));
  PX_ASSIGN(const bool row, find.Bind(1, id.value).Step());
  if (!row) return Fail(ENOENT, "project with id " + std::to_string(id.value));
  return std::string(find.Text(0));
}

Result<std::string> Catalog::ReserveCode(ProjectId id) {
  int64_t number = 0;
  const auto body = [&]() -> Status {
    PX_ASSIGN(number, NextNumber(id, "last_code"));
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return std::to_string(number);
}

Status Catalog::PublishCode(ProjectId id, const std::string& name) {
  PX_ASSIGN(Statement update,
            database_.Prepare("UPDATE projects SET code_snapshot = ? WHERE id = ?"));
  return update.BindText(1, name).Bind(2, id.value).Run();
}

// `counter` is a column of projects. Must be called inside a transaction.
Result<int64_t> Catalog::NextNumber(ProjectId project, std::string_view counter) {
  const std::string column(counter);
  PX_ASSIGN(Statement next, database_.Prepare("UPDATE projects SET " + column + " = " + column +
                                              " + 1 WHERE id = ? RETURNING " + column));
  PX_ASSIGN(const bool row, next.Bind(1, project.value).Step());
  if (!row) return Fail(ENOENT, "project with id " + std::to_string(project.value));
  const int64_t number = next.Int(0);
  // RETURNING gives its row before the statement has ended; it must end before the transaction can.
  PX_TRY(next.Step());
  return number;
}

}  // namespace px::catalog
