// The name, description and tags that `update` changes: the same options for experiments, jobs,
// builds, groups and projects.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "launcher/context.h"

namespace px::launcher {

struct Details {
  // Unset: stays as it is. Empty: is taken away.
  std::optional<std::string> name;
  std::optional<std::string> description;
  std::optional<std::string> tags;  // comma separated

  bool empty() const { return !name && !description && !tags; }
  // To an Experiment, Group or Project.
  template <typename Record>
  void Apply(Record& record) const;
};

void AddDetails(CLI::App& command, Details& details);
// A table of what was given.
void PrintDetails(Context& context, const Details& details);

// "a,b" to its parts, blanks trimmed, empty ones left out.
std::vector<std::string> SplitTags(const std::string& text);

template <typename Record>
void Details::Apply(Record& record) const {
  if (name) record.name = *name;
  if (description) record.description = *description;
  if (tags) record.tags = SplitTags(*tags);
}

}  // namespace px::launcher
