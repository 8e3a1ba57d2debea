#include <charconv>
#include <cmath>

#include "fmt/format.h"
#include "launcher/spec/literal.h"

namespace px::spec {
namespace {

// repr(float): the shortest digits that read back the same, in scientific form when the decimal
// point would lie further than 4 places to the left or 16 to the right.
std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  (void)error;  // the buffer is large enough for every double
  const std::string text(buffer, end);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  std::string mantissa = text.substr(0, e);
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", mantissa, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  const std::string sign = mantissa[0] == '-' ? "-" : "";
  std::string digits;
  for (const char c : mantissa) {
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string QuotedText(const std::string& text) {
  const bool single = text.find('\'') != std::string::npos;
  const bool both = single && text.find('"') != std::string::npos;
  const char quote = single && !both ? '"' : '\'';
  std::string quoted(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r') {
      quoted += "\\r";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + quote;
}

std::string ScalarText(const Json& value, std::string_view yes, std::string_view no,
                       std::string_view none) {
  if (value.is_boolean()) return std::string(value.get<bool>() ? yes : no);
  if (value.is_number_float()) return FloatText(value.get<double>());
  if (value.is_number_unsigned()) return std::to_string(value.get<uint64_t>());
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  return std::string(none);
}

}  // namespace

std::string ToPythonRepr(const Json& value) {
  if (value.is_string()) return QuotedText(value.get_ref<const std::string&>());
  if (!value.is_structured()) return ScalarText(value, "True", "False", "None");
  std::string text;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += QuotedText(it.key()) + ": ";
    text += ToPythonRepr(*it);
  }
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
}

std::string ToPythonText(const Json& value) {
  return value.is_string() ? value.get<std::string>() : ToPythonRepr(value);
}

std::string ToPythonJson(const Json& value) {
  if (value.is_string()) return value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const double number = value.get<double>();
    return std::isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity";
  }
  if (!value.is_structured()) return ScalarText(value, "true", "false", "null");
  std::string text;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += ToPythonJson(Json(it.key())) + ": ";
    text += ToPythonJson(*it);
  }
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
}

bool AppendUtf8(std::string& text, uint32_t code_point) {
  if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) return false;
  const auto tail = [&](int shift) {
    text += static_cast<char>(0x80 | ((code_point >> shift) & 0x3f));
  };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xc0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xe0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xf0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
  return true;
}

bool IsCleanText(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    const size_t length = c < 0x80   ? 1
                          : c < 0xc2 ? 0
                          : c < 0xe0 ? 2
                          : c < 0xf0 ? 3
                          : c < 0xf5 ? 4
                                     : 0;
    if (c == 0 || length == 0 || at + length > text.size()) return false;
    uint32_t code = length == 1 ? c : c & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    std::string encoded;
    if (!AppendUtf8(encoded, code) || encoded.size() != length) return false;
    at += length;
  }
  return true;
}

}  // namespace px::spec
