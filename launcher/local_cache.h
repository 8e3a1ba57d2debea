// ./.polyaxon/: which project a directory belongs to, and which experiment, job, build and group
// were last worked with there.
//
// One small JSON file for each, in the working directory (parents are not searched, as in
// Polyaxon). `run`, `get` and `resume` make an experiment the current one; `restart` and `--copy`
// do not, so that several can be made from one source.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "catalog/catalog_types.h"
#include "launcher/failure.h"

namespace px::launcher {

struct CachedProject {
  std::string user;
  std::string name;
};

std::optional<CachedProject> ReadCachedProject();
Done WriteCachedProject(const catalog::Project& project);

// The working directory, if it is the project's, goes on with its new name.
void RenameCachedProject(const catalog::Project& project, const std::string& name);

// The last used number in the cached project.
std::optional<int64_t> ReadCachedExperiment(catalog::Kind kind);
std::optional<int64_t> ReadCachedGroup();
// Does nothing if `project` is not the cached one. A cache that cannot be written is no error.
void WriteCachedExperiment(const catalog::Experiment& experiment);
void WriteCachedGroup(const catalog::Project& project, const catalog::Group& group);
void ForgetCachedExperiment(const catalog::Experiment& experiment);

}  // namespace px::launcher
