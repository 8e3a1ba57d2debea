// px-launch gpus
#include <map>
#include <memory>
#include <set>

#include "launcher/describe.h"
#include "launcher/gpus.h"
#include "launcher/job_group.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::GpuLease;

// Who holds a GPU, and what is foreign on it: programs that are none of its holders'.
struct Use {
  std::vector<std::pair<GpuLease, catalog::Experiment>> holders;
  std::vector<unsigned> foreign;
};

Outcome<Use> UseOf(catalog::Catalog& catalog, const Gpu& gpu, const std::vector<GpuLease>& leases) {
  Use use;
  std::set<unsigned> own;
  for (const GpuLease& lease : leases) {
    if (lease.gpu != gpu.uuid) continue;
    PXL_ASSIGN(catalog::Experiment experiment, catalog.GetExperiment(lease.experiment));
    PXL_ASSIGN(const auto runs, catalog.Runs(experiment.id));
    if (!runs.empty()) {
      for (const pid_t pid :
           JobGroup::Adopt(runs.back().GroupName(), runs.back().cgroup).Processes()) {
        own.insert(static_cast<unsigned>(pid));
      }
    }
    use.holders.emplace_back(lease, std::move(experiment));
  }
  for (const unsigned pid : gpu.processes) {
    if (!own.contains(pid)) use.foreign.push_back(pid);
  }
  return use;
}

std::string ShareText(int64_t share) {
  return FormatNumber(static_cast<double>(share) / static_cast<double>(catalog::kWholeGpu));
}

spec::Json ToJson(const Gpu& gpu, const Use& use) {
  spec::Json json{{"uuid", gpu.uuid},
                  {"name", gpu.name},
                  {"mig_of", nullptr},
                  {"memory_bytes", gpu.memory_bytes},
                  {"used_bytes", gpu.used_bytes},
                  {"utilisation", nullptr},
                  {"experiment", nullptr},
                  {"holders", spec::Json::array()},
                  {"foreign_pids", use.foreign}};
  if (!gpu.parent.empty()) json["mig_of"] = gpu.parent;
  if (gpu.utilisation) json["utilisation"] = *gpu.utilisation;
  for (const auto& [lease, experiment] : use.holders) {
    if (json["experiment"].is_null()) json["experiment"] = experiment.UniqueName();
    json["holders"].push_back(
        {{"experiment", experiment.UniqueName()},
         {"share", static_cast<double>(lease.share) / static_cast<double>(catalog::kWholeGpu)},
         {"since", TimeJson(lease.since)}});
  }
  return json;
}

std::vector<std::string> ToRow(const Gpu& gpu, const Use& use, int64_t now) {
  std::string holders;
  std::string since;
  for (const auto& [lease, experiment] : use.holders) {
    const std::string separator = holders.empty() ? "" : ", ";
    holders += separator + experiment.UniqueName();
    if (lease.share != catalog::kWholeGpu) holders += " (" + ShareText(lease.share) + ")";
    since += separator + FormatDuration(now - lease.since);
  }
  std::string foreign;
  for (const unsigned pid : use.foreign)
    foreign += (foreign.empty() ? "" : " ") + std::to_string(pid);
  return {gpu.uuid,
          gpu.parent.empty() ? gpu.name : gpu.name + " of " + gpu.parent,
          gpu.memory_bytes == 0 ? ""
                                : FormatSize(static_cast<int64_t>(gpu.used_bytes)) + " of " +
                                      FormatSize(static_cast<int64_t>(gpu.memory_bytes)),
          gpu.utilisation ? std::to_string(*gpu.utilisation) + " %" : "",
          holders,
          since,
          foreign};
}

Done History(Context& context, const Session& session) {
  constexpr int64_t kLines = 100;
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto events, catalog->GpuHistory(kLines));
  spec::Json list = spec::Json::array();
  Table table({"at", "gpu", "share", "experiment", "what"});
  for (const catalog::GpuEvent& event : events) {
    // Its row may be deleted since.
    const auto experiment = catalog->GetExperiment(event.experiment);
    const std::string name = experiment ? experiment->UniqueName() : "(deleted)";
    const char* what = event.given ? "given" : "given back";
    list.push_back(
        {{"at", TimeJson(event.at)},
         {"gpu", event.gpu},
         {"share", static_cast<double>(event.share) / static_cast<double>(catalog::kWholeGpu)},
         {"experiment", name},
         {"given", event.given}});
    table.Add({FormatTime(event.at), event.gpu, ShareText(event.share), name, what});
  }
  if (session.json) {
    context.Answer(list);
  } else {
    table.Print(context.out());
  }
  return {};
}

Done Gpus(Context& context, const Session& session) {
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto leases, catalog->GpuLeases());
  spec::Json list = spec::Json::array();
  Table table({"gpu", "name", "memory", "busy", "experiment", "since", "foreign"});
  const int64_t now = NowNs(context.clock());
  for (const Gpu& gpu : InspectGpus()) {
    PXL_ASSIGN(const Use use, UseOf(*catalog, gpu, leases));
    list.push_back(ToJson(gpu, use));
    table.Add(ToRow(gpu, use, now));
  }
  if (session.json) {
    context.Answer(list);
  } else if (table.empty()) {
    context.out() << "This machine has no GPUs that px can see.\n";
  } else {
    table.Print(context.out());
  }
  return {};
}

}  // namespace

void AddGpus(CLI::App& app, Session& session) {
  auto history = std::make_shared<bool>(false);
  AddCommand(app, session, "gpus", "List this machine's GPUs and who holds them.",
             [history](Context& context, Session& s) {
               return *history ? History(context, s) : Gpus(context, s);
             })
      ->add_flag("--history", *history, "What was given and given back, the last hundred times.");
}

}  // namespace px::launcher
