#include "launcher/spec/literal.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace px::spec {
namespace {

constexpr int kMaxDepth = 100;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// Digits of one base with single underscores between them, to an integer that fits 64 bits.
std::optional<Json> ParseInteger(std::string_view digits, int base, bool negative) {
  std::string clean;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] != '_') {
      clean += digits[i];
    } else if (i == 0 || i + 1 == digits.size() || digits[i + 1] == '_') {
      return std::nullopt;
    }
  }
  uint64_t value = 0;
  const char* end = clean.data() + clean.size();
  const auto [rest, error] = std::from_chars(clean.data(), end, value, base);
  if (clean.empty() || error != std::errc() || rest != end) return std::nullopt;
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (negative) {
    if (value > kMax + 1) return std::nullopt;
    return Json(static_cast<int64_t>(~value + 1));
  }
  if (value <= kMax) return Json(static_cast<int64_t>(value));
  return Json(value);
}

std::optional<Json> ParseFloat(std::string_view text, bool negative) {
  std::string clean;
  for (const char c : text) {
    if (c != '_') clean += c;
  }
  double value = 0;
  const char* end = clean.data() + clean.size();
  const auto [rest, error] = std::from_chars(clean.data(), end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) return std::nullopt;
  return Json(negative ? -value : value);
}

// The length of an unsigned decimal number at the start of `text`, and whether it is a float.
size_t ScanDecimal(std::string_view text, bool* is_float) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && (IsDigit(text[at]) || (text[at] == '_' && at > begin))) ++at;
    return at > begin;
  };
  *is_float = false;
  const bool whole = digits();
  bool fraction = false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    fraction = digits();
    if (!whole && !fraction) return 0;
    *is_float = true;
  }
  if (!whole && !fraction) return 0;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const size_t before = at++;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits()) {
      *is_float = true;
    } else {
      at = before;
    }
  }
  return at;
}

class LiteralParser {
 public:
  explicit LiteralParser(std::string_view text) : text_(text) {}

  std::optional<Json> Parse() {
    if (text_.empty() || IsSpace(text_.front())) return std::nullopt;
    std::optional<Json> value = Value(0);
    Skip();
    if (!value || at_ == text_.size()) return value;
    if (text_[at_] != ',') return std::nullopt;
    return BareTuple(std::move(*value));
  }

 private:
  static bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  void Skip() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Take(char c) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeWord(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    const size_t end = at_ + word.size();
    if (end < text_.size() && (IsNameStart(text_[end]) || IsDigit(text_[end]))) return false;
    at_ = end;
    return true;
  }

  // "1, 2" is a tuple without its parentheses.
  std::optional<Json> BareTuple(Json first) {
    Json tuple = Json::array({std::move(first)});
    while (Take(',')) {
      Skip();
      if (at_ == text_.size()) return tuple;
      std::optional<Json> value = Value(1);
      if (!value) return std::nullopt;
      tuple.push_back(std::move(*value));
    }
    Skip();
    if (at_ != text_.size()) return std::nullopt;
    return tuple;
  }

  std::optional<Json> Value(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    Skip();
    if (at_ >= text_.size()) return std::nullopt;
    const char c = text_[at_];
    if (c == '[') return Sequence('[', ']', depth);
    if (c == '(') return Sequence('(', ')', depth);
    if (c == '{') return Dict(depth);
    if (c == '\'' || c == '"') return Strings();
    if (TakeWord("None")) return Json(nullptr);
    if (TakeWord("True")) return Json(true);
    if (TakeWord("False")) return Json(false);
    return Number();
  }

  std::optional<Json> Number() {
    bool negative = false;
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) {
      negative = text_[at_++] == '-';
      Skip();
    }
    const std::string_view rest = text_.substr(at_);
    if (rest.size() > 2 && rest[0] == '0' && IsNameStart(rest[1]) && rest[1] != 'e' &&
        rest[1] != 'E') {
      return Based(negative);
    }
    bool is_float = false;
    const size_t length = ScanDecimal(rest, &is_float);
    if (length == 0) return std::nullopt;
    const std::string_view number = rest.substr(0, length);
    if (length < rest.size() && (IsNameStart(rest[length]) || IsDigit(rest[length]))) {
      return std::nullopt;
    }
    at_ += length;
    if (is_float) return ParseFloat(number, negative);
    const bool zeros = number.find_first_not_of("0_") == std::string_view::npos;
    if (number.size() > 1 && number[0] == '0' && !zeros) return std::nullopt;
    return ParseInteger(number, 10, negative);
  }

  std::optional<Json> Based(bool negative) {
    const char kind = static_cast<char>(text_[at_ + 1] | 0x20);
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (base == 0) return std::nullopt;
    at_ += 2;
    const size_t begin = at_;
    while (at_ < text_.size() && (IsDigit(text_[at_]) || IsNameStart(text_[at_]))) ++at_;
    return ParseInteger(text_.substr(begin, at_ - begin), base, negative);
  }

  std::optional<Json> Sequence(char open, char close, int depth) {
    Take(open);
    Json list = Json::array();
    bool comma = true;
    while (!Take(close)) {
      if (!comma) return std::nullopt;
      std::optional<Json> value = Value(depth + 1);
      if (!value) return std::nullopt;
      list.push_back(std::move(*value));
      comma = Take(',');
    }
    // (1) is a parenthesized number, (1,) a tuple.
    if (open == '(' && list.size() == 1 && !comma) return Json(list[0]);
    return list;
  }

  std::optional<Json> Dict(int depth) {
    Take('{');
    Json dict = Json::object();
    bool comma = true;
    while (!Take('}')) {
      if (!comma) return std::nullopt;
      const std::optional<Json> key = Value(depth + 1);
      if (!key || key->is_structured() || !Take(':')) return std::nullopt;
      std::optional<Json> value = Value(depth + 1);
      if (!value) return std::nullopt;
      dict[ToPythonText(*key)] = std::move(*value);
      comma = Take(',');
    }
    return dict;
  }

  // One or more string literals side by side.
  std::optional<Json> Strings() {
    std::string value;
    while (at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"')) {
      if (!OneString(value)) return std::nullopt;
      Skip();
    }
    if (!IsCleanText(value)) return std::nullopt;
    return Json(std::move(value));
  }

  bool OneString(std::string& value) {
    const char quote = text_[at_];
    const std::string triple(3, quote);
    const bool is_triple = text_.substr(at_).starts_with(triple);
    const std::string_view end = is_triple ? std::string_view(triple) : text_.substr(at_, 1);
    at_ += end.size();
    while (at_ < text_.size()) {
      if (text_.substr(at_).starts_with(end)) {
        at_ += end.size();
        return true;
      }
      if (text_[at_] == '\n' && !is_triple) return false;
      if (text_[at_] == '\\') {
        if (!Escape(value)) return false;
      } else {
        value += text_[at_++];
      }
    }
    return false;
  }

  bool Escape(std::string& value) {
    if (at_ + 1 >= text_.size()) return false;
    const char c = text_[at_ + 1];
    at_ += 2;
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = kFrom.find(c); i != std::string_view::npos) {
      value += kTo[i];
      return true;
    }
    if (c == '\n') return true;
    const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (length > 0) return CodePoint(value, length);
    if (c >= '0' && c <= '7') return false;  // octal escapes are not worth their surprises
    value += '\\';
    value += c;
    return true;
  }

  bool CodePoint(std::string& value, size_t length) {
    if (at_ + length > text_.size()) return false;
    uint32_t code = 0;
    const char* begin = text_.data() + at_;
    const auto [rest, error] = std::from_chars(begin, begin + length, code, 16);
    if (error != std::errc() || rest != begin + length) return false;
    at_ += length;
    return AppendUtf8(value, code);
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<Json> ParseLiteral(std::string_view text) { return LiteralParser(text).Parse(); }

std::optional<Json> ParseYamlNumber(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == ".inf" || text == ".Inf" || text == ".INF") return Json(negative ? "-inf" : "inf");
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return Json("nan");
  if (text.starts_with("0x")) return ParseInteger(text.substr(2), 16, negative);
  if (text.starts_with("0o")) return ParseInteger(text.substr(2), 8, negative);
  if (text.starts_with("0b")) return ParseInteger(text.substr(2), 2, negative);
  bool is_float = false;
  if (text.empty() || ScanDecimal(text, &is_float) != text.size()) return std::nullopt;
  if (is_float) return ParseFloat(text, negative);
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  return ParseInteger(text, 10, negative);
}

}  // namespace px::spec
