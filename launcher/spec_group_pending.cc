// Stands in until launcher/spec has groups; goes away with it.
#include "launcher/spec/group.h"

namespace px::spec {

Result<GroupSpec> ParseGroup(const Json&, const GroupOptions&) {
  return Fail(EINVAL, "kind: group is not supported yet");
}
Rng MakeRng(const GroupSpec&, uint64_t fallback) { return Rng(fallback); }
std::vector<Json> Grid(const GroupSpec&) { return {}; }
std::vector<Json> RandomSearch(const GroupSpec&, Rng&) { return {}; }

}  // namespace px::spec
