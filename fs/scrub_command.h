// px-fs scrub: drives a pass over a mounted store and tells what was found.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace px::fs {

struct ScrubReport {
  std::string progress;   // JSON: as of the end
  uint64_t findings = 0;  // what is damaged
};

// Runs a whole pass, at `rate` bytes a second (0: as fast as it goes). `finding` gets each as one
// line of JSON, `progress` one after each step.
Result<ScrubReport> RunScrub(const std::string& mountpoint, uint64_t rate,
                             const std::function<void(const std::string&)>& finding,
                             const std::function<void(const std::string&)>& progress);

}  // namespace px::fs
