#include <sys/stat.h>

#include "launcher/spec/spec.h"

namespace px::spec {

Result<std::string> DefaultFile(const std::string& dir) {
  for (const char* stem :
       {"polyaxon", "polyaxonci", "polyaxon-ci", "polyaxon.ci", "polyaxonfile"}) {
    for (const char* extension : {"yaml", "yml", "json"}) {
      std::string path = dir + "/" + stem + "." + extension;
      struct stat status{};
      if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) return path;
    }
  }
  return Fail(ENOENT, "there is no polyaxonfile.yml in '" + dir + "'; name one with -f");
}

}  // namespace px::spec
