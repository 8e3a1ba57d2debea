// Python's literals and texts. Expected values come from ast.literal_eval and json.dumps of
// Python 3.11.
#include "launcher/spec/literal.h"

#include <gtest/gtest.h>

#include <cmath>

namespace px::spec {
namespace {

std::string Literal(const std::string& text) {
  const std::optional<Json> value = ParseLiteral(text);
  return value ? value->dump() : "NONE";
}

TEST(LiteralTest, ReadsWhatPythonReads) {
  const std::pair<std::string, std::string> kCases[] = {
      {R"t(1)t", R"t(1)t"},
      {R"t(-1)t", R"t(-1)t"},
      {R"t(+5)t", R"t(5)t"},
      {R"t(007)t", R"t(NONE)t"},
      {R"t(0)t", R"t(0)t"},
      {R"t(00)t", R"t(0)t"},
      {R"t(1e-3)t", R"t(0.001)t"},
      {R"t(1E5)t", R"t(100000.0)t"},
      {R"t(1.)t", R"t(1.0)t"},
      {R"t(.5)t", R"t(0.5)t"},
      {R"t(-.5)t", R"t(-0.5)t"},
      {R"t(1e400)t", R"t(NONE)t"},
      {R"t(0x1F)t", R"t(31)t"},
      {R"t(0o17)t", R"t(15)t"},
      {R"t(0b101)t", R"t(5)t"},
      {R"t(1_000)t", R"t(1000)t"},
      {R"t(1__0)t", R"t(NONE)t"},
      {R"t(_1)t", R"t(NONE)t"},
      {R"t(True)t", R"t(true)t"},
      {R"t(False)t", R"t(false)t"},
      {R"t(None)t", R"t(null)t"},
      {R"t(true)t", R"t(NONE)t"},
      {R"t(none)t", R"t(NONE)t"},
      {R"t([1,2])t", R"t([1,2])t"},
      {R"t([1, 'a', True, None])t", R"t([1,"a",true,null])t"},
      {R"t([])t", R"t([])t"},
      {R"t(())t", R"t([])t"},
      {R"t((1))t", R"t(1)t"},
      {R"t((1,))t", R"t([1])t"},
      {R"t((1,2))t", R"t([1,2])t"},
      {R"t(1,2)t", R"t([1,2])t"},
      {R"t(1,)t", R"t([1])t"},
      {R"t([1,2,])t", R"t([1,2])t"},
      {R"t([,])t", R"t(NONE)t"},
      {R"t({'a': 1})t", R"t({"a":1})t"},
      {R"t({'a': [1, {'b': 2.5}], 1: 'x'})t", R"t({"a":[1,{"b":2.5}],"1":"x"})t"},
      {R"t({})t", R"t({})t"},
      {R"t({1, 2})t", R"t(NONE)t"},
      {R"t('abc')t", R"t("abc")t"},
      {R"t("abc")t", R"t("abc")t"},
      {R"t('a' 'b')t", R"t("ab")t"},
      {R"t('it\'s')t", R"t("it's")t"},
      {R"t('a\nb')t", R"t("a\nb")t"},
      {R"t('\x41\u00e9')t", R"t("Aé")t"},
      {R"t("""a""")t", R"t("a")t"},
      {R"t('abc)t", R"t(NONE)t"},
      {R"t(adam)t", R"t(NONE)t"},
      {R"t(1 + 1)t", R"t(NONE)t"},
      {R"t(1 2)t", R"t(NONE)t"},
      {R"t(1 a)t", R"t(NONE)t"},
      {R"t(- 5)t", R"t(-5)t"},
      {R"t(--5)t", R"t(NONE)t"},
      {R"t(-True)t", R"t(NONE)t"},
      {R"t([1)t", R"t(NONE)t"},
      {R"t(1 )t", R"t(1)t"},
      {R"t(1.5e)t", R"t(NONE)t"},
      {R"t(1.5.2)t", R"t(NONE)t"},
      {R"t(0x)t", R"t(NONE)t"},
      {R"t(1a)t", R"t(NONE)t"},
      {R"t(a1)t", R"t(NONE)t"},
      {R"t([1, a])t", R"t(NONE)t"},
      {R"t(b'x')t", R"t(NONE)t"},
      {R"t(12345678901234567890)t", R"t(12345678901234567890)t"},
      {R"t(9223372036854775807)t", R"t(9223372036854775807)t"},
      {R"t(-9223372036854775808)t", R"t(-9223372036854775808)t"},
      {R"t(1e-05)t", R"t(1e-05)t"},
      {R"t(nan)t", R"t(NONE)t"},
      {R"t(inf)t", R"t(NONE)t"},
      {R"t(2018-01-01)t", R"t(NONE)t"},
      {R"t(5j)t", R"t(NONE)t"},
  };
  for (const auto& [text, expected] : kCases) EXPECT_EQ(Literal(text), expected) << text;
}

TEST(LiteralTest, WhatJsonCannotHoldStaysText) {
  EXPECT_EQ(Literal("123456789012345678901234567890"), "NONE");  // a hash of digits stays a hash
  EXPECT_EQ(Literal("b'x'"), "NONE");
  EXPECT_EQ(Literal("'\\x00'"), "NONE");
  EXPECT_EQ(Literal("'\\ud800'"), "NONE");
}

TEST(LiteralTest, LeadingBlanksMakeText) { EXPECT_EQ(Literal(" 1"), "NONE"); }

TEST(LiteralTest, DeepNestingStaysText) {
  EXPECT_EQ(Literal(std::string(100000, '[')), "NONE");
  EXPECT_EQ(Literal(std::string(100000, '(') + std::string(100000, ')')), "NONE");
  EXPECT_EQ(Literal(std::string(100000, '-')), "NONE");
}

TEST(LiteralTest, YamlNumbers) {
  EXPECT_EQ(ParseYamlNumber("1e-3")->dump(), "0.001");
  EXPECT_EQ(ParseYamlNumber("-0x1f")->dump(), "-31");
  EXPECT_EQ(ParseYamlNumber("1_000")->dump(), "1000");
  EXPECT_EQ(ParseYamlNumber("-.inf")->dump(), "\"-inf\"");
  for (const char* text : {"", "-", "007", "1:30", "1a", "e5", "--1", "0x", "1 ", "inf", "1.2.3"}) {
    EXPECT_FALSE(ParseYamlNumber(text)) << text;
  }
}

TEST(LiteralTest, WritesAsPython) {
  EXPECT_EQ(ToPythonText(Json::parse(R"([1,"a",true,null,{"k":0.5}])")),
            "[1, 'a', True, None, {'k': 0.5}]");
  EXPECT_EQ(ToPythonText(Json(0.0001)), "0.0001");
  EXPECT_EQ(ToPythonText(Json(0.00001)), "1e-05");
  EXPECT_EQ(ToPythonText(Json(-1e-7)), "-1e-07");
  EXPECT_EQ(ToPythonText(Json(1e15)), "1000000000000000.0");
  EXPECT_EQ(ToPythonText(Json(1e16)), "1e+16");
  EXPECT_EQ(ToPythonText(Json(1.5e300)), "1.5e+300");
  EXPECT_EQ(ToPythonText(Json(-0.0)), "-0.0");
  EXPECT_EQ(ToPythonText(Json(NAN)), "nan");
  EXPECT_EQ(ToPythonRepr(Json("a'b")), "\"a'b\"");
  EXPECT_EQ(ToPythonRepr(Json("a'b\"c")), "'a\\'b\"c'");
}

TEST(LiteralTest, WritesJsonAsPython) {
  EXPECT_EQ(
      ToPythonJson(Json::parse(R"({"lr":0.01,"layers":[1,2],"s":"\u00e9\n","n":null,"b":true})")),
      "{\"lr\": 0.01, \"layers\": [1, 2], \"s\": \"\\u00e9\\n\", \"n\": null, \"b\": true}");
  EXPECT_EQ(ToPythonJson(Json(NAN)), "NaN");
  EXPECT_EQ(ToPythonJson(Json(-INFINITY)), "-Infinity");
}

TEST(LiteralTest, CleanTextIsUtf8WithoutNul) {
  EXPECT_TRUE(IsCleanText("a\xc3\xa9\xf0\x9f\x98\x80"));
  EXPECT_FALSE(IsCleanText(std::string_view("a\0b", 3)));
  for (const char* text :
       {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\x80"}) {
    EXPECT_FALSE(IsCleanText(text));
  }
}

}  // namespace
}  // namespace px::spec
