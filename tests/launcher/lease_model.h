// What a history of GPU leases may be: a model that replays it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "catalog/catalog_types.h"

namespace px::testing {

// Replays a history. Every broken rule is a line: a GPU given beyond the whole, given back without
// having been given, given to one that has it; what is held at the end and is not in `leases`, and
// the other way round. Without violations it is empty.
std::vector<std::string> CheckLeases(const std::vector<catalog::GpuEvent>& history,
                                     const std::vector<catalog::GpuLease>& leases);

// The experiments in the order in which they first got something.
std::vector<int64_t> OrderOfLeases(const std::vector<catalog::GpuEvent>& history);

}  // namespace px::testing
