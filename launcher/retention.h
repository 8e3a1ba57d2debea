// Retention: which checkpoints of an outputs directory are worth keeping.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog_types.h"
#include "launcher/checkpoints.h"

namespace px::launcher {

struct RetentionRules {
  int64_t last = 0;    // the newest so many
  int64_t best = 0;    // the best so many by `metric`
  int64_t every = 0;   // those whose step is a multiple of it
  std::string metric;  // for `best`
  bool minimize = false;
};

struct Judged {
  Checkpoint checkpoint;
  std::optional<double> value;  // of the metric when it was written
  std::optional<int64_t> step;  // the last number in its name
  std::string why;              // it is kept; empty: it may go
};

// Judges each checkpoint, in the order given (newest first). Whatever the rules: the newest whole
// one, pinned ones, those that are not whole, and files of unknown kind are kept. `points` are all
// values of the metric, oldest first; a checkpoint's is the last that was reported before it was
// written, or the first if none was.
std::vector<Judged> Judge(const std::vector<Checkpoint>& checkpoints,
                          const std::vector<catalog::MetricPoint>& points,
                          const std::vector<std::string>& pinned, const RetentionRules& rules);

}  // namespace px::launcher
