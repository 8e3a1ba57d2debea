// px-launch run -f FILE
#include <memory>
#include <random>

#include "launcher/container.h"
#include "launcher/describe.h"
#include "launcher/group_members.h"
#include "launcher/group_scheduler.h"
#include "launcher/launch.h"
#include "launcher/local_cache.h"
#include "launcher/process.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

struct Options {
  std::vector<std::string> files;
  std::vector<std::string> params;
  std::string name;
  std::string description;
  std::string tags;
  int64_t ttl_s = 0;
  bool upload = false;
  bool logs = false;
};

// The code to run: the working directory if it is the project's, or was asked for; else the
// project's newest snapshot.
Outcome<std::string> ChooseCode(Context& context, const catalog::Project& project, bool upload) {
  const auto here = ReadCachedProject();
  const bool at_home = here && here->user == project.user && here->name == project.name;
  if (upload || at_home) return SnapshotWorkingDirectory(context, project);
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(std::string latest, catalog->LatestCode(project.id));
  return latest;
}

Outcome<spec::Json> ReadSpec(const Options& options, spec::Marks& marks) {
  std::vector<std::string> files = options.files;
  if (files.empty()) {
    auto found = spec::DefaultFile(".");
    if (!found) {
      return Refuse(ExitCode::kNotFound, "Polyaxonfile is not present in this directory",
                    "px-launch init PROJECT, or name it with -f FILE");
    }
    files.push_back(std::move(*found));
  }
  PXL_ASSIGN(spec::Json raw, ReadSpecFiles(files, marks));
  PXL_ASSIGN(const spec::Json params, spec::ParseParams(options.params, raw));
  return spec::Merge(raw, params);
}

// Builds need a container engine; for others it is said that their image is not used.
Done CheckEngine(Context& context, const spec::ExperimentSpec& rendered) {
  if (!WantsContainer(rendered)) return {};
  const std::string& setting = context.config().engine;
  if (FindEngine(setting)) return {};
  if (rendered.kind == spec::Kind::kBuild) {
    return Refuse(ExitCode::kFailed, "cannot build an image: " + NoEngine(setting),
                  "install podman; experiments and jobs need none, they run on the machine itself");
  }
  context.err() << "The build section's image and steps are not used: " << NoEngine(setting)
                << ". The command runs on this machine itself.\n";
  return {};
}

Done RunExperiment(Context& context, const Session& session, const Options& options,
                   const spec::Json& raw, const spec::Marks& marks) {
  PXL_ASSIGN(const spec::ExperimentSpec rendered, CheckRunnable(raw, marks));
  PXL_TRY(CheckEngine(context, rendered));
  PXL_ASSIGN(const catalog::Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  catalog::NewExperiment request;
  request.project = project.id;
  request.user = context.config().user;
  request.name = options.name.empty() ? rendered.name : options.name;
  request.description = options.description.empty() ? rendered.description : options.description;
  request.tags = options.tags.empty() ? rendered.tags : SplitTags(options.tags);
  request.raw_spec = Dump(raw);
  ApplySpec(rendered, request);
  request.ttl_s = options.ttl_s;
  request.owner = Self();
  request.kind = KindOf(rendered);
  const bool experiment_wanted = request.kind == catalog::Kind::kExperiment;
  if (!session.json) {
    context.out() << (experiment_wanted
                          ? "Creating an independent experiment."
                          : "Creating a " + std::string(catalog::KindName(request.kind)) + ".")
                  << std::endl;
  }
  PXL_ASSIGN(request.code_snapshot, ChooseCode(context, project, options.upload));
  PXL_ASSIGN(const catalog::Experiment experiment, Launch(context, request));
  WriteCachedExperiment(experiment);
  if (session.json) {
    context.out() << spec::Json{{"id", experiment.number},
                                {"kind", catalog::KindName(experiment.kind)},
                                {"uuid", experiment.uuid},
                                {"unique_name", experiment.UniqueName()},
                                {"outputs", context.layout().Outputs(experiment)},
                                {"logs", context.layout().Log(experiment)}}
                  << '\n';
  } else {
    const std::string quote = experiment_wanted ? "`" : "";
    context.out() << TitleOf(request.kind) << ' ' << quote << experiment.number << quote
                  << " was created" << std::endl;
  }
  if (options.logs) return FollowLogs(context, session, experiment);
  return {};
}

// Of everything random in a group that says no seed itself: kept with the group.
int64_t RandomSeed() {
  std::random_device device;
  return static_cast<int64_t>(device());
}

Done RunGroup(Context& context, const Session& session, const Options& options,
              const spec::Json& raw, const spec::Marks& marks) {
  PXL_ASSIGN(const spec::GroupSpec group, spec::ParseGroup(raw, {.marks = &marks}));
  const int64_t seed = RandomSeed();
  const MemberDefaults defaults{.user = context.config().user,
                                .tags = group.tags,
                                .code_snapshot = {},
                                .ttl_s = options.ttl_s};
  PXL_ASSIGN(auto members, MakeMembers(context, group, raw, marks,
                                       Propose(group, static_cast<uint64_t>(seed), {}), defaults));
  if (!members.empty()) {
    PXL_ASSIGN(const spec::Json first, spec::ReadText(members.front().raw_spec, "member.json"));
    PXL_ASSIGN(const spec::ExperimentSpec rendered, spec::Render(first));
    PXL_TRY(CheckEngine(context, rendered));
  }
  PXL_ASSIGN(const catalog::Project project, ResolveProject(context, session));
  PXL_TRY(Reconcile(context));
  if (!session.json) {
    context.out() << "Creating an experiment group with the following definition:\n";
    PrintSection(context.out(), "",
                 {{"Search algorithm", AlgorithmName(group.algorithm)},
                  {"Concurrency", group.concurrency == 1
                                      ? "sequential runs"
                                      : std::to_string(group.concurrency) + " concurrent runs"},
                  {"Early stopping", group.early_stopping.empty() ? "deactivated" : "activated"},
                  {"Experiment(s) to create", std::to_string(members.size())}});
    context.out() << std::flush;
  }
  catalog::NewGroup request;
  request.project = project.id;
  request.user = context.config().user;
  request.name = options.name.empty() ? group.name : options.name;
  request.description = options.description.empty() ? group.description : options.description;
  request.tags = options.tags.empty() ? group.tags : SplitTags(options.tags);
  request.raw_spec = Dump(raw);
  request.algorithm = AlgorithmName(group.algorithm);
  request.concurrency = group.concurrency;
  request.seed = seed;
  request.owner = Self();
  PXL_ASSIGN(request.code_snapshot, ChooseCode(context, project, options.upload));
  for (auto& member : members) member.code_snapshot = request.code_snapshot;
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(context.Outputs());
  PXL_ASSIGN(const catalog::Group created, catalog->CreateGroup(request, members));
  WriteCachedGroup(project, created);
  PXL_TRY(StartScheduler(context, created));
  if (session.json) {
    context.Answer(GroupJson(created));
  } else {
    context.out() << "Experiment group " << created.number << " was created\n";
  }
  return {};
}

Done Run(Context& context, const Session& session, const Options& options) {
  spec::Marks marks;
  PXL_ASSIGN(const spec::Json raw, ReadSpec(options, marks));
  const auto problems = spec::Validate(raw, {.marks = &marks, .override_of = {}});
  if (!problems.empty()) PXL_TRY(Status(Forward(spec::ToError(problems))));
  if (raw.value("kind", "") == "group") return RunGroup(context, session, options, raw, marks);
  return RunExperiment(context, session, options, raw, marks);
}

}  // namespace

void AddRun(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(app, session, "run", "Run a polyaxonfile.",
                 [options](Context& context, Session& s) { return Run(context, s, *options); });
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
  AddFiles(*command, options->files, "The polyaxonfile; later ones override earlier ones.");
  command->add_option("-P,--params", options->params, "A declaration.")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  command->add_option("--name", options->name, "The experiment's name.");
  command->add_option("--description", options->description, "What it is about.");
  command->add_option("--tags", options->tags, "Comma separated.");
  command->add_option("--ttl", options->ttl_s, "Stop it after that many seconds.")
      ->check(CLI::PositiveNumber);
  command->add_flag("-l,--log", options->logs, "Show its console until it ends.");
  command->add_flag("-u,--upload", options->upload, "Snapshot the working directory first.");
}

}  // namespace px::launcher
