#include <algorithm>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/reader.h"

namespace px::spec {
namespace {

bool IsNotAscii(char c) { return c <= 0; }

// Where the parser has read to. Shared by all copies of the iterator.
struct Position {
  int line = 1;
  int column = 0;  // of the last character read
};

// Walks over the text and notes where it is, since the parser does not say.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, Position* position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (at_ != begin_ && at_[-1] == '\n') {
      ++position_->line;
      position_->column = 0;
    }
    ++position_->column;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char* begin_ = at_;
  Position* position_;
};

// Builds the value with places, refusing keys given twice and absurd nesting.
class Handler : public nlohmann::json_sax<Json> {
 public:
  Handler(const std::string& name, const Position& position, Marks& marks)
      : name_(name), position_(position), marks_(marks) {}

  bool null() override { return Add(nullptr, 4); }
  bool boolean(bool value) override { return Add(value, value ? 4 : 5); }
  bool number_integer(number_integer_t value) override { return Add(value, kNumber); }
  bool number_unsigned(number_unsigned_t value) override {
    const bool fits = value <= static_cast<uint64_t>(INT64_MAX);
    return Add(fits ? Json(static_cast<int64_t>(value)) : Json(value), kNumber);
  }
  bool number_float(number_float_t value, const string_t&) override { return Add(value, kNumber); }
  bool string(string_t& value) override {
    const size_t size = value.size();
    if (!IsCleanText(value)) return Refuse("the text holds a NUL character", "check its escapes");
    return Add(std::move(value), size + 2);
  }
  bool binary(binary_t&) override { return Refuse("binary values are not allowed", ""); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& value) override {
    if (!IsCleanText(value)) return Refuse("the key holds a NUL character", "check its escapes");
    if (stack_.back().first.contains(value)) {
      return Refuse(fmt::format("the key '{}' is given twice", value), "keep one of them");
    }
    if (stack_.back().first.size() >= kMaxKeys) return Refuse("too many keys in one mapping", "");
    key_ = value;
    marks_[Child(pointers_.back(), value)] = Here(value.size() + 2);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string what = error.what();
    if (const size_t at = what.find(": "); at != std::string::npos) what = what.substr(at + 2);
    // It may quote half of a character.
    if (!IsCleanText(what)) std::replace_if(what.begin(), what.end(), IsNotAscii, '?');
    return Refuse("not valid JSON: " + what, "check the quotes, commas and brackets before this");
  }

  Json TakeValue() { return std::move(root_); }
  const Problem& problem() const { return problem_; }

 private:
  // The parser has read one character more than the number.
  static constexpr size_t kNumber = 2;

  Mark Here(size_t length) const {
    return {name_, position_.line, std::max(1, position_.column - static_cast<int>(length) + 1)};
  }
  bool Refuse(std::string message, std::string hint) {
    problem_ = {name_, position_.line, std::max(1, position_.column), std::move(message),
                std::move(hint)};
    return false;
  }

  // The pointer of the value that comes next.
  std::string NextPointer() const {
    if (stack_.empty()) return "";
    const Json& parent = stack_.back().first;
    return parent.is_array() ? Child(pointers_.back(), parent.size())
                             : Child(pointers_.back(), key_);
  }
  bool Add(Json value, size_t length) {
    if (++count_ > kMaxValues) return Refuse("too many values", "");
    marks_.try_emplace(NextPointer(), Here(length));
    Store(std::move(value), key_);
    return true;
  }
  void Store(Json value, const std::string& key) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().first.is_array()) {
      stack_.back().first.push_back(std::move(value));
    } else {
      stack_.back().first[key] = std::move(value);
    }
  }
  bool Open(Json value) {
    if (stack_.size() > kMaxNesting) return Refuse("nested too deeply", "");
    const std::string pointer = NextPointer();
    marks_.try_emplace(pointer, Here(1));
    stack_.emplace_back(std::move(value), key_);
    pointers_.push_back(pointer);
    return true;
  }
  bool Close() {
    auto [value, key] = std::move(stack_.back());
    stack_.pop_back();
    pointers_.pop_back();
    Store(std::move(value), key);
    return true;
  }

  const std::string& name_;
  const Position& position_;
  Marks& marks_;
  Json root_;
  std::vector<std::pair<Json, std::string>> stack_;  // open values, each with its own key
  std::vector<std::string> pointers_;                // of the open values
  std::string key_;
  size_t count_ = 0;
  Problem problem_;
};

}  // namespace

Result<Json> ReadJson(const std::string& text, const std::string& name, Marks& marks) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Json(nullptr);
  Position position;
  Handler handler(name, position, marks);
  const CountingIterator begin(text.data(), &position);
  const CountingIterator end(text.data() + text.size(), &position);
  if (Json::sax_parse(begin, end, &handler)) return handler.TakeValue();
  return Forward(ToError({handler.problem()}));
}

}  // namespace px::spec
