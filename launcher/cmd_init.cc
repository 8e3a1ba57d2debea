// px-launch init PROJECT
#include <memory>

#include "launcher/files.h"
#include "launcher/local_cache.h"
#include "launcher/session.h"
#include "launcher/spec/ignore.h"
#include "launcher/spec/spec.h"

namespace px::launcher {
namespace {

constexpr const char* kTemplate = R"(version: 1

kind: experiment

declarations:
  lr: 0.01

run:
  cmd: echo "learning rate {{ lr }}, outputs go to $POLYAXON_OUTPUTS_PATH"
)";

struct Options {
  std::string project;
  std::string description;
};

Done Init(Context& context, const Session& session, const Options& options) {
  const size_t separator = options.project.find_first_of("/.");
  const std::string user =
      separator == std::string::npos ? context.config().user : options.project.substr(0, separator);
  const std::string name =
      separator == std::string::npos ? options.project : options.project.substr(separator + 1);
  if (!IsName(user) || !IsName(name)) {
    return Refuse(ExitCode::kUsage, "'" + options.project + "' is no project name",
                  "use letters, digits, - and _");
  }
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  auto project = catalog->FindProject(user, name);
  if (!project && project.error().code() == ENOENT) {
    project = catalog->CreateProject(user, name, options.description);
  }
  PXL_TRY(project);
  PXL_TRY(WriteCachedProject(*project));
  if (!spec::DefaultFile(".")) PXL_TRY(WriteFile("polyaxonfile.yaml", kTemplate));
  if (!PathExists(".polyaxonignore")) {
    PXL_TRY(WriteFile(".polyaxonignore", spec::DefaultIgnoreText()));
  }
  if (session.json) {
    context.out() << spec::Json{{"user", user}, {"name", name}, {"uuid", project->uuid}} << '\n';
  } else {
    context.out() << "Project `" << user << "/" << name << "` is initialised in this directory.\n";
  }
  return {};
}

}  // namespace

void AddInit(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(app, session, "init", "Make this directory a project's.",
                 [options](Context& context, Session& s) { return Init(context, s, *options); });
  command->add_option("PROJECT", options->project, "PROJECT or USER/PROJECT.")->required();
  command->add_option("--description", options->description, "What it is about.");
}

}  // namespace px::launcher
