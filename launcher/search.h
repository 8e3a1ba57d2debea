// Search: which experiments a group is to have next, given what became of those it has.
//
// All a search remembers is in its members: each holds its `plan`, a JSON object that names its
// place
// ({"slot": i}, {"bracket": b, "rung": r, "slot": i} or {"trial": i}) and its suggestion. What is
// proposed depends on specification, seed and members alone, so a scheduler that was killed is
// replaced by one that goes on alike. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog_types.h"
#include "launcher/spec/group.h"

namespace px::launcher {

struct SearchMember {
  catalog::ExperimentId id;
  catalog::State state = catalog::State::kCreated;
  spec::Json plan;
  std::optional<double> metric;  // the last value of the metric that the search goes by
};

struct Proposal {
  spec::Json plan;
  spec::Json
      values;  // declarations: the suggestion, and what the search adds (hyperband's resource)
  // Of a promotion: the experiment that goes on with more of the resource.
  catalog::ExperimentId promoted;
};

// What to add now; nothing while a search waits for results, or has come to its end. Of grid and
// random search everything is proposed at once, when there is no member yet.
std::vector<Proposal> Propose(const spec::GroupSpec& group, uint64_t seed,
                              const std::vector<SearchMember>& members);

// The name of the metric that the search goes by; empty if it goes by none.
std::string SearchMetric(const spec::GroupSpec& group);

// The plan's place as text: equal for a member and a later one that takes its place.
std::string PlaceOf(const spec::Json& plan);

}  // namespace px::launcher
