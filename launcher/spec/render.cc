#include <algorithm>
#include <map>

#include "fmt/format.h"
#include "launcher/spec/checker.h"
#include "launcher/spec/extract.h"
#include "launcher/spec/group.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/render_internal.h"
#include "launcher/spec/template.h"

namespace px::spec {
namespace {

// How long a chain of declarations may be. Each link evaluates a template within another.
constexpr size_t kMaxReferences = 25;

}  // namespace

Renderer::Renderer(const Json& raw, const Json& declarations, const Marks* marks)
    : section_(Child("", ParamsName(raw))),
      declarations_(declarations),
      checker_(marks, Checker::Stage::kRendered) {}

std::vector<std::string> Renderer::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : declarations_.items()) names.push_back(name);
  return names;
}

Result<std::optional<Json>> Renderer::Lookup(const std::string& name) {
  if (const auto done = resolved_.find(name); done != resolved_.end()) {
    // It was reported where it failed; those who use it have no problem of their own.
    if (!done->second) return Fail(ECANCELED);
    return done->second;
  }
  const auto it = declarations_.find(name);
  if (it == declarations_.end()) return std::optional<Json>();
  if (std::find(resolving_.begin(), resolving_.end(), name) != resolving_.end()) {
    std::string circle;
    for (auto at = std::find(resolving_.begin(), resolving_.end(), name); at != resolving_.end();
         ++at) {
      circle += *at + " -> ";
    }
    return Fail(EINVAL, "declarations refer to each other in a circle: " + circle + name);
  }
  if (resolving_.size() > kMaxReferences)
    return Fail(EINVAL, "declarations refer to each other too deeply");
  resolving_.push_back(name);
  const std::optional<Json> value = RenderDeclared(*it, Child(section_, name));
  resolving_.pop_back();
  resolved_[name] = value;
  if (!value) return Fail(ECANCELED);
  return value;
}

std::optional<Json> Renderer::RenderText(const std::string& text, const std::string& pointer,
                                         bool keep_type) {
  if (!Template::IsTemplate(text)) return Json(text);
  Result<Template> parsed = Template::Parse(text);
  Result<Json> value = Json();
  if (!parsed) {
    value = Forward(std::move(parsed).error());
  } else if (keep_type) {
    value = parsed->RenderValue(*this);
  } else if (Result<std::string> rendered = parsed->Render(*this)) {
    value = Json(std::move(*rendered));
  } else {
    value = Forward(std::move(rendered).error());
  }
  if (value && !IsCleanText(ToPythonText(*value))) {
    value = Fail(EINVAL, "the result is not valid UTF-8 text");
  }
  if (value) return std::move(*value);
  if (value.error().code() != ECANCELED) {
    checker_.Add(pointer, fmt::format("in '{}': {}", ToDotted(pointer), value.error().context()),
                 fmt::format("in the template \"{}\"", Shorten(text, 200)));
  }
  return std::nullopt;
}

std::optional<Json> Renderer::RenderDeclared(const Json& value, const std::string& pointer) {
  if (value.is_string()) {
    std::optional<Json> rendered = RenderText(value.get_ref<const std::string&>(), pointer, true);
    if (!rendered || !rendered->is_string()) return rendered;
    std::optional<Json> literal = ParseLiteral(rendered->get_ref<const std::string&>());
    return literal ? literal : rendered;
  }
  return RenderStructure(value, pointer, true);
}

std::optional<Json> Renderer::RenderSection(const Json& value, const std::string& pointer) {
  if (value.is_string()) return RenderText(value.get_ref<const std::string&>(), pointer, false);
  return RenderStructure(value, pointer, false);
}

std::optional<Json> Renderer::RenderStructure(const Json& value, const std::string& pointer,
                                              bool declared) {
  const auto render = [&](const Json& element, const std::string& child) {
    return declared ? RenderDeclared(element, child) : RenderSection(element, child);
  };
  bool good = true;
  if (value.is_array()) {
    Json list = Json::array();
    for (size_t i = 0; i < value.size(); ++i) {
      std::optional<Json> element = render(value[i], Child(pointer, i));
      good = good && element.has_value();
      list.push_back(element ? std::move(*element) : Json());
    }
    return good ? std::optional<Json>(std::move(list)) : std::nullopt;
  }
  if (!value.is_object()) return value;
  Json mapping = Json::object();
  for (const auto& [key, element] : value.items()) {
    const std::string child = Child(pointer, key);
    const std::optional<Json> name = RenderText(key, child, false);
    std::optional<Json> rendered = render(element, child);
    good = good && name && rendered;
    if (!name || !rendered) continue;
    const std::string text = name->get<std::string>();
    if (mapping.contains(text)) {
      checker_.Add(child, fmt::format("the key '{}' appears twice after rendering", text));
      good = false;
    }
    mapping[text] = std::move(*rendered);
  }
  return good ? std::optional<Json>(std::move(mapping)) : std::nullopt;
}

Json Renderer::ResolveAll() {
  Json values = Json::object();
  for (const std::string& name : Names()) {
    const Result<std::optional<Json>> value = Lookup(name);
    if (value && *value) values[name] = **value;
  }
  return values;
}

Json DeclarationsWithInputs(const Json& spec, Checker& checker) {
  const std::string section = ParamsName(spec);
  Json declarations =
      spec.contains(section) && spec[section].is_object() ? spec[section] : Json::object();
  const auto inputs = spec.find("inputs");
  if (inputs == spec.end() || !inputs->is_array() || inputs->empty()) return declarations;
  std::vector<std::string> names;
  for (size_t i = 0; i < inputs->size(); ++i) {
    const Json& input = (*inputs)[i];
    const std::string name = input.value("name", "");
    names.push_back(name);
    if (declarations.contains(name)) continue;
    const bool has_default = input.contains("default") && !input["default"].is_null();
    const Json optional = input.value("is_optional", Json(false));
    if (!has_default && optional != true) {
      checker.Add(Child("/inputs", i),
                  fmt::format("Input {} is required, no param was passed.", name),
                  fmt::format("give it with -P {}=VALUE", name));
    }
    declarations[name] = has_default ? input["default"] : Json(nullptr);
  }
  const auto outputs = spec.find("outputs");
  if (outputs != spec.end() && outputs->is_array()) {
    for (const Json& output : *outputs) names.push_back(output.value("name", ""));
  }
  for (const auto& [name, value] : declarations.items()) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string nearest = NearestName(name, names);
    checker.Add(Child(Child("", section), name),
                fmt::format("Received unexpected params `{}`.", name),
                nearest.empty() ? "it is not among the inputs" : "did you mean '" + nearest + "'?");
  }
  return declarations;
}

Result<ExperimentSpec> Render(const Json& raw, const RenderOptions& options) {
  std::vector<Problem> problems = Validate(raw, {options.marks, std::nullopt});
  if (!problems.empty()) return Forward(ToError(problems));
  const bool group = raw["kind"] == "group";
  const Json member = group || !options.matrix.empty() ? MemberSpec(raw, options.matrix) : raw;
  const Json spec = Normalize(member);
  const std::string params = ParamsName(spec);

  Checker inputs(options.marks, Checker::Stage::kRendered);
  Renderer renderer(spec, DeclarationsWithInputs(spec, inputs), options.marks);
  Json rendered = Json::object();
  Json values = renderer.ResolveAll();
  for (const auto& [name, section] : spec.items()) {
    if (name == params) {
      rendered[name] = values;
    } else if (name == "inputs" || name == "outputs") {
      rendered[name] = section;
    } else if (std::optional<Json> value = renderer.RenderSection(section, Child("", name))) {
      rendered[name] = std::move(*value);
    }
  }
  if (!values.empty()) rendered[params] = std::move(values);

  const Kind kind = *ParseKind(rendered.value("kind", ""));
  Checker& checker = renderer.checker();
  checker.CheckSection(rendered, TopLevel(kind), "",
                       fmt::format("for kind {} (version 1)", KindName(kind)));
  problems = inputs.TakeProblems();
  for (Problem& problem : checker.TakeProblems()) problems.push_back(std::move(problem));
  if (!problems.empty()) return Forward(ToError(problems));
  return ExtractExperiment(std::move(rendered), kind, params);
}

}  // namespace px::spec
