#include "launcher/submit.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "launcher/code_snapshot.h"
#include "launcher/container.h"
#include "launcher/files.h"
#include "launcher/gpus.h"
#include "launcher/local_cache.h"

namespace px::launcher {

std::string Dump(const spec::Json& json) {
  return json.dump(-1, ' ', false, spec::Json::error_handler_t::replace);
}

Outcome<spec::Json> ReadSpecFiles(const std::vector<std::string>& files, spec::Marks& marks) {
  for (const std::string& file : files) {
    if (PathExists(file)) continue;
    return Refuse(ExitCode::kNotFound, "Path \"" + file + "\" does not exist.",
                  "name the polyaxonfile with -f FILE");
  }
  PXL_ASSIGN(spec::Json raw, spec::ReadFiles(files, &marks));
  return raw;
}

Outcome<spec::ExperimentSpec> CheckRunnable(const spec::Json& raw, const spec::Marks& marks) {
  PXL_ASSIGN(spec::ExperimentSpec rendered, spec::Render(raw, {.marks = &marks}));
  if (rendered.kind == spec::Kind::kNotebook || rendered.kind == spec::Kind::kTensorboard) {
    return Refuse(ExitCode::kFailed,
                  "kind " + spec::KindName(rendered.kind) + " cannot be run by this command",
                  "use kind: experiment");
  }
  if (rendered.kind == spec::Kind::kBuild) {
    if (WantsContainer(rendered)) return rendered;
    return Refuse(ExitCode::kFailed, "the polyaxonfile names no image to build on",
                  "add `image: NAME`, or `dockerfile: FILE`");
  }
  if (rendered.cmd.empty()) {
    return Refuse(ExitCode::kFailed, "the polyaxonfile has no run.cmd: there is nothing to run",
                  "add a section `run:` with `cmd: ...`");
  }
  const double gpus = rendered.environment.resources.gpu.limits.value_or(
      rendered.environment.resources.gpu.requests.value_or(0));
  if (gpus > 0) {
    const size_t present = PresentGpus().size();
    if (gpus > static_cast<double>(present)) {
      return Refuse(ExitCode::kFailed,
                    "unschedulable: " + TooFewGpus(std::llround(std::ceil(gpus)), present),
                    "lower environment.resources.gpu");
    }
  }
  return rendered;
}

catalog::Kind KindOf(const spec::ExperimentSpec& rendered) {
  if (rendered.kind == spec::Kind::kJob) return catalog::Kind::kJob;
  if (rendered.kind == spec::Kind::kBuild) return catalog::Kind::kBuild;
  return catalog::Kind::kExperiment;
}

void ApplySpec(const spec::ExperimentSpec& rendered, catalog::NewExperiment& request) {
  const spec::Amount& gpu = rendered.environment.resources.gpu;
  request.rendered_spec = Dump(rendered.rendered);
  const double wanted = gpu.limits.value_or(gpu.requests.value_or(0));
  request.gpus = std::llround(std::ceil(wanted));
  if (wanted > 0 && wanted < 1) {
    request.gpu_share = std::max<int64_t>(std::llround(wanted * catalog::kWholeGpu), 1);
  }
  request.max_restarts = rendered.environment.max_restarts;
}

Outcome<std::string> SnapshotWorkingDirectory(Context& context, const catalog::Project& project) {
  const auto here = ReadCachedProject();
  if (here && (here->user != project.user || here->name != project.name)) {
    return Refuse(ExitCode::kFailed,
                  "this directory is project " + here->user + "/" + here->name + ", not " +
                      project.user + "/" + project.name +
                      ": uploading is not supported when switching project context",
                  "go to that project's directory, or leave out -u");
  }
  std::error_code error;
  const auto directory = std::filesystem::current_path(error);
  if (error) return Refuse(ExitCode::kFailed, "the working directory is gone: " + error.message());
  return TakeCodeSnapshot(context, project, directory.string());
}

}  // namespace px::launcher
