// Renders specifications against their declarations. Internal to launcher/spec.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/spec/checker.h"
#include "launcher/spec/template.h"

namespace px::spec {

// The scope of the declarations of one specification. They are rendered when first used, so they
// may refer to each other in any order. Problems are collected in checker().
class Renderer final : public Scope {
 public:
  // `raw` says only which name the section of declarations has.
  Renderer(const Json& raw, const Json& declarations, const Marks* marks);

  Result<std::optional<Json>> Lookup(const std::string& name) override;
  std::vector<std::string> Names() const override;

  // All declarations with their final values; those that failed are left out.
  Json ResolveAll();
  // A value of another section: text stays text. Nothing if a template in it failed.
  std::optional<Json> RenderSection(const Json& value, const std::string& pointer);
  Checker& checker() { return checker_; }

 private:
  std::optional<Json> RenderText(const std::string& text, const std::string& pointer,
                                 bool keep_type);
  // A declaration: rendered or not, text that is a literal becomes its value.
  std::optional<Json> RenderDeclared(const Json& value, const std::string& pointer);
  std::optional<Json> RenderStructure(const Json& value, const std::string& pointer, bool declared);

  std::string section_;
  Json declarations_;
  std::map<std::string, std::optional<Json>> resolved_;  // nothing: it failed
  std::vector<std::string> resolving_;
  Checker checker_;
};

// The declarations of `spec` and the defaults of its `inputs` that are not declared. Inputs that
// are missing and declarations that are no inputs are added to `checker`.
Json DeclarationsWithInputs(const Json& spec, Checker& checker);

}  // namespace px::spec
