// px-launch experiment -xp N logs
#include <chrono>
#include <memory>
#include <thread>

#include "launcher/console_log.h"
#include "launcher/describe.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  bool follow = false;
  bool past = false;  // as Polyaxon has it; what there is so far is always shown
  bool hide_time = false;
};

void Print(Context& context, const Session& session, const Options& options,
           const std::vector<LogLine>& lines) {
  std::string text;
  for (const LogLine& line : lines) {
    if (session.json) {
      text += spec::Json{{"at", TimeJson(line.at_ns)}, {"line", line.text}}.dump(
                  -1, ' ', false, spec::Json::error_handler_t::replace) +
              "\n";
    } else if (options.hide_time) {
      text += line.text + "\n";
    } else {
      text += FormatTime(line.at_ns) + " master.1 -- " + line.text + "\n";
    }
  }
  context.out() << text << std::flush;
}

// All lines there are now; a last one without a newline only once it is `final`.
Done PrintNew(Context& context, const Session& session, const Options& options,
              ConsoleLogReader& reader, bool final) {
  while (context.out()) {
    PXL_ASSIGN(const auto lines, reader.Next(final));
    if (lines.empty()) break;
    Print(context, session, options, lines);
  }
  return {};
}

Done Show(Context& context, const Session& session, catalog::Experiment experiment,
          const Options& options) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  ConsoleLogReader reader(context.layout().Console(experiment));
  if (!options.follow) return PrintNew(context, session, options, reader, /*final=*/true);
  auto shown = catalog::State::kRunning;
  auto next_look = std::chrono::steady_clock::now();
  // Ends when the experiment had ended before the last look at its log, or nobody reads any more.
  while (context.out()) {
    const bool over = catalog::IsDone(experiment.state);
    if (!over && experiment.started_at == 0 && experiment.state != shown && !session.json) {
      shown = experiment.state;
      context.err() << StateName(shown) << " ...\n";
    }
    PXL_TRY(PrintNew(context, session, options, reader, over));
    if (over) return {};
    constexpr auto kLook = std::chrono::milliseconds(100);
    std::this_thread::sleep_for(kLook);
    if (std::chrono::steady_clock::now() >= next_look) {
      PXL_TRY(Reconcile(context));
      next_look = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    }
    PXL_ASSIGN(experiment, catalog->GetExperiment(experiment.id));
  }
  return {};
}

Done Logs(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  return Show(context, session, experiment, options);
}

}  // namespace

Done FollowLogs(Context& context, const Session& session, const catalog::Experiment& experiment) {
  return Show(context, session, experiment, {.follow = true, .past = false, .hide_time = false});
}

void AddExperimentLogs(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(experiment, session, "logs", "Show what it wrote to its console.",
                 [options](Context& context, Session& s) { return Logs(context, s, *options); });
  command->add_flag("-f,--follow", options->follow, "Go on after that, until it ends.");
  // Polyaxon's -p: of the project here --project remains.
  command->add_flag("-p,--past", options->past, "What there is so far; also without it.");
  command->add_flag("--hide_time,--hide-time", options->hide_time, "Only the lines.");
}

}  // namespace px::launcher
