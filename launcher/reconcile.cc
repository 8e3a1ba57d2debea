#include "launcher/reconcile.h"

#include "base/log.h"
#include "launcher/container.h"
#include "launcher/files.h"
#include "launcher/group_scheduler.h"
#include "launcher/job_group.h"
#include "launcher/launch.h"
#include "launcher/metrics_file.h"
#include "launcher/process.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::State;

constexpr int64_t kElsewhereNs = int64_t{180} * 1'000'000'000;

// Why nobody answers for it any more; empty if somebody does.
std::string WhyDead(const Experiment& experiment, const std::vector<catalog::Run>& runs,
                    int64_t now) {
  const ProcessIdentity& owner = experiment.owner;
  switch (LivenessOf(owner)) {
    case Liveness::kAlive:
      return "";
    case Liveness::kElsewhere: {
      const int64_t seen = runs.empty() ? experiment.updated_at : runs.back().heartbeat_at;
      if (now - seen < kElsewhereNs) return "";
      return "the machine " + owner.host + " was not heard of for " +
             std::to_string((now - seen) / 1'000'000'000) + " s";
    }
    case Liveness::kDead:
      break;
  }
  if (owner.boot_id != Self().boot_id) return "the machine was restarted";
  if (runs.empty())
    return "px-launch (pid " + std::to_string(owner.pid) + ") died while starting it";
  return "its supervisor (pid " + std::to_string(owner.pid) + ") died";
}

// A scheduler died while it was starting a member: nothing ran, so it goes back into the queue.
Outcome<bool> Requeue(Context& context, catalog::Catalog& catalog, const Experiment& experiment,
                      const std::vector<catalog::Run>& runs) {
  const bool planned = !experiment.plan.empty() || !experiment.is_clone();
  if (!experiment.group || !planned || !runs.empty()) return false;
  if (experiment.state != State::kCreated || experiment.stop_requested_at != 0) return false;
  PXL_ASSIGN(const catalog::Group group, catalog.GetGroup(experiment.group));
  if (catalog::IsDone(group.state)) return false;
  RemoveVolumes(context, experiment);
  PXL_TRY(catalog.TakeOver(experiment.id, Self(), ProcessIdentity{}));
  return true;
}

Done End(Context& context, catalog::Catalog& catalog, const Experiment& experiment,
         const std::vector<catalog::Run>& runs, const std::string& why) {
  for (const catalog::Run& run : runs) {
    if (run.finished_at != 0) continue;
    const JobGroup leftovers = JobGroup::Adopt(run.GroupName(), run.cgroup);
    leftovers.KillAll();
    leftovers.Remove();
    RemoveContainer(run);
    PXL_TRY(catalog.FinishRun(run.id, {.exit_code = {}, .signal = {}, .reason = why}));
  }
  PXL_ASSIGN(const bool requeued, Requeue(context, catalog, experiment, runs));
  if (requeued) return {};
  PXL_TRY(IngestMetrics(catalog, context.clock(), experiment.id,
                        context.layout().MetricsFile(experiment)));
  const bool stopped = experiment.stop_requested_at != 0;
  // The first attempt was one, too: with max_restarts 1 there may be two.
  if (!stopped && !runs.empty() && static_cast<int64_t>(runs.size()) <= experiment.max_restarts) {
    PXL_TRY(catalog.SetState(experiment.id, State::kWarning, why + "; starting again"));
    const Done started = StartSupervisor(context, experiment);
    if (started) return {};
    // The new supervisor may have taken it over before it died: then that is looked into anew.
    PXL_TRY(catalog.SetStateAs(Self(), experiment.id, State::kFailed,
                               why + "; " + started.error().message));
    return started;
  }
  PXL_TRY(catalog.SetState(experiment.id, stopped ? State::kStopped : State::kFailed,
                           stopped ? "stopped on request; " + why : why));
  PXL_TRY(RemoveFile(context.layout().EnvironmentFile(experiment)));
  return {};
}

// A group's scheduler keeps nothing to itself: another one goes on where it stopped.
Done ReviveGroups(Context& context, catalog::Catalog& catalog) {
  PXL_ASSIGN(const auto groups, catalog.UnfinishedGroups());
  for (const catalog::Group& group : groups) {
    if (LivenessOf(group.owner) != Liveness::kDead) continue;
    if (!catalog.TakeOverGroup(group.id, group.owner, Self())) continue;
    if (const Done started = StartScheduler(context, group); !started) {
      LogWarn("group {}: {}", group.number, started.error().message);
      // Back to the dead one, so that it is tried again, also while this process lives.
      static_cast<void>(catalog.TakeOverGroup(group.id, Self(), group.owner));
    }
  }
  return {};
}

}  // namespace

Done Reconcile(Context& context) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto unfinished, catalog->Unfinished());
  const int64_t now = ToNanoseconds(context.clock().Now());
  for (const Experiment& experiment : unfinished) {
    // Nobody's yet: an experiment that waits in its group, whose scheduler answers for it.
    if (experiment.owner.pid == 0 || LivenessOf(experiment.owner) == Liveness::kAlive) continue;
    PXL_ASSIGN(const auto runs, catalog->Runs(experiment.id));
    const std::string why = WhyDead(experiment, runs, now);
    if (why.empty()) continue;
    // Only one process gets it; for the others there is nothing left to do.
    if (!catalog->TakeOver(experiment.id, experiment.owner, Self())) continue;
    if (const Done ended = End(context, *catalog, experiment, runs, why); !ended) {
      LogWarn("experiment {}: {}", experiment.number, ended.error().message);
      // Back to the dead one, so that it is tried again, also while this process lives.
      static_cast<void>(catalog->TakeOver(experiment.id, Self(), experiment.owner));
    }
  }
  return ReviveGroups(context, *catalog);
}

}  // namespace px::launcher
