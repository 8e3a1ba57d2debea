// Reading files: scalars, places, merging, and what malformed files say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ReadTest : public testing::Test {
 protected:
  std::string Yaml(const std::string& text) {
    Result<Json> value = ReadText(text, "px.yml", &marks_);
    return value ? value->dump() : value.error().context();
  }
  std::string JsonFile(const std::string& text) {
    Result<Json> value = ReadText(text, "px.json", &marks_);
    return value ? value->dump() : value.error().context();
  }
  std::string Place(const std::string& pointer) {
    const Mark mark = FindMark(marks_, pointer);
    return mark.file + ":" + std::to_string(mark.line) + ":" + std::to_string(mark.column);
  }

  Marks marks_;
};

TEST_F(ReadTest, ScalarsKeepTheirTypes) {
  EXPECT_EQ(
      Yaml("a: 1\nb: -0x10\nc: 1e-3\nd: 1.5\ne: true\nf: No\ng: null\nh: ~\ni:\nj: text\n"),
      R"({"a":1,"b":-16,"c":0.001,"d":1.5,"e":true,"f":false,"g":null,"h":null,"i":null,"j":"text"})");
  EXPECT_EQ(Yaml("a: '1'\nb: \"true\"\nc: 'null'\nd: ''\n"),
            R"({"a":"1","b":"true","c":"null","d":""})");
  EXPECT_EQ(Yaml("a: 007\nb: 1:30\nc: 2018-01-01\nd: 1_000\n"),
            R"({"a":"007","b":"1:30","c":"2018-01-01","d":1000})");
  EXPECT_EQ(Yaml("a: !!str 5\nb: !!float 5\nc: !!int '6'\n"), Yaml("a: '5'\nb: 5.0\nc: 6\n"));
}

TEST_F(ReadTest, TextKeepsItsBlanksAndLines) {
  EXPECT_EQ(Yaml("a: \"b  c\"\nb: |\n  x\n  y\nc: >-\n  x\n  y\n"),
            R"({"a":"b  c","b":"x\ny\n","c":"x y"})");
}

TEST_F(ReadTest, KeysAreText) {
  EXPECT_EQ(Yaml("1: a\ntrue: b\n'x y': c\n"), R"({"1":"a","true":"b","x y":"c"})");
}

TEST_F(ReadTest, AnchorsAndMergeKeysWork) {
  EXPECT_EQ(Yaml("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\n"),
            R"({"a":{"x":1,"y":2},"b":{"x":1,"y":2},"c":{"y":3,"x":1}})");
  EXPECT_THAT(Yaml("a:\n  <<: 5\n"), HasSubstr("px.yml:2:3: '<<' must be given a mapping"));
}

TEST_F(ReadTest, JsonIsReadWithPlaces) {
  EXPECT_EQ(JsonFile("{\"a\": [1, -2, 2.5, \"\\u00e9\"],\n\t\"b\": {\"c\": null, \"d\": true}}"),
            "{\"a\":[1,-2,2.5,\"\u00e9\"],\"b\":{\"c\":null,\"d\":true}}");
  EXPECT_EQ(Place("/a"), "px.json:1:2");
  EXPECT_EQ(Place("/b"), "px.json:2:2");
  EXPECT_EQ(Place("/b/c"), "px.json:2:8");
  EXPECT_EQ(Place("/a/0"), "px.json:1:8");
}

TEST_F(ReadTest, YamlPlacesAreKnown) {
  Yaml("version: 1\nrun:\n  cmd: x\ntags: [a, b]\n");
  EXPECT_EQ(Place("/run/cmd"), "px.yml:3:3");
  EXPECT_EQ(Place("/tags/1"), "px.yml:4:11");
  EXPECT_EQ(Place("/run/missing"), "px.yml:2:1");
}

TEST_F(ReadTest, DuplicateKeysAreErrors) {
  EXPECT_EQ(
      Yaml("a: 1\nb:\n  c: 1\n  c: 2\n"),
      "px.yml:4:3: the key 'c' is given twice\n  hint: it is also in line 3; keep one of them");
  EXPECT_THAT(JsonFile("{\"a\": 1,\n \"a\": 2}"),
              HasSubstr("px.json:2:4: the key 'a' is given twice"));
}

TEST_F(ReadTest, FilesThatAreNoMappingsAreErrors) {
  EXPECT_THAT(Yaml(""), StartsWith("px.yml:1:1: the file is empty"));
  EXPECT_THAT(Yaml("# only\n"), StartsWith("px.yml:1:1: the file is empty"));
  EXPECT_THAT(Yaml("---\n...\n"), StartsWith("px.yml:1:1: the file is empty"));
  EXPECT_THAT(Yaml("- a\n"), StartsWith("px.yml:1:1: the file is not a mapping"));
  EXPECT_THAT(Yaml("text\n"), StartsWith("px.yml:1:1: the file is not a mapping"));
  EXPECT_THAT(JsonFile(""), StartsWith("px.json:1:1: the file is empty"));
  EXPECT_THAT(JsonFile("[1]"), StartsWith("px.json:1:1: the file is not a mapping"));
  EXPECT_THAT(Yaml("a: 1\n---\nb: 2\n"), HasSubstr("more than one document"));
}

TEST_F(ReadTest, SyntaxErrorsHavePlacesAndHints) {
  EXPECT_THAT(Yaml("a: [1, 2\nb: 3\n"), StartsWith("px.yml:"));
  EXPECT_THAT(Yaml("run:\n  cmd: {{ lr }}\n"),
              HasSubstr("put a value that starts with a template"));
  EXPECT_THAT(Yaml("lr: {{ lr }} x\n"), HasSubstr("put a value that starts with a template"));
  EXPECT_THAT(Yaml("a:\n\tb: 1\n"), HasSubstr("indent with spaces"));
  EXPECT_THAT(Yaml("[a, b]: 1\n"), HasSubstr("px.yml:1:1: a key of a mapping must be text"));
  EXPECT_THAT(Yaml("a: !bogus 1\n"), HasSubstr("cannot be read with the tag '!bogus'"));
  EXPECT_THAT(JsonFile("{\"a\": 1,}"), StartsWith("px.json:1:9: not valid JSON"));
  // The parser quotes half of the last character.
  Json(JsonFile("{\"a\": 1\u00e9}")).dump();
  EXPECT_THAT(JsonFile("{\"a\":\n 1e999}"), StartsWith("px.json:2:"));
}

TEST_F(ReadTest, BadTextIsRefused) {
  EXPECT_THAT(Yaml("a: 1\nb: \xff\n"), StartsWith("px.yml:2:1: the line is not valid UTF-8"));
  EXPECT_THAT(Yaml(std::string("a: 1\nb: \0\n", 10)), StartsWith("px.yml:2:1"));
  EXPECT_THAT(Yaml("a: \"x\\0y\"\n"), HasSubstr("NUL"));
  EXPECT_THAT(JsonFile("{\"a\": \"x\\u0000y\"}"), HasSubstr("NUL"));
}

TEST_F(ReadTest, BombsAreRefused) {
  EXPECT_THAT(Yaml("a: &a [*a]\n"), HasSubstr("nested more than"));
  EXPECT_THAT(Yaml("a: " + std::string(5000, '[')), StartsWith("px.yml:1:"));
  EXPECT_THAT(JsonFile(std::string(100000, '[')), StartsWith("px.json:1:"));
  EXPECT_THAT(JsonFile("{\"a\":" + std::string(500, '[') + std::string(500, ']') + "}"),
              HasSubstr("nested too deeply"));
  std::string laughs = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
    for (int j = 0; j < 8; ++j) laughs += "," + alias;
    laughs += "]\n";
  }
  EXPECT_THAT(Yaml(laughs), HasSubstr("aliases of aliases multiply"));
}

TEST_F(ReadTest, OtherExtensionsAreErrors) {
  const Result<Json> value = ReadText("a: 1\n", "px.txt");
  ASSERT_FALSE(value);
  EXPECT_THAT(value.error().context(), HasSubstr("must be a .yml, .yaml or .json file"));
}

TEST_F(ReadTest, FilesMergeLeftToRight) {
  char dir[] = "/tmp/spec_read_XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string a = std::string(dir) + "/a.yml";
  const std::string b = std::string(dir) + "/b.json";
  std::ofstream(a)
      << "version: 1\nrun: {cmd: x}\ntags: [a, b]\nenvironment: {resources: {cpu: {limits: 1}}}\n";
  std::ofstream(b)
      << R"({"tags": ["c"], "run": null, "environment": {"resources": {"gpu": {"limits": 2}}}})";
  const Result<Json> value = ReadFiles({a, b}, &marks_);
  ASSERT_TRUE(value) << value.error().context();
  EXPECT_EQ(
      value->dump(),
      R"({"version":1,"run":null,"tags":["c"],"environment":{"resources":{"cpu":{"limits":1},"gpu":{"limits":2}}}})");
  EXPECT_EQ(FindMark(marks_, "/tags").file, b);
  EXPECT_EQ(FindMark(marks_, "/environment/resources/cpu").file, a);
  const Result<Json> missing = ReadFiles({std::string(dir) + "/none.yml"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ENOENT);
  EXPECT_THAT(missing.error().context(), HasSubstr("none.yml"));
  EXPECT_EQ(ReadFiles({std::string(dir)}).error().code(), EISDIR);
  EXPECT_EQ(ReadFiles({}).error().code(), EINVAL);
  std::filesystem::remove_all(dir);
}

TEST_F(ReadTest, MergeReplacesAllButMappings) {
  const Json base = Json::parse(R"({"a":{"x":1,"y":2},"b":[1,2],"c":{"z":1},"d":1})");
  EXPECT_EQ(
      Merge(base, Json::parse(R"({"a":{"y":3,"z":4},"b":[3],"c":null,"d":{"e":1},"f":5})")).dump(),
      R"({"a":{"x":1,"y":3,"z":4},"b":[3],"c":null,"d":{"e":1},"f":5})");
}

// Cuts, swaps and doubles pieces of a good file: every outcome must be a value or a message.
TEST_F(ReadTest, MangledFilesNeverCrash) {
  const std::string seed_yaml =
      "version: 1\nkind: group\nhptuning:\n  matrix: &m\n    lr: {logspace: '0.01:0.1:5'}\n"
      "    l2: {values: [1, 2.5, 'x']}\ndeclarations:\n  a: \"{{ b }}\"\n  b: [1, {c: !!str 2}]\n"
      "  <<: *m\nrun:\n  cmd: >-\n    python train.py --lr={{ lr }}\n  # comment\ntags: [a, "
      "\"b\\n\"]\n";
  const std::string seed_json = Yaml(seed_yaml);
  std::mt19937 rng(20180614);
  const std::string noise = "{}[]:,'\"&*!|>-?%@`#\\\n\t \x80\xff{{%<~0e.";
  for (int round = 0; round < 6000; ++round) {
    const bool yaml = round % 3 != 0;
    std::string text = yaml ? seed_yaml : seed_json;
    for (unsigned i = 0, edits = 1 + rng() % 4; i < edits && !text.empty(); ++i) {
      const size_t at = rng() % text.size();
      const size_t length = rng() % 12;
      switch (rng() % 4) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text[at] = noise[rng() % noise.size()];
          break;
        case 2:
          text.insert(rng() % text.size(), text.substr(at, length));
          break;
        default:
          text.insert(at, 1, noise[rng() % noise.size()]);
      }
    }
    const std::string name = yaml ? "f.yml" : "f.json";
    Marks marks;
    const Result<Json> value = ReadText(text, name, &marks);
    if (!value) {
      EXPECT_THAT(value.error().context(), StartsWith(name + ":")) << text;
      continue;
    }
    const std::vector<Problem> problems = Validate(*value, {.marks = &marks});
    for (const Problem& problem : problems) EXPECT_EQ(problem.file, name) << problem.message;
    const Result<ExperimentSpec> spec = Render(*value, {.marks = &marks});
    EXPECT_TRUE(spec || !spec.error().context().empty());
  }
}

}  // namespace
}  // namespace px::spec
