// Members of groups: from a proposal of the search to an experiment's row, and back.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/search.h"

namespace px::launcher {

// What the members of a group have in common.
struct MemberDefaults {
  std::string user;
  std::vector<std::string> tags;
  std::string code_snapshot;
  int64_t ttl_s = 0;
};

// Requests for `proposals` of the group with the raw specification `raw`; owned by nobody until the
// scheduler takes them. A promotion is a resume if the specification says so and what it would go
// on from has a whole checkpoint, else it begins anew.
Outcome<std::vector<catalog::NewExperiment>> MakeMembers(
    Context& context, const spec::GroupSpec& group, const spec::Json& raw, const spec::Marks& marks,
    const std::vector<Proposal>& proposals, const MemberDefaults& defaults);

// The group's own members by number: not what people cloned from them later.
Outcome<std::vector<catalog::Experiment>> OwnMembers(catalog::Catalog& catalog,
                                                     const catalog::Group& group);

// What the search has to go by: the own members, and for a resumed group those of the group it was
// made from whose places it did not take.
Outcome<std::vector<SearchMember>> SearchMembers(catalog::Catalog& catalog,
                                                 const catalog::Group& group,
                                                 const std::string& metric);

// "grid", "random", "hyperband", "bo".
std::string AlgorithmName(spec::Algorithm algorithm);

}  // namespace px::launcher
