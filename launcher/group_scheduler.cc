#include "launcher/group_scheduler.h"

#include <signal.h>
#include <sys/prctl.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/log.h"
#include "launcher/files.h"
#include "launcher/launch.h"
#include "launcher/process.h"
#include "launcher/reconcile.h"
#include "launcher/saved_environment.h"
#include "launcher/stop.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::State;

class Scheduler {
 public:
  Scheduler(Context& context, catalog::Catalog& catalog, catalog::Group group, spec::GroupSpec spec)
      : context_(context), catalog_(catalog), group_(std::move(group)), spec_(std::move(spec)) {}

  Done Run() {
    if (group_.state == State::kCreated) {
      PXL_TRY(catalog_.SetGroupState(group_.id, State::kRunning, ""));
    }
    while (true) {
      PXL_TRY(Reconcile(context_));
      PXL_ASSIGN(group_, catalog_.GetGroup(group_.id));
      PXL_ASSIGN(const std::vector<Experiment> members, Members());
      PXL_ASSIGN(const bool enough, EarlyStop(members));
      const bool stop = enough || group_.stop_requested_at != 0;
      PXL_ASSIGN(const bool left, Step(members, stop));
      if (!left) return Finish(members, stop);
      constexpr auto kPause = std::chrono::milliseconds(200);
      std::this_thread::sleep_for(kPause);
    }
  }

 private:
  // Those the group began with, oldest first; later clones of them look after themselves.
  Outcome<std::vector<Experiment>> Members() {
    PXL_ASSIGN(std::vector<Experiment> members,
               catalog_.ListExperiments(
                   {.project = group_.project, .independent_only = false, .group = group_.id}));
    std::erase_if(members, [](const Experiment& member) { return member.is_clone(); });
    return std::vector<Experiment>(members.rbegin(), members.rend());
  }

  // Starts or stops what is due; true while something is unfinished.
  Outcome<bool> Step(const std::vector<Experiment>& members, bool stop) {
    int64_t active = 0;
    for (const Experiment& member : members) {
      if (!catalog::IsDone(member.state) && member.owner.pid != 0) ++active;
    }
    bool left = active > 0;
    for (const Experiment& member : members) {
      if (catalog::IsDone(member.state)) continue;
      if (stop) {
        if (member.stop_requested_at == 0) PXL_TRY(RequestStop(context_, member));
      } else if (member.owner.pid == 0) {
        left = true;
        if (active >= group_.concurrency) break;
        ++active;
        PXL_TRY(Start(member));
      }
    }
    return left;
  }

  Done Start(const Experiment& member) {
    // Somebody else may have stopped it just now.
    if (!catalog_.TakeOver(member.id, member.owner, Self())) return {};
    PXL_ASSIGN(const Experiment taken, catalog_.GetExperiment(member.id));
    if (const Done started = PrepareAndStart(context_, taken); !started) {
      LogWarn("experiment {}: {}", taken.number, started.error().message);
    }
    return {};
  }

  // True if a metric of one of them says that the group has found what it looked for.
  Outcome<bool> EarlyStop(const std::vector<Experiment>& members) {
    if (spec_.early_stopping.empty()) return false;
    for (const Experiment& member : members) {
      PXL_ASSIGN(const auto metrics, catalog_.LastMetrics(member.id));
      for (const auto& point : metrics) {
        for (const spec::EarlyStopping& rule : spec_.early_stopping) {
          if (rule.metric.name != point.name) continue;
          const bool reached =
              rule.metric.maximize ? point.value >= rule.value : point.value <= rule.value;
          if (!reached) continue;
          if (rule.policy == "all") return true;
          if (!catalog::IsDone(member.state)) PXL_TRY(RequestStop(context_, member));
        }
      }
    }
    return false;
  }

  Done Finish(const std::vector<Experiment>& members, bool stopped) {
    size_t succeeded = 0;
    for (const Experiment& member : members) succeeded += member.state == State::kSucceeded ? 1 : 0;
    const std::string message = std::to_string(succeeded) + " of " +
                                std::to_string(members.size()) + " experiments succeeded";
    State state = succeeded == 0 && !members.empty() ? State::kFailed : State::kSucceeded;
    if (stopped && group_.stop_requested_at != 0) state = State::kStopped;
    PXL_TRY(catalog_.SetGroupState(group_.id, state, message));
    return {};
  }

  Context& context_;
  catalog::Catalog& catalog_;
  catalog::Group group_;
  spec::GroupSpec spec_;
};

Done Schedule(Context& context, catalog::Catalog& catalog, const catalog::Group& group) {
  PXL_ASSIGN(const catalog::Project project, catalog.GetProject(group.project));
  const std::string environment = context.layout().EnvironmentFile(project, group.number);
  PXL_TRY(AdoptEnvironment(environment));
  PXL_ASSIGN(const spec::Json raw, spec::ReadText(group.raw_spec, "group.json"));
  PXL_ASSIGN(spec::GroupSpec spec, spec::ParseGroup(raw));
  PXL_TRY(Scheduler(context, catalog, group, std::move(spec)).Run());
  PXL_TRY(RemoveFile(environment));
  return {};
}

}  // namespace

Done StartScheduler(Context& context, const catalog::Group& group) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const catalog::Project project, catalog->GetProject(group.project));
  PXL_TRY(KeepEnvironment(context.layout().EnvironmentFile(project, group.number)));
  const ProcessIdentity self = Self();
  const Status started = StartDetached({"px-launch", "--schedule", std::to_string(group.id.value),
                                        std::to_string(self.pid), std::to_string(self.start_ticks)},
                                       context.config().ToEnvironment(),
                                       context.layout().GroupLog(project, group.number));
  if (!started) return Refuse(started.error(), "cannot start the group's scheduler");
  return {};
}

int ScheduleGroup(Context& context, catalog::GroupId id, int64_t starter_pid,
                  int64_t starter_ticks) {
  ::prctl(PR_SET_NAME, "px-scheduler");
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  auto catalog = context.Catalog();
  if (!catalog) {
    ReportReady(catalog.error().message);
    return 1;
  }
  ProcessIdentity starter = Self();
  starter.pid = starter_pid;
  starter.start_ticks = starter_ticks;
  const Status taken = (*catalog)->TakeOverGroup(id, starter, Self());
  const auto group = (*catalog)->GetGroup(id);
  if (!taken || !group) {
    ReportReady(taken ? group.error().ToString() : taken.error().ToString());
    return 1;
  }
  ReportReady();
  const Done done = Schedule(context, **catalog, *group);
  if (done) return 0;
  LogError("{}", done.error().message);
  const Status failed = (*catalog)->SetGroupState(id, State::kFailed, done.error().message);
  if (!failed) LogError("{}", failed.error().ToString());
  return 1;
}

Outcome<std::vector<spec::Json>> Suggestions(const spec::GroupSpec& group) {
  switch (group.algorithm) {
    case spec::Algorithm::kGrid: {
      std::vector<spec::Json> all = spec::Grid(group);
      if (group.n_experiments && static_cast<size_t>(*group.n_experiments) < all.size()) {
        all.resize(static_cast<size_t>(*group.n_experiments));
      }
      return all;
    }
    case spec::Algorithm::kRandom: {
      std::random_device device;
      spec::Rng rng = spec::MakeRng(group, device());
      return spec::RandomSearch(group, rng);
    }
    case spec::Algorithm::kHyperband:
    case spec::Algorithm::kBo:
      break;
  }
  return Refuse(ExitCode::kFailed, "hyperband and bo groups cannot be run yet",
                "use grid_search or random_search");
}

}  // namespace px::launcher
