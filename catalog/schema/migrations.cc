#include "catalog/schema/migrations.h"

#include <array>

namespace px::catalog {
namespace {

// Numbers of experiments and groups come from counters in their project's row, so that a deleted
// experiment's number is never given again. `original_id` becomes NULL when the original is
// deleted, `original_number` stays.
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
);

CREATE TABLE projects (
  id INTEGER PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users(id),
  name TEXT NOT NULL,
  uuid TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  last_experiment INTEGER NOT NULL DEFAULT 0,
  last_group INTEGER NOT NULL DEFAULT 0,
  last_code INTEGER NOT NULL DEFAULT 0,
  code_snapshot TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  UNIQUE (user_id, name)
);

CREATE TABLE groups (
  id INTEGER PRIMARY KEY,
  project_id INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  uuid TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  raw_spec TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  concurrency INTEGER NOT NULL,
  code_snapshot TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL DEFAULT 0,
  finished_at INTEGER NOT NULL DEFAULT 0,
  stop_requested_at INTEGER NOT NULL DEFAULT 0,
  owner_host TEXT NOT NULL DEFAULT '',
  owner_boot TEXT NOT NULL DEFAULT '',
  owner_pid INTEGER NOT NULL DEFAULT 0,
  owner_start INTEGER NOT NULL DEFAULT 0,
  UNIQUE (project_id, number)
);

CREATE TABLE experiments (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  uuid TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  group_id INTEGER REFERENCES groups(id) ON DELETE SET NULL,
  group_number INTEGER NOT NULL DEFAULT 0,
  strategy TEXT NOT NULL DEFAULT '',
  original_id INTEGER REFERENCES experiments(id) ON DELETE SET NULL,
  original_number INTEGER NOT NULL DEFAULT 0,
  root_id INTEGER NOT NULL,
  root_number INTEGER NOT NULL,
  root_group_number INTEGER NOT NULL DEFAULT 0,
  raw_spec TEXT NOT NULL,
  overrides TEXT NOT NULL,
  rendered_spec TEXT NOT NULL,
  code_snapshot TEXT NOT NULL DEFAULT '',
  inherited_files INTEGER NOT NULL DEFAULT 0,
  inherited_bytes INTEGER NOT NULL DEFAULT 0,
  inherited_snapshot TEXT NOT NULL DEFAULT '',
  gpus INTEGER NOT NULL DEFAULT 0,
  ttl_s INTEGER NOT NULL DEFAULT 0,
  max_restarts INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL,
  last_message TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL DEFAULT 0,
  finished_at INTEGER NOT NULL DEFAULT 0,
  stop_requested_at INTEGER NOT NULL DEFAULT 0,
  owner_host TEXT NOT NULL DEFAULT '',
  owner_boot TEXT NOT NULL DEFAULT '',
  owner_pid INTEGER NOT NULL DEFAULT 0,
  owner_start INTEGER NOT NULL DEFAULT 0,
  UNIQUE (project_id, number)
);
CREATE INDEX experiments_by_root ON experiments(root_id);
CREATE INDEX experiments_by_group ON experiments(group_id);
CREATE INDEX experiments_unfinished ON experiments(state)
  WHERE state NOT IN ('succeeded', 'failed', 'stopped', 'skipped');

CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  uuid TEXT NOT NULL UNIQUE,
  containment TEXT NOT NULL DEFAULT '',
  cgroup TEXT NOT NULL DEFAULT '',
  job_host TEXT NOT NULL DEFAULT '',
  job_boot TEXT NOT NULL DEFAULT '',
  job_pid INTEGER NOT NULL DEFAULT 0,
  job_start INTEGER NOT NULL DEFAULT 0,
  gpus TEXT NOT NULL DEFAULT '[]',
  started_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL DEFAULT 0,
  heartbeat_at INTEGER NOT NULL DEFAULT 0,
  exit_code INTEGER,
  signal INTEGER,
  reason TEXT NOT NULL DEFAULT '',
  UNIQUE (experiment_id, attempt)
);

CREATE TABLE statuses (
  id INTEGER PRIMARY KEY,
  experiment_id INTEGER REFERENCES experiments(id) ON DELETE CASCADE,
  group_id INTEGER REFERENCES groups(id) ON DELETE CASCADE,
  state TEXT NOT NULL,
  message TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  CHECK ((experiment_id IS NULL) <> (group_id IS NULL))
);
CREATE INDEX statuses_by_experiment ON statuses(experiment_id);
CREATE INDEX statuses_by_group ON statuses(group_id);

CREATE TABLE metrics (
  id INTEGER PRIMARY KEY,
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  at INTEGER NOT NULL,
  name TEXT NOT NULL,
  value REAL NOT NULL
);
CREATE INDEX metrics_by_experiment ON metrics(experiment_id, name);
CREATE TABLE metric_files (
  experiment_id INTEGER PRIMARY KEY REFERENCES experiments(id) ON DELETE CASCADE,
  offset INTEGER NOT NULL
);

CREATE TABLE gpu_leases (
  gpu TEXT PRIMARY KEY,
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  since INTEGER NOT NULL
);
)sql";

// What a resume was told and what it found; who a group was made from and where in its search a
// member stands (JSON, the scheduler's own); bookmarks; checkpoints that are never thrown away.
constexpr std::string_view kVersion2 = R"sql(
ALTER TABLE experiments ADD COLUMN inherited_checkpoint TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN inherited_checkpoint_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN inherited_checkpoint_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN inherited_restored TEXT NOT NULL DEFAULT '[]';
ALTER TABLE experiments ADD COLUMN resume_from TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN restore_checkpoint INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN bookmarked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN strategy TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN original_number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN seed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN bookmarked INTEGER NOT NULL DEFAULT 0;
CREATE TABLE pinned_checkpoints (
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  path TEXT NOT NULL,
  PRIMARY KEY (experiment_id, path)
);
)sql";

// Jobs and builds are experiments of another kind, with numbers from the same counter.
constexpr std::string_view kVersion3 = R"sql(
ALTER TABLE experiments ADD COLUMN kind TEXT NOT NULL DEFAULT 'experiment';
)sql";

// Shares of GPUs, in thousandths. A lease beyond a whole GPU is refused by the schema, whatever the
// program thinks; and the history is written by it, in the same transaction as the lease, so that
// it cannot say anything else than what was.
constexpr std::string_view kVersion4 = R"sql(
ALTER TABLE experiments ADD COLUMN gpu_share INTEGER NOT NULL DEFAULT 1000;
CREATE TABLE gpu_leases_of_4 (
  gpu TEXT NOT NULL,
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  share INTEGER NOT NULL CHECK (share > 0),
  since INTEGER NOT NULL,
  PRIMARY KEY (gpu, experiment_id)
);
INSERT INTO gpu_leases_of_4 SELECT gpu, experiment_id, 1000, since FROM gpu_leases;
DROP TABLE gpu_leases;
ALTER TABLE gpu_leases_of_4 RENAME TO gpu_leases;
CREATE INDEX gpu_leases_by_experiment ON gpu_leases(experiment_id);
CREATE TABLE gpu_history (
  id INTEGER PRIMARY KEY,
  gpu TEXT NOT NULL,
  experiment_id INTEGER NOT NULL,
  share INTEGER NOT NULL,
  given INTEGER NOT NULL,
  at INTEGER NOT NULL
);
CREATE TRIGGER gpu_never_twice BEFORE INSERT ON gpu_leases
WHEN (SELECT coalesce(sum(share), 0) FROM gpu_leases WHERE gpu = NEW.gpu) + NEW.share > 1000
BEGIN
  SELECT RAISE(ABORT, 'a GPU would be given twice');
END;
CREATE TRIGGER gpu_given AFTER INSERT ON gpu_leases
BEGIN
  INSERT INTO gpu_history (gpu, experiment_id, share, given, at)
  VALUES (NEW.gpu, NEW.experiment_id, NEW.share, 1,
          CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000);
END;
CREATE TRIGGER gpu_given_back AFTER DELETE ON gpu_leases
BEGIN
  INSERT INTO gpu_history (gpu, experiment_id, share, given, at)
  VALUES (OLD.gpu, OLD.experiment_id, OLD.share, 0,
          CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000);
END;
)sql";

constexpr std::array<std::string_view, 4> kMigrations{kVersion1, kVersion2, kVersion3, kVersion4};

}  // namespace

std::span<const std::string_view> Migrations() { return kMigrations; }

}  // namespace px::catalog
