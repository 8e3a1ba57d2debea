#include "launcher/erase.h"

#include <algorithm>
#include <filesystem>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/local_cache.h"
#include "launcher/stop.h"

namespace px::launcher {
namespace {

using catalog::Experiment;

// True if it was there.
Outcome<bool> TrashIfThere(OutputsFs& outputs, const std::string& volume) {
  PXL_ASSIGN(const bool exists, outputs.Exists(volume));
  if (!exists) return false;
  const Status trashed = outputs.Trash(volume);
  if (!trashed && trashed.error().code() == EBUSY) {
    return Refuse(ExitCode::kBusy, volume + " is in use", "close what has files in it open");
  }
  PXL_TRY(trashed);
  return true;
}

tl::unexpected<Failure> RefuseResumed(const Experiment& experiment,
                                      const std::vector<Experiment>& resumes) {
  std::string list;
  for (const Experiment& resume : resumes) {
    list += (list.empty() ? "" : ", ") + std::to_string(resume.number);
  }
  return Refuse(ExitCode::kBusy,
                "cannot delete " + NameFor(experiment) + ": its outputs are also those of " + list +
                    ", which resumed it",
                "add --with-resumes to delete them all");
}

}  // namespace

Done CheckErasable(Context& context, const std::vector<Experiment>& experiments) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  for (const Experiment& experiment : experiments) {
    PXL_ASSIGN(auto resumes, catalog->ResumesOf(experiment.id));
    std::erase_if(resumes, [&](const Experiment& resume) {
      return std::any_of(experiments.begin(), experiments.end(),
                         [&](const Experiment& other) { return other.id == resume.id; });
    });
    if (!resumes.empty()) return RefuseResumed(experiment, resumes);
  }
  return {};
}

Outcome<Erased> EraseExperiment(Context& context, const Experiment& experiment, bool with_resumes) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(const auto resumes, catalog->ResumesOf(experiment.id));
  if (!resumes.empty() && !with_resumes) return RefuseResumed(experiment, resumes);
  Erased erased;
  for (const Experiment& resume : resumes) PXL_TRY(EraseExperiment(context, resume, false));
  if (!catalog::IsDone(experiment.state)) {
    PXL_TRY(RequestStop(context, experiment));
    PXL_TRY(WaitUntilDone(context, experiment.id));
  }
  const Layout& layout = context.layout();
  PXL_TRY(TrashIfThere(*outputs, layout.RunDir(experiment)));
  if (experiment.is_resume()) {
    PXL_TRY(RemoveFile(layout.OwnOutputs(experiment)));
  } else {
    PXL_ASSIGN(const bool trashed, TrashIfThere(*outputs, layout.OwnOutputs(experiment)));
    if (trashed) erased.trashed.push_back(layout.OwnOutputs(experiment));
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
  ForgetCachedExperiment(experiment);
  return erased;
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
  for (const std::string& volume : volumes) PXL_TRY(TrashIfThere(*outputs, volume));
  // Only directories that are empty by now go; what somebody else put there stays.
  for (const char* directory :
       {"/.code", "/.run", "/experiments", "/jobs", "/builds", "/groups", ""}) {
    std::filesystem::remove(root + directory, error);
  }
  return {};
}

void SayWhereItWent(Context& context, OutputsFs& outputs, const Erased& erased) {
  if (erased.trashed.empty()) return;
  const spec::Json fields{{"trashed", erased.trashed}};
  const std::string how = outputs.HowToGetBack(erased.trashed.front());
  if (erased.trashed.size() == 1) {
    context.Say("Its outputs are in the trash for now: " + how, fields);
  } else {
    context.Say("The outputs of " + std::to_string(erased.trashed.size()) +
                    " experiments are in the trash for now: " + how + " brings the first back",
                fields);
  }
}

}  // namespace px::launcher
