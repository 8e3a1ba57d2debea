#include "launcher/erase.h"

#include <filesystem>

#include "launcher/files.h"
#include "launcher/local_cache.h"
#include "launcher/stop.h"

namespace px::launcher {
namespace {

using catalog::Experiment;

Done DropIfThere(OutputsFs& outputs, const std::string& volume) {
  PXL_ASSIGN(const bool exists, outputs.Exists(volume));
  if (!exists) return {};
  const Status dropped = outputs.Drop(volume);
  if (!dropped && dropped.error().code() == EBUSY) {
    return Refuse(ExitCode::kBusy, volume + " is in use", "close what has files in it open");
  }
  PXL_TRY(dropped);
  return {};
}

Done RefuseResumed(const Experiment& experiment, const std::vector<Experiment>& resumes) {
  std::string list;
  for (const Experiment& resume : resumes) {
    list += (list.empty() ? "" : ", ") + std::to_string(resume.number);
  }
  return Refuse(ExitCode::kBusy,
                "cannot delete experiment " + std::to_string(experiment.number) +
                    ": its outputs are also those of " + list + ", which resumed it",
                "add --with-resumes to delete them all");
}

}  // namespace

Done EraseExperiment(Context& context, const Experiment& experiment, bool with_resumes) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(const auto resumes, catalog->ResumesOf(experiment.id));
  if (!resumes.empty() && !with_resumes) return RefuseResumed(experiment, resumes);
  for (const Experiment& resume : resumes) PXL_TRY(EraseExperiment(context, resume, false));
  if (!catalog::IsDone(experiment.state)) {
    PXL_TRY(RequestStop(context, experiment));
    PXL_TRY(WaitUntilDone(context, experiment.id));
  }
  const Layout& layout = context.layout();
  PXL_TRY(DropIfThere(*outputs, layout.RunDir(experiment)));
  if (experiment.is_resume()) {
    PXL_TRY(RemoveFile(layout.OwnOutputs(experiment)));
  } else {
    PXL_TRY(DropIfThere(*outputs, layout.OwnOutputs(experiment)));
  }
  const LogFiles console = layout.Console(experiment);
  for (const int64_t part : console.PartNumbers()) {
    PXL_TRY(RemoveFile(console.Part(part)));
    PXL_TRY(RemoveFile(console.PartIndex(part)));
  }
  for (const std::string& file :
       {console.log, console.index, layout.MetricsFile(experiment),
        layout.SupervisorLog(experiment), layout.EnvironmentFile(experiment)}) {
    PXL_TRY(RemoveFile(file));
  }
  PXL_TRY(catalog->DeleteExperiment(experiment.id));
  ForgetCachedExperiment(experiment.number);
  return {};
}

Done EraseCode(Context& context, const catalog::Project& project) {
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  const std::string root = context.layout().Project(project.user, project.name);
  const std::string code = root + "/.code";
  std::error_code error;
  std::vector<std::string> volumes;
  for (const auto& entry : std::filesystem::directory_iterator(code, error)) {
    volumes.push_back(entry.path().string());
  }
  for (const std::string& volume : volumes) PXL_TRY(DropIfThere(*outputs, volume));
  // Only directories that are empty by now go; what somebody else put there stays.
  for (const char* directory : {"/.code", "/.run", "/experiments", "/groups", ""}) {
    std::filesystem::remove(root + directory, error);
  }
  return {};
}

}  // namespace px::launcher
