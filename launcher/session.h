// Session: one command line being read. Commands declare themselves on it; parsing picks one
// action.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/details.h"

namespace px::launcher {

struct Session {
  Flags flags;
  bool json = false;
  bool verbose = false;
  std::string project;     // -p of the command in use
  int64_t experiment = 0;  // or a job's or build's
  // What the command works with; without it a number may be of any kind.
  std::optional<catalog::Kind> kind;
  int64_t group = 0;
  bool copy_before = false;  // `experiment --copy restart`, as the documentation prints it
  // What was asked for; set by the parser.
  std::function<Done(Context&)> action;
};

using Action = std::function<Done(Context&, Session&)>;

// A sub-command that does `action` when it is the one on the command line.
CLI::App* AddCommand(CLI::App& parent, Session& session, const std::string& name,
                     const std::string& help, Action action);
// Options that several commands share.
void AddYes(CLI::App& command, bool& yes);
void AddFiles(CLI::App& command, std::vector<std::string>& files, const std::string& help);

// ---- What -p, -xp, -j, -b and -g mean ----
Outcome<catalog::Project> ResolveProject(Context& context, const Session& session);
// After reconciliation, so that its state is true.
Outcome<catalog::Experiment> ResolveExperiment(Context& context, const Session& session);
Outcome<catalog::Group> ResolveGroup(Context& context, const Session& session);

// Asks on the terminal; true for y or yes. End of input is a Failure ("Aborted!").
Outcome<bool> Confirm(Context& context, const std::string& question);

// Shows the console until the experiment ends.
Done FollowLogs(Context& context, const Session& session, const catalog::Experiment& experiment);

// One function per command file declares its commands.
void AddInit(CLI::App& app, Session& session);
void AddRun(CLI::App& app, Session& session);
void AddCheck(CLI::App& app, Session& session);
void AddUpload(CLI::App& app, Session& session);
void AddConfig(CLI::App& app, Session& session);
void AddProject(CLI::App& app, Session& session);
void AddExperiment(CLI::App& app, Session& session);
void AddJob(CLI::App& app, Session& session);
void AddBuild(CLI::App& app, Session& session);
void AddBookmark(CLI::App& app, Session& session);
void AddGroup(CLI::App& app, Session& session);
void AddProjectLists(CLI::App& project, Session& session);
void AddGroupClones(CLI::App& group, Session& session);
void AddTree(CLI::App& app, Session& session);
void AddCompare(CLI::App& app, Session& session);
void AddGpus(CLI::App& app, Session& session);
void AddTop(CLI::App& app, Session& session);
// `app` must be the program's, and outlive the action.
void AddCompletion(CLI::App& app, Session& session, const std::string& version);
void AddExperimentJobs(CLI::App& experiment, Session& session);
void AddExperimentGet(CLI::App& experiment, Session& session);
void AddExperimentStatuses(CLI::App& experiment, Session& session);
void AddExperimentLogs(CLI::App& experiment, Session& session);
void AddExperimentOutputs(CLI::App& experiment, Session& session);
void AddExperimentStop(CLI::App& experiment, Session& session);
void AddExperimentUpdate(CLI::App& experiment, Session& session);
void AddExperimentDelete(CLI::App& experiment, Session& session);
void AddExperimentResume(CLI::App& experiment, Session& session);
void AddExperimentRestart(CLI::App& experiment, Session& session);
void AddExperimentMetrics(CLI::App& experiment, Session& session);
void AddExperimentResources(CLI::App& experiment, Session& session);
void AddExperimentBookmark(CLI::App& experiment, Session& session);
void AddExperimentPrune(CLI::App& experiment, Session& session);
void AddExperimentCode(CLI::App& experiment, Session& session);

}  // namespace px::launcher
