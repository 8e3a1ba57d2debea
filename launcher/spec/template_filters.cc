#include <algorithm>
#include <cctype>
#include <cmath>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

Json MapText(const Json& value, int (*change)(int)) {
  std::string text = ToPythonText(value);
  for (char& c : text) {
    if ((c & 0x80) == 0) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  }
  return text;
}

Json TrimText(const std::string& text, std::string_view what = " \t\n\r\v\f") {
  const size_t begin = text.find_first_not_of(what);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(what) - begin + 1);
}

Json Default(const FilterCall& call) {
  const Json* fallback = call.Arg(0, "default_value");
  const Json* also_false = call.Arg(1, "boolean");
  const bool replace = call.value.undefined ||
                       (also_false != nullptr && IsTrue(*also_false) && !IsTrue(call.value.json));
  if (!replace) return call.value.json;
  return fallback != nullptr ? *fallback : Json("");
}

// A text or number as a number, if it is one.
std::optional<Json> ToNumber(const Json& value) {
  if (value.is_boolean()) return Json(value.get<bool>() ? 1 : 0);
  if (value.is_number()) return value;
  if (!value.is_string()) return std::nullopt;
  const std::string text = TrimText(value.get<std::string>()).get<std::string>();
  std::optional<Json> number = ParseYamlNumber(text);
  // int("007") is 7.
  const size_t zeros = text.find_first_not_of('0');
  if (!number && zeros != 0) {
    number = ParseYamlNumber(zeros == std::string::npos ? "0" : text.substr(zeros));
  }
  return number;
}

Json Int(const FilterCall& call) {
  const Json* fallback = call.Arg(0, "default");
  const std::optional<Json> number = ToNumber(call.value.json);
  if (number && number->is_number_integer()) return *number;
  if (number && std::fabs(number->get<double>()) < 9e18) {
    return static_cast<int64_t>(number->get<double>());
  }
  return fallback != nullptr ? *fallback : Json(0);
}

Json Float(const FilterCall& call) {
  const Json* fallback = call.Arg(0, "default");
  const std::optional<Json> number = ToNumber(call.value.json);
  if (number) return number->get<double>();
  return fallback != nullptr ? *fallback : Json(0.0);
}

// Rounds half to even as Python's round does; the methods ceil and floor go one way.
Result<Json> Round(const FilterCall& call) {
  if (!call.value.json.is_number()) return Fail(EINVAL, "the filter 'round' needs a number");
  const Json* precision = call.Arg(0, "precision");
  const Json* method = call.Arg(1, "method");
  const int64_t digits =
      precision != nullptr && precision->is_number_integer() ? precision->get<int64_t>() : 0;
  if (digits < -300 || digits > 300)
    return Fail(EINVAL, "the filter 'round' got a wrong precision");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double value = call.value.json.get<double>();
  const std::string how =
      method != nullptr && method->is_string() ? method->get<std::string>() : "common";
  if (how == "ceil") return Json(std::ceil(value * scale) / scale);
  if (how == "floor") return Json(std::floor(value * scale) / scale);
  if (how != "common") return Fail(EINVAL, "the filter 'round' knows common, ceil and floor");
  if (call.value.json.is_number_integer() && digits >= 0) return call.value.json;
  if (digits > 0 && digits < 18 && std::fabs(value) < 1e15) {
    // Decimal rounding of the exact value, as Python does it.
    return Json(std::stod(fmt::format("{:.{}f}", value, digits)));
  }
  const double rounded = std::nearbyint(value * scale) / scale;
  return Json(std::isfinite(rounded) ? rounded : value);
}

Result<Json> Join(const FilterCall& call) {
  const Json* separator = call.Arg(0, "d");
  const std::string between = separator != nullptr ? ToPythonText(*separator) : "";
  std::string text;
  bool first = true;
  for (const auto& [key, element] : call.value.json.items()) {
    if (!first) text += between;
    first = false;
    text += call.value.json.is_object() ? key : ToPythonText(element);
    if (text.size() > kMaxText) return Fail(EINVAL, "the result is too large");
  }
  return Json(std::move(text));
}

Result<Json> Replace(const std::string& text, const Json* from, const Json* to) {
  if (from == nullptr || to == nullptr) return Fail(EINVAL, "'replace' needs two texts");
  const std::string old_text = ToPythonText(*from);
  const std::string new_text = ToPythonText(*to);
  if (old_text.empty()) return Fail(EINVAL, "'replace' needs a text to look for");
  std::string result;
  size_t at = 0;
  for (size_t hit = text.find(old_text); hit != std::string::npos; hit = text.find(old_text, at)) {
    result += text.substr(at, hit - at) + new_text;
    at = hit + old_text.size();
    if (result.size() > kMaxText) return Fail(EINVAL, "the result is too large");
  }
  return Json(result + text.substr(at));
}

Result<Json> Extreme(const std::string& name, const Json& list) {
  if (!list.is_array() || list.empty()) {
    return Fail(EINVAL, fmt::format("the filter '{}' needs a list with elements", name));
  }
  Json best = list[0];
  for (const Json& element : list) {
    PX_ASSIGN(const bool better, Compare(name == "min" ? "<" : ">", element, best));
    if (better) best = element;
  }
  return best;
}

Result<Json> Sum(const Json& list) {
  Json sum = 0;
  for (const Json& element : list) {
    PX_ASSIGN(sum, Arithmetic("+", sum, element));
  }
  return sum;
}

// Of a list its elements, of a text its bytes, of a mapping its keys.
Result<Json> FirstOrLast(const std::string& name, const Json& value) {
  if ((!value.is_array() && !value.is_string()) || !IsTrue(value)) {
    return Fail(EINVAL, fmt::format("the filter '{}' needs a list or text with elements", name));
  }
  if (value.is_array()) return name == "first" ? Json(value.front()) : Json(value.back());
  const std::string text = value.get<std::string>();
  return Json(std::string(1, name == "first" ? text.front() : text.back()));
}

Result<Json> Absolute(const Json& value) {
  if (value.is_number_float()) return Json(std::fabs(value.get<double>()));
  if (!value.is_number_integer()) return Fail(EINVAL, "the filter 'abs' needs a number");
  return value.get<int64_t>() < 0 ? Arithmetic("-", 0, value) : Result<Json>(value);
}

Result<Json> Length(const Json& value) {
  if (value.is_string()) return Json(value.get_ref<const std::string&>().size());
  if (value.is_structured()) return Json(value.size());
  return Fail(EINVAL,
              fmt::format("the filter 'length' needs text or a list, not {}", TypeName(value)));
}

const std::vector<std::string>& FilterNames() {
  static const std::vector<std::string> kNames = {
      "default", "d",      "upper",  "lower",   "int",    "float", "round",
      "join",    "length", "count",  "replace", "tojson", "trim",  "first",
      "last",    "abs",    "string", "list",    "min",    "max",   "sum"};
  return kNames;
}

Json Split(const std::string& text, const std::string& separator) {
  Json parts = Json::array();
  size_t at = 0;
  for (size_t hit = text.find(separator); hit != std::string::npos;
       hit = text.find(separator, at)) {
    parts.push_back(text.substr(at, hit - at));
    at = hit + separator.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

Json SplitWhitespace(const std::string& text) {
  Json parts = Json::array();
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\n\r", at)) != std::string::npos) {
    const size_t end = std::min(text.find_first_of(" \t\n\r", at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end;
  }
  return parts;
}

Result<Json> TextMethod(const std::string& text, const std::string& name,
                        const std::vector<Json>& args) {
  const Json* first = args.empty() ? nullptr : &args[0];
  const bool has_text = first != nullptr && first->is_string();
  if (name == "upper") return MapText(text, std::toupper);
  if (name == "lower") return MapText(text, std::tolower);
  if (name == "strip") return has_text ? TrimText(text, first->get<std::string>()) : TrimText(text);
  if (name == "replace") return Replace(text, first, args.size() > 1 ? &args[1] : nullptr);
  if (name == "startswith" && has_text) return Json(text.starts_with(first->get<std::string>()));
  if (name == "endswith" && has_text) return Json(text.ends_with(first->get<std::string>()));
  if (name == "split" && first == nullptr) return SplitWhitespace(text);
  if (name == "split" && has_text && IsTrue(*first)) return Split(text, first->get<std::string>());
  if (name == "join" && first != nullptr && first->is_array()) {
    return Join({EvalValue(*first), {Json(text)}, {}});
  }
  return Fail(EINVAL, fmt::format("text has no method '{}' with these arguments", name));
}

}  // namespace

const Json* FilterCall::Arg(size_t index, std::string_view name) const {
  if (index < args.size()) return &args[index];
  for (const auto& [keyword, value_of] : keywords) {
    if (keyword == name) return &value_of;
  }
  return nullptr;
}

Result<Json> ApplyFilter(const std::string& name, const FilterCall& call) {
  const Json& value = call.value.json;
  if (name == "default" || name == "d") return Default(call);
  if (name == "upper") return MapText(value, std::toupper);
  if (name == "lower") return MapText(value, std::tolower);
  if (name == "int") return Int(call);
  if (name == "float") return Float(call);
  if (name == "round") return Round(call);
  if (name == "join") return Join(call);
  if (name == "length" || name == "count") return Length(value);
  if (name == "replace")
    return Replace(ToPythonText(value), call.Arg(0, "old"), call.Arg(1, "new"));
  if (name == "tojson") return Json(ToPythonJson(value));
  if (name == "trim") return TrimText(ToPythonText(value));
  if (name == "first" || name == "last") return FirstOrLast(name, value);
  if (name == "abs") return Absolute(value);
  if (name == "string") return Json(ToPythonText(value));
  if (name == "list") return CallMethod(value, "keys", {});
  if (name == "min" || name == "max") return Extreme(name, value);
  if (name == "sum") return Sum(value);
  const std::string nearest = NearestName(name, FilterNames());
  return Fail(EINVAL, fmt::format("there is no filter '{}'{}", name,
                                  nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
}

Result<Json> CallMethod(const Json& object, const std::string& name,
                        const std::vector<Json>& args) {
  if (object.is_string() && name != "keys")
    return TextMethod(object.get<std::string>(), name, args);
  if (name == "keys" && object.is_array()) return object;
  const bool list = name == "keys" || name == "values" || name == "items";
  if (object.is_object() && list) {
    Json result = Json::array();
    for (const auto& [key, value] : object.items()) {
      if (name == "keys") result.push_back(key);
      if (name == "values") result.push_back(value);
      if (name == "items") result.push_back(Json::array({key, value}));
    }
    return result;
  }
  if (object.is_object() && name == "get" && !args.empty()) {
    const std::string key = ToPythonText(args[0]);
    if (object.contains(key)) return object[key];
    return args.size() > 1 ? args[1] : Json(nullptr);
  }
  return Fail(EINVAL, fmt::format("{} has no method '{}'", TypeName(object), name));
}

Result<bool> ApplyTest(const std::string& name, const EvalValue& value) {
  const Json& json = value.json;
  if (name == "defined") return !value.undefined;
  if (name == "undefined") return value.undefined;
  if (name == "none") return json.is_null();
  if (name == "number") return json.is_number() || json.is_boolean();
  if (name == "string") return json.is_string();
  if (name == "mapping") return json.is_object();
  if (name == "sequence" || name == "iterable") return json.is_structured() || json.is_string();
  if (name == "true") return json.is_boolean() && json.get<bool>();
  if (name == "false") return json.is_boolean() && !json.get<bool>();
  if (name == "odd" || name == "even") {
    if (!json.is_number_integer()) return Fail(EINVAL, "'odd' and 'even' are for integers");
    return (json.get<int64_t>() % 2 != 0) == (name == "odd");
  }
  return Fail(EINVAL, fmt::format("there is no test '{}'; use 'is defined' or 'is none'", name));
}

}  // namespace px::spec
