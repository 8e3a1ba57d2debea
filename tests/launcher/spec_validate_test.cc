// Checking: every problem at once, with places and suggestions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

using testing::HasSubstr;

class ValidateTest : public testing::Test {
 protected:
  std::string Problems(const std::string& yaml, std::optional<Kind> override_of = std::nullopt) {
    Marks marks;
    const Result<Json> raw = ReadText(yaml, "px.yml", &marks);
    if (!raw) return raw.error().context();
    return FormatProblems(Validate(*raw, {.marks = &marks, .override_of = override_of}));
  }
  // Problems of an experiment with these lines besides version and kind.
  std::string Of(const std::string& yaml) {
    return Problems("version: 1\nkind: experiment\n" + yaml);
  }
  std::string OfGroup(const std::string& hptuning) {
    return Problems("version: 1\nkind: group\nhptuning: " + hptuning + "\n");
  }
};

TEST_F(ValidateTest, TheSmallestFilesAreValid) {
  EXPECT_EQ(Problems("version: 1\nkind: experiment\n"), "");
  EXPECT_EQ(Problems("version: 1\nkind: notebook\n"), "");
  EXPECT_EQ(Problems("version: 1\nkind: tensorboard\n"), "");
  EXPECT_EQ(Problems("version: 1\nkind: group\nhptuning: {matrix: {a: {values: [1]}}}\n"), "");
}

TEST_F(ValidateTest, VersionAndKindAreRequired) {
  EXPECT_EQ(Problems("run: {cmd: x}\n"),
            "px.yml:1:1: 'version' is missing\n  hint: add the line 'version: 1'\n"
            "px.yml:1:1: The Polyaxonfile `kind` must be specified.\n"
            "  hint: add the line 'kind: experiment'");
  EXPECT_THAT(Problems("version: 2\nkind: experiment\n"),
              HasSubstr("the version 2 is not supported"));
  EXPECT_THAT(Problems("version: 1\nkind: experimnet\n"),
              HasSubstr("px.yml:2:1: the kind 'experimnet' is not supported\n"
                        "  hint: did you mean 'experiment'?"));
}

TEST_F(ValidateTest, UnknownSectionsNameTheNearest) {
  EXPECT_EQ(Of("enviroment: {}\n"),
            "px.yml:3:1: unknown section 'enviroment' for kind experiment (version 1)\n"
            "  hint: did you mean 'environment'?");
  EXPECT_THAT(Of("run: {cdm: x}\n"), HasSubstr("unknown field 'cdm' in section 'run'\n"
                                               "  hint: did you mean 'cmd'?"));
  EXPECT_THAT(Of("environment: {resources: {gpus: {}}}\n"), HasSubstr("did you mean 'gpu'?"));
  EXPECT_THAT(Problems("version: 1\nkind: notebook\nrun: {cmd: x}\n"),
              HasSubstr("unknown section 'run' for kind notebook"));
}

TEST_F(ValidateTest, AllProblemsComeAtOnceInTheirOrder) {
  EXPECT_EQ(Of("tags: a\nrun:\n  cmd: [1]\nenvironment:\n  max_restarts: -1\n  resources: 5\n"),
            "px.yml:3:1: 'tags' must be a list, not text\n"
            "  hint: write it as [..], or one '- ' line for each\n"
            "px.yml:5:9: 'run.cmd[0]' must be text, not an integer\n  hint: put it in quotes\n"
            "px.yml:7:3: 'environment.max_restarts' must be at least 0, not -1\n"
            "px.yml:8:3: 'environment.resources' must be a mapping, not an integer");
}

TEST_F(ValidateTest, TypesOfFieldsAreChecked) {
  EXPECT_THAT(Of("name: 5\n"), HasSubstr("'name' must be text, not an integer"));
  EXPECT_THAT(Of("name: a b\n"), HasSubstr("'a b' cannot be a name"));
  EXPECT_THAT(Of("logging: {level: LOUD}\n"), HasSubstr("must be one of DEBUG, INFO"));
  EXPECT_THAT(Of("logging: {level: INFOO}\n"), HasSubstr("did you mean 'INFO'?"));
  EXPECT_THAT(Of("environment: {resources: {memory: {limits: 4Gi}}}\n"),
              HasSubstr("memory is a number of MiB, without a unit"));
  EXPECT_THAT(Of("environment: {replicas: {n_workers: 1.5}}\n"), HasSubstr("must be an integer"));
  EXPECT_THAT(Of("environment: {outputs: {jobs: [0]}}\n"), HasSubstr("must be an id"));
  EXPECT_THAT(Of("build: {image: x, nocache: maybe}\n"),
              HasSubstr("must be true or false, not text"));
  EXPECT_THAT(Of("build: {env_vars: [[A]]}\n"), HasSubstr("must be a pair of a name and a value"));
  EXPECT_THAT(Of("build: {backend: docker}\n"), HasSubstr("must be one of native, kaniko, other"));
  EXPECT_THAT(Of("run: {}\n"), HasSubstr("section 'run' has no 'cmd'"));
  EXPECT_THAT(Of("declarations: [1]\n"), HasSubstr("'declarations' must be a mapping, not a list"));
  EXPECT_THAT(Of("inputs: [{type: int}]\n"), HasSubstr("'name' is missing in 'inputs[0]'"));
}

TEST_F(ValidateTest, QuotedNumbersAreNumbers) {
  EXPECT_EQ(Of("environment: {resources: {gpu: {limits: '2'}}, max_restarts: 2.0}\n"), "");
}

TEST_F(ValidateTest, TemplatesMayStandForAnyValue) {
  EXPECT_EQ(Of("environment: {resources: {gpu: {limits: '{{ g }}'}}, max_restarts: '{{ r }}'}\n"
               "tags: '{{ t }}'\nrun: {cmd: '{{ c }}'}\n"),
            "");
  EXPECT_THAT(Of("run: {cmd: '{{ a'}\n"),
              HasSubstr("px.yml:3:7: wrong template in 'run.cmd': '{{ a' is not closed by '}}'"));
}

TEST_F(ValidateTest, DeclarationsAndParamsAreOneSection) {
  EXPECT_THAT(Of("declarations: {a: 1}\nparams: {b: 2}\n"),
              HasSubstr("You should only use `params`."));
  EXPECT_EQ(Of("declarations: {a: 1}\nparams: null\n"), "");
}

TEST_F(ValidateTest, PolyaxonLibSectionsAreExplained) {
  EXPECT_THAT(Of("model: {}\n"), HasSubstr("section 'model' belongs to polyaxon-lib"));
}

TEST_F(ValidateTest, OverridesNeedNoVersionOrKind) {
  EXPECT_EQ(Problems("declarations: {lr: 1}\n", Kind::kExperiment), "");
  EXPECT_EQ(Problems("version: 1\nkind: experiment\nrun: null\n", Kind::kExperiment), "");
  EXPECT_THAT(
      Problems("kind: group\n", Kind::kExperiment),
      HasSubstr("the override is of kind 'group', but what it overrides is of kind 'experiment'"));
  EXPECT_THAT(Problems("hptuning: {concurrency: 1}\n", Kind::kExperiment),
              HasSubstr("section 'hptuning' cannot be used with kind experiment"));
  EXPECT_THAT(Problems("bogus: 1\n", Kind::kExperiment), HasSubstr("unknown section 'bogus'"));
  EXPECT_EQ(Problems("hptuning: {concurrency: 2}\n", Kind::kGroup), "");
  EXPECT_EQ(Problems("tags: [a]\n", Kind::kJob), "");
}

TEST_F(ValidateTest, AGroupNeedsAMatrix) {
  EXPECT_THAT(Problems("version: 1\nkind: group\n"), HasSubstr("a group needs 'hptuning.matrix'"));
  EXPECT_THAT(OfGroup("{concurrency: 2}"),
              HasSubstr("px.yml:3:1: a group needs 'hptuning.matrix'"));
  EXPECT_THAT(OfGroup("{matrix: {a: {}}}"),
              HasSubstr("needs one and only one form of values, not 0"));
  EXPECT_THAT(OfGroup("{matrix: {a: {values: [1], range: '0:1:1'}}}"),
              HasSubstr("form of values, not 2"));
  EXPECT_THAT(OfGroup("{matrix: {a: {vales: [1]}}}"), HasSubstr("did you mean 'values'?"));
  EXPECT_THAT(OfGroup("{matrix: {a: [1, 2]}}"),
              HasSubstr("must be a mapping such as {values: [1, 2]}"));
}

TEST_F(ValidateTest, DeclaredNamesOfTheMatrixAreExplained) {
  EXPECT_THAT(Problems("version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1]}}}\n"
                       "params: {lr: 7}\n"),
              HasSubstr("px.yml:4:10: 'lr' is in 'params' and in the matrix\n"
                        "  hint: every member of the group would use the declared value"));
}

TEST_F(ValidateTest, SettingsOfOldGroupsAreAccepted) {
  EXPECT_EQ(
      Problems("version: 1\nkind: group\nsettings:\n  concurrency: 2\n  logging: {level: INFO}\n"
               "  matrix: {a: {values: [1]}}\n  random_search: {n_experiments: 1}\n"),
      "");
  EXPECT_THAT(Problems("version: 1\nkind: group\nsettings: {matrix: {a: {values: [1]}}}\n"
                       "hptuning: {matrix: {a: {values: [1]}}}\n"),
              HasSubstr("'matrix' is given in 'settings' and in its own section"));
  EXPECT_THAT(Of("settings: {matrix: {}}\n"),
              HasSubstr("'settings.matrix' cannot be used with kind experiment"));
}

TEST_F(ValidateTest, AlgorithmsExcludeEachOther) {
  EXPECT_THAT(
      OfGroup("{matrix: {a: {values: [1]}}, grid_search: {}, random_search: {n_experiments: 1}}"),
      HasSubstr("Only one search algorithm can be used."));
  EXPECT_THAT(OfGroup("{matrix: {a: {values: [1]}}, random_search: {}}"),
              HasSubstr("random_search needs 'n_experiments'"));
  EXPECT_THAT(OfGroup("{matrix: {a: {values: [1]}}, hyperband: {max_iter: 9, eta: 1}}"),
              HasSubstr("'eta' must be larger than 1"));
  EXPECT_THAT(OfGroup("{matrix: {a: {values: [1]}}, hyperband: {max_iter: 9, eta: 3}}"),
              HasSubstr("'resource' is missing in section 'hptuning.hyperband'"));
  EXPECT_THAT(OfGroup("{matrix: {a: {uniform: '0:1'}}}"),
              HasSubstr("cannot be used with grid search"));
  EXPECT_THAT(OfGroup("{matrix: {a: {normal: '0:1'}}, bo: {n_initial_trials: 1, n_iterations: 1, "
                      "metric: {name: loss}}}"),
              HasSubstr("cannot be used with bayesian optimization"));
  EXPECT_THAT(OfGroup("{matrix: {a: {values: [1]}}, bo: {n_initial_trials: 1, n_iterations: 1, "
                      "metric: {name: loss}, utility_function: {acquisition_function: ei}}}"),
              HasSubstr("the acquisition function `ei` requires a parameter `eps`"));
}

TEST_F(ValidateTest, MatrixFormsAreChecked) {
  const auto form = [&](const std::string& text) {
    return OfGroup("{matrix: {a: {" + text + "}}}");
  };
  EXPECT_THAT(form("values: []"), HasSubstr("at least one value"));
  EXPECT_THAT(form("range: '1:0:1'"), HasSubstr("needs 'stop' to be larger than 'start'"));
  EXPECT_THAT(form("range: [0, 1, 0]"), HasSubstr("needs 'step' to be above 0"));
  EXPECT_THAT(form("range: [0, 1]"), HasSubstr("needs 3 numbers, not 2"));
  EXPECT_THAT(form("range: {start: 0, stop: 1}"), HasSubstr("lacks 'step'"));
  EXPECT_THAT(form("range: {start: 0, stop: 1, stride: 1}"), HasSubstr("unknown field 'stride'"));
  EXPECT_THAT(form("range: '0:x:1'"), HasSubstr("needs a number as 'stop', not 'x'"));
  EXPECT_THAT(form("range: '0:1e9:1'"), HasSubstr("more than 100000 values"));
  EXPECT_THAT(form("linspace: '0:1:2.5'"), HasSubstr("needs 'num' to be an integer"));
  EXPECT_THAT(form("geomspace: '-1:1:3'"), HasSubstr("same side of 0"));
  EXPECT_THAT(form("logspace: '0:1000:3'"), HasSubstr("too large"));
  EXPECT_THAT(form("pvalues: [[a, 0.7], [b, 0.7]]"), HasSubstr("sum to 1.4, more than 1"));
  EXPECT_THAT(form("pvalues: [[a, 2]]"), HasSubstr("a pair [value, probability]"));
  EXPECT_THAT(form("normal: '0:-1'"), HasSubstr("needs 'scale' to be at least 0"));
  EXPECT_THAT(form("quniform: '0:1:0'"), HasSubstr("needs 'q' to be above 0"));
  EXPECT_EQ(form("logspace: {start: 0, stop: 3, num: 4, base: 2}"), "");
  EXPECT_EQ(form("values: '[1, 2]'"), "");
}

TEST(NearestNameTest, FindsTyposOnly) {
  EXPECT_EQ(NearestName("enviroment", {"environment", "run"}), "environment");
  EXPECT_EQ(NearestName("rnu", {"environment", "run"}), "run");
  EXPECT_EQ(NearestName("LR", {"lr"}), "lr");
  EXPECT_EQ(NearestName("xyz", {"environment", "run"}), "");
  EXPECT_EQ(NearestName("a", {"b"}), "");
}

TEST(PointerTest, IsWrittenForPeople) {
  EXPECT_EQ(ToDotted("/environment/worker/0/index"), "environment.worker[0].index");
  EXPECT_EQ(ToDotted(Child(Child("", "a/b~c"), "d")), "a/b~c.d");
  EXPECT_EQ(ToDotted(""), "");
}

}  // namespace
}  // namespace px::spec
