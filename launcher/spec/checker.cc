#include "launcher/spec/checker.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <tuple>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

const Field* FindField(const Fields& fields, std::string_view name) {
  const auto it = std::find_if(fields.begin(), fields.end(),
                               [&](const Field& field) { return field.name == name; });
  return it == fields.end() ? nullptr : &*it;
}

std::vector<std::string> FieldNames(const Fields& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  return names;
}

std::string JoinNames(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Text that is a literal of another type becomes that: '4' is 4.
void Evaluate(Json& value) {
  if (!value.is_string()) return;
  if (std::optional<Json> literal = ParseLiteral(value.get_ref<const std::string&>())) {
    value = std::move(*literal);
  }
}

bool IsScalar(const Json& value) { return value.is_primitive() && !value.is_null(); }

}  // namespace

void Checker::Add(const std::string& pointer, std::string message, std::string hint) {
  const Mark mark = marks_ != nullptr ? FindMark(*marks_, pointer) : Mark{};
  problems_.push_back({mark.file, mark.line, mark.column, std::move(message), std::move(hint)});
}

void Checker::AddWrongType(const std::string& pointer, const std::string& wanted, const Json& value,
                           std::string hint) {
  Add(pointer, fmt::format("'{}' must be {}, not {}", ToDotted(pointer), wanted, TypeName(value)),
      std::move(hint));
}

bool Checker::IsOpen(const Json& value) const {
  return stage_ == Stage::kRaw && value.is_string() &&
         Template::IsTemplate(value.get_ref<const std::string&>());
}

std::vector<Problem> Checker::TakeProblems() {
  // By place; those of one place stay in the order in which they were found.
  using Place = std::tuple<std::string, int, int, size_t>;
  std::map<Place, Problem> sorted;
  for (Problem& problem : problems_) {
    Place place(problem.file, problem.line, problem.column, sorted.size());
    sorted.emplace(std::move(place), std::move(problem));
  }
  problems_.clear();
  for (auto& [place, problem] : sorted) problems_.push_back(std::move(problem));
  return std::move(problems_);
}

void Checker::CheckSection(Json& value, const Fields& fields, const std::string& pointer,
                           const std::string& where) {
  bool open = false;
  for (auto it = value.begin(); it != value.end(); ++it) {
    const std::string child = Child(pointer, it.key());
    if (IsOpen(Json(it.key()))) {
      open = true;
      continue;
    }
    if (const Field* field = FindField(fields, it.key())) {
      if (!it->is_null()) CheckField(*it, *field, child);
      continue;
    }
    const std::vector<std::string> names = FieldNames(fields);
    const std::string nearest = NearestName(it.key(), names);
    Add(child,
        fmt::format("unknown {} '{}' {}", pointer.empty() ? "section" : "field", it.key(), where),
        nearest.empty() ? "it may have: " + JoinNames(names) : "did you mean '" + nearest + "'?");
  }
  for (const Field& field : fields) {
    const auto it = value.find(std::string(field.name));
    if (field.required && !open && (it == value.end() || it->is_null())) {
      Add(pointer, fmt::format("'{}' is missing {}", field.name, where));
    }
  }
}

void Checker::CheckField(Json& value, const Field& field, const std::string& pointer) {
  if (IsOpen(value)) return;
  switch (field.type) {
    case FieldType::kAny:
      return;
    case FieldType::kText:
      return CheckText(value, field, pointer);
    case FieldType::kInteger:
    case FieldType::kNumber:
      return CheckNumber(value, field, pointer);
    case FieldType::kBoolean:
      return CheckBoolean(value, pointer);
    case FieldType::kMapping:
    case FieldType::kSection:
    case FieldType::kMatrix:
      Evaluate(value);
      if (!value.is_object()) return AddWrongType(pointer, "a mapping", value);
      if (field.type == FieldType::kMatrix) return CheckMatrix(*this, value, pointer);
      if (field.type == FieldType::kSection) {
        CheckSection(value, field.section(), pointer,
                     fmt::format("in section '{}'", ToDotted(pointer)));
      }
      return;
    case FieldType::kSections:
    case FieldType::kTexts:
    case FieldType::kAnyList:
    case FieldType::kMappings:
    case FieldType::kReferences:
      return CheckList(value, field, pointer);
    case FieldType::kReference:
      return CheckReference(value, pointer);
    case FieldType::kCommand:
      return CheckCommand(value, pointer);
    case FieldType::kEnvVars:
      return CheckEnvVars(value, pointer);
    case FieldType::kPolicy:
      return CheckPolicy(value, pointer);
  }
}

void Checker::CheckText(Json& value, const Field& field, const std::string& pointer) {
  if (!value.is_string()) {
    return AddWrongType(pointer, "text", value, IsScalar(value) ? "put it in quotes" : "");
  }
  if (field.choices.empty()) return;
  const std::vector<std::string> choices = SplitChoices(field.choices);
  const std::string text = Lower(value.get<std::string>());
  for (const std::string& choice : choices) {
    if (Lower(choice) == text) {
      value = choice;
      return;
    }
  }
  const std::string nearest = NearestName(text, choices);
  Add(pointer,
      fmt::format("'{}' must be one of {}, not '{}'", ToDotted(pointer), JoinNames(choices),
                  value.get<std::string>()),
      nearest.empty() ? "" : "did you mean '" + nearest + "'?");
}

void Checker::CheckNumber(Json& value, const Field& field, const std::string& pointer) {
  const Json written = value;
  Evaluate(value);
  const bool integer = field.type == FieldType::kInteger;
  const bool whole = value.is_number_float() && std::floor(value.get<double>()) == value &&
                     std::fabs(value.get<double>()) < 9e15;
  if (integer && whole) value = static_cast<int64_t>(value.get<double>());
  const bool finite = value.is_number() && std::isfinite(value.get<double>());
  const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX;
  if (!finite || !fits || (integer && !value.is_number_integer())) {
    const bool unit = written.is_string() && pointer.find("/memory/") != std::string::npos;
    return AddWrongType(pointer, integer ? "an integer" : "a number", written,
                        unit ? "memory is a number of MiB, without a unit" : "");
  }
  if (field.min && value.get<double>() < *field.min) {
    Add(pointer, fmt::format("'{}' must be at least {}, not {}", ToDotted(pointer), *field.min,
                             ToPythonText(value)));
  }
}

void Checker::CheckBoolean(Json& value, const std::string& pointer) {
  const Json written = value;
  if (value.is_string()) {
    const std::string text = Lower(value.get<std::string>());
    if (text == "true" || text == "false") value = text == "true";
  }
  if (value == 0 || value == 1) value = value == 1;
  if (!value.is_boolean()) AddWrongType(pointer, "true or false", written);
}

void Checker::CheckReference(Json& value, const std::string& pointer) {
  const bool id = value.is_number_integer() && value.get<double>() > 0;
  const bool name = value.is_string() && !value.get_ref<const std::string&>().empty();
  if (name) Evaluate(value);
  if (!id && !name) AddWrongType(pointer, "an id (a number above 0) or a name", value);
}

void Checker::CheckList(Json& value, const Field& field, const std::string& pointer) {
  Evaluate(value);
  if (!value.is_array()) {
    return AddWrongType(pointer, "a list", value, "write it as [..], or one '- ' line for each");
  }
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string child = Child(pointer, i);
    Json& element = value[i];
    if (IsOpen(element)) continue;
    if (field.type == FieldType::kTexts) {
      CheckText(element, Field{}, child);
    } else if (field.type == FieldType::kReferences) {
      CheckReference(element, child);
    } else if (field.type != FieldType::kAnyList && !element.is_object()) {
      AddWrongType(child, "a mapping", element);
    } else if (field.type == FieldType::kSections) {
      CheckSection(element, field.section(), child, fmt::format("in '{}'", ToDotted(child)));
    }
  }
}

void Checker::CheckCommand(Json& value, const std::string& pointer) {
  if (value.is_string()) return;
  if (!value.is_array()) {
    return AddWrongType(pointer, "text or a list of text", value,
                        IsScalar(value) ? "put it in quotes" : "");
  }
  for (size_t i = 0; i < value.size(); ++i) CheckText(value[i], Field{}, Child(pointer, i));
}

void Checker::CheckEnvVars(Json& value, const std::string& pointer) {
  Evaluate(value);
  if (value.is_object()) {
    Json pairs = Json::array();
    for (const auto& [key, element] : value.items()) pairs.push_back(Json::array({key, element}));
    value = std::move(pairs);
  }
  const std::string hint = "write one '- [NAME, value]' line for each variable";
  if (!value.is_array()) return AddWrongType(pointer, "a list of pairs", value, hint);
  for (size_t i = 0; i < value.size(); ++i) {
    Json& pair = value[i];
    const std::string child = Child(pointer, i);
    if (IsOpen(pair)) continue;
    const bool good =
        pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_primitive();
    if (!good) {
      AddWrongType(child, "a pair of a name and a value", pair, hint);
      continue;
    }
    const std::string& name = pair[0].get_ref<const std::string&>();
    if (name.empty() || name.find('=') != std::string::npos) {
      Add(Child(child, size_t{0}),
          fmt::format("'{}' cannot be the name of an environment variable", name));
    }
    pair[1] = ToPythonText(pair[1]);
  }
}

void Checker::CheckPolicy(Json& value, const std::string& pointer) {
  static const Fields kFields = {
      {"kind", FieldType::kText, nullptr, "median|average|truncation", {}, true},
      {"evaluation_interval", FieldType::kInteger, nullptr, {}, 1.0},
      {"percent", FieldType::kInteger, nullptr, {}, 1.0},
  };
  if (value.is_string()) {
    return CheckText(value, Field{"policy", FieldType::kText, nullptr, "all|experiment"}, pointer);
  }
  if (!value.is_object()) return AddWrongType(pointer, "all, experiment or a mapping", value);
  CheckSection(value, kFields, pointer, fmt::format("in '{}'", ToDotted(pointer)));
}

}  // namespace px::spec
