// Templates: the part of the jinja2 language that polyaxonfiles use.
//
//   {{ expression }}   {% if e %} {% elif e %} {% else %} {% endif %}   {% for x in e %} {% endfor
//   %}
//   {% raw %} {% endraw %}   {# comment #}   and "-" inside the braces to strip white space.
// Expressions: names, a.b, a[0], a['k'], literals, [..], {..}, + - * / // % ** ~, comparisons, in,
// and, or, not, `x if y else z`, filters, `is defined` and other tests, a few methods.
// Values are written as Python's str() does. Unlike in jinja2 an undefined name is an error, unless
// it meets the filter `default` or the test `is defined`.
//
// Errors are EINVAL with a sentence that names what is wrong, without a place. Pure; work and
// output are limited, so that no text can hang the caller.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/spec/problem.h"

namespace px::spec {

// The names that expressions may use.
class Scope {
 public:
  virtual ~Scope() = default;
  // Nothing if there is no such name. An error if its value cannot be had.
  virtual Result<std::optional<Json>> Lookup(const std::string& name) = 0;
  // For "did you mean".
  virtual std::vector<std::string> Names() const = 0;
};

struct TemplateNode;  // template_ast.h

class Template {
 public:
  // True if `text` has any template mark; other text renders to itself.
  static bool IsTemplate(std::string_view text);
  static Result<Template> Parse(const std::string& text);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  Result<std::string> Render(Scope& scope) const;
  // The value itself if the whole text is one {{ expression }}, else the text.
  Result<Json> RenderValue(Scope& scope) const;

 private:
  explicit Template(std::vector<std::unique_ptr<TemplateNode>> nodes);
  std::vector<std::unique_ptr<TemplateNode>> nodes_;
};

}  // namespace px::spec
