#include "launcher/gpu_lease.h"

#include <set>

#include "base/log.h"
#include "launcher/gpus.h"

namespace px::launcher {

Outcome<std::vector<std::string>> TryToLease(Context& context, catalog::Catalog& catalog,
                                             catalog::ExperimentId id,
                                             const std::vector<std::string>& present) {
  // To look takes the driver long: the rest of the queue has no need to.
  PXL_ASSIGN(const bool next, catalog.IsNextForGpus(id));
  if (!next) return std::vector<std::string>{};
  std::set<std::string> busy;
  std::string list;
  if (context.config().gpu_foreign != "ignore") {
    for (const Gpu& gpu : InspectGpus()) {
      if (gpu.processes.empty()) continue;
      busy.insert(gpu.uuid);
      list += (list.empty() ? "" : ", ") + gpu.uuid;
    }
  }
  PXL_ASSIGN(auto given, catalog.LeaseGpus(id, present, busy));
  if (given.empty() && !busy.empty()) {
    const auto said = catalog.SetMessage(id, "waits for GPUs; programs use " + list);
    if (!said) LogWarn("{}", said.error().ToString());
  }
  return given;
}

}  // namespace px::launcher
