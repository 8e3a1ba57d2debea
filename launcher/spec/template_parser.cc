#include <algorithm>
#include <cctype>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

constexpr int kMaxDepth = 60;
// Of the tree; chains such as 1 + 1 + 1... make it as deep as they are long.
constexpr int kMaxTreeDepth = 100;

bool IsAlpha(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}
bool IsNumeric(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

ExprPtr MakeExpr(Op op, std::string text = {}) {
  auto expr = std::make_unique<Expr>();
  expr->op = op;
  expr->text = std::move(text);
  return expr;
}

ExprPtr MakeNode(Op op, std::string text, ExprPtr a, ExprPtr b = nullptr) {
  ExprPtr expr = MakeExpr(op, std::move(text));
  expr->args.push_back(std::move(a));
  if (b != nullptr) expr->args.push_back(std::move(b));
  return expr;
}

// Recursive descent, one function per level of jinja2's grammar.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view source) : source_(source) {}

  Result<ExprPtr> ParseAll() {
    PX_ASSIGN(ExprPtr expr, Conditional());
    Skip();
    if (at_ != source_.size()) return Unexpected();
    if (Depth(*expr) > kMaxTreeDepth) return Fail(EINVAL, "the expression is nested too deeply");
    return expr;
  }

 private:
  static int Depth(const Expr& expr) {
    int depth = 0;
    for (const ExprPtr& arg : expr.args) {
      if (arg != nullptr) depth = std::max(depth, Depth(*arg));
    }
    for (const auto& [name, arg] : expr.keywords) depth = std::max(depth, Depth(*arg));
    return depth + 1;
  }

  struct Nested {
    explicit Nested(int& depth) : depth_(++depth) {}
    ~Nested() { --depth_; }
    int& depth_;
  };

  void Skip() {
    while (at_ < source_.size() && std::isspace(static_cast<unsigned char>(source_[at_])) != 0)
      ++at_;
  }
  bool Take(std::string_view symbol) {
    Skip();
    if (!source_.substr(at_).starts_with(symbol)) return false;
    at_ += symbol.size();
    return true;
  }
  bool PeekWord(std::string_view word) {
    Skip();
    if (!source_.substr(at_).starts_with(word)) return false;
    const size_t end = at_ + word.size();
    return end >= source_.size() || (!IsAlpha(source_[end]) && !IsNumeric(source_[end]));
  }
  bool TakeWord(std::string_view word) {
    if (!PeekWord(word)) return false;
    at_ += word.size();
    return true;
  }
  std::string Identifier() {
    Skip();
    const size_t begin = at_;
    if (at_ < source_.size() && IsAlpha(source_[at_])) {
      while (at_ < source_.size() && (IsAlpha(source_[at_]) || IsNumeric(source_[at_]))) ++at_;
    }
    return std::string(source_.substr(begin, at_ - begin));
  }
  tl::unexpected<Error> Unexpected() {
    Skip();
    if (at_ >= source_.size()) return Fail(EINVAL, "the expression ends too early");
    return Fail(EINVAL, fmt::format("unexpected '{}'", Shorten(source_.substr(at_), 20)));
  }

  Result<ExprPtr> Conditional() {
    const Nested nested(depth_);
    if (depth_ > kMaxDepth) return Fail(EINVAL, "the expression is nested too deeply");
    PX_ASSIGN(ExprPtr value, Or());
    while (TakeWord("if")) {
      ExprPtr expr = MakeExpr(Op::kIf);
      PX_ASSIGN(ExprPtr condition, Or());
      ExprPtr otherwise;
      if (TakeWord("else")) {
        PX_ASSIGN(otherwise, Conditional());
      }
      expr->args.push_back(std::move(condition));
      expr->args.push_back(std::move(value));
      expr->args.push_back(std::move(otherwise));
      value = std::move(expr);
    }
    return value;
  }

  Result<ExprPtr> Or() {
    PX_ASSIGN(ExprPtr left, And());
    while (TakeWord("or")) {
      PX_ASSIGN(ExprPtr right, And());
      left = MakeNode(Op::kBinary, "or", std::move(left), std::move(right));
    }
    return left;
  }

  Result<ExprPtr> And() {
    PX_ASSIGN(ExprPtr left, Not());
    while (TakeWord("and")) {
      PX_ASSIGN(ExprPtr right, Not());
      left = MakeNode(Op::kBinary, "and", std::move(left), std::move(right));
    }
    return left;
  }

  Result<ExprPtr> Not() {
    const Nested nested(depth_);
    if (depth_ > kMaxDepth) return Fail(EINVAL, "the expression is nested too deeply");
    if (!TakeWord("not")) return Comparison();
    PX_ASSIGN(ExprPtr value, Not());
    return MakeNode(Op::kUnary, "not", std::move(value));
  }

  std::string TakeComparison() {
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (Take(symbol)) return symbol;
    }
    if (TakeWord("in")) return "in";
    const size_t before = at_;
    if (TakeWord("not")) {
      if (TakeWord("in")) return "not in";
      at_ = before;
    }
    return {};
  }

  Result<ExprPtr> Comparison() {
    PX_ASSIGN(ExprPtr first, Sum());
    ExprPtr expr;
    for (std::string symbol = TakeComparison(); !symbol.empty(); symbol = TakeComparison()) {
      if (expr == nullptr) expr = MakeNode(Op::kCompare, {}, std::move(first));
      PX_ASSIGN(ExprPtr next, Sum());
      expr->operators.push_back(std::move(symbol));
      expr->args.push_back(std::move(next));
    }
    return expr != nullptr ? std::move(expr) : std::move(first);
  }

  Result<ExprPtr> Sum() {
    PX_ASSIGN(ExprPtr left, Concatenation());
    while (true) {
      const char* symbol = Take("+") ? "+" : Take("-") ? "-" : nullptr;
      if (symbol == nullptr) return left;
      PX_ASSIGN(ExprPtr right, Concatenation());
      left = MakeNode(Op::kBinary, symbol, std::move(left), std::move(right));
    }
  }

  Result<ExprPtr> Concatenation() {
    PX_ASSIGN(ExprPtr left, Product());
    while (Take("~")) {
      PX_ASSIGN(ExprPtr right, Product());
      left = MakeNode(Op::kBinary, "~", std::move(left), std::move(right));
    }
    return left;
  }

  const char* TakeProduct() {
    Skip();
    if (source_.substr(at_).starts_with("**")) return nullptr;
    for (const char* symbol : {"*", "//", "/", "%"}) {
      if (Take(symbol)) return symbol;
    }
    return nullptr;
  }

  Result<ExprPtr> Product() {
    PX_ASSIGN(ExprPtr left, Power());
    while (const char* symbol = TakeProduct()) {
      PX_ASSIGN(ExprPtr right, Power());
      left = MakeNode(Op::kBinary, symbol, std::move(left), std::move(right));
    }
    return left;
  }

  // Left to right and below the sign, as in jinja2: -2 ** 2 is 4.
  Result<ExprPtr> Power() {
    PX_ASSIGN(ExprPtr left, Unary(true));
    while (Take("**")) {
      PX_ASSIGN(ExprPtr right, Unary(true));
      left = MakeNode(Op::kBinary, "**", std::move(left), std::move(right));
    }
    return left;
  }

  Result<ExprPtr> Unary(bool with_filters) {
    const Nested nested(depth_);
    if (depth_ > kMaxDepth) return Fail(EINVAL, "the expression is nested too deeply");
    Skip();
    ExprPtr value;
    const char* sign = Take("-") ? "-" : Take("+") ? "+" : nullptr;
    if (sign != nullptr) {
      PX_ASSIGN(ExprPtr operand, Unary(false));
      value = MakeNode(Op::kUnary, sign, std::move(operand));
    } else {
      PX_ASSIGN(value, Primary());
    }
    PX_ASSIGN(value, Postfix(std::move(value)));
    if (!with_filters) return value;
    return Filters(std::move(value));
  }

  Result<ExprPtr> Primary() {
    Skip();
    if (at_ >= source_.size()) return Unexpected();
    const char c = source_[at_];
    if (c == '\'' || c == '"') return StringLiteral();
    const bool fraction = c == '.' && at_ + 1 < source_.size() && IsNumeric(source_[at_ + 1]);
    if (IsNumeric(c) || fraction) return NumberLiteral();
    if (Take("(")) return Parenthesized();
    if (Take("[")) {
      ExprPtr list = MakeExpr(Op::kList);
      PX_TRY(Items("]", list->args));
      return list;
    }
    if (Take("{")) return Dict();
    const std::string name = Identifier();
    if (name.empty()) return Unexpected();
    return NameOrConstant(name);
  }

  static ExprPtr NameOrConstant(const std::string& name) {
    ExprPtr expr = MakeExpr(Op::kLiteral);
    if (name == "true" || name == "True") {
      expr->literal = true;
    } else if (name == "false" || name == "False") {
      expr->literal = false;
    } else if (name != "none" && name != "None") {
      expr->op = Op::kName;
      expr->text = name;
    }
    return expr;
  }

  Result<ExprPtr> StringLiteral() {
    const size_t begin = at_;
    const char quote = source_[at_++];
    while (at_ < source_.size() && source_[at_] != quote) at_ += source_[at_] == '\\' ? 2 : 1;
    if (at_ >= source_.size()) return Fail(EINVAL, "a quote is not closed");
    ++at_;
    std::string text(source_.substr(begin, at_ - begin));
    for (size_t i = text.find('\n'); i != std::string::npos; i = text.find('\n', i)) {
      text.replace(i, 1, "\\n");
    }
    std::optional<Json> value = ParseLiteral(text);
    if (!value) return Fail(EINVAL, fmt::format("the text {} has a wrong escape", text));
    ExprPtr expr = MakeExpr(Op::kLiteral);
    expr->literal = std::move(*value);
    return expr;
  }

  Result<ExprPtr> NumberLiteral() {
    const size_t begin = at_;
    const bool based = source_.substr(at_).starts_with("0x") ||
                       source_.substr(at_).starts_with("0b") ||
                       source_.substr(at_).starts_with("0o");
    while (at_ < source_.size()) {
      const char c = source_[at_];
      const char before = at_ > begin ? source_[at_ - 1] : ' ';
      const bool exponent_sign =
          (c == '+' || c == '-') && (before == 'e' || before == 'E') && !based;
      // "a.0.b": a point that is not followed by a digit belongs to what follows.
      const bool point = c == '.' && at_ + 1 < source_.size() && IsNumeric(source_[at_ + 1]);
      if (!IsNumeric(c) && !IsAlpha(c) && !point && !exponent_sign) break;
      ++at_;
    }
    const std::string text(source_.substr(begin, at_ - begin));
    const std::optional<Json> value = ParseLiteral(text);
    if (!value || !value->is_number()) return Fail(EINVAL, fmt::format("'{}' is no number", text));
    ExprPtr expr = MakeExpr(Op::kLiteral);
    expr->literal = *value;
    return expr;
  }

  Result<ExprPtr> Parenthesized() {
    if (Take(")")) return MakeExpr(Op::kList);
    PX_ASSIGN(ExprPtr first, Conditional());
    if (Take(")")) return first;
    ExprPtr tuple = MakeNode(Op::kList, {}, std::move(first));
    if (!Take(",")) return Unexpected();
    PX_TRY(Items(")", tuple->args));
    return tuple;
  }

  // Expressions between commas up to `close`.
  Status Items(std::string_view close, std::vector<ExprPtr>& items) {
    bool comma = true;
    while (!Take(close)) {
      if (!comma) return Unexpected();
      PX_ASSIGN(ExprPtr item, Conditional());
      items.push_back(std::move(item));
      comma = Take(",");
    }
    return {};
  }

  Result<ExprPtr> Dict() {
    ExprPtr dict = MakeExpr(Op::kDict);
    bool comma = true;
    while (!Take("}")) {
      if (!comma) return Unexpected();
      PX_ASSIGN(ExprPtr key, Conditional());
      if (!Take(":")) return Unexpected();
      PX_ASSIGN(ExprPtr value, Conditional());
      dict->args.push_back(std::move(key));
      dict->args.push_back(std::move(value));
      comma = Take(",");
    }
    return dict;
  }

  Result<ExprPtr> Postfix(ExprPtr value) {
    while (true) {
      if (Take(".")) {
        Skip();
        const bool index = at_ < source_.size() && IsNumeric(source_[at_]);
        std::string name = index ? Digits() : Identifier();
        if (name.empty()) return Unexpected();
        value = MakeNode(Op::kAttribute, std::move(name), std::move(value));
      } else if (Take("[")) {
        PX_ASSIGN(value, Subscript(std::move(value)));
      } else if (Take("(")) {
        if (value->op != Op::kName && value->op != Op::kAttribute) return Unexpected();
        value = MakeNode(Op::kCall, {}, std::move(value));
        PX_TRY(Items(")", value->args));
      } else {
        return value;
      }
    }
  }

  std::string Digits() {
    const size_t begin = at_;
    while (at_ < source_.size() && IsNumeric(source_[at_])) ++at_;
    return std::string(source_.substr(begin, at_ - begin));
  }

  Result<ExprPtr> Subscript(ExprPtr value) {
    ExprPtr begin;
    if (!Take(":")) {
      PX_ASSIGN(begin, Conditional());
      if (Take("]")) return MakeNode(Op::kIndex, {}, std::move(value), std::move(begin));
      if (!Take(":")) return Unexpected();
    }
    ExprPtr slice = MakeNode(Op::kSlice, {}, std::move(value));
    slice->args.push_back(std::move(begin));
    slice->args.push_back(nullptr);
    if (Take("]")) return slice;
    PX_ASSIGN(slice->args[2], Conditional());
    if (!Take("]")) return Unexpected();
    return slice;
  }

  Result<ExprPtr> Filters(ExprPtr value) {
    while (true) {
      if (Take("|")) {
        std::string name = Identifier();
        if (name.empty()) return Unexpected();
        value = MakeNode(Op::kFilter, std::move(name), std::move(value));
        if (Take("(")) PX_TRY(FilterArguments(*value));
      } else if (TakeWord("is")) {
        const bool negated = TakeWord("not");
        std::string name = Identifier();
        if (name.empty()) return Unexpected();
        value = MakeNode(Op::kTest, std::move(name), std::move(value));
        value->negated = negated;
      } else {
        return value;
      }
    }
  }

  Status FilterArguments(Expr& filter) {
    bool comma = true;
    while (!Take(")")) {
      if (!comma) return Unexpected();
      const size_t before = at_;
      std::string name = Identifier();
      Skip();
      const bool keyword =
          !name.empty() && source_.substr(at_, 1) == "=" && source_.substr(at_, 2) != "==";
      if (keyword) {
        Take("=");
      } else {
        at_ = before;
      }
      PX_ASSIGN(ExprPtr value, Conditional());
      if (keyword) {
        filter.keywords.emplace_back(std::move(name), std::move(value));
      } else {
        filter.args.push_back(std::move(value));
      }
      comma = Take(",");
    }
    return {};
  }

  std::string_view source_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<ExprPtr> ParseExpression(std::string_view source) {
  return ExpressionParser(source).ParseAll();
}

}  // namespace px::spec
