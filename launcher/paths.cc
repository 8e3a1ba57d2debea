#include "launcher/paths.h"

namespace px::launcher {
namespace {

std::string Place(catalog::Kind kind, int64_t group, int64_t number) {
  if (kind != catalog::Kind::kExperiment) {
    return "/" + std::string(catalog::KindName(kind)) + "s/" + std::to_string(number);
  }
  if (group == 0) return "/experiments/" + std::to_string(number);
  return "/groups/" + std::to_string(group) + "/" + std::to_string(number);
}

}  // namespace

std::string Layout::Project(const std::string& user, const std::string& project) const {
  return outputs_ + "/" + user + "/" + project;
}

std::string Layout::OwnOutputs(const catalog::Experiment& experiment) const {
  return Project(experiment.project_user, experiment.project_name) +
         Place(experiment.kind, experiment.group_number, experiment.number);
}

std::string Layout::Outputs(const catalog::Experiment& experiment) const {
  return Project(experiment.project_user, experiment.project_name) +
         Place(experiment.kind, experiment.root_group_number, experiment.root_number);
}

std::string Layout::Code(const catalog::Project& project, const std::string& snapshot) const {
  return Project(project.user, project.name) + "/.code/" + snapshot;
}

std::string Layout::Code(const catalog::Experiment& experiment) const {
  return Project(experiment.project_user, experiment.project_name) + "/.code/" +
         experiment.code_snapshot;
}

std::string Layout::RunDir(const catalog::Experiment& experiment) const {
  return Project(experiment.project_user, experiment.project_name) + "/.run/" +
         std::to_string(experiment.number);
}

std::string Layout::Log(const catalog::Experiment& experiment) const {
  return logs_ + "/" + experiment.project_user + "/" + experiment.project_name +
         Place(experiment.kind, experiment.group_number, experiment.number);
}

std::string Layout::Sidecar(const catalog::Experiment& experiment,
                            const std::string& suffix) const {
  return logs_ + "/" + experiment.project_user + "/" + experiment.project_name + "/.px/" +
         std::to_string(experiment.number) + suffix;
}

LogFiles Layout::Console(const catalog::Experiment& experiment) const {
  return {.log = Log(experiment),
          .index = Sidecar(experiment, ".times"),
          .parts = Sidecar(experiment, ".log")};
}

std::string Layout::MetricsFile(const catalog::Experiment& experiment) const {
  return Sidecar(experiment, ".metrics");
}

std::string Layout::SupervisorLog(const catalog::Experiment& experiment) const {
  return Sidecar(experiment, ".supervisor");
}

std::string Layout::GroupLog(const catalog::Project& project, int64_t group) const {
  return logs_ + "/" + project.user + "/" + project.name + "/.px/group-" + std::to_string(group) +
         ".scheduler";
}

std::string Layout::EnvironmentFile(const catalog::Experiment& experiment) const {
  return Sidecar(experiment, ".environment");
}

std::string Layout::EnvironmentFile(const catalog::Project& project, int64_t group) const {
  return logs_ + "/" + project.user + "/" + project.name + "/.px/group-" + std::to_string(group) +
         ".environment";
}

std::string Layout::CodeLock(const catalog::Project& project) const {
  return logs_ + "/" + project.user + "/" + project.name + "/.px/code.lock";
}

std::string SnapshotBefore(int64_t number, int64_t attempt) {
  const std::string name = "before-" + std::to_string(number);
  return attempt <= 1 ? name : name + "-" + std::to_string(attempt);
}

}  // namespace px::launcher
