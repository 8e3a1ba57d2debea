// px-launch experiment -xp N jobs: the processes that it consisted of. On one machine each attempt
// has one, its master.
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Jobs(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto runs, catalog->Runs(experiment.id));
  const int64_t now = NowNs(context.clock());
  spec::Json list = spec::Json::array();
  Table table({"id", "role", "pid", "host", "end", "started_at", "finished_at", "total_run"});
  for (const catalog::Run& run : runs) {
    list.push_back(RunJson(run));
    const int64_t end = run.finished_at != 0 ? run.finished_at : now;
    table.Add({std::to_string(run.attempt), "master", std::to_string(run.job.pid), run.job.host,
               run.finished_at == 0 ? "running" : run.reason, FormatAgo(run.started_at, now),
               FormatAgo(run.finished_at, now), FormatDuration(end - run.started_at)});
  }
  if (session.json) {
    context.Answer(list);
    return {};
  }
  context.out() << "Jobs for experiment `" << experiment.number << "`.\n\nJobs:\n\n";
  table.Print(context.out());
  return {};
}

}  // namespace

void AddExperimentJobs(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "jobs", "List its attempts and their processes.", Jobs);
}

}  // namespace px::launcher
