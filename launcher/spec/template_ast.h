// The syntax tree of templates. Internal to template*.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/spec/template.h"

namespace px::spec {

enum class Op {
  kLiteral,    // literal
  kName,       // text
  kList,       // args
  kDict,       // args: key, value, key, value, ...
  kAttribute,  // args[0] . text
  kIndex,      // args[0] [ args[1] ]
  kSlice,      // args[0] [ args[1] : args[2] ], either may be null
  kCall,       // args[0] is a kName (function) or kAttribute (method); the rest are arguments
  kFilter,     // args[0] | text(args[1:], keywords)
  kTest,       // args[0] is text; negated says "is not"
  kUnary,      // text: - + not
  kBinary,     // text: + - * / // % ** ~ and or
  kCompare,    // args[0] operators[0] args[1] operators[1] args[2] ...
  kIf,         // args: condition, then, else (may be null)
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  Op op = Op::kLiteral;
  std::string text;
  Json literal;
  std::vector<ExprPtr> args;
  std::vector<std::string> operators;                     // kCompare
  std::vector<std::pair<std::string, ExprPtr>> keywords;  // kFilter
  bool negated = false;                                   // kTest
};

using TemplateNodes = std::vector<std::unique_ptr<TemplateNode>>;

struct TemplateNode {
  enum class Kind { kText, kOutput, kIf, kFor };
  struct Branch {
    ExprPtr condition;  // null: else
    TemplateNodes body;
  };
  Kind kind = Kind::kText;
  std::string text;                // kText
  ExprPtr expr;                    // kOutput, and the sequence of kFor
  std::vector<std::string> names;  // kFor
  std::vector<Branch> branches;    // kIf: in order; kFor: the body, then perhaps its else
};

// template_parser.cc: one expression, all of `source`.
Result<ExprPtr> ParseExpression(std::string_view source);

// A value while evaluating: undefined ones remember what they were called.
struct EvalValue {
  Json json;
  bool undefined = false;
  std::string name;

  EvalValue() = default;
  EvalValue(Json value) : json(std::move(value)) {}  // NOLINT: a value is a value
  static EvalValue Undefined(std::string name) {
    EvalValue value;
    value.undefined = true;
    value.name = std::move(name);
    return value;
  }
};

// template_filters.cc. Arguments are defined values, `value` is too except for "default".
struct FilterCall {
  const EvalValue& value;
  const std::vector<Json>& args;
  const std::vector<std::pair<std::string, Json>>& keywords;
  // The argument at `index` or with `name`; null if it is not given.
  const Json* Arg(size_t index, std::string_view name) const;
};
Result<Json> ApplyFilter(const std::string& name, const FilterCall& call);
Result<Json> CallMethod(const Json& object, const std::string& name, const std::vector<Json>& args);
Result<bool> ApplyTest(const std::string& name, const EvalValue& value);

// template_values.cc: Python's idea of values. A boolean is an integer there, 0 or 1.
constexpr size_t kMaxText = 1 << 20;  // of every result, in bytes
bool IsNumber(const Json& value);
bool IsInteger(const Json& value);
int64_t ToInteger(const Json& value);
// `value`, or EINVAL if it takes more than kMaxText.
Result<Json> Limited(Json value);
bool IsTrue(const Json& value);
// "text", "a number", "a list", ...
std::string TypeName(const Json& value);
Result<Json> Arithmetic(const std::string& op, const Json& a, const Json& b);
Result<bool> Compare(const std::string& op, const Json& a, const Json& b);

}  // namespace px::spec
