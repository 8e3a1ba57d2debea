#include <algorithm>
#include <map>

#include "catalog/catalog.h"
#include "catalog/catalog_rows.h"

namespace px::catalog {
namespace {

// The GPUs of `gpus` that `wanted` of `share` fit on, none of `busy` and none too full. Shares go
// where most is taken already, so that whole ones stay free; fewer than wanted if there are not
// enough.
std::vector<std::string> Choose(const std::vector<std::string>& gpus,
                                const std::set<std::string>& busy,
                                const std::map<std::string, int64_t>& taken, int64_t wanted,
                                int64_t share) {
  const auto taken_of = [&](const std::string& gpu) {
    const auto found = taken.find(gpu);
    return found == taken.end() ? int64_t{0} : found->second;
  };
  std::vector<std::pair<int64_t, size_t>> fit;  // what is left of it; its place in the order
  for (size_t i = 0; i < gpus.size(); ++i) {
    const int64_t held = taken_of(gpus[i]);
    // What runs on a shared one is its holders'.
    if (held == 0 && busy.contains(gpus[i])) continue;
    if (held + share <= kWholeGpu) fit.emplace_back(kWholeGpu - held, i);
  }
  std::sort(fit.begin(), fit.end());
  if (static_cast<int64_t>(fit.size()) > wanted) fit.resize(static_cast<size_t>(wanted));
  std::vector<std::string> chosen;
  for (const auto& [left, i] : fit) chosen.push_back(gpus[i]);
  return chosen;
}

}  // namespace

Result<bool> Catalog::IsNextForGpus(ExperimentId id) const {
  PX_ASSIGN(Statement earlier,
            database_.Prepare("SELECT 1 FROM experiments WHERE id < ? AND gpus > 0 AND state = "
                              "'scheduled' AND id NOT IN (SELECT experiment_id FROM gpu_leases)"));
  PX_ASSIGN(const bool waits, earlier.Bind(1, id.value).Step());
  return !waits;
}

Result<std::vector<std::string>> Catalog::LeaseGpus(ExperimentId id,
                                                    const std::vector<std::string>& gpus,
                                                    const std::set<std::string>& busy) {
  std::vector<std::string> given;
  const auto body = [&]() -> Status {
    PX_ASSIGN(const Experiment experiment, GetExperiment(id));
    // Nobody would ever give them back.
    if (IsDone(experiment.state)) return Fail(EINVAL, "the experiment has ended");
    if (experiment.gpus > static_cast<int64_t>(gpus.size())) {
      return Fail(EINVAL, "it wants more GPUs than there are");
    }
    PX_ASSIGN(const auto leases, GpuLeases());
    std::map<std::string, int64_t> taken;
    for (const GpuLease& lease : leases) {
      taken[lease.gpu] += lease.share;
      if (lease.experiment == id) given.push_back(lease.gpu);
    }
    if (!given.empty()) return {};
    // First come, first served: nobody passes an experiment that has waited longer.
    PX_ASSIGN(const bool next, IsNextForGpus(id));
    if (!next) return {};
    given = Choose(gpus, busy, taken, experiment.gpus, experiment.gpu_share);
    if (static_cast<int64_t>(given.size()) < experiment.gpus) {
      given.clear();
      return {};
    }
    PX_ASSIGN(Statement lease,
              database_.Prepare("INSERT INTO gpu_leases (gpu, experiment_id, share, since) "
                                "VALUES (?, ?, ?, ?)"));
    for (const std::string& gpu : given) {
      lease.BindText(1, gpu).Bind(2, id.value).Bind(3, experiment.gpu_share).Bind(4, Now());
      PX_TRY(lease.Run());
    }
    return {};
  };
  PX_TRY(database_.Transaction(body));
  return given;
}

Result<std::vector<GpuLease>> Catalog::GpuLeases() const {
  PX_ASSIGN(Statement select, database_.Prepare("SELECT gpu, experiment_id, share, since FROM "
                                                "gpu_leases ORDER BY gpu, experiment_id"));
  std::vector<GpuLease> leases;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return leases;
    leases.push_back({.gpu = std::string(select.Text(0)),
                      .experiment = ExperimentId{select.Int(1)},
                      .share = select.Int(2),
                      .since = select.Int(3)});
  }
}

Result<std::vector<GpuEvent>> Catalog::GpuHistory(int64_t limit) const {
  PX_ASSIGN(Statement select,
            database_.Prepare("SELECT gpu, experiment_id, share, given, at FROM (SELECT * FROM "
                              "gpu_history ORDER BY id DESC LIMIT ?) ORDER BY id"));
  select.Bind(1, limit > 0 ? limit : -1);
  std::vector<GpuEvent> events;
  while (true) {
    PX_ASSIGN(const bool row, select.Step());
    if (!row) return events;
    events.push_back({.gpu = std::string(select.Text(0)),
                      .experiment = ExperimentId{select.Int(1)},
                      .share = select.Int(2),
                      .given = select.Int(3) != 0,
                      .at = select.Int(4)});
  }
}

}  // namespace px::catalog
