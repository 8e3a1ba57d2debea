// px-launch top
#include <unistd.h>

#include <chrono>
#include <memory>
#include <sstream>
#include <thread>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/job_group.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  double interval_s = 2;
  bool once = false;
};

struct Load {
  int64_t processes = 0;
  int64_t resident_bytes = 0;
  int64_t cpu_ns = 0;  // of the processes that are there now
};

// As far as /proc shows it; what ends meanwhile counts as nothing.
Load LoadOf(const catalog::Run& run) {
  Load load;
  for (const pid_t pid : JobGroup::Adopt(run.GroupName(), run.cgroup).Processes()) {
    const std::string directory = "/proc/" + std::to_string(pid);
    std::istringstream memory(ReadFile(directory + "/statm").value_or(""));
    int64_t total = 0;
    int64_t resident = 0;
    if (!(memory >> total >> resident)) continue;
    ++load.processes;
    load.resident_bytes += resident * ::sysconf(_SC_PAGESIZE);
    load.cpu_ns +=
        std::strtoll(ReadFile(directory + "/schedstat").value_or("0").c_str(), nullptr, 10);
  }
  return load;
}

std::string LastMetrics(const std::vector<catalog::MetricPoint>& points) {
  std::string text;
  for (const auto& point : points) {
    text += (text.empty() ? "" : " ") + point.name + "=" + FormatNumber(point.value);
  }
  return text;
}

Outcome<std::string> Render(Context& context, bool as_json) {
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const auto unfinished, catalog->Unfinished());
  const int64_t now = NowNs(context.clock());
  spec::Json list = spec::Json::array();
  Table table({"experiment", "status", "since", "procs", "memory", "cpu", "gpus", "metrics"});
  for (const catalog::Experiment& experiment : unfinished) {
    PXL_ASSIGN(const auto runs, catalog->Runs(experiment.id));
    PXL_ASSIGN(const auto metrics, catalog->LastMetrics(experiment.id));
    const bool runs_now = !runs.empty() && runs.back().finished_at == 0;
    const Load load = runs_now ? LoadOf(runs.back()) : Load{};
    const int64_t since =
        experiment.started_at != 0 ? experiment.started_at : experiment.created_at;
    table.Add({experiment.UniqueName(), std::string(StateName(experiment.state)),
               FormatDuration(now - since), std::to_string(load.processes),
               FormatSize(load.resident_bytes), FormatDuration(load.cpu_ns),
               std::to_string(experiment.gpus), LastMetrics(metrics)});
    spec::Json json = ExperimentJson(experiment, context.layout());
    json["processes"] = load.processes;
    json["resident_bytes"] = load.resident_bytes;
    json["cpu_seconds"] = static_cast<double>(load.cpu_ns) / 1e9;
    json["last_metrics"] = spec::Json::object();
    for (const auto& point : metrics) json["last_metrics"][point.name] = point.value;
    list.push_back(std::move(json));
  }
  if (as_json) return list.dump(2) + "\n";
  if (unfinished.empty()) return std::string("Nothing runs.\n");
  std::ostringstream text;
  table.Print(text);
  return text.str();
}

Done Top(Context& context, const Session& session, const Options& options) {
  const bool live = !options.once && !session.json && ::isatty(STDOUT_FILENO) != 0;
  while (true) {
    PXL_ASSIGN(const std::string text, Render(context, session.json));
    if (!live) {
      context.out() << text;
      return {};
    }
    // To the top left; what is left of a longer picture is cleared.
    context.out() << "\033[H\033[J" << FormatTime(NowNs(context.clock())) << "\n\n"
                  << text << std::flush;
    if (!context.out()) return {};
    std::this_thread::sleep_for(std::chrono::duration<double>(options.interval_s));
  }
}

}  // namespace

void AddTop(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(app, session, "top", "Show what runs, until it is interrupted.",
                 [options](Context& context, Session& s) { return Top(context, s, *options); });
  command->add_option("--interval", options->interval_s, "Seconds between two pictures.")
      ->check(CLI::PositiveNumber);
  command->add_flag("--once", options->once, "Only one picture, as without a terminal.");
}

}  // namespace px::launcher
