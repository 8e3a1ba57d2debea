// What the query and the sort order of a list mean (experiment_list.h has the grammar).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/failure.h"
#include "launcher/spec/problem.h"

namespace px::launcher {

// The value of a key of one of the listed, null if it has none; a Failure if there is no such key.
using KeyValue = std::function<Outcome<spec::Json>(const std::string& key)>;

// Whether it is asked for.
Outcome<bool> MatchesQuery(const std::string& query, const KeyValue& value);

struct SortKey {
  std::string key;
  bool descending = false;
};
std::vector<SortKey> ParseSort(const std::string& sort);
// Below zero if `a` comes first. A null comes last, whatever the direction.
int CompareForSort(const SortKey& key, const spec::Json& a, const spec::Json& b);

}  // namespace px::launcher
