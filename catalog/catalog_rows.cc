#include "catalog/catalog_rows.h"

#include <sys/random.h>

#include <array>
#include <nlohmann/json.hpp>

namespace px::catalog {

Result<std::string> NewUuid() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return FailErrno("getrandom");
  }
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0fu) | 0x40u);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3fu) | 0x80u);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xfu];
  }
  return text;
}

std::string FormatTags(const std::vector<std::string>& tags) {
  // Names of tags come from people: bytes that are no UTF-8 are replaced, not thrown at us.
  return nlohmann::json(tags).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<std::vector<std::string>> ParseTags(std::string_view json) {
  const auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_array()) return Fail(EUCLEAN, "tags are not a JSON array");
  std::vector<std::string> tags;
  for (const auto& tag : parsed) {
    if (!tag.is_string()) return Fail(EUCLEAN, "a tag is not a string");
    tags.push_back(tag.get<std::string>());
  }
  return tags;
}

}  // namespace px::catalog
