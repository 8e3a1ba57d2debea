#include "tests/launcher/lease_model.h"

namespace px::testing {

std::vector<std::string> CheckLeases(const std::vector<catalog::GpuEvent>& history,
                                     const std::vector<catalog::GpuLease>& leases) {
  std::vector<std::string> broken;
  std::map<std::string, std::map<int64_t, int64_t>> held;  // GPU, experiment, share
  for (const catalog::GpuEvent& event : history) {
    const std::string what =
        event.gpu + " and experiment " + std::to_string(event.experiment.value) + ": ";
    auto& holders = held[event.gpu];
    const bool has = holders.contains(event.experiment.value);
    if (!event.given) {
      if (!has) broken.push_back(what + "given back without having been given");
      holders.erase(event.experiment.value);
      continue;
    }
    if (has) broken.push_back(what + "given to one that has it");
    holders[event.experiment.value] = event.share;
    int64_t sum = 0;
    for (const auto& [experiment, share] : holders) sum += share;
    if (sum > catalog::kWholeGpu) broken.push_back(what + "given beyond the whole");
  }
  for (const catalog::GpuLease& lease : leases) {
    if (held[lease.gpu].erase(lease.experiment.value) == 0) {
      broken.push_back(lease.gpu + ": leased, and the history does not know");
    }
  }
  for (const auto& [gpu, holders] : held) {
    if (!holders.empty()) broken.push_back(gpu + ": not leased, and never given back");
  }
  return broken;
}

std::vector<int64_t> OrderOfLeases(const std::vector<catalog::GpuEvent>& history) {
  std::vector<int64_t> order;
  std::set<int64_t> seen;
  for (const catalog::GpuEvent& event : history) {
    if (event.given && seen.insert(event.experiment.value).second) {
      order.push_back(event.experiment.value);
    }
  }
  return order;
}

}  // namespace px::testing
