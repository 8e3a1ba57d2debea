#include "launcher/stop.h"

#include <signal.h>

#include <chrono>
#include <functional>
#include <thread>

#include "launcher/describe.h"
#include "launcher/process.h"
#include "launcher/reconcile.h"

namespace px::launcher {

Done RequestStop(Context& context, const catalog::Experiment& experiment) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->RequestStop(experiment.id));
  PXL_ASSIGN(const catalog::Experiment now, catalog->GetExperiment(experiment.id));
  if (catalog::IsDone(now.state)) return {};
  if (now.owner.pid == 0) {
    // Taken over first, so that its group's scheduler cannot start it any more.
    if (catalog->TakeOver(now.id, now.owner, Self())) {
      PXL_TRY(catalog->SetState(now.id, catalog::State::kStopped, "stopped before it was started"));
      return {};
    }
    PXL_ASSIGN(const catalog::Experiment taken, catalog->GetExperiment(experiment.id));
    // The request is on record: whoever has it now will see it.
    if (!SignalProcess(taken.owner, SIGTERM)) return {};
    return {};
  }
  PXL_ASSIGN(const auto runs, catalog->Runs(now.id));
  // Without a run its owner may still be the launcher, which is not to be signalled; the request is
  // on record.
  if (now.owner == Self() || (runs.empty() && now.state == catalog::State::kCreated)) return {};
  const Status told = SignalProcess(now.owner, SIGTERM);
  // Dead meanwhile: reconciliation ends it. On another machine: its supervisor reads the request.
  if (!told && told.error().code() != ESRCH)
    return Refuse(told.error(), "cannot reach its supervisor");
  return {};
}

namespace {

// Until `finished` says so; the name of what did not end in time is in the Failure.
Done WaitFor(Context& context, const std::function<Outcome<bool>()>& finished,
             const std::string& what) {
  const auto deadline = std::chrono::steady_clock::now() +
                        std::chrono::milliseconds(context.config().grace_ms) +
                        std::chrono::seconds(30);
  while (true) {
    PXL_TRY(Reconcile(context));
    PXL_ASSIGN(const bool over, finished());
    if (over) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      return Refuse(ExitCode::kBusy, what + " has not ended yet", "try again in a while");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

Done WaitUntilDone(Context& context, catalog::ExperimentId id) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const catalog::Experiment experiment, catalog->GetExperiment(id));
  const auto finished = [&]() -> Outcome<bool> {
    PXL_ASSIGN(const catalog::Experiment now, catalog->GetExperiment(id));
    return catalog::IsDone(now.state);
  };
  return WaitFor(context, finished, NameFor(experiment));
}

Done WaitUntilGroupDone(Context& context, catalog::GroupId id) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const catalog::Group group, catalog->GetGroup(id));
  const auto finished = [&]() -> Outcome<bool> {
    PXL_ASSIGN(const catalog::Group now, catalog->GetGroup(id));
    return catalog::IsDone(now.state);
  };
  return WaitFor(context, finished, "group " + std::to_string(group.number));
}

}  // namespace px::launcher
