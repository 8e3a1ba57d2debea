#include "launcher/details.h"

#include <sstream>

#include "launcher/table.h"

namespace px::launcher {

void AddDetails(CLI::App& command, Details& details) {
  const auto add = [&command](const char* option, std::optional<std::string>& value,
                              const char* help) {
    command.add_option_function<std::string>(
        option, [&value](const std::string& text) { value = text; }, help);
  };
  add("--name", details.name, "The new name.");
  add("--description", details.description, "The new description.");
  add("--tags", details.tags, "The new tags, comma separated.");
}

void PrintDetails(Context& context, const Details& details) {
  Pairs pairs;
  if (details.name) pairs.emplace_back("name", *details.name);
  if (details.description) pairs.emplace_back("description", *details.description);
  if (details.tags) pairs.emplace_back("tags", *details.tags);
  PrintSection(context.out(), "Updated:", pairs);
}

std::vector<std::string> SplitTags(const std::string& text) {
  std::vector<std::string> tags;
  std::istringstream parts(text);
  std::string part;
  while (std::getline(parts, part, ',')) {
    const size_t begin = part.find_first_not_of(" \t");
    if (begin == std::string::npos) continue;
    tags.push_back(part.substr(begin, part.find_last_not_of(" \t") - begin + 1));
  }
  return tags;
}

}  // namespace px::launcher
