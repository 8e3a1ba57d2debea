// px-launch gpus
#include <map>

#include "launcher/describe.h"
#include "launcher/gpus.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Gpus(Context& context, const Session& session) {
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto leases, catalog->GpuLeases());
  const std::map<std::string, catalog::ExperimentId> holders(leases.begin(), leases.end());
  spec::Json list = spec::Json::array();
  Table table({"gpu", "experiment", "running"});
  const int64_t now = NowNs(context.clock());
  for (const std::string& gpu : PresentGpus()) {
    spec::Json json{{"uuid", gpu}, {"experiment", nullptr}};
    std::vector<std::string> row{gpu, "", ""};
    if (const auto holder = holders.find(gpu); holder != holders.end()) {
      PXL_ASSIGN(const catalog::Experiment experiment, catalog->GetExperiment(holder->second));
      json["experiment"] = experiment.UniqueName();
      row[1] = experiment.UniqueName();
      if (experiment.started_at != 0) row[2] = FormatDuration(now - experiment.started_at);
    }
    list.push_back(std::move(json));
    table.Add(std::move(row));
  }
  if (session.json) {
    context.out() << list.dump(2) << '\n';
  } else if (table.empty()) {
    context.out() << "This machine has no GPUs that px can see.\n";
  } else {
    table.Print(context.out());
  }
  return {};
}

}  // namespace

void AddGpus(CLI::App& app, Session& session) {
  AddCommand(app, session, "gpus", "List this machine's GPUs and who holds them.", Gpus);
}

}  // namespace px::launcher
