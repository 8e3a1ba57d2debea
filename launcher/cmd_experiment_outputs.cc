// px-launch experiment -xp N outputs
#include <memory>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/process.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

struct Options {
  std::string archive;
};

Done Outputs(Context& context, const Session& session, const Options& options) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string path = context.layout().Outputs(experiment);
  PXL_ASSIGN(const VolumeUsage usage, outputs->Usage(path));
  if (!options.archive.empty()) {
    PXL_ASSIGN(const Finished tar, RunProgram({"tar", "-czf", options.archive,
                                               "--exclude=./.snapshots", "-C", path, "."}));
    if (tar.exit_code != 0) {
      static_cast<void>(RemoveFile(options.archive));
      return Refuse(ExitCode::kFailed, "cannot write " + options.archive + ": " + tar.output);
    }
    if (!session.json) context.out() << "Files downloaded.\n";
  }
  if (session.json) {
    context.out() << spec::Json{{"path", path},
                                {"entries", usage.entries},
                                {"bytes", usage.logical_bytes},
                                {"exclusive_bytes", usage.exclusive_bytes},
                                {"shared_bytes", usage.shared_bytes}}
                         .dump(2)
                  << '\n';
  } else if (options.archive.empty()) {
    context.out() << path << '\n';
  }
  return {};
}

}  // namespace

void AddExperimentOutputs(CLI::App& experiment, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(
      experiment, session, "outputs", "Print where its outputs are; with --archive, pack them.",
      [options](Context& context, Session& s) { return Outputs(context, s, *options); });
  command->add_option("--archive", options->archive, "Write them to this .tar.gz.")
      ->type_name("FILE");
}

}  // namespace px::launcher
