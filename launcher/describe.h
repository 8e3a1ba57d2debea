// Experiments as JSON and as rows of tables: one place, so that every command shows the same fields
// under the same names.
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/spec/problem.h"
#include "launcher/table.h"

namespace px::launcher {

// The fields that lists show. Stable: fields may be added, none renamed.
spec::Json ExperimentJson(const catalog::Experiment& experiment, const Layout& layout);
spec::Json GroupJson(const catalog::Group& group);
spec::Json RunJson(const catalog::Run& run);
spec::Json StatusJson(const catalog::StatusEntry& entry);
// RFC 3339 with nanoseconds, or null for 0.
spec::Json TimeJson(int64_t at_ns);

// Columns of lists: id, name, status, ...
std::vector<std::string> ExperimentHeaders();
std::vector<std::string> ExperimentRow(const catalog::Experiment& experiment, int64_t now_ns);

// "Experiment", "Job", "Build".
std::string TitleOf(catalog::Kind kind);
// The command and the option that name one: "experiment -xp", "job -j", "build -b".
std::string CommandOf(catalog::Kind kind);
// What to type to get at it: "px-launch experiment -xp 23".
std::string CommandFor(const catalog::Experiment& experiment);
// "experiment 23", "job 5".
std::string NameFor(const catalog::Experiment& experiment);

// "succeeded", "resume of 23", …
std::string StrategyText(const catalog::Experiment& experiment);
// The declarations of a stored specification; an empty object if there are none.
spec::Json DeclarationsOf(const catalog::Experiment& experiment);
std::string ValueText(const spec::Json& value);

int64_t NowNs(Clock& clock);

}  // namespace px::launcher
