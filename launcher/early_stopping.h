// Early stopping: which experiments of a group are not worth going on with.
#pragma once

#include <cstddef>
#include <vector>

#include "launcher/spec/group.h"

namespace px::launcher {

// The values of one metric that an experiment has reported so far, oldest first.
struct Curve {
  std::vector<double> values;
  bool running = false;
};

// True if the last value of the curve has reached the rule's value (policies all and experiment).
bool HasReached(const spec::EarlyStopping& rule, const Curve& curve);

// The indexes of the running experiments that the rule's policy stops now.
//   median      its best so far is worse than the median of the others' averages up to the same
//   step
//               (Golovin et al., Google Vizier, 2017, section 3.2.1)
//   average     worse than the mean of those averages
//   truncation  it is among the worst `percent` of all that came as far, by their best so far
// Each looks at an experiment when it has reported a multiple of `evaluation_interval` values, and
// only if at least two others came as far. None for other policies.
std::vector<size_t> WorstToStop(const spec::EarlyStopping& rule, const std::vector<Curve>& curves);

}  // namespace px::launcher
