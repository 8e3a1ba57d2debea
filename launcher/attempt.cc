#include "launcher/attempt.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/log.h"

namespace px::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Attempt {
 public:
  Attempt(const JobGroup& group, ConsoleLogWriter& log, const AttemptOptions& options)
      : group_(group), log_(log), options_(options), buffer_(size_t{1} << 18) {}

  AttemptEnd Run(JobProcess job) {
    job_ = std::move(job);
    const auto now = steady_clock::now();
    next_tick_ = now;
    if (options_.ttl_s > 0) ttl_ = now + std::chrono::seconds(options_.ttl_s);
    while (!status_) {
      Wait();
      Tick();
    }
    // Like a container: when the first process has ended, so does all it left behind.
    group_.KillAll();
    Reap();
    Drain();
    return Conclude();
  }

 private:
  void Wait() {
    auto until = next_tick_;
    if (ttl_) until = std::min(until, *ttl_);
    if (kill_at_) until = std::min(until, *kill_at_);
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now()).count();
    std::array<pollfd, 2> fds{{{options_.signal_fd, POLLIN, 0}, {job_.console.get(), POLLIN, 0}}};
    const int timeout = static_cast<int>(std::max<int64_t>(left, 0));
    if (::poll(fds.data(), fds.size(), timeout) <= 0) return;
    // The console first: what was written before the end is read before the end is noticed.
    if (fds[1].revents != 0) Pump();
    if (fds[0].revents != 0) TakeSignals();
  }

  void TakeSignals() {
    signalfd_siginfo info{};
    while (::read(options_.signal_fd, &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo != SIGCHLD) Stop();
    }
    Reap();
  }

  void Reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid == job_.pid) status_ = status;
    }
  }

  void Tick() {
    const auto now = steady_clock::now();
    if (now >= next_tick_) {
      next_tick_ = now + milliseconds(options_.tick_ms);
      if (options_.on_tick()) Stop();
    }
    if (ttl_ && now >= *ttl_ && !stopping_) {
      timed_out_ = true;
      Stop();
    }
    if (kill_at_ && now >= *kill_at_) {
      kill_at_.reset();
      killed_ = true;
      group_.KillAll();
    }
  }

  void Stop() {
    if (stopping_) return;
    stopping_ = true;
    kill_at_ = steady_clock::now() + milliseconds(options_.grace_ms);
    group_.Signal(SIGTERM);
  }

  // False at the end of the console.
  bool Pump() {
    if (!job_.console) return false;
    const ssize_t n = ::read(job_.console.get(), buffer_.data(), buffer_.size());
    if (n < 0) return errno == EINTR;
    if (n == 0) {
      job_.console.Reset();
      return false;
    }
    const auto written = log_.Append({buffer_.data(), static_cast<size_t>(n)});
    // The job must not stand still because its log cannot be written: the bytes are dropped.
    if (!written && !log_broken_) {
      log_broken_ = true;
      LogError("console lines are lost: {}", written.error().ToString());
    }
    return true;
  }

  void Drain() {
    while (Pump()) {
    }
  }

  AttemptEnd Conclude() const {
    AttemptEnd end;
    const int status = *status_;
    if (WIFEXITED(status)) end.run.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) end.run.signal = WTERMSIG(status);
    end.verdict = end.run.exit_code == 0 ? Verdict::kSucceeded : Verdict::kFailed;
    end.run.reason = Reason(status);
    if (const int64_t kills = group_.OomKills(); kills > 0) {
      end.verdict = Verdict::kFailed;
      end.run.reason = "out of memory: the kernel killed " + std::to_string(kills) +
                       (kills == 1 ? " process" : " processes") + " of it (" + Reason(status) + ")";
    } else if (timed_out_) {
      end.verdict = Verdict::kFailed;
      end.run.reason = "timeout: it ran longer than its " + std::to_string(options_.ttl_s) + " s";
    } else if (stopping_) {
      end.verdict = Verdict::kStopped;
      end.run.reason = killed_ ? "stopped on request; killed after " +
                                     std::to_string(options_.grace_ms) + " ms of grace"
                               : "stopped on request (" + Reason(status) + ")";
    }
    if (log_broken_) end.run.reason += "; console lines were lost";
    return end;
  }

  static std::string Reason(int status) {
    if (WIFSIGNALED(status)) {
      const int signal = WTERMSIG(status);
      return "killed by signal " + std::to_string(signal) + " (" + SignalName(signal) + ")";
    }
    const int code = WEXITSTATUS(status);
    std::string text = "exit code " + std::to_string(code);
    if (code > 128 && code < 128 + SIGRTMIN) {
      text += " (a command in it was killed by " + SignalName(code - 128) + ")";
    }
    return text;
  }

  const JobGroup& group_;
  ConsoleLogWriter& log_;
  const AttemptOptions& options_;
  std::vector<char> buffer_;
  JobProcess job_;
  std::optional<int> status_;
  steady_clock::time_point next_tick_;
  std::optional<steady_clock::time_point> ttl_;
  std::optional<steady_clock::time_point> kill_at_;
  bool stopping_ = false;
  bool killed_ = false;
  bool timed_out_ = false;
  bool log_broken_ = false;
};

}  // namespace

std::string SignalName(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string("SIG") + name;
}

Result<AttemptEnd> RunAttempt(const JobCommand& command, const JobGroup& group,
                              ConsoleLogWriter& log, const AttemptOptions& options) {
  PX_ASSIGN(JobProcess job, StartJob(command, group));
  options.on_started(job.pid);
  return Attempt(group, log, options).Run(std::move(job));
}

}  // namespace px::launcher
