#include <algorithm>
#include <cctype>

#include "fmt/format.h"
#include "launcher/spec/checker.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/template.h"

namespace px::spec {
namespace {

constexpr std::pair<Kind, const char*> kKinds[] = {
    {Kind::kExperiment, "experiment"},
    {Kind::kGroup, "group"},
    {Kind::kJob, "job"},
    {Kind::kBuild, "build"},
    {Kind::kNotebook, "notebook"},
    {Kind::kTensorboard, "tensorboard"},
};

std::vector<std::string> KindNames() {
  std::vector<std::string> names;
  for (const auto& [kind, name] : kKinds) names.emplace_back(name);
  return names;
}

bool Has(const Json& section, const std::string& name) {
  const auto it = section.find(name);
  return it != section.end() && !it->is_null();
}

const Json& Get(const Json& section, const std::string& name) {
  static const Json kNothing = Json::object();
  const auto it = section.find(name);
  return it != section.end() && it->is_object() ? *it : kNothing;
}

class Validator {
 public:
  Validator(const Json& raw, const ValidateOptions& options)
      : raw_(raw), options_(options), checker_(options.marks, Checker::Stage::kRaw) {}

  std::vector<Problem> Run() {
    if (!raw_.is_object()) {
      checker_.Add("", "a polyaxonfile must be a mapping of sections");
      return checker_.TakeProblems();
    }
    CheckVersion();
    CheckKind();
    CheckSections();
    CheckParams();
    CheckGroup();
    CheckRun();
    CheckName();
    CheckTemplates(raw_, "");
    return checker_.TakeProblems();
  }

 private:
  bool IsOverride() const { return options_.override_of.has_value(); }

  void CheckVersion() {
    if (!Has(raw_, "version")) {
      if (!IsOverride()) checker_.Add("", "'version' is missing", "add the line 'version: 1'");
      return;
    }
    const Json& version = raw_["version"];
    if (version != 1 && version != "1") {
      checker_.Add("/version",
                   fmt::format("the version {} is not supported", ToPythonText(version)),
                   "write 'version: 1', the only one there is");
    }
  }

  // Finds the kind to check against, even if it is wrong, so that the rest is checked too.
  void CheckKind() {
    kind_ = raw_.contains("hptuning") ? Kind::kGroup : Kind::kExperiment;
    if (IsOverride()) kind_ = *options_.override_of;
    if (!Has(raw_, "kind")) {
      if (!IsOverride()) {
        checker_.Add("", "The Polyaxonfile `kind` must be specified.",
                     "add the line 'kind: experiment'");
      }
      return;
    }
    const Json& value = raw_["kind"];
    const std::string name = ToPythonText(value);
    const std::optional<Kind> kind = ParseKind(name);
    if (!kind) {
      const std::string nearest = NearestName(name, KindNames());
      checker_.Add("/kind", fmt::format("the kind '{}' is not supported", name),
                   nearest.empty() ? "use experiment, group, job, build, notebook or tensorboard"
                                   : "did you mean '" + nearest + "'?");
    } else if (IsOverride() && *kind != kind_) {
      checker_.Add(
          "/kind",
          fmt::format("the override is of kind '{}', but what it overrides is of kind '{}'", name,
                      KindName(kind_)),
          "an override needs no kind; leave the line out");
    } else {
      kind_ = *kind;
    }
  }

  void CheckSections() {
    Json copy = raw_;
    for (const char* name : {"model", "train", "eval"}) {
      if (!copy.contains(name)) continue;
      checker_.Add(
          Child("", name),
          fmt::format("section '{}' belongs to polyaxon-lib, which is not supported", name),
          "start your own training program with 'run: {cmd: ...}'");
      copy.erase(name);
    }
    if (kind_ != Kind::kGroup && copy.contains("hptuning")) {
      checker_.Add("/hptuning",
                   fmt::format("section 'hptuning' cannot be used with kind {}", KindName(kind_)),
                   "it belongs to 'kind: group'");
      copy.erase("hptuning");
    }
    checker_.CheckSection(copy, TopLevel(kind_), "",
                          fmt::format("for kind {} (version 1)", KindName(kind_)));
    checked_ = Normalize(copy);
  }

  void CheckParams() {
    if (Has(raw_, "params") && Has(raw_, "declarations")) {
      checker_.Add("/declarations", "You should only use `params`.",
                   "move the declarations into 'params'; they are the same section");
    }
    for (const char* section : {"params", "declarations"}) {
      for (const auto& [name, value] : Get(raw_, section).items()) {
        if (Template::IsTemplate(name)) {
          checker_.Add(Child(Child("", section), name),
                       fmt::format("the name of a declaration cannot be a template: '{}'", name));
        }
      }
    }
  }

  void CheckGroup() {
    const Json& settings = Get(raw_, "settings");
    for (const auto& [name, value] : settings.items()) {
      const bool logging = name == "logging";
      const bool twice = logging ? Has(raw_, "logging") : Has(Get(raw_, "hptuning"), name);
      if (twice) {
        checker_.Add(Child("/settings", name),
                     fmt::format("'{}' is given in 'settings' and in its own section", name),
                     logging ? "keep section 'logging'" : "keep the one in 'hptuning'");
      }
      if (!logging && kind_ != Kind::kGroup) {
        checker_.Add(
            Child("/settings", name),
            fmt::format("'settings.{}' cannot be used with kind {}", name, KindName(kind_)),
            "it belongs to 'kind: group'");
      }
    }
    if (kind_ != Kind::kGroup) return;
    const Json& hptuning = Get(checked_, "hptuning");
    CheckHptuning(checker_, hptuning, "/hptuning");
    if (!IsOverride() && Get(hptuning, "matrix").empty() && !checker_.IsOpen(hptuning)) {
      checker_.Add(raw_.contains("hptuning") ? "/hptuning" : "",
                   "a group needs 'hptuning.matrix', the values to try",
                   "for example 'hptuning: {matrix: {lr: {values: [0.1, 0.01]}}}'");
    }
    for (const auto& [name, value] : Get(hptuning, "matrix").items()) {
      for (const char* section : {"params", "declarations"}) {
        if (!Get(raw_, section).contains(name)) continue;
        checker_.Add(Child(Child("", section), name),
                     fmt::format("'{}' is in '{}' and in the matrix", name, section),
                     "every member of the group would use the declared value and the matrix would "
                     "have no effect; remove one of them");
      }
    }
  }

  void CheckRun() {
    if (!IsOverride() && kind_ == Kind::kJob && !Has(raw_, "run")) {
      checker_.Add("", "a job needs section 'run'", "add 'run: {cmd: ...}'");
    }
    if (Has(raw_, "run") && Get(raw_, "run").empty() && raw_["run"].is_object()) {
      checker_.Add("/run", "section 'run' has no 'cmd'", "write 'run: {cmd: python train.py}'");
    }
  }

  void CheckName() {
    if (!Has(raw_, "name") || !raw_["name"].is_string() || checker_.IsOpen(raw_["name"])) return;
    const std::string name = raw_["name"].get<std::string>();
    const bool valid = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
    if (!valid) {
      checker_.Add("/name", fmt::format("'{}' cannot be a name", name),
                   "use letters, digits, '-' and '_' only; 'description' takes any text");
    }
  }

  // Templates that cannot be parsed. Names are resolved later, by Render.
  void CheckTemplates(const Json& value, const std::string& pointer) {
    if (value.is_string()) {
      CheckTemplate(value.get_ref<const std::string&>(), pointer);
    } else if (value.is_array()) {
      for (size_t i = 0; i < value.size(); ++i) CheckTemplates(value[i], Child(pointer, i));
    } else if (value.is_object()) {
      for (const auto& [key, element] : value.items()) {
        const std::string child = Child(pointer, key);
        CheckTemplate(key, child);
        CheckTemplates(element, child);
      }
    }
  }

  void CheckTemplate(const std::string& text, const std::string& pointer) {
    if (!Template::IsTemplate(text)) return;
    const Result<Template> parsed = Template::Parse(text);
    if (parsed) return;
    checker_.Add(
        pointer,
        fmt::format("wrong template in '{}': {}", ToDotted(pointer), parsed.error().context()),
        "text with braces that is no template goes between {% raw %} and {% endraw %}");
  }

  const Json& raw_;
  const ValidateOptions& options_;
  Checker checker_;
  Kind kind_ = Kind::kExperiment;
  Json checked_;  // normalized, with text turned into the types the schema asks for
};

}  // namespace

std::string KindName(Kind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "experiment";
}

std::optional<Kind> ParseKind(std::string_view text) {
  for (const auto& [value, name] : kKinds) {
    if (text == name) return value;
  }
  return std::nullopt;
}

std::vector<Problem> Validate(const Json& raw, const ValidateOptions& options) {
  return Validator(raw, options).Run();
}

}  // namespace px::spec
