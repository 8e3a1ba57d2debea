// The template language. Expected texts come from jinja2 3.1 itself, where not said otherwise.
#include "launcher/spec/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::spec {
namespace {

using testing::HasSubstr;

class JsonScope final : public Scope {
 public:
  explicit JsonScope(Json values) : values_(std::move(values)) {}
  Result<std::optional<Json>> Lookup(const std::string& name) override {
    if (!values_.contains(name)) return std::optional<Json>();
    return std::optional<Json>(values_[name]);
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, value] : values_.items()) names.push_back(name);
    return names;
  }

 private:
  Json values_;
};

class TemplateTest : public testing::Test {
 protected:
  std::string Render(const std::string& text) {
    const Result<Template> parsed = Template::Parse(text);
    if (!parsed) return "ERROR " + parsed.error().context();
    const Result<std::string> rendered = parsed->Render(scope_);
    return rendered ? *rendered : "ERROR " + rendered.error().context();
  }

  JsonScope scope_{Json::parse(
      R"({"lr":0.01,"n":3,"name":"adam","empty":"","yes":true,"nothing":null,
          "layers":[64,32,16],"net":{"depth":2,"act":"relu"},"text":"  a b  ","small":1e-05,
          "big":1e16,"neg":-7})")};
};

TEST_F(TemplateTest, RendersAsJinja2Does) {
  const std::pair<std::string, std::string> kCases[] = {
      {R"t(lr={{ lr }})t", R"t(lr=0.01)t"},
      {R"t({{ n + 1 }}|{{ n - 5 }}|{{ n * 2 }}|{{ n / 2 }}|{{ 6 / 2 }})t", R"t(4|-2|6|1.5|3.0)t"},
      {R"t({{ neg // 2 }}|{{ neg % 3 }}|{{ 7 % -3 }}|{{ neg // -2 }}|{{ 7.5 // 2 }}|{{ -7.5 % 2 }})t",
       R"t(-4|2|-2|3|3.0|0.5)t"},
      {R"t({{ 2 ** 10 }}|{{ 2 ** -1 }}|{{ -2 ** 2 }}|{{ 2 ** 3 ** 2 }}|{{ 2.0 ** 3 }})t",
       R"t(1024|0.5|4|64|8.0)t"},
      {R"t({{ lr * 10 }}|{{ 0.1 + 0.2 }}|{{ small }}|{{ big }}|{{ 1e22 }}|{{ 123456789012345680.0 }}|{{ 1.0 }})t",
       R"t(0.1|0.30000000000000004|1e-05|1e+16|1e+22|1.2345678901234568e+17|1.0)t"},
      {R"t({{ yes }}|{{ not yes }}|{{ nothing }}|{{ layers }}|{{ net }})t",
       R"t(True|False|None|[64, 32, 16]|{'depth': 2, 'act': 'relu'})t"},
      {R"t({{ layers[0] }}|{{ layers[-1] }}|{{ layers.1 }}|{{ net.act }}|{{ net['act'] }}|{{ name[1] }})t",
       R"t(64|16|32|relu|relu|d)t"},
      {R"t({{ layers[1:] }}|{{ layers[:2] }}|{{ layers[0:1] }}|{{ name[1:3] }})t",
       R"t([32, 16]|[64, 32]|[64]|da)t"},
      {R"t({{ 'a' if n > 2 else 'b' }}|{{ 'a' if n > 5 else 'b' }}|{{ 'a' if n > 5 }}|)t",
       R"t(a|b||)t"},
      {R"t({{ n > 2 and name }}|{{ n > 5 or name }}|{{ not n == 3 }}|{{ n != 3 }}|{{ 1 < n <= 3 }}|{{ 'b' > 'a' }})t",
       R"t(adam|adam|False|False|True|True)t"},
      {R"t({{ 64 in layers }}|{{ 'act' in net }}|{{ 'da' in name }}|{{ 5 not in layers }})t",
       R"t(True|True|True|True)t"},
      {R"t({{ name | upper }}|{{ 'ABC' | lower }}|{{ name|replace('a','b') }}|{{ text|trim }}|{{ text | trim | length }})t",
       R"t(ADAM|abc|bdbm|a b|3)t"},
      {R"t({{ '42' | int }}|{{ 'x' | int }}|{{ 'x' | int(7) }}|{{ 3.99 | int }}|{{ -3.99|int }}|{{ '0.5' | float }}|{{ 'x'|float }}|{{ 2|float }})t",
       R"t(42|0|7|3|-3|0.5|0.0|2.0)t"},
      {R"t({{ 2.567 | round(2) }}|{{ 2.5 | round }}|{{ 3.5 | round }}|{{ 2.1 | round(0, 'ceil') }}|{{ 2.9 | round(method='floor') }}|{{ 2.675 | round(2) }}|{{ 1234.5 | round(-2) }})t",
       R"t(2.57|2.0|4.0|3.0|2.0|2.67|1200.0)t"},
      {R"t({{ layers | join(',') }}|{{ layers | join }}|{{ layers | first }}|{{ layers | last }}|{{ layers | length }}|{{ layers|count }}|{{ net | length }})t",
       R"t(64,32,16|643216|64|16|3|3|2)t"},
      {R"t({{ neg | abs }}|{{ -1.5 | abs }}|{{ -1 | abs }})t", R"t(7|1.5|1)t"},
      {R"t({{ missing | default('d') }}|{{ missing | default }}|{{ empty | default('d') }}|{{ empty | default('d', true) }}|{{ missing|d(5) }}|{{ lr | default(9) }})t",
       R"t(d|||d|5|0.01)t"},
      {R"t({{ layers | tojson }}|{{ {'a': 1, 'b': [true, none]} | tojson }})t",
       R"t([64, 32, 16]|{"a": 1, "b": [true, null]})t"},
      {R"t({{ lr is defined }}|{{ missing is defined }}|{{ missing is not defined }}|{{ nothing is none }}|{{ n is odd }}|{{ n is number }}|{{ name is string }})t",
       R"t(True|False|True|True|True|True|True)t"},
      {R"t({{ 'a' ~ 1 ~ lr }}|{{ 'a' + 'b' }}|{{ 'ab' * 2 }}|{{ [1] + [2] }})t",
       R"t(a10.01|ab|abab|[1, 2])t"},
      {R"t({{ (1 + 2) * 3 }}|{{ 1 + 2 * 3 }}|{{ 10 - 2 - 3 }}|{{ 2 * 3 % 4 }}|{{ 'n=%s' }})t",
       R"t(9|7|5|2|n=%s)t"},
      {R"t({{ "it's" }}|{{ 'say "x"' }}|{{ ["it's"] }}|{{ ['a\nb'] }}|{{ 'é' }})t",
       R"t(it's|say "x"|["it's"]|['a\nb']|é)t"},
      {R"t({% if n > 2 %}big{% elif n > 1 %}mid{% else %}small{% endif %})t", R"t(big)t"},
      {R"t({% if n > 9 %}big{% elif n > 1 %}mid{% else %}small{% endif %})t", R"t(mid)t"},
      {R"t({% if empty %}big{% else %}small{% endif %})t", R"t(small)t"},
      {R"t({% for l in layers %}{{ l }},{% endfor %})t", R"t(64,32,16,)t"},
      {R"t({% for l in layers %}{{ loop.index }}/{{ loop.length }}:{{ l }}{% if not loop.last %} {% endif %}{% endfor %})t",
       R"t(1/3:64 2/3:32 3/3:16)t"},
      {R"t({% for k, v in net.items() %}--{{ k }}={{ v }} {% endfor %})t",
       R"t(--depth=2 --act=relu )t"},
      {R"t({% for k in net %}{{ k }} {% endfor %}{% for x in [] %}x{% else %}none{% endfor %})t",
       R"t(depth act none)t"},
      {R"t({% for i in range(3) %}{{ i }}{% endfor %}{{ range(1, 7, 2) | list }})t",
       R"t(012[1, 3, 5])t"},
      {R"t(a {#- comment -#} b{# other {{ #}c)t", R"t(abc)t"},
      {R"t(a  {{- n -}}  b {%- if yes -%}  c  {%- endif -%} d)t", R"t(a3bcd)t"},
      {R"t({% raw %}{{ not.a.template }}{% endraw %} {{ n }})t", R"t({{ not.a.template }} 3)t"},
      {R"t({{ '{{' }} {{ "}}" }} {{ {'a': {'b': 1}}['a']['b'] }} {{ {'a': {'b': 1}}}})t",
       R"t({{ }} 1 {'a': {'b': 1}})t"},
      {R"t({{ name.upper() }}|{{ 'a,b'.split(',') }}|{{ net.get('depth') }}|{{ net.get('x', 1) }}|{{ ','.join(['a','b']) }}|{{ name.startswith('ad') }})t",
       R"t(ADAM|['a', 'b']|2|1|a,b|True)t"},
      {R"t({{ [] }}|{{ {} }}|{{ (1, 2)[0] }}|{{ -n }}|{{ +n }}|{{ true }}|{{ True }}|{{ none }}|{{ None }})t",
       R"t([]|{}|1|-3|3|True|True|None|None)t"},
      {R"t({{ n == 3.0 }}|{{ yes == 1 }}|{{ '1' == 1 }}|{{ layers | max }}|{{ layers | min }}|{{ layers|sum }})t",
       R"t(True|True|False|64|16|112)t"},
      {R"t(}} { plain } %} {)t", R"t(}} { plain } %} {)t"},
  };
  for (const auto& [text, expected] : kCases) EXPECT_EQ(Render(text), expected) << text;
}

TEST_F(TemplateTest, UndefinedNamesAreErrorsThatNameThem) {
  EXPECT_EQ(Render("{{ lrr }}"), "ERROR 'lrr' is not defined; did you mean 'lr'?");
  EXPECT_EQ(Render("{{ zebra_crossing }}"), "ERROR 'zebra_crossing' is not defined");
  EXPECT_THAT(Render("{{ net.dept }}"), HasSubstr("'net.dept' is not defined"));
  EXPECT_THAT(Render("{{ net['x'] }}"), HasSubstr("'net['x']' is not defined"));
  EXPECT_THAT(Render("{{ layers[7] }}"), HasSubstr("'layers[7]' is not defined"));
  EXPECT_THAT(Render("{{ missing + 1 }}"), HasSubstr("'missing' is not defined"));
  EXPECT_THAT(Render("{% if missing %}x{% endif %}"), HasSubstr("'missing' is not defined"));
  EXPECT_THAT(Render("{{ missing | upper }}"), HasSubstr("'missing' is not defined"));
  EXPECT_THAT(Render("{% for i in [1] %}{% endfor %}{{ i }}"), HasSubstr("'i' is not defined"));
}

TEST_F(TemplateTest, BranchesThatAreNotTakenMayNameAnything) {
  EXPECT_EQ(Render("{{ 1 if yes else missing }}"), "1");
  EXPECT_EQ(Render("{% if not yes %}{{ missing }}{% endif %}"), "");
  EXPECT_EQ(Render("{{ yes or missing }}"), "True");
}

TEST_F(TemplateTest, SyntaxErrorsAreFound) {
  for (const char* text : {"{{",
                           "{{ }}",
                           "{{ lr",
                           "{% if %}",
                           "{% if lr %}",
                           "{% endif %}",
                           "{% else %}",
                           "{{ 1 + }}",
                           "{{ (1 }}",
                           "{{ [1 }}",
                           "{{ 'a }}",
                           "{{ lr | }}",
                           "{{ lr lr }}",
                           "{% for %}{% endfor %}",
                           "{% for x in layers %}",
                           "{% for x layers %}{% endfor %}",
                           "{% bogus %}",
                           "{# open",
                           "{% raw %}",
                           "{{ a..b }}",
                           "{{ lr | bogus }}",
                           "{{ bogus(1) }}",
                           "{{ 1e }}",
                           "{{ @ }}",
                           "{% if lr %}{% endfor %}",
                           "{% if lr %}{% else %}{% else %}{% endif %}",
                           "{{ {1 2} }}",
                           "{{ name.bogus() }}",
                           "{{ 1 is bogus }}",
                           "{{ 5(1) }}"}) {
    EXPECT_EQ(Render(text).substr(0, 6), "ERROR ") << text;
  }
}

TEST_F(TemplateTest, WrongTypesAreErrors) {
  EXPECT_THAT(Render("{{ name - 1 }}"), HasSubstr("'-' cannot be applied to text and an integer"));
  EXPECT_THAT(Render("{{ 1 / 0 }}"), HasSubstr("division by zero"));
  EXPECT_THAT(Render("{{ 1 % 0 }}"), HasSubstr("division by zero"));
  EXPECT_THAT(Render("{{ name < 1 }}"), HasSubstr("cannot compare"));
  EXPECT_THAT(Render("{{ 2 ** 64 }}"), HasSubstr("too large"));
  EXPECT_THAT(Render("{{ 9223372036854775807 + 1 }}"), HasSubstr("too large"));
  EXPECT_THAT(Render("{% for x in 5 %}{% endfor %}"), HasSubstr("'for' needs a list"));
  EXPECT_THAT(Render("{% for a, b in [1] %}{% endfor %}"), HasSubstr("take an integer apart"));
  EXPECT_EQ(Render("{{ -9223372036854775807 - 1 }}"), "-9223372036854775808");
  EXPECT_THAT(Render("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("too large"));
}

TEST_F(TemplateTest, WorkAndOutputAreLimited) {
  EXPECT_THAT(Render("{{ 'a' * 100000000 }}"), HasSubstr("too large"));
  EXPECT_THAT(Render("{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}"),
              HasSubstr("too long"));
  EXPECT_THAT(Render("{{ range(999999999) }}"), HasSubstr("too long"));
  EXPECT_THAT(Render("{{ " + std::string(500, '(') + "1" + std::string(500, ')') + " }}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(Render("{{ " + std::string(500, '-') + "1 }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(Render("{{ 1" + std::string(100000, '+') + "1 }}"), HasSubstr("too long"));
  std::string chain = "{{ 1";
  for (int i = 0; i < 90; ++i) chain += "+1";
  EXPECT_EQ(Render(chain + " }}"), "91");
  for (int i = 0; i < 90; ++i) chain += "+1";
  EXPECT_THAT(Render(chain + " }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(Render("{{ ['a' * 1000] * 100000 }}"), HasSubstr("too large"));
  std::string blocks;
  for (int i = 0; i < 100; ++i) blocks += "{% if 1 %}";
  EXPECT_THAT(Render(blocks), HasSubstr("nested too deeply"));
}

TEST_F(TemplateTest, SingleExpressionKeepsItsType) {
  const Result<Template> parsed = Template::Parse("{{ layers }}");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->RenderValue(scope_)->dump(), "[64,32,16]");
  EXPECT_EQ(Template::Parse("{{ n }} ")->RenderValue(scope_)->dump(), "\"3 \"");
}

TEST_F(TemplateTest, TextWithoutMarksIsNoTemplate) {
  EXPECT_FALSE(Template::IsTemplate("a { b } }} %} {"));
  EXPECT_FALSE(Template::IsTemplate("${HOME} {a}"));
  EXPECT_TRUE(Template::IsTemplate("a {{ b }}"));
  EXPECT_TRUE(Template::IsTemplate("{% if"));
}

}  // namespace
}  // namespace px::spec
