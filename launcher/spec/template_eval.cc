#include <algorithm>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

constexpr size_t kMaxRange = 10'000;
constexpr int kMaxSteps = 100'000;

// Evaluates one template. Holds the loop variables on top of the caller's scope.
class Evaluator {
 public:
  explicit Evaluator(Scope& scope) : scope_(scope) {}

  Status RenderNodes(const TemplateNodes& nodes, std::string& out) {
    for (const auto& node : nodes) {
      PX_TRY(Step());
      if (node->kind == TemplateNode::Kind::kText) {
        out += node->text;
      } else if (node->kind == TemplateNode::Kind::kOutput) {
        PX_ASSIGN(const Json value, Defined(*node->expr));
        out += ToPythonText(value);
      } else if (node->kind == TemplateNode::Kind::kIf) {
        PX_TRY(RenderIf(*node, out));
      } else {
        PX_TRY(RenderFor(*node, out));
      }
      if (out.size() > kMaxText) return Fail(EINVAL, "the result is too large");
    }
    return {};
  }

  // The value of `expr`, which must not be undefined.
  Result<Json> Defined(const Expr& expr) {
    PX_ASSIGN(EvalValue value, Eval(expr));
    if (value.undefined) return Undefined(value.name);
    return std::move(value.json);
  }

 private:
  Status Step() {
    if (++steps_ > kMaxSteps) return Fail(EINVAL, "the template takes too long");
    return {};
  }

  tl::unexpected<Error> Undefined(const std::string& name) {
    std::vector<std::string> names = scope_.Names();
    for (const auto& [loop_name, value] : locals_) names.push_back(loop_name);
    const std::string nearest = NearestName(name, names);
    if (nearest.empty() || nearest == name) {
      return Fail(EINVAL, fmt::format("'{}' is not defined", name));
    }
    return Fail(EINVAL, fmt::format("'{}' is not defined; did you mean '{}'?", name, nearest));
  }

  Status RenderIf(const TemplateNode& node, std::string& out) {
    for (const TemplateNode::Branch& branch : node.branches) {
      if (branch.condition != nullptr) {
        PX_ASSIGN(const Json condition, Defined(*branch.condition));
        if (!IsTrue(condition)) continue;
      }
      return RenderNodes(branch.body, out);
    }
    return {};
  }

  static Json LoopVariable(size_t index, size_t length) {
    Json loop = Json::object();
    loop["index"] = index + 1;
    loop["index0"] = index;
    loop["first"] = index == 0;
    loop["last"] = index + 1 == length;
    loop["length"] = length;
    return loop;
  }

  Status RenderFor(const TemplateNode& node, std::string& out) {
    PX_ASSIGN(const Json sequence, Defined(*node.expr));
    Json items = Json::array();
    if (sequence.is_array()) {
      items = sequence;
    } else if (sequence.is_object()) {
      for (const auto& [key, value] : sequence.items()) items.push_back(key);
    } else {
      return Fail(EINVAL,
                  fmt::format("'for' needs a list or a mapping, not {}", TypeName(sequence)));
    }
    if (items.empty() && node.branches.size() > 1) return RenderNodes(node.branches[1].body, out);
    const size_t before = locals_.size();
    for (size_t i = 0; i < items.size(); ++i) {
      PX_TRY(Step());
      locals_.resize(before);
      locals_.emplace_back("loop", LoopVariable(i, items.size()));
      PX_TRY(Assign(node.names, items[i]));
      PX_TRY(RenderNodes(node.branches[0].body, out));
    }
    locals_.resize(before);
    return {};
  }

  Status Assign(const std::vector<std::string>& names, const Json& item) {
    if (names.size() == 1) {
      locals_.emplace_back(names[0], item);
      return {};
    }
    if (!item.is_array() || item.size() != names.size()) {
      return Fail(EINVAL, fmt::format("'for' cannot take {} apart into {} names", TypeName(item),
                                      names.size()));
    }
    for (size_t i = 0; i < names.size(); ++i) locals_.emplace_back(names[i], item[i]);
    return {};
  }

  Result<EvalValue> Eval(const Expr& expr) {
    PX_TRY(Step());
    switch (expr.op) {
      case Op::kLiteral:
        return EvalValue(expr.literal);
      case Op::kName:
        return Name(expr.text);
      case Op::kList:
      case Op::kDict:
        return Display(expr);
      case Op::kAttribute:
        return Attribute(expr);
      case Op::kIndex:
        return Index(expr);
      case Op::kSlice:
        return Slice(expr);
      case Op::kCall:
        return Call(expr);
      case Op::kFilter:
        return Filter(expr);
      case Op::kTest:
        return Test(expr);
      case Op::kUnary:
        return Unary(expr);
      case Op::kBinary:
        return Binary(expr);
      case Op::kCompare:
        return Comparison(expr);
      case Op::kIf:
        return If(expr);
    }
    return Fail(EINVAL, "unknown expression");
  }

  Result<EvalValue> Name(const std::string& name) {
    for (auto it = locals_.rbegin(); it != locals_.rend(); ++it) {
      if (it->first == name) return EvalValue(it->second);
    }
    PX_ASSIGN(std::optional<Json> value, scope_.Lookup(name));
    if (!value) return EvalValue::Undefined(name);
    return EvalValue(std::move(*value));
  }

  Result<EvalValue> Display(const Expr& expr) {
    Json value = expr.op == Op::kList ? Json::array() : Json::object();
    for (size_t i = 0; i < expr.args.size(); ++i) {
      PX_ASSIGN(Json item, Defined(*expr.args[i]));
      if (expr.op == Op::kList) {
        value.push_back(std::move(item));
      } else {
        PX_ASSIGN(value[ToPythonText(item)], Defined(*expr.args[++i]));
      }
    }
    PX_ASSIGN(value, Limited(std::move(value)));
    return EvalValue(std::move(value));
  }

  static std::string Describe(const Expr& expr) {
    if (expr.op == Op::kName) return expr.text;
    if (expr.op == Op::kAttribute) return Describe(*expr.args[0]) + "." + expr.text;
    if (expr.op == Op::kIndex && expr.args[1]->op == Op::kLiteral) {
      return Describe(*expr.args[0]) + "[" + ToPythonRepr(expr.args[1]->literal) + "]";
    }
    return "value";
  }

  Result<EvalValue> Attribute(const Expr& expr) {
    PX_ASSIGN(const Json object, Defined(*expr.args[0]));
    const bool number = expr.text.find_first_not_of("0123456789") == std::string::npos;
    if (object.is_object() && object.contains(expr.text)) return EvalValue(object[expr.text]);
    if (object.is_array() && number && expr.text.size() < 10) {
      return At(object, std::stoll(expr.text), Describe(expr));
    }
    return EvalValue::Undefined(Describe(expr));
  }

  static EvalValue At(const Json& list, int64_t index, const std::string& name) {
    const auto size = static_cast<int64_t>(list.size());
    if (index < 0) index += size;
    if (index < 0 || index >= size) return EvalValue::Undefined(name);
    return EvalValue(list[static_cast<size_t>(index)]);
  }

  Result<EvalValue> Index(const Expr& expr) {
    PX_ASSIGN(const Json object, Defined(*expr.args[0]));
    PX_ASSIGN(const Json key, Defined(*expr.args[1]));
    if (object.is_object()) {
      const std::string name = ToPythonText(key);
      if (object.contains(name)) return EvalValue(object[name]);
      return EvalValue::Undefined(Describe(expr));
    }
    if (!IsInteger(key)) return EvalValue::Undefined(Describe(expr));
    if (object.is_array()) return At(object, ToInteger(key), Describe(expr));
    if (object.is_string()) {
      Json characters = Json::array();
      for (const char c : object.get<std::string>()) characters.push_back(std::string(1, c));
      return At(characters, ToInteger(key), Describe(expr));
    }
    return EvalValue::Undefined(Describe(expr));
  }

  Result<EvalValue> Slice(const Expr& expr) {
    PX_ASSIGN(const Json object, Defined(*expr.args[0]));
    if (!object.is_array() && !object.is_string()) {
      return Fail(EINVAL, fmt::format("a slice needs text or a list, not {}", TypeName(object)));
    }
    const auto size = static_cast<int64_t>(
        object.is_string() ? object.get_ref<const std::string&>().size() : object.size());
    int64_t bounds[2] = {0, size};
    for (size_t i = 0; i < 2; ++i) {
      if (expr.args[i + 1] == nullptr) continue;
      PX_ASSIGN(const Json bound, Defined(*expr.args[i + 1]));
      if (!IsInteger(bound)) return Fail(EINVAL, "the bounds of a slice must be integers");
      bounds[i] = ToInteger(bound);
      if (bounds[i] < 0) bounds[i] = std::max<int64_t>(0, bounds[i] + size);
      bounds[i] = std::min(bounds[i], size);
    }
    const auto begin = static_cast<size_t>(bounds[0]);
    const auto end = static_cast<size_t>(std::max(bounds[0], bounds[1]));
    if (object.is_string()) return EvalValue(object.get<std::string>().substr(begin, end - begin));
    Json part = Json::array();
    for (size_t i = begin; i < end; ++i) part.push_back(object[i]);
    return EvalValue(std::move(part));
  }

  Result<std::vector<Json>> Arguments(const Expr& expr) {
    std::vector<Json> values;
    for (size_t i = 1; i < expr.args.size(); ++i) {
      PX_ASSIGN(Json value, Defined(*expr.args[i]));
      values.push_back(std::move(value));
    }
    return values;
  }

  static Result<Json> Range(const std::vector<Json>& args) {
    for (const Json& arg : args) {
      if (!IsInteger(arg)) return Fail(EINVAL, "range needs integers");
    }
    if (args.empty() || args.size() > 3) return Fail(EINVAL, "range needs one to three integers");
    const int64_t begin = args.size() > 1 ? ToInteger(args[0]) : 0;
    const int64_t end = ToInteger(args[args.size() > 1 ? 1 : 0]);
    const int64_t step = args.size() > 2 ? ToInteger(args[2]) : 1;
    if (step == 0) return Fail(EINVAL, "the step of range must not be 0");
    Json list = Json::array();
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
      list.push_back(i);
      if (list.size() > kMaxRange) return Fail(EINVAL, "range is too long");
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return list;
  }

  Result<EvalValue> Call(const Expr& expr) {
    PX_ASSIGN(const std::vector<Json> args, Arguments(expr));
    const Expr& target = *expr.args[0];
    if (target.op == Op::kName) {
      if (target.text != "range") {
        return Fail(EINVAL, fmt::format("there is no function '{}'", target.text));
      }
      PX_ASSIGN(Json list, Range(args));
      return EvalValue(std::move(list));
    }
    PX_ASSIGN(const Json object, Defined(*target.args[0]));
    PX_ASSIGN(Json value, CallMethod(object, target.text, args));
    return EvalValue(std::move(value));
  }

  Result<EvalValue> Filter(const Expr& expr) {
    PX_ASSIGN(const EvalValue value, Eval(*expr.args[0]));
    const bool fallback = expr.text == "default" || expr.text == "d";
    if (value.undefined && !fallback) return Undefined(value.name);
    PX_ASSIGN(const std::vector<Json> args, Arguments(expr));
    std::vector<std::pair<std::string, Json>> keywords;
    for (const auto& [name, argument] : expr.keywords) {
      PX_ASSIGN(Json keyword, Defined(*argument));
      keywords.emplace_back(name, std::move(keyword));
    }
    PX_ASSIGN(Json result, ApplyFilter(expr.text, {value, args, keywords}));
    return EvalValue(std::move(result));
  }

  Result<EvalValue> Test(const Expr& expr) {
    PX_ASSIGN(const EvalValue value, Eval(*expr.args[0]));
    const bool about_definition = expr.text == "defined" || expr.text == "undefined";
    if (value.undefined && !about_definition) return Undefined(value.name);
    PX_ASSIGN(const bool result, ApplyTest(expr.text, value));
    return EvalValue(result != expr.negated);
  }

  Result<EvalValue> Unary(const Expr& expr) {
    PX_ASSIGN(const Json value, Defined(*expr.args[0]));
    if (expr.text == "not") return EvalValue(!IsTrue(value));
    if (!IsNumber(value)) {
      return Fail(EINVAL, fmt::format("'{}' needs a number, not {}", expr.text, TypeName(value)));
    }
    PX_ASSIGN(Json result, Arithmetic(expr.text, 0, value));
    if (expr.text == "-" && value.is_number_float()) result = -value.get<double>();
    return EvalValue(std::move(result));
  }

  Result<EvalValue> Binary(const Expr& expr) {
    PX_ASSIGN(Json left, Defined(*expr.args[0]));
    if (expr.text == "and" && !IsTrue(left)) return EvalValue(std::move(left));
    if (expr.text == "or" && IsTrue(left)) return EvalValue(std::move(left));
    PX_ASSIGN(Json right, Defined(*expr.args[1]));
    if (expr.text == "and" || expr.text == "or") return EvalValue(std::move(right));
    PX_ASSIGN(Json result, Arithmetic(expr.text, left, right));
    return EvalValue(std::move(result));
  }

  Result<EvalValue> Comparison(const Expr& expr) {
    PX_ASSIGN(Json left, Defined(*expr.args[0]));
    for (size_t i = 0; i < expr.operators.size(); ++i) {
      PX_ASSIGN(Json right, Defined(*expr.args[i + 1]));
      PX_ASSIGN(const bool holds, Compare(expr.operators[i], left, right));
      if (!holds) return EvalValue(false);
      left = std::move(right);
    }
    return EvalValue(true);
  }

  // Without else, a condition that does not hold is an empty text, as jinja2 prints it.
  Result<EvalValue> If(const Expr& expr) {
    PX_ASSIGN(const Json condition, Defined(*expr.args[0]));
    if (IsTrue(condition)) return Eval(*expr.args[1]);
    if (expr.args[2] != nullptr) return Eval(*expr.args[2]);
    return EvalValue("");
  }

  Scope& scope_;
  std::vector<std::pair<std::string, Json>> locals_;
  int steps_ = 0;
};

}  // namespace

Result<std::string> Template::Render(Scope& scope) const {
  std::string out;
  PX_TRY(Evaluator(scope).RenderNodes(nodes_, out));
  return out;
}

Result<Json> Template::RenderValue(Scope& scope) const {
  if (nodes_.size() == 1 && nodes_[0]->kind == TemplateNode::Kind::kOutput) {
    return Evaluator(scope).Defined(*nodes_[0]->expr);
  }
  PX_ASSIGN(std::string text, Render(scope));
  return Json(std::move(text));
}

}  // namespace px::spec
