#include <set>

#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"

namespace px::catalog {
namespace {

Result<std::vector<MetricPoint>> ReadPoints(Statement& select) {
  std::vector<MetricPoint> points;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return points;
    points.push_back(
        {.at = select.Int(0), .name = std::string(select.Text(1)), .value = select.Real(2)});
  }
}

}  // namespace

Status Catalog::AddMetrics(ExperimentId id, const std::vector<MetricPoint>& points,
                           int64_t offset) {
  return database_.Transaction([&]() -> Status {
    PX_ASSIGN(Statement insert, database_.Prepare("INSERT INTO metrics (experiment_id, at, name, "
                                                  "value) VALUES (?, ?, ?, ?)"));
    for (const MetricPoint& point : points) {
      insert.Bind(1, id.value).Bind(2, point.at).BindText(3, point.name).BindReal(4, point.value);
      PX_TRY(insert.Run());
    }
    PX_ASSIGN(
        Statement mark,
        database_.Prepare("INSERT INTO metric_files (experiment_id, offset) VALUES (?, ?) "
                          "ON CONFLICT (experiment_id) DO UPDATE SET offset = excluded.offset"));
    return mark.Bind(1, id.value).Bind(2, offset).Run();
  });
}

Result<int64_t> Catalog::MetricsOffset(ExperimentId id) const {
  PX_ASSIGN(Statement find,
            database_.Prepare("SELECT offset FROM metric_files WHERE experiment_id = ?"));
  PX_ASSIGN(const bool row, find.Bind(1, id.value).Step());
  return row ? find.Int(0) : 0;
}

Result<std::vector<MetricPoint>> Catalog::Metrics(ExperimentId id) const {
  PX_ASSIGN(Statement select, database_.Prepare("SELECT at, name, value FROM metrics WHERE "
                                                "experiment_id = ? ORDER BY id"));
  return ReadPoints(select.Bind(1, id.value));
}

Result<std::vector<MetricPoint>> Catalog::LastMetrics(ExperimentId id) const {
  PX_ASSIGN(
      Statement select,
      database_.Prepare("SELECT at, name, value FROM metrics WHERE id IN (SELECT max(id) FROM "
                        "metrics WHERE experiment_id = ? GROUP BY name) ORDER BY name"));
  return ReadPoints(select.Bind(1, id.value));
}

Result<std::vector<std::string>> Catalog::LeaseGpus(ExperimentId id,
                                                    const std::vector<std::string>& gpus,
                                                    int64_t count) {
  if (count > static_cast<int64_t>(gpus.size())) return Fail(EINVAL, "more GPUs than there are");
  std::vector<std::string> given;
  const auto body = [&]() -> Status {
    PX_ASSIGN(const Experiment experiment, GetExperiment(id));
    // Nobody would ever give them back.
    if (IsDone(experiment.state)) return Fail(EINVAL, "the experiment has ended");
    PX_ASSIGN(const auto leases, GpuLeases());
    for (const auto& [gpu, holder] : leases) {
      if (holder == id) given.push_back(gpu);
    }
    if (!given.empty()) return {};
    // First come, first served: nobody passes an experiment that has waited longer.
    PX_ASSIGN(
        Statement earlier,
        database_.Prepare("SELECT 1 FROM experiments WHERE id < ? AND gpus > 0 AND state = "
                          "'scheduled' AND id NOT IN (SELECT experiment_id FROM gpu_leases)"));
    PX_ASSIGN(const bool waits, earlier.Bind(1, id.value).Step());
    if (waits) return {};
    std::set<std::string> held;
    for (const auto& lease : leases) held.insert(lease.first);
    for (const std::string& gpu : gpus) {
      if (static_cast<int64_t>(given.size()) < count && !held.contains(gpu)) given.push_back(gpu);
    }
    if (static_cast<int64_t>(given.size()) < count) {
      given.clear();
      return {};
    }
    PX_ASSIGN(Statement lease,
              database_.Prepare("INSERT INTO gpu_leases (gpu, experiment_id, since) "
                                "VALUES (?, ?, ?)"));
    for (const std::string& gpu : given) {
      PX_TRY(lease.BindText(1, gpu).Bind(2, id.value).Bind(3, Now()).Run());
    }
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return given;
}

Result<std::vector<std::pair<std::string, ExperimentId>>> Catalog::GpuLeases() const {
  PX_ASSIGN(Statement select,
            database_.Prepare("SELECT gpu, experiment_id FROM gpu_leases ORDER BY gpu"));
  std::vector<std::pair<std::string, ExperimentId>> leases;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return leases;
    leases.emplace_back(std::string(select.Text(0)), ExperimentId{select.Int(1)});
  }
}

}  // namespace px::catalog
