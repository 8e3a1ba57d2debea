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

}  // namespace px::catalog
