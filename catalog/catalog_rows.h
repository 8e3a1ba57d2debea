// Helpers that the catalog's files share. Not for use outside catalog/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog_types.h"

namespace px::catalog {

inline constexpr std::string_view kDoneStates = "('succeeded', 'failed', 'stopped', 'skipped')";

// 32 hexadecimal digits, random (RFC 9562 version 4).
Result<std::string> NewUuid();

// Tags are kept as a JSON array of strings.
std::string FormatTags(const std::vector<std::string>& tags);
Result<std::vector<std::string>> ParseTags(std::string_view json);

}  // namespace px::catalog
