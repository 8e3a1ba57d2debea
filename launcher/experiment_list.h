// Lists of experiments as Polyaxon has them: --query, --sort, --metrics, --declarations, --page.
//
//   query   KEY:CONDITION, all of them with commas between; a condition is VALUE, ~VALUE (not),
//           A|B (either), <V <=V >V >=V, or A..B
//   sort    KEY or -KEY (descending), with commas between; those without it come last
//   KEY     id, name, status, user, strategy, created_at, started_at, finished_at, total_run
//           (seconds), metric.NAME, declarations.NAME (or params.NAME)
#pragma once

#include <string>
#include <vector>

#include "launcher/context.h"
#include "launcher/session.h"

namespace px::launcher {

struct ListOptions {
  std::string query;
  std::string sort;
  bool metrics = false;       // a column for each
  bool declarations = false;  // likewise
  int64_t page = 1;
};

void AddListOptions(CLI::App& command, ListOptions& options);

// Prints those of `all` (newest first) that are asked for, a page of them under `title` and a
// count; with --json all of them.
Done PrintList(Context& context, std::vector<catalog::Experiment> all, const ListOptions& options,
               const std::string& title);

}  // namespace px::launcher
