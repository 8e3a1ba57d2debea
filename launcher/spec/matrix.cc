#include "launcher/spec/matrix.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

constexpr int64_t kMaxValuesOfOne = 100'000;

// A form of values: its name, the names of its numbers, and how many of those may be left out.
struct Form {
  std::string_view name;
  Distribution distribution;
  std::string_view keys;
  size_t optional = 0;
  bool ordered = true;  // the first number must be smaller than the second
};

constexpr Form kForms[] = {
    {"values", Distribution::kDiscrete, ""},
    {"pvalues", Distribution::kPvalues, ""},
    {"range", Distribution::kDiscrete, "start:stop:step"},
    {"linspace", Distribution::kDiscrete, "start:stop:num"},
    {"logspace", Distribution::kDiscrete, "start:stop:num:base", 1},
    {"geomspace", Distribution::kDiscrete, "start:stop:num"},
    {"uniform", Distribution::kUniform, "low:high"},
    {"quniform", Distribution::kQuniform, "low:high:q"},
    {"loguniform", Distribution::kLoguniform, "low:high"},
    {"qloguniform", Distribution::kQloguniform, "low:high:q"},
    {"normal", Distribution::kNormal, "loc:scale", 0, false},
    {"qnormal", Distribution::kQnormal, "loc:scale:q", 0, false},
    {"lognormal", Distribution::kLognormal, "loc:scale", 0, false},
    {"qlognormal", Distribution::kQlognormal, "loc:scale:q", 0, false},
};

const Form* FindForm(std::string_view name) {
  for (const Form& form : kForms) {
    if (form.name == name) return &form;
  }
  return nullptr;
}

std::vector<Json> ToJson(const std::vector<double>& numbers) {
  return {numbers.begin(), numbers.end()};
}

class ParameterReader {
 public:
  ParameterReader(Checker& checker, const Form& form, std::string pointer)
      : checker_(checker), form_(form), pointer_(std::move(pointer)) {}

  bool Read(const Json& value, Parameter& parameter) {
    if (checker_.IsOpen(value)) return false;
    parameter.form = form_.name;
    parameter.distribution = form_.distribution;
    if (form_.name == "values") return ReadValues(value, parameter);
    if (form_.name == "pvalues") return ReadPvalues(value, parameter);
    std::vector<Json> numbers;
    if (!ReadNumbers(value, numbers) || !CheckNumbers(numbers)) return false;
    if (form_.distribution == Distribution::kDiscrete) return Enumerate(numbers, parameter);
    parameter.a = numbers[0].get<double>();
    parameter.b = numbers[1].get<double>();
    if (numbers.size() > 2) parameter.q = numbers[2].get<double>();
    return true;
  }

 private:
  bool Refuse(std::string message, std::string hint = {}) {
    checker_.Add(pointer_, fmt::format("'{}' {}", ToDotted(pointer_), message), std::move(hint));
    return false;
  }

  bool ReadValues(const Json& value, Parameter& parameter) {
    std::optional<Json> literal;
    if (value.is_string()) literal = ParseLiteral(value.get<std::string>());
    const Json& list = literal ? *literal : value;
    if (!list.is_array() || list.empty()) return Refuse("must be a list with at least one value");
    parameter.values.assign(list.begin(), list.end());
    return true;
  }

  bool ReadPvalues(const Json& value, Parameter& parameter) {
    if (!value.is_array() || value.empty()) {
      return Refuse("must be a list of [value, probability] pairs");
    }
    double sum = 0;
    for (size_t i = 0; i < value.size(); ++i) {
      const Json& pair = value[i];
      const bool good = pair.is_array() && pair.size() == 2 && pair[1].is_number() &&
                        pair[1].get<double>() >= 0 && pair[1].get<double>() <= 1;
      if (!good) {
        checker_.Add(Child(pointer_, i),
                     fmt::format("'{}' must be a pair [value, probability], the probability from 0 "
                                 "to 1",
                                 ToDotted(Child(pointer_, i))));
        return false;
      }
      parameter.values.push_back(pair[0]);
      parameter.probabilities.push_back(pair[1].get<double>());
      sum += parameter.probabilities.back();
    }
    if (sum > 1 + 1e-9) {
      return Refuse(fmt::format("has probabilities that sum to {:.6g}, more than 1", sum));
    }
    // numpy.random.multinomial gives what is left to the last value.
    parameter.probabilities.back() += std::max(0.0, 1 - sum);
    return true;
  }

  // '0:1:5', [0, 1, 5] or {start: 0, stop: 1, num: 5}.
  bool ReadNumbers(const Json& value, std::vector<Json>& numbers) {
    const std::vector<std::string> keys = SplitChoices(form_.keys, ':');
    const std::string wanted =
        fmt::format("write '{0}', [{1}] or {{{1}: ...}}", form_.keys, fmt::join(keys, ", "));
    if (value.is_string()) {
      for (const std::string& text : SplitChoices(value.get<std::string>(), ':')) {
        numbers.emplace_back(text);
      }
    } else if (value.is_array()) {
      numbers.assign(value.begin(), value.end());
    } else if (value.is_object()) {
      if (!ReadKeys(value, keys, wanted, numbers)) return false;
    } else {
      return Refuse(fmt::format("must be text, a list or a mapping, not {}", TypeName(value)),
                    wanted);
    }
    if (numbers.size() > keys.size() || numbers.size() + form_.optional < keys.size()) {
      return Refuse(
          fmt::format("needs {} numbers, not {}", keys.size() - form_.optional, numbers.size()),
          wanted);
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (checker_.IsOpen(numbers[i])) return false;
      if (!ToNumber(numbers[i])) {
        return Refuse(
            fmt::format("needs a number as '{}', not '{}'", keys[i], ToPythonText(numbers[i])),
            wanted);
      }
    }
    return true;
  }

  bool ReadKeys(const Json& value, const std::vector<std::string>& keys, const std::string& wanted,
                std::vector<Json>& numbers) {
    for (const auto& [key, number] : value.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        return Refuse(fmt::format("has an unknown field '{}'", key), wanted);
      }
    }
    for (const std::string& key : keys) {
      if (value.contains(key)) {
        numbers.push_back(value[key]);
      } else if (numbers.size() + form_.optional < keys.size()) {
        return Refuse(fmt::format("lacks '{}'", key), wanted);
      }
    }
    return true;
  }

  static bool ToNumber(Json& value) {
    if (value.is_string()) {
      std::string text = value.get<std::string>();
      const size_t begin = text.find_first_not_of(' ');
      if (begin == std::string::npos) return false;
      text = text.substr(begin, text.find_last_not_of(' ') - begin + 1);
      const std::optional<Json> number = ParseLiteral(text);
      if (!number) return false;
      value = *number;
    }
    return value.is_number() && std::isfinite(value.get<double>());
  }

  bool CheckNumbers(const std::vector<Json>& numbers) {
    const std::vector<std::string> keys = SplitChoices(form_.keys, ':');
    if (form_.ordered && numbers[0].get<double>() >= numbers[1].get<double>()) {
      return Refuse(fmt::format("needs '{}' to be larger than '{}': {} is not larger than {}",
                                keys[1], keys[0], ToPythonText(numbers[1]),
                                ToPythonText(numbers[0])));
    }
    if (!form_.ordered && numbers[1].get<double>() < 0) {
      return Refuse("needs 'scale' to be at least 0");
    }
    for (size_t i = 2; i < numbers.size(); ++i) {
      if (keys[i] == "num" && (!numbers[i].is_number_integer() || numbers[i].get<double>() < 1)) {
        return Refuse(
            fmt::format("needs 'num' to be an integer above 0, not {}", ToPythonText(numbers[i])));
      }
      if (numbers[i].get<double>() <= 0) {
        return Refuse(
            fmt::format("needs '{}' to be above 0, not {}", keys[i], ToPythonText(numbers[i])));
      }
    }
    return true;
  }

  bool Enumerate(const std::vector<Json>& numbers, Parameter& parameter) {
    const double start = numbers[0].get<double>();
    const double stop = numbers[1].get<double>();
    const double third = numbers[2].get<double>();
    const double count = form_.name == "range" ? (stop - start) / third : third;
    if (!(count <= static_cast<double>(kMaxValuesOfOne))) {
      return Refuse(fmt::format("makes more than {} values", kMaxValuesOfOne));
    }
    if (form_.name == "range") {
      parameter.values = Arange(numbers[0], numbers[1], numbers[2]);
      return true;
    }
    const auto num = numbers[2].get<int64_t>();
    std::vector<double> values;
    if (form_.name == "linspace") {
      values = Linspace(start, stop, num);
    } else if (form_.name == "logspace") {
      values = Logspace(start, stop, num, numbers.size() > 3 ? numbers[3].get<double>() : 10.0);
    } else {
      if (start == 0 || stop == 0 || (start < 0) != (stop < 0)) {
        return Refuse("needs 'start' and 'stop' on the same side of 0, neither of them 0");
      }
      values = Geomspace(start, stop, num);
    }
    for (const double value : values) {
      if (!std::isfinite(value)) return Refuse("makes numbers that are too large");
    }
    parameter.values = ToJson(values);
    return true;
  }

  Checker& checker_;
  const Form& form_;
  std::string pointer_;
};

}  // namespace

std::vector<Json> Arange(const Json& start, const Json& stop, const Json& step) {
  std::vector<Json> values;
  if (start.is_number_integer() && stop.is_number_integer() && step.is_number_integer()) {
    for (auto value = start.get<int64_t>(); value < stop.get<int64_t>();) {
      values.emplace_back(value);
      if (__builtin_add_overflow(value, step.get<int64_t>(), &value)) break;
    }
    return values;
  }
  // As numpy: the length first, then multiples of the difference of the first two values.
  const double first = start.get<double>();
  const double length = std::ceil((stop.get<double>() - first) / step.get<double>());
  const double delta = (first + step.get<double>()) - first;
  for (double i = 0; i < length; ++i) values.emplace_back(first + i * delta);
  return values;
}

std::vector<double> Linspace(double start, double stop, int64_t num) {
  std::vector<double> values;
  const double step = num > 1 ? (stop - start) / static_cast<double>(num - 1) : 0;
  for (int64_t i = 0; i < num; ++i) values.push_back(static_cast<double>(i) * step + start);
  if (num > 1) values.back() = stop;
  return values;
}

std::vector<double> Logspace(double start, double stop, int64_t num, double base) {
  std::vector<double> values = Linspace(start, stop, num);
  for (double& value : values) value = std::pow(base, value);
  return values;
}

std::vector<double> Geomspace(double start, double stop, int64_t num) {
  const double sign = start < 0 ? -1 : 1;
  std::vector<double> values =
      Logspace(std::log10(sign * start), std::log10(sign * stop), num, 10.0);
  for (double& value : values) value *= sign;
  if (!values.empty()) values.front() = start;
  if (num > 1) values.back() = stop;
  return values;
}

std::optional<Parameter> ReadParameter(Checker& checker, const std::string& name,
                                       const Json& section, const std::string& pointer) {
  std::vector<std::string> names;
  for (const Form& form : kForms) names.emplace_back(form.name);
  if (checker.IsOpen(section)) return std::nullopt;
  if (!section.is_object()) {
    checker.AddWrongType(pointer, "a mapping such as {values: [1, 2]}", section);
    return std::nullopt;
  }
  Parameter parameter;
  parameter.name = name;
  int given = 0;
  bool good = true;
  for (const auto& [key, value] : section.items()) {
    const std::string child = Child(pointer, key);
    const Form* form = FindForm(key);
    if (form == nullptr) {
      const std::string nearest = NearestName(key, names);
      checker.Add(child, fmt::format("unknown field '{}' in '{}'", key, ToDotted(pointer)),
                  nearest.empty() ? fmt::format("use one of {}", fmt::join(names, ", "))
                                  : "did you mean '" + nearest + "'?");
      good = false;
    } else if (!value.is_null()) {
      ++given;
      if (!ParameterReader(checker, *form, child).Read(value, parameter)) good = false;
    }
  }
  if (good && given != 1) {
    checker.Add(
        pointer,
        fmt::format("'{}' needs one and only one form of values, not {}", ToDotted(pointer), given),
        fmt::format("use one of {}", fmt::join(names, ", ")));
    good = false;
  }
  return good ? std::optional<Parameter>(std::move(parameter)) : std::nullopt;
}

void CheckMatrix(Checker& checker, Json& matrix, const std::string& pointer) {
  for (const auto& [name, section] : matrix.items()) {
    ReadParameter(checker, name, section, Child(pointer, name));
  }
}

}  // namespace px::spec
