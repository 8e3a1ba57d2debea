#include "catalog/catalog_salvage.h"

#include <fmt/format.h>

#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"
#include "catalog/row_reader.h"

namespace px::catalog {
namespace {

constexpr size_t kVersionAt = 60;  // PRAGMA user_version, in the first page
constexpr const char* kLostMessage =
    "catalog.db was damaged: what was run is lost; the outputs are not";

struct Column {
  std::string name, type;
  bool not_null = false;
  bool has_default = false;
  bool is_rowid = false;

  bool Fits(const Value& value) const {
    switch (value.type) {
      case Value::Type::kNull:
        return is_rowid || !not_null;
      case Value::Type::kInteger:
        return type != "TEXT";
      case Value::Type::kReal:
        return type == "REAL";
      case Value::Type::kText:
        return type == "TEXT";
      case Value::Type::kBlob:
        return false;
    }
    return false;
  }
};

struct Table {
  std::string name;
  std::vector<Column> columns;

  // A row that is older than a column lacks it.
  bool Fits(const Row& row) const {
    if (row.values.size() > columns.size()) return false;
    for (size_t i = 0; i < columns.size(); ++i) {
      const bool fits = i < row.values.size() ? columns[i].Fits(row.values[i])
                                              : columns[i].has_default || !columns[i].not_null;
      if (!fits) return false;
    }
    return true;
  }
};

struct Index {
  std::string table;
  std::vector<std::string> columns;
};

// The tables and indexes of a catalog of this version.
struct Schema {
  std::map<std::string, Table> tables;
  std::map<std::string, Index> indexes;
};

using Visitor = std::function<Status(const Statement&)>;
Status ForEach(const Database& database, const std::string& sql, const Visitor& visit) {
  PX_ASSIGN(Statement select, database.Prepare(sql));
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return {};
    PX_TRY(visit(select));
  }
}

Result<Schema> LoadSchema(const Database& database) {
  Schema schema;
  PX_TRY(
      ForEach(database,
              "SELECT m.name, c.name, c.type, c.\"notnull\", c.dflt_value IS NOT NULL, "
              "c.pk = 1 AND c.type = 'INTEGER' FROM sqlite_schema m, pragma_table_info(m.name) c "
              "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid",
              [&](const Statement& row) -> Status {
                Table& table = schema.tables[std::string(row.Text(0))];
                table.name = row.Text(0);
                table.columns.push_back({std::string(row.Text(1)), std::string(row.Text(2)),
                                         row.Int(3) != 0, row.Int(4) != 0, row.Int(5) != 0});
                return {};
              }));
  PX_TRY(
      ForEach(database,
              "SELECT m.name, m.tbl_name, c.name FROM sqlite_schema m, pragma_index_info(m.name) "
              "c WHERE m.type = 'index' ORDER BY m.name, c.seqno",
              [&](const Statement& row) -> Status {
                Index& index = schema.indexes[std::string(row.Text(0))];
                index.table = row.Text(1);
                index.columns.emplace_back(row.Text(2));
                return {};
              }));
  return schema;
}

// What rows are about, in the order in which they refer to each other.
constexpr const char* kSubjects[] = {"users", "projects", "groups", "experiments"};

class Salvager {
 public:
  Salvager(RowReader* reader, Database to, Schema schema,
           const std::function<void(const std::string&)>& line)
      : reader_(*reader), to_(std::move(to)), schema_(std::move(schema)), line_(line) {}

  Result<CatalogSalvage> Run() {
    PX_TRY(to_.Execute("PRAGMA foreign_keys = OFF"));
    // Leases are taken over, not given.
    sqlite3_db_config(to_.handle(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    PX_TRY(to_.Transaction([&]() -> Status {
      PX_TRY(FindRoots());
      PX_TRY(CopyRows());
      if (salvage_.rows == 0) return Fail(EUCLEAN, "nothing of the catalog can be read");
      PX_TRY(ReadIndexes());
      PX_TRY(PutTogether());
      PX_TRY(NameLost());
      PX_TRY(RemoveWithoutSubject());
      return KeepNumbers();
    }));
    PX_ASSIGN(Statement check, to_.Prepare("PRAGMA integrity_check(1)"));
    PX_ASSIGN(const bool row, check.Step());
    if (!row || check.Text(0) != "ok") return Fail(EUCLEAN, "the catalog that was made is wrong");
    return salvage_;
  }

 private:
  // A value that an index says of a row.
  using Known = std::variant<int64_t, std::string>;
  using KnownRow = std::map<std::string, Known>;

  Status FindRoots();
  Status CopyRows();
  Status CopyRow(const Table& table, const Row& row);
  Status CopyLost(const Row& row);
  Status ReadIndexes();
  Status PutTogether();
  Status PutTogether(const Table& table, int64_t id, KnownRow known);
  Status FillIn();
  Status NameLost();
  Status RemoveWithoutSubject();
  Status KeepNumbers();
  Result<bool> Has(const std::string& table, int64_t id);

  RowReader& reader_;
  Database to_;
  const Schema schema_;
  const std::function<void(const std::string&)>& line_;
  CatalogSalvage salvage_;
  std::map<std::string, uint32_t> roots_;  // of tables and indexes
  std::map<std::pair<std::string, size_t>, Statement> inserts_;
  std::map<std::string, std::map<int64_t, KnownRow>> known_;  // by table and row
  int64_t sequence_ = 0;                                      // the last experiment's id
};

// A schema's row: type, name, table, root, text.
Status Salvager::FindRoots() {
  const auto add = [&](const Row& row) -> Status {
    if (row.values.size() != 5 || row.values[1].type != Value::Type::kText) return {};
    const std::string name(row.values[1].text());
    const std::string_view type = row.values[0].text();
    const bool ours = (type == "table" && schema_.tables.contains(name)) ||
                      (type == "index" && schema_.indexes.contains(name)) ||
                      name == "sqlite_sequence";
    if (ours && row.values[3].id() <= UINT32_MAX) {
      roots_.try_emplace(name, static_cast<uint32_t>(row.values[3].id()));
    }
    return {};
  };
  PX_TRY(reader_.Scan(1, add));
  if (reader_.unreadable() == 0) return {};
  // The first page, or one of the schema's.
  return reader_.ScanLost(/*free_ones_too=*/true, [&](const Row& row) -> Status {
    const bool text = row.values.size() == 5 && row.values[0].type == Value::Type::kText &&
                      row.values[2].type == Value::Type::kText &&
                      row.values[3].type == Value::Type::kInteger;
    return text ? add(row) : Status{};
  });
}

Status Salvager::CopyRows() {
  const size_t unreadable = reader_.unreadable();
  for (const auto& [name, table] : schema_.tables) {
    const auto root = roots_.find(name);
    if (root == roots_.end()) continue;
    PX_TRY(reader_.Scan(root->second, [&, &to = table](const Row& row) {
      return to.Fits(row) ? CopyRow(to, row) : CopyLost(row);
    }));
  }
  if (const auto root = roots_.find("sqlite_sequence"); root != roots_.end()) {
    PX_TRY(reader_.Scan(root->second, [&](const Row& row) -> Status {
      if (row.values.size() == 2 && row.values[0].text() == "experiments") {
        sequence_ = row.values[1].number;
      }
      return {};
    }));
  }
  // Where it is not known which pages are free, rather something that was deleted than too little.
  return reader_.ScanLost(reader_.unreadable() > unreadable,
                          [&](const Row& row) { return CopyLost(row); });
}

Status Salvager::CopyRow(const Table& table, const Row& row) {
  const size_t columns = row.values.size();
  auto insert = inserts_.find({table.name, columns});
  if (insert == inserts_.end()) {
    std::string names = "rowid", places = "?";
    for (size_t i = 0; i < columns; ++i) {
      if (table.columns[i].is_rowid) continue;
      names += ", " + table.columns[i].name;
      places += ", ?";
    }
    PX_ASSIGN(Statement made, to_.Prepare(fmt::format("INSERT OR IGNORE INTO {} ({}) VALUES ({})",
                                                      table.name, names, places)));
    insert = inserts_.emplace(std::pair(table.name, columns), std::move(made)).first;
  }
  int at = 1;
  insert->second.Bind(at++, static_cast<int64_t>(row.rowid));
  for (size_t i = 0; i < columns; ++i) {
    const Value& value = row.values[i];
    if (table.columns[i].is_rowid) continue;
    if (value.type == Value::Type::kNull) {
      insert->second.BindNull(at);
    } else if (value.type == Value::Type::kReal) {
      insert->second.BindReal(at, value.real());
    } else if (value.is_bytes()) {
      insert->second.BindText(at, value.text());
    } else {
      insert->second.Bind(at, value.number);
    }
    ++at;
  }
  PX_TRY(insert->second.Run());
  if (sqlite3_changes(to_.handle()) > 0) ++salvage_.rows;
  return {};
}

// A row of which nothing says whose it is, unless it can be of one table only.
Status Salvager::CopyLost(const Row& row) {
  const Table* of = nullptr;
  for (const auto& [name, table] : schema_.tables) {
    if (!table.Fits(row)) continue;
    if (of != nullptr) return {};
    of = &table;
  }
  return of != nullptr ? CopyRow(*of, row) : Status{};
}

Status Salvager::ReadIndexes() {
  for (const auto& [name, index] : schema_.indexes) {
    const auto root = roots_.find(name);
    bool of_subject = false;
    for (const char* subject : kSubjects) of_subject |= index.table == subject;
    if (root == roots_.end() || !of_subject) continue;
    PX_TRY(reader_.Scan(root->second, [&, &of = index](const Row& row) -> Status {
      if (row.values.size() != of.columns.size() + 1) return {};
      KnownRow& known = known_[of.table][row.values.back().number];
      for (size_t i = 0; i < of.columns.size(); ++i) {
        const Value& value = row.values[i];
        if (value.type == Value::Type::kInteger) known[of.columns[i]] = value.number;
        if (value.type == Value::Type::kText) known[of.columns[i]] = std::string(value.text());
      }
      return {};
    }));
  }
  return {};
}

Result<bool> Salvager::Has(const std::string& table, int64_t id) {
  PX_ASSIGN(Statement select, to_.Prepare("SELECT 1 FROM " + table + " WHERE id = ?"));
  return select.Bind(1, id).Step();
}

Status Salvager::PutTogether() {
  for (const char* subject : kSubjects) {
    for (const auto& [id, known] : known_[subject]) {
      PX_ASSIGN(const bool there, Has(subject, id));
      if (!there) PX_TRY(PutTogether(schema_.tables.at(subject), id, known));
    }
  }
  return FillIn();
}

Status Salvager::PutTogether(const Table& table, int64_t id, KnownRow known) {
  const bool named =
      known.contains(table.name == "users" || table.name == "projects" ? "name" : "number");
  if (!named ||
      (table.name != "users" && !known.contains("project_id") && !known.contains("user_id"))) {
    return {};
  }
  if (!known.contains("uuid")) {
    PX_ASSIGN(known["uuid"], NewUuid());
  }
  known["state"] = "failed";
  known["last_message"] = kLostMessage;
  known.insert({{"raw_spec", "{}"},
                {"overrides", "[]"},
                {"rendered_spec", "{}"},
                {"algorithm", "grid"},
                {"concurrency", int64_t{1}},
                {"root_id", id}});
  std::string names = "id", values = "?";
  std::vector<Known> bound{id};
  for (const Column& column : table.columns) {
    if (column.is_rowid) continue;
    const auto found = known.find(column.name);
    if (found == known.end() && (!column.not_null || column.has_default)) continue;
    names += ", " + column.name;
    values += ", ?";
    bound.push_back(found != known.end()    ? found->second
                    : column.type == "TEXT" ? Known(std::string())
                                            : Known(int64_t{0}));
  }
  PX_ASSIGN(Statement insert, to_.Prepare(fmt::format("INSERT OR IGNORE INTO {} ({}) VALUES ({})",
                                                      table.name, names, values)));
  for (size_t i = 0; i < bound.size(); ++i) {
    const int at = static_cast<int>(i) + 1;
    if (const auto* number = std::get_if<int64_t>(&bound[i])) {
      insert.Bind(at, *number);
    } else {
      insert.BindText(at, std::get<std::string>(bound[i]));
    }
  }
  PX_TRY(insert.Run());
  if (sqlite3_changes(to_.handle()) > 0) ++salvage_.put_together;
  return {};
}

// What other rows say of those that were put together.
Status Salvager::FillIn() {
  return to_.Execute(R"sql(
UPDATE projects SET created_at = coalesce((SELECT min(created_at) FROM experiments e
  WHERE e.project_id = projects.id AND created_at > 0), 0) WHERE created_at = 0;
UPDATE groups SET created_at = coalesce((SELECT min(created_at) FROM statuses s
  WHERE s.group_id = groups.id), 0) WHERE created_at = 0;
UPDATE experiments SET created_at = coalesce((SELECT min(created_at) FROM statuses s
  WHERE s.experiment_id = experiments.id), 0) WHERE created_at = 0;
UPDATE experiments SET updated_at = coalesce((SELECT max(created_at) FROM statuses s
  WHERE s.experiment_id = experiments.id), created_at), finished_at = created_at
  WHERE updated_at = 0;
UPDATE groups SET user = coalesce((SELECT u.name FROM projects p JOIN users u ON u.id = p.user_id
  WHERE p.id = groups.project_id), '') WHERE user = '';
UPDATE experiments SET user = coalesce((SELECT u.name FROM projects p JOIN users u
  ON u.id = p.user_id WHERE p.id = experiments.project_id), '') WHERE user = '';
UPDATE experiments SET group_number = coalesce((SELECT number FROM groups g
  WHERE g.id = experiments.group_id), 0) WHERE group_number = 0;
UPDATE experiments SET (root_number, root_group_number) = (SELECT r.number, r.group_number
  FROM experiments r WHERE r.id = experiments.root_id) WHERE root_number = 0 AND EXISTS
  (SELECT 1 FROM experiments r WHERE r.id = experiments.root_id);
)sql");
}

// Projects and users of which only what belongs to them is left. Their names are lost, and with
// them where the outputs are.
Status Salvager::NameLost() {
  PX_TRY(to_.Execute(R"sql(
INSERT INTO projects (id, user_id, name, uuid, created_at)
  SELECT project_id, coalesce((SELECT u.id FROM users u WHERE u.name = its.user),
                              (SELECT max(id) + 1 FROM users), 1),
         'lost-project-' || project_id, lower(hex(randomblob(16))), its.created_at
  FROM (SELECT project_id, max(user) AS user, min(created_at) AS created_at
        FROM (SELECT project_id, user, created_at FROM experiments UNION ALL
              SELECT project_id, user, created_at FROM groups) GROUP BY project_id) its
  WHERE project_id NOT IN (SELECT id FROM projects);
INSERT OR IGNORE INTO users (id, name, created_at)
  SELECT user_id, max(e.user), min(p.created_at) FROM projects p
  JOIN experiments e ON e.project_id = p.id
  WHERE user_id NOT IN (SELECT id FROM users) AND e.user <> '' GROUP BY user_id;
INSERT OR IGNORE INTO users (id, name, created_at)
  SELECT user_id, 'lost-user-' || user_id, min(created_at) FROM projects
  WHERE user_id NOT IN (SELECT id FROM users) GROUP BY user_id;
)sql"));
  PX_TRY(ForEach(to_,
                 "SELECT u.name, p.name FROM projects p JOIN users u ON u.id = p.user_id "
                 "WHERE p.name = 'lost-project-' || p.id OR u.name = 'lost-user-' || u.id",
                 [&](const Statement& row) -> Status {
                   line_(fmt::format("catalog.db: the name of project {}/{} is lost", row.Text(0),
                                     row.Text(1)));
                   return {};
                 }));
  constexpr const char* kLost =
      "SELECT u.name, p.name, t.number FROM {} t JOIN projects p ON p.id = t.project_id "
      "JOIN users u ON u.id = p.user_id WHERE t.raw_spec = '{{}}' ORDER BY 1, 2, 3";
  for (const std::string table : {"groups", "experiments"}) {
    PX_TRY(ForEach(to_, fmt::format(kLost, table), [&](const Statement& row) -> Status {
      line_(fmt::format("catalog.db: {} {}/{}/{}: what was run is lost",
                        table.substr(0, table.size() - 1), row.Text(0), row.Text(1), row.Int(2)));
      return {};
    }));
  }
  return {};
}

// As where the row that another refers to is deleted.
Status Salvager::RemoveWithoutSubject() {
  while (true) {
    std::vector<std::string> changes;
    PX_TRY(ForEach(to_,
                   "SELECT c.\"table\", c.rowid, f.\"from\", f.on_delete FROM "
                   "pragma_foreign_key_check c, pragma_foreign_key_list(c.\"table\") f "
                   "WHERE f.id = c.fkid",
                   [&](const Statement& row) -> Status {
                     changes.push_back(row.Text(3) == "SET NULL"
                                           ? fmt::format("UPDATE {} SET {} = NULL WHERE rowid = {}",
                                                         row.Text(0), row.Text(2), row.Int(1))
                                           : fmt::format("DELETE FROM {} WHERE rowid = {}",
                                                         row.Text(0), row.Int(1)));
                     return {};
                   }));
    if (changes.empty()) return {};
    for (const std::string& change : changes) PX_TRY(to_.Execute(change));
    salvage_.without_subject += changes.size();
  }
}

Status Salvager::KeepNumbers() {
  return to_.Execute(fmt::format(R"sql(
UPDATE projects SET
  last_experiment = max(last_experiment, coalesce((SELECT max(number) FROM experiments e
                                                   WHERE e.project_id = projects.id), 0)),
  last_group = max(last_group, coalesce((SELECT max(number) FROM groups g
                                         WHERE g.project_id = projects.id), 0));
UPDATE sqlite_sequence SET seq = max(seq, {}) WHERE name = 'experiments';
)sql",
                                 sequence_));
}

}  // namespace

Result<CatalogSalvage> SalvageCatalog(DatabaseImage image, const std::string& to,
                                      const std::function<void(const std::string&)>& line) {
  DatabaseImage::Page first;
  PX_ASSIGN(const PageState state, image.Load(1, &first));
  SystemClock clock;
  // It has the newest schema then.
  PX_TRY(Catalog::Open(to, clock));
  PX_ASSIGN(Database database,
            Database::Open(to, SQLITE_OPEN_READWRITE, /*busy_timeout_ms=*/0, kCheckedVfs));
  PX_ASSIGN(Statement version, database.Prepare("PRAGMA user_version"));
  PX_TRY(version.Step());
  if (state != PageState::kDamaged && BigEndian32(first.data() + kVersionAt) > version.Int(0)) {
    return Fail(EPROTO, "made by a newer px");
  }
  version.Reset();
  PX_ASSIGN(Schema schema, LoadSchema(database));
  RowReader reader(std::move(image));
  return Salvager(&reader, std::move(database), std::move(schema), line).Run();
}

}  // namespace px::catalog
