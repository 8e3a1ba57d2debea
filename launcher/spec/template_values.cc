#include <cmath>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

double ToDouble(const Json& value) {
  return value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0) : value.get<double>();
}

tl::unexpected<Error> Overflow() { return Fail(EINVAL, "the number is too large"); }

Result<Json> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) return Overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return Overflow();
  }
  return Json(result);
}

Result<Json> IntegerArithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return IntegerPower(a, b);
  } else {  // // and %, towards minus infinity
    if (b == -1) return op == "%" ? Result<Json>(Json(0)) : IntegerArithmetic("-", 0, a);
    const int64_t rest = a % b;
    const bool adjust = rest != 0 && (rest < 0) != (b < 0);
    result = op == "%" ? (adjust ? rest + b : rest) : a / b - (adjust ? 1 : 0);
  }
  if (overflow) return Overflow();
  return Json(result);
}

Result<Json> NumberArithmetic(const std::string& op, const Json& a, const Json& b) {
  const double y = ToDouble(b);
  if ((op == "/" || op == "//" || op == "%") && y == 0) return Fail(EINVAL, "division by zero");
  const bool integers = IsInteger(a) && IsInteger(b) && op != "/" && !(op == "**" && y < 0);
  if (integers) return IntegerArithmetic(op, ToInteger(a), ToInteger(b));
  const double x = ToDouble(a);
  double result = 0;
  if (op == "+") result = x + y;
  if (op == "-") result = x - y;
  if (op == "*") result = x * y;
  if (op == "/") result = x / y;
  if (op == "//") result = std::floor(x / y);
  if (op == "**") result = std::pow(x, y);
  if (op == "%") {
    result = std::fmod(x, y);
    if (result != 0 && (result < 0) != (y < 0)) result += y;
  }
  if (!std::isfinite(result) && std::isfinite(x) && std::isfinite(y)) return Overflow();
  return Json(result);
}

// How much memory a value takes, roughly.
size_t Weight(const Json& value) {
  if (value.is_string()) return 1 + value.get_ref<const std::string&>().size();
  size_t weight = 1;
  if (value.is_structured()) {
    for (const Json& element : value) weight += Weight(element);
  }
  return weight;
}

Result<Json> Repeat(const Json& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (count > kMaxText || Weight(value) * count > kMaxText) {
    return Fail(EINVAL, "the result is too large");
  }
  Json result = value.is_string() ? Json("") : Json::array();
  for (size_t i = 0; i < count; ++i) {
    if (value.is_string()) {
      result.get_ref<std::string&>() += value.get_ref<const std::string&>();
    } else {
      for (const Json& element : value) result.push_back(element);
    }
  }
  return result;
}

// -1, 0 or 1, where both can be ordered.
Result<int> Order(const std::string& op, const Json& a, const Json& b) {
  if (a.is_string() && b.is_string()) {
    const int order = a.get_ref<const std::string&>().compare(b.get_ref<const std::string&>());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (IsInteger(a) && IsInteger(b)) {
    return ToInteger(a) < ToInteger(b) ? -1 : ToInteger(a) > ToInteger(b) ? 1 : 0;
  }
  if (IsNumber(a) && IsNumber(b)) {
    return ToDouble(a) < ToDouble(b) ? -1 : ToDouble(a) > ToDouble(b) ? 1 : 0;
  }
  return Fail(EINVAL, fmt::format("'{}' cannot compare {} with {}", op, TypeName(a), TypeName(b)));
}

bool Equal(const Json& a, const Json& b) {
  if (IsNumber(a) && IsNumber(b)) {
    return IsInteger(a) && IsInteger(b) ? ToInteger(a) == ToInteger(b) : ToDouble(a) == ToDouble(b);
  }
  return a == b;
}

Result<bool> Contains(const Json& item, const Json& container) {
  if (container.is_string()) {
    if (!item.is_string()) return Fail(EINVAL, "'in' looks for text within text only");
    return container.get_ref<const std::string&>().find(item.get_ref<const std::string&>()) !=
           std::string::npos;
  }
  if (container.is_object()) return item.is_string() && container.contains(item.get<std::string>());
  if (!container.is_array()) {
    return Fail(EINVAL,
                fmt::format("'in' needs text, a list or a mapping, not {}", TypeName(container)));
  }
  for (const Json& element : container) {
    if (Equal(item, element)) return true;
  }
  return false;
}

}  // namespace

bool IsNumber(const Json& value) { return value.is_number() || value.is_boolean(); }
bool IsInteger(const Json& value) { return value.is_number_integer() || value.is_boolean(); }

int64_t ToInteger(const Json& value) {
  return value.is_boolean() ? (value.get<bool>() ? 1 : 0) : value.get<int64_t>();
}

Result<Json> Limited(Json value) {
  if (Weight(value) > kMaxText) return Fail(EINVAL, "the result is too large");
  return value;
}

bool IsTrue(const Json& value) {
  if (IsNumber(value)) return ToDouble(value) != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.is_null() && !value.empty();
}

std::string TypeName(const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "text";
  return value.is_array() ? "a list" : "a mapping";
}

Result<Json> Arithmetic(const std::string& op, const Json& a, const Json& b) {
  if (op == "~") return Limited(ToPythonText(a) + ToPythonText(b));
  if (IsNumber(a) && IsNumber(b)) return NumberArithmetic(op, a, b);
  if (op == "+" && a.is_string() && b.is_string()) {
    return Limited(a.get<std::string>() + b.get<std::string>());
  }
  if (op == "+" && a.is_array() && b.is_array()) {
    Json list = a;
    for (const Json& element : b) list.push_back(element);
    return Limited(std::move(list));
  }
  if (op == "*" && (a.is_string() || a.is_array()) && IsInteger(b)) return Repeat(a, ToInteger(b));
  if (op == "*" && (b.is_string() || b.is_array()) && IsInteger(a)) return Repeat(b, ToInteger(a));
  return Fail(EINVAL,
              fmt::format("'{}' cannot be applied to {} and {}", op, TypeName(a), TypeName(b)));
}

Result<bool> Compare(const std::string& op, const Json& a, const Json& b) {
  if (op == "==") return Equal(a, b);
  if (op == "!=") return !Equal(a, b);
  if (op == "in") return Contains(a, b);
  if (op == "not in") {
    PX_ASSIGN(const bool contained, Contains(a, b));
    return !contained;
  }
  PX_ASSIGN(const int order, Order(op, a, b));
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  if (op == ">") return order > 0;
  return order >= 0;
}

}  // namespace px::spec
