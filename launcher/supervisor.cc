#include "launcher/supervisor.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "launcher/attempt.h"
#include "launcher/checkpoints.h"
#include "launcher/container.h"
#include "launcher/files.h"
#include "launcher/gpu_lease.h"
#include "launcher/gpus.h"
#include "launcher/job_inputs.h"
#include "launcher/metrics_file.h"
#include "launcher/process.h"
#include "launcher/saved_environment.h"
#include "launcher/spec/spec.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::State;

// SIGCHLD, SIGTERM and SIGINT come as reads of the descriptor; a closed terminal or pipe is no
// reason to end.
Result<UniqueFd> TakeOverSignals() {
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) ::sigaddset(&set, signal);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return FailErrno("sigprocmask");
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return FailErrno("signalfd");
  return fd;
}

class Supervisor {
 public:
  Supervisor(Context& context, catalog::Catalog& catalog, Experiment experiment, UniqueFd signals)
      : context_(context),
        catalog_(catalog),
        experiment_(std::move(experiment)),
        signals_(std::move(signals)) {}

  void Run() {
    const std::string environment = context_.layout().EnvironmentFile(experiment_);
    Record(AdoptEnvironment(environment));
    const Done done = RunToTheEnd();
    if (!done) Finish(State::kFailed, done.error().message);
    Record(RemoveFile(environment));
  }

 private:
  Done RunToTheEnd() {
    PXL_ASSIGN(const spec::Json raw, spec::ReadText(experiment_.raw_spec, "experiment.json"));
    PXL_ASSIGN(spec_, spec::Render(raw));
    if (experiment_.is_resume() && experiment_.state == State::kCreated)
      Enter(State::kResuming, "");
    PXL_TRY(ChooseEngine());
    Enter(State::kScheduled, "");
    PXL_ASSIGN(const bool go, WaitForGpus());
    if (!go) return {};
    PXL_ASSIGN(ConsoleLogWriter log,
               ConsoleLogWriter::Open(context_.layout().Console(experiment_),
                                      context_.config().log_limits, context_.clock()));
    while (true) {
      PXL_ASSIGN(const AttemptEnd end, RunOnce(log));
      if (end.verdict == Verdict::kStopped) return FinishWith(end, State::kStopped);
      if (end.verdict == Verdict::kSucceeded) return FinishWith(end, State::kSucceeded);
      const int64_t attempts = run_.attempt;
      if (attempts > experiment_.max_restarts) return FinishWith(end, State::kFailed);
      Record(catalog_.FinishRun(run_.id, end.run));
      const auto pause = PauseAfter(attempts);
      Enter(State::kWarning, "attempt " + std::to_string(attempts) + " failed: " + end.run.reason +
                                 "; starting again in " + std::to_string(pause.count()) + " s");
      if (StopWithin(pause)) return Finish(State::kStopped, "stopped on request between attempts");
    }
  }

  // 1, 2, 4 ... seconds, at most a minute.
  static std::chrono::seconds PauseAfter(int64_t attempts) {
    constexpr int64_t kLongest = 60;
    return std::chrono::seconds(
        std::min(int64_t{1} << std::min<int64_t>(attempts - 1, 6), kLongest));
  }

  Outcome<AttemptEnd> RunOnce(ConsoleLogWriter& log) {
    PXL_ASSIGN(const auto earlier, catalog_.Runs(experiment_.id));
    const bool again = !earlier.empty();
    if (again) PXL_TRY(SnapshotForAttempt(static_cast<int64_t>(earlier.size()) + 1));
    const JobLimits limits{.memory_mib = spec_.environment.resources.memory.limits,
                           .cpus = spec_.environment.resources.cpu.limits};
    // The run's row comes first and holds its name: whatever is made after it can be found and
    // ended.
    PXL_ASSIGN(run_, catalog_.StartRun(experiment_.id));
    const JobGroup group = JobGroup::Create(run_.GroupName(), limits);
    run_.containment = (engine_.empty() ? "" : DescribeContainer(engine_)) + group.Description();
    PXL_TRY(catalog_.SetContainment(run_.id, run_.containment, group.Cgroup()));
    Enter(State::kStarting, run_.containment);

    JobCommand command{.command = spec_.cmd, .directory = Directory(), .environment = {}};
    PXL_ASSIGN(command.environment, EnvironmentFor(context_.layout(), catalog_, experiment_, spec_,
                                                   {.leased = gpus_, .hide_others = hide_gpus_}));
    command.environment.emplace_back("PX_JOB", run_.GroupName());
    if (!engine_.empty()) {
      command.command = InContainer(
          spec_,
          MakeContainerRun(engine_, experiment_, run_, command.directory, gpus_, context_.layout()),
          command.environment);
    }
    const AttemptOptions options{
        .grace_ms = context_.config().grace_ms,
        .tick_ms = context_.config().heartbeat_ms,
        .ttl_s = experiment_.ttl_s,
        .signal_fd = signals_.get(),
        .on_tick = [&] { return Tick(run_.id); },
        .on_started = [&](pid_t pid) { Started(run_.id, pid); },
    };
    auto end = RunAttempt(command, group, log, options);
    group.Remove();
    RemoveContainer(run_);
    if (!end) {
      Record(catalog_.FinishRun(run_.id,
                                {.exit_code = {}, .signal = {}, .reason = end.error().ToString()}));
      return Refuse(end.error(), "cannot start the job");
    }
    Ingest();
    return *end;
  }

  // A build section's image is used where there is an engine; only a build cannot do without.
  Done ChooseEngine() {
    if (!WantsContainer(spec_)) return {};
    const std::string& setting = context_.config().engine;
    engine_ = FindEngine(setting).value_or("");
    if (!engine_.empty() || spec_.kind != spec::Kind::kBuild) return {};
    return Refuse(ExitCode::kFailed, "cannot build an image: " + NoEngine(setting));
  }

  std::string Directory() const {
    const std::string code = context_.layout().RunDir(experiment_);
    return experiment_.code_snapshot.empty() ? context_.layout().Outputs(experiment_) : code;
  }

  Done SnapshotForAttempt(int64_t attempt) {
    PXL_ASSIGN(OutputsFs * outputs, context_.Outputs());
    const Status kept = outputs->Snapshot(context_.layout().Outputs(experiment_),
                                          SnapshotBefore(experiment_.number, attempt));
    // An earlier supervisor took it and died before the job began: it still shows what there is.
    if (!kept && kept.error().code() != EEXIST) PXL_TRY(kept);
    // The attempt before may have been killed while it overwrote its checkpoint.
    PXL_ASSIGN(const auto restored, PutBackTorn(*outputs, context_.layout().Outputs(experiment_)));
    for (const std::string& file : restored) {
      Enter(State::kWarning, file + " was put back to its last whole version");
    }
    return {};
  }

  // False if it ended (stopped, or never to be scheduled) while it waited.
  Outcome<bool> WaitForGpus() {
    const std::vector<std::string> present = PresentGpus();
    hide_gpus_ = !present.empty();
    if (experiment_.gpus == 0) return true;
    if (experiment_.gpus > static_cast<int64_t>(present.size())) {
      Enter(State::kUnschedulable, TooFewGpus(experiment_.gpus, present.size()));
      PXL_TRY(Finish(State::kFailed, TooFewGpus(experiment_.gpus, present.size())));
      return false;
    }
    while (true) {
      PXL_ASSIGN(gpus_, TryToLease(context_, catalog_, experiment_.id, present));
      if (!gpus_.empty()) return true;
      if (StopWithin(std::chrono::milliseconds(context_.config().heartbeat_ms))) {
        PXL_TRY(Finish(State::kStopped, "stopped on request while it waited for GPUs"));
        return false;
      }
    }
  }

  // Waits; true as soon as a stop is asked for.
  bool StopWithin(std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (true) {
      const auto now = catalog_.GetExperiment(experiment_.id);
      if (now && now->stop_requested_at != 0) return true;
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      pollfd fd{signals_.get(), POLLIN, 0};
      if (::poll(&fd, 1, static_cast<int>(left.count())) > 0) {
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
          if (info.ssi_signo != SIGCHLD) return true;
        }
      }
    }
  }

  void Started(catalog::RunId run, pid_t pid) {
    if (const auto job = Identify(pid)) Record(catalog_.SetJob(run, *job));
    Enter(State::kRunning, "");
  }

  bool Tick(catalog::RunId run) {
    Ingest();
    const auto stop = catalog_.Heartbeat(experiment_.id, run);
    if (!stop) LogWarn("heartbeat: {}", stop.error().ToString());
    return stop && *stop;
  }

  void Ingest() {
    Record(IngestMetrics(catalog_, context_.clock(), experiment_.id,
                         context_.layout().MetricsFile(experiment_)));
  }

  // Progress that could not be written down is no reason to end a job.
  void Enter(State state, const std::string& message) {
    Record(catalog_.SetState(experiment_.id, state, message));
  }
  static void Record(const Status& status) {
    if (!status) LogWarn("{}", status.error().ToString());
  }

  Done Finish(State state, const std::string& message) {
    return Insist([&] { return catalog_.SetState(experiment_.id, state, message); });
  }
  Done FinishWith(const AttemptEnd& end, State state) {
    return Insist([&] {
      return catalog_.FinishExperiment(experiment_.id, run_.id, end.run, state, end.run.reason);
    });
  }

  // The end must be written down: a full disk or a locked catalog is waited for. EINVAL: somebody
  // else already did.
  static Done Insist(const std::function<Status()>& write) {
    constexpr int kTries = 60;
    for (int i = 0; i < kTries; ++i) {
      const Status written = write();
      if (written || written.error().code() == EINVAL) break;
      LogError("cannot record the end: {}", written.error().ToString());
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    return {};
  }

  Context& context_;
  catalog::Catalog& catalog_;
  Experiment experiment_;
  UniqueFd signals_;
  spec::ExperimentSpec spec_;
  catalog::Run run_;    // the present or last one
  std::string engine_;  // of containers; empty: it runs on the machine itself
  std::vector<std::string> gpus_;
  bool hide_gpus_ = false;
};

}  // namespace

std::vector<std::string> SuperviseArguments(catalog::ExperimentId id) {
  const ProcessIdentity self = Self();
  return {"px-launch", "--supervise", std::to_string(id.value), std::to_string(self.pid),
          std::to_string(self.start_ticks)};
}

int Supervise(Context& context, catalog::ExperimentId id, int64_t starter_pid,
              int64_t starter_ticks) {
  ::prctl(PR_SET_NAME, "px-supervisor");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  auto signals = TakeOverSignals();
  auto catalog = context.Catalog();
  if (!signals || !catalog) {
    ReportReady(signals ? catalog.error().message : signals.error().ToString());
    return 1;
  }
  ProcessIdentity starter = Self();
  starter.pid = starter_pid;
  starter.start_ticks = starter_ticks;
  const Status taken = (*catalog)->TakeOver(id, starter, Self());
  auto experiment = (*catalog)->GetExperiment(id);
  if (!taken || !experiment) {
    ReportReady(taken ? experiment.error().ToString() : taken.error().ToString());
    return 1;
  }
  ReportReady();
  Supervisor(context, **catalog, std::move(*experiment), std::move(*signals)).Run();
  return 0;
}

}  // namespace px::launcher
