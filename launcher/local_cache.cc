#include "launcher/local_cache.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "launcher/files.h"

namespace px::launcher {
namespace {

using nlohmann::json;

constexpr const char* kProject = ".polyaxon/.polyaxonproject";
constexpr const char* kGroup = ".polyaxon/.polyaxongroup";

const char* FileOf(catalog::Kind kind) {
  switch (kind) {
    case catalog::Kind::kJob:
      return ".polyaxon/.polyaxonjob";
    case catalog::Kind::kBuild:
      return ".polyaxon/.polyaxonbuild";
    case catalog::Kind::kExperiment:
      break;
  }
  return ".polyaxon/.polyaxonxp";
}

json Read(const std::string& path) {
  const auto text = ReadFile(path);
  return text ? json::parse(*text, nullptr, /*allow_exceptions=*/false) : json();
}

std::optional<int64_t> ReadNumber(const std::string& path) {
  const json entry = Read(path);
  if (!entry.is_object() || !entry.contains("id") || !entry["id"].is_number_integer()) return {};
  return entry["id"].get<int64_t>();
}

bool IsCached(const std::string& user, const std::string& project) {
  const auto cached = ReadCachedProject();
  return cached && cached->user == user && cached->name == project;
}

void WriteQuietly(const std::string& path, const json& entry) {
  if (const auto written = WriteFile(path, entry.dump() + "\n"); !written) {
    LogDebug("{}", written.error().ToString());
  }
}

}  // namespace

std::optional<CachedProject> ReadCachedProject() {
  const json entry = Read(kProject);
  if (!entry.is_object() || !entry.contains("user") || !entry.contains("name")) return {};
  if (!entry["user"].is_string() || !entry["name"].is_string()) return {};
  return CachedProject{entry["user"].get<std::string>(), entry["name"].get<std::string>()};
}

Done WriteCachedProject(const catalog::Project& project) {
  PXL_TRY(MakeDirs(".polyaxon"));
  const json entry{{"user", project.user}, {"name", project.name}, {"uuid", project.uuid}};
  PXL_TRY(WriteFile(kProject, entry.dump() + "\n"));
  for (const auto kind : {catalog::Kind::kExperiment, catalog::Kind::kJob, catalog::Kind::kBuild}) {
    PXL_TRY(RemoveFile(FileOf(kind)));
  }
  PXL_TRY(RemoveFile(kGroup));
  return {};
}

void RenameCachedProject(const catalog::Project& project, const std::string& name) {
  if (!IsCached(project.user, project.name)) return;
  WriteQuietly(kProject, {{"user", project.user}, {"name", name}, {"uuid", project.uuid}});
}

std::optional<int64_t> ReadCachedExperiment(catalog::Kind kind) { return ReadNumber(FileOf(kind)); }
std::optional<int64_t> ReadCachedGroup() { return ReadNumber(kGroup); }

void WriteCachedExperiment(const catalog::Experiment& experiment) {
  if (!IsCached(experiment.project_user, experiment.project_name)) return;
  WriteQuietly(FileOf(experiment.kind), {{"id", experiment.number},
                                         {"uuid", experiment.uuid},
                                         {"unique_name", experiment.UniqueName()}});
}

void WriteCachedGroup(const catalog::Project& project, const catalog::Group& group) {
  if (!IsCached(project.user, project.name)) return;
  WriteQuietly(kGroup, {{"id", group.number}, {"uuid", group.uuid}});
}

void ForgetCachedExperiment(const catalog::Experiment& experiment) {
  if (!IsCached(experiment.project_user, experiment.project_name)) return;
  if (ReadCachedExperiment(experiment.kind) != experiment.number) return;
  if (const auto removed = RemoveFile(FileOf(experiment.kind)); !removed) {
    LogDebug("{}", removed.error().ToString());
  }
}

}  // namespace px::launcher
