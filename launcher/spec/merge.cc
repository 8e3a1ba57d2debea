#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

Json MergeDeep(const Json& base, const Json& override) {
  if (!base.is_object() || !override.is_object()) return override;
  Json merged = base;
  for (const auto& [key, value] : override.items()) {
    const auto it = merged.find(key);
    if (it == merged.end()) {
      merged[key] = value;
    } else {
      *it = MergeDeep(*it, value);
    }
  }
  return merged;
}

// declarations and params are one section with two names: an override may use either.
Json AlignNames(const Json& base, const Json& override) {
  for (const auto& [mine, other] :
       {std::pair("declarations", "params"), std::pair("params", "declarations")}) {
    if (base.contains(mine) && !base.contains(other) && override.contains(other) &&
        !override.contains(mine)) {
      Json aligned = override;
      aligned[mine] = override[other];
      aligned.erase(other);
      return aligned;
    }
  }
  return override;
}

}  // namespace

Json Merge(const Json& base, const Json& override) {
  if (!base.is_object() || !override.is_object()) return override;
  return MergeDeep(base, AlignNames(base, override));
}

}  // namespace px::spec
