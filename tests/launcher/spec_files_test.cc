// -P parameters, the default file, and .polyaxonignore.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "launcher/spec/ignore.h"
#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

TEST(ParamsTest, ErrorsAreTheOriginals) {
  const Json base = Json::object();
  EXPECT_EQ(ParseParams({"lr"}, base).error().context(),
            "Invalid format for -P parameter: 'lr'. Use -P name=value.");
  EXPECT_EQ(ParseParams({"=1"}, base).error().context(),
            "Invalid format for -P parameter: '=1'. Use -P name=value.");
  EXPECT_EQ(ParseParams({"lr=1", "lr=2"}, base).error().context(), "Repeated parameter: 'lr'");
  EXPECT_FALSE(ParseParams({"lr=\xff"}, base));
}

TEST(ParamsTest, NameOfTheSectionIsTheBases) {
  const std::vector<std::string> one = {"lr=0.1"};
  EXPECT_EQ(ParseParams(one, Json::object())->dump(), R"({"params":{"lr":"0.1"}})");
  EXPECT_EQ(ParseParams(one, Json::parse(R"({"params":{}})"))->dump(),
            R"({"params":{"lr":"0.1"}})");
  EXPECT_EQ(ParseParams(one, Json::parse(R"({"declarations":{}})"))->dump(),
            R"({"declarations":{"lr":"0.1"}})");
  EXPECT_EQ(ParseParams({}, Json::object())->dump(), "{}");
}

TEST(DefaultFileTest, TheFirstOfTheOrderIsTaken) {
  char dir[] = "/tmp/spec_files_XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string base = dir;
  EXPECT_EQ(DefaultFile(base).error().code(), ENOENT);
  for (const char* name : {"polyaxonfile.json", "polyaxonfile.yml", "polyaxon-ci.yml",
                           "polyaxonci.json", "polyaxon.json", "polyaxon.yml", "polyaxon.yaml"}) {
    std::ofstream(base + "/" + name) << "version: 1\n";
    EXPECT_EQ(*DefaultFile(base), base + "/" + name);
  }
  std::filesystem::remove(base + "/polyaxon.yaml");
  std::filesystem::create_directory(base + "/polyaxon.yaml");
  EXPECT_EQ(*DefaultFile(base), base + "/polyaxon.yml");
  std::filesystem::remove_all(dir);
}

bool Ignored(const std::string& rules, const std::string& path, bool is_directory = false) {
  return IgnoreRules(rules).IsIgnored(path, is_directory);
}

TEST(IgnoreTest, PatternsMatchFromTheRight) {
  EXPECT_TRUE(Ignored("*.pyc", "a/b/c.pyc"));
  EXPECT_TRUE(Ignored("a/*.py", "x/a/b.py"));
  EXPECT_FALSE(Ignored("a/*.py", "x/a/c/b.py"));
  EXPECT_FALSE(Ignored("*.py", "a.pyc"));
  EXPECT_FALSE(Ignored("a", "ab"));
  EXPECT_TRUE(Ignored("data?", "data1"));
  EXPECT_FALSE(Ignored("data?", "data10"));
}

TEST(IgnoreTest, WhatLiesBelowIsIgnoredToo) {
  EXPECT_TRUE(Ignored(".git", ".git/objects/ab/cd"));
  EXPECT_TRUE(Ignored("node_modules", "web/node_modules/x/y.js"));
}

TEST(IgnoreTest, LeadingSlashTiesToTheTop) {
  EXPECT_TRUE(Ignored("/data", "data/x"));
  EXPECT_FALSE(Ignored("/data", "src/data"));
  EXPECT_TRUE(Ignored("./data", "data"));
  EXPECT_FALSE(Ignored("./data", "src/data"));
}

TEST(IgnoreTest, TrailingSlashMeansDirectories) {
  EXPECT_TRUE(Ignored("build/", "build", true));
  EXPECT_FALSE(Ignored("build/", "build", false));
  EXPECT_TRUE(Ignored("build/", "x/build/y"));
}

TEST(IgnoreTest, TwoStarsSpanDirectories) {
  EXPECT_TRUE(Ignored("data/**/*.bin", "data/x.bin"));
  EXPECT_TRUE(Ignored("data/**/*.bin", "data/a/b/x.bin"));
  EXPECT_FALSE(Ignored("data/**/*.bin", "data/a/b/x.txt"));
  EXPECT_TRUE(Ignored("/logs/**", "logs/a/b"));
  EXPECT_FALSE(Ignored("/a/**/b", "x/a/b"));
  EXPECT_FALSE(Ignored("a*b", "a/b"));
}

TEST(IgnoreTest, ClassesAndEscapes) {
  EXPECT_TRUE(Ignored("run[0-9]", "run7"));
  EXPECT_FALSE(Ignored("run[!0-9]", "run7"));
  EXPECT_TRUE(Ignored("run[!0-9]", "runx"));
  EXPECT_TRUE(Ignored("a[", "a["));
  EXPECT_TRUE(Ignored("\\!a", "!a"));
  EXPECT_TRUE(Ignored("\\#a", "#a"));
  EXPECT_TRUE(Ignored("a\\*", "a*"));
  EXPECT_FALSE(Ignored("a\\*", "ab"));
  EXPECT_FALSE(Ignored("[", "a"));
  EXPECT_TRUE(Ignored("[]]", "]"));
}

TEST(IgnoreTest, CommentsAndBlankLinesAreNothing) {
  EXPECT_FALSE(Ignored("# a\n\n   \n", "# a"));
  EXPECT_TRUE(Ignored("a  \r\nb\n", "a"));
  EXPECT_FALSE(Ignored("", "a"));
  EXPECT_FALSE(Ignored("/\n!\n./\n", "a"));
}

TEST(IgnoreTest, LaterLinesTakeBack) {
  const std::string rules = "*.bin\n!keep.bin\nout\n!out/keep\nout/keep/not\n";
  EXPECT_TRUE(Ignored(rules, "a.bin"));
  EXPECT_FALSE(Ignored(rules, "x/keep.bin"));
  EXPECT_TRUE(Ignored(rules, "out/a"));
  EXPECT_FALSE(Ignored(rules, "out/keep/a"));
  EXPECT_TRUE(Ignored(rules, "out/keep/not"));
  EXPECT_FALSE(IgnoreRules(rules).CanPrune("out"));
  EXPECT_TRUE(IgnoreRules("out\n").CanPrune("out"));
  EXPECT_FALSE(IgnoreRules("out\n").CanPrune("in"));
}

TEST(IgnoreTest, DefaultKeepsWhatPolyaxonDropped) {
  const IgnoreRules rules(DefaultIgnoreText());
  for (const char* path :
       {".git/config", "a/__pycache__/x.pyc", "a/.DS_Store", ".polyaxon/x", "b.swp"}) {
    EXPECT_TRUE(rules.IsIgnored(path, false)) << path;
  }
  for (const char* path :
       {"lib/a.py", "src/lib/a.py", "var/x", "parts/y", "lib64/z", "eggs/e", "train.py"}) {
    EXPECT_FALSE(rules.IsIgnored(path, false)) << path;
  }
}

TEST(IgnoreTest, ManyStarsAreFast) {
  EXPECT_FALSE(Ignored("*a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
  std::string pattern = "x";
  std::string path = "x";
  for (int i = 0; i < 50; ++i) pattern += "/**/a";
  for (int i = 0; i < 200; ++i) path += "/a";
  EXPECT_TRUE(Ignored(pattern, path));
  EXPECT_FALSE(Ignored(pattern + "/b", path));
}

}  // namespace
}  // namespace px::spec
