#include "launcher/group_scheduler.h"

#include <signal.h>
#include <sys/prctl.h>

#include <chrono>
#include <thread>

#include "base/log.h"
#include "launcher/early_stopping.h"
#include "launcher/files.h"
#include "launcher/group_members.h"
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
      PXL_ASSIGN(const std::vector<Experiment> members, OwnMembers(catalog_, group_));
      if (early_.empty()) PXL_TRY(EarlyStop(members));
      const bool stop = !early_.empty() || group_.stop_requested_at != 0;
      PXL_ASSIGN(const bool left, Step(members, stop));
      bool grown = false;
      if (!stop) {
        PXL_ASSIGN(grown, Grow(members));
      }
      if (!left && !grown) return Finish(members);
      constexpr auto kPause = std::chrono::milliseconds(200);
      std::this_thread::sleep_for(kPause);
    }
  }

 private:
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

  // What the search wants next becomes members; true if there is any. A promotion whose original is
  // in use by somebody else's resume has to wait.
  Outcome<bool> Grow(const std::vector<Experiment>& members) {
    PXL_ASSIGN(const auto known, SearchMembers(catalog_, group_, SearchMetric(spec_)));
    const auto proposals = Propose(spec_, static_cast<uint64_t>(group_.seed), known);
    if (proposals.empty()) return false;
    PXL_ASSIGN(const auto requests,
               MakeMembers(context_, spec_, spec_.raw, {}, proposals,
                           {.user = group_.user,
                            .tags = group_.tags,
                            .code_snapshot = group_.code_snapshot,
                            .ttl_s = members.empty() ? 0 : members.front().ttl_s}));
    const auto added = catalog_.AddMembers(Self(), group_.id, requests);
    if (!added && added.error().code() != EBUSY) PXL_TRY(added);
    return true;
  }

  Outcome<Curve> CurveOf(const Experiment& member, const std::string& metric) {
    Curve curve;
    curve.running = !catalog::IsDone(member.state) && member.owner.pid != 0;
    PXL_ASSIGN(const auto points, catalog_.Metrics(member.id));
    for (const auto& point : points) {
      if (point.name == metric) curve.values.push_back(point.value);
    }
    return curve;
  }

  // Stops the members that a rule gives up, and notes why the whole group is to end, if it is.
  Done EarlyStop(const std::vector<Experiment>& members) {
    for (const spec::EarlyStopping& rule : spec_.early_stopping) {
      std::vector<Curve> curves;
      for (const Experiment& member : members) {
        PXL_ASSIGN(Curve curve, CurveOf(member, rule.metric.name));
        curves.push_back(std::move(curve));
      }
      std::vector<size_t> give_up = WorstToStop(rule, curves);
      for (size_t i = 0; i < members.size(); ++i) {
        if (!HasReached(rule, curves[i])) continue;
        if (rule.policy == "experiment" && curves[i].running) give_up.push_back(i);
        if (rule.policy != "all") continue;
        early_ = "; early stopping: " + rule.metric.name + " of experiment " +
                 std::to_string(members[i].number) + " reached its goal";
        return {};
      }
      for (const size_t i : give_up) {
        if (members[i].stop_requested_at == 0) PXL_TRY(RequestStop(context_, members[i]));
      }
    }
    return {};
  }

  Done Finish(const std::vector<Experiment>& members) {
    size_t succeeded = 0;
    for (const Experiment& member : members) succeeded += member.state == State::kSucceeded ? 1 : 0;
    const std::string message = std::to_string(succeeded) + " of " +
                                std::to_string(members.size()) + " experiments succeeded" + early_;
    State state =
        succeeded == 0 && !members.empty() && early_.empty() ? State::kFailed : State::kSucceeded;
    if (group_.stop_requested_at != 0) state = State::kStopped;
    PXL_TRY(catalog_.SetGroupState(group_.id, state, message));
    return {};
  }

  Context& context_;
  catalog::Catalog& catalog_;
  catalog::Group group_;
  spec::GroupSpec spec_;
  std::string early_;  // why the group ends early, for its last status
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

}  // namespace px::launcher
