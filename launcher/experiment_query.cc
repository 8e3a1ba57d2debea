#include "launcher/experiment_query.h"

#include <cstdlib>
#include <optional>

#include "launcher/details.h"

namespace px::launcher {
namespace {

std::optional<double> Number(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return {};
  return number;
}

std::string Text(const spec::Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// As numbers if both are, else as texts: times sort right as texts.
int Compare(const spec::Json& value, const std::string& wanted) {
  const auto number = Number(wanted);
  if (value.is_number() && number) {
    const double own = value.get<double>();
    return own < *number ? -1 : own > *number ? 1 : 0;
  }
  return Text(value).compare(wanted);
}

bool MatchesOne(const spec::Json& value, const std::string& condition) {
  if (value.is_null()) return false;
  const size_t range = condition.find("..");
  if (range != std::string::npos) {
    return Compare(value, condition.substr(0, range)) >= 0 &&
           Compare(value, condition.substr(range + 2)) <= 0;
  }
  if (condition.starts_with("<=")) return Compare(value, condition.substr(2)) <= 0;
  if (condition.starts_with(">=")) return Compare(value, condition.substr(2)) >= 0;
  if (condition.starts_with("<")) return Compare(value, condition.substr(1)) < 0;
  if (condition.starts_with(">")) return Compare(value, condition.substr(1)) > 0;
  return Compare(value, condition) == 0;
}

bool Matches(const spec::Json& value, std::string condition) {
  const bool negated = condition.starts_with("~");
  if (negated) condition.erase(0, 1);
  bool any = false;
  size_t begin = 0;
  while (begin <= condition.size()) {
    const size_t end = std::min(condition.find('|', begin), condition.size());
    any = any || MatchesOne(value, condition.substr(begin, end - begin));
    begin = end + 1;
  }
  return any != negated;
}

}  // namespace

Outcome<bool> MatchesQuery(const std::string& query, const KeyValue& value) {
  for (const std::string& part : SplitTags(query)) {
    const size_t colon = part.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == part.size()) {
      return Refuse(ExitCode::kUsage, "--query: '" + part + "' is not KEY:CONDITION",
                    "for instance --query 'status:running, metric.loss:<0.3'");
    }
    const size_t condition = part.find_first_not_of(' ', colon + 1);
    PXL_ASSIGN(const spec::Json own, value(part.substr(0, colon)));
    if (!Matches(own, part.substr(condition))) return false;
  }
  return true;
}

std::vector<SortKey> ParseSort(const std::string& sort) {
  std::vector<SortKey> keys;
  for (const std::string& part : SplitTags(sort)) {
    const bool descending = part.starts_with("-");
    keys.push_back({.key = part.substr(descending ? 1 : 0), .descending = descending});
  }
  return keys;
}

int CompareForSort(const SortKey& key, const spec::Json& a, const spec::Json& b) {
  if (a.is_null() || b.is_null()) return (a.is_null() ? 1 : 0) - (b.is_null() ? 1 : 0);
  const int order = Compare(a, Text(b));
  return key.descending ? -order : order;
}

}  // namespace px::launcher
