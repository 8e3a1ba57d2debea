// Groups: the matrix, grid and random search, hyperband.
#include "launcher/spec/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace px::spec {
namespace {

using testing::HasSubstr;

GroupSpec Parse(const std::string& hptuning, const std::string& rest = "") {
  const Result<Json> raw =
      ReadText("version: 1\nkind: group\nhptuning: " + hptuning + "\n" + rest, "px.yml");
  if (!raw) ADD_FAILURE() << raw.error().context();
  const Result<GroupSpec> spec = ParseGroup(*raw);
  if (!spec) ADD_FAILURE() << spec.error().context();
  return spec ? *spec : GroupSpec{};
}

std::string ErrorOf(const std::string& text) {
  Marks marks;
  const Result<Json> raw = ReadText(text, "px.yml", &marks);
  if (!raw) return raw.error().context();
  const Result<GroupSpec> spec = ParseGroup(*raw, {.marks = &marks});
  return spec ? "no error" : spec.error().context();
}

std::string Dump(const std::vector<Json>& list) { return Json(list).dump(); }

// The values of one form.
std::vector<Json> Values(const std::string& form) {
  return Parse("{matrix: {a: {" + form + "}}}").matrix[0].values;
}

void ExpectNear(const std::string& form, const std::vector<double>& expected) {
  const std::vector<Json> values = Values(form);
  ASSERT_EQ(values.size(), expected.size()) << form;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(values[i].get<double>(), expected[i], std::fabs(expected[i]) * 1e-15) << form;
  }
}

// Expected numbers are printed by numpy 2.
TEST(MatrixTest, FormsAreNumpys) {
  EXPECT_EQ(Dump(Values("range: '0:10:3'")), "[0,3,6,9]");
  EXPECT_EQ(
      Dump(Values("range: [0, 1, 0.1]")),
      "[0.0,0.1,0.2,0.30000000000000004,0.4,0.5,0.6000000000000001,0.7000000000000001,0.8,0.9]");
  EXPECT_EQ(Dump(Values("range: {start: 1, stop: 2, step: 0.3}")),
            "[1.0,1.3,1.6,1.9000000000000001]");
  EXPECT_EQ(Dump(Values("linspace: '0.001:0.1:5'")),
            "[0.001,0.025750000000000002,0.0505,0.07525000000000001,0.1]");
  EXPECT_EQ(Dump(Values("linspace: '0:1:1'")), "[0.0]");
  ExpectNear("linspace: '0:1:7'", {0.0, 0.16666666666666666, 0.3333333333333333, 0.5,
                                   0.6666666666666666, 0.8333333333333333, 1.0});
  ExpectNear("logspace: '0.01:0.1:5'", {1.023292992280754, 1.077705253694322, 1.135010815672315,
                                        1.1953635256737185, 1.2589254117941673});
  ExpectNear("logspace: '-4:-1:4'", {0.0001, 0.001, 0.01, 0.1});
  ExpectNear("logspace: '0:3:4:2'", {1, 2, 4, 8});
  ExpectNear("geomspace: '1:1000:4'", {1, 10, 100, 1000});
  ExpectNear("geomspace: [0.001, 0.1, 5]",
             {0.001, 0.0031622776601683794, 0.01, 0.03162277660168379, 0.1});
  ExpectNear("geomspace: [-100, -1, 3]", {-100, -10, -1});
}

TEST(MatrixTest, ValuesKeepTheirTypes) {
  EXPECT_EQ(Dump(Values("values: [1, 2.5, x, true, null, [1], '1']")),
            R"([1,2.5,"x",true,null,[1],"1"])");
}

TEST(GroupTest, FieldsAreRead) {
  const GroupSpec spec = Parse(
      "{seed: 5, concurrency: 3, matrix: {a: {values: [1]}}, early_stopping: "
      "[{metric: loss, value: 0.1, optimization: minimize}, "
      "{metric: acc, policy: {kind: median, evaluation_interval: 2}}]}",
      "name: g\ntags: [x]\n");
  EXPECT_EQ(spec.seed, 5u);
  EXPECT_EQ(spec.concurrency, 3);
  EXPECT_EQ(spec.algorithm, Algorithm::kGrid);
  EXPECT_EQ(spec.name, "g");
  ASSERT_EQ(spec.early_stopping.size(), 2u);
  EXPECT_FALSE(spec.early_stopping[0].metric.maximize);
  EXPECT_EQ(spec.early_stopping[0].policy, "all");
  EXPECT_EQ(spec.early_stopping[1].policy, "median");
  EXPECT_EQ(spec.early_stopping[1].evaluation_interval, 2);
  EXPECT_EQ(Parse("{matrix: {a: {values: [1]}}}").concurrency, 1);
}

TEST(GroupTest, HptuningIsRenderedWithDeclarations) {
  const GroupSpec spec = Parse("{matrix: {lr: {values: '{{ rates }}'}}, concurrency: '{{ n }}'}",
                               "params: {rates: [1, 2], n: 4, scaled: '{{ lr * 10 }}'}\n"
                               "run: {cmd: 'a {{ scaled }}'}\n");
  EXPECT_EQ(spec.concurrency, 4);
  EXPECT_EQ(Dump(Grid(spec)), R"([{"lr":1},{"lr":2}])");
}

TEST(GroupTest, MistakesInMembersAreFoundBeforeTheyRun) {
  EXPECT_THAT(ErrorOf("version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1]}}}\n"
                      "run:\n  cmd: a {{ lrr }}\n"),
              HasSubstr("px.yml:5:3: in 'run.cmd': 'lrr' is not defined; did you mean 'lr'?"));
  EXPECT_THAT(ErrorOf("version: 1\nkind: group\nhptuning: {matrix: {lr: {values: '{{ x }}'}}}\n"),
              HasSubstr("in 'hptuning.matrix.lr.values': 'x' is not defined"));
  EXPECT_THAT(ErrorOf("version: 1\nkind: experiment\n"), HasSubstr("is not of kind group"));
}

TEST(GroupTest, MemberSpecificationsStandAlone) {
  const Result<Json> raw = ReadText(
      "version: 1\nkind: group\nsettings: {matrix: {lr: {values: [1]}}, logging: {level: INFO}}\n"
      "declarations: {a: 1}\nrun: {cmd: 'x {{ lr }}'}\n",
      "px.yml");
  const Json member = MemberSpec(*raw, Json::parse(R"({"lr":0.5})"));
  EXPECT_EQ(
      member.dump(),
      R"({"version":1,"kind":"experiment","declarations":{"a":1,"lr":0.5},"run":{"cmd":"x {{ lr }}"},"logging":{"level":"INFO"}})");
  EXPECT_EQ(Render(member)->cmd, "x 0.5");
}

TEST(GridTest, LastNameChangesFastest) {
  const GroupSpec spec = Parse("{matrix: {a: {values: [1, 2]}, b: {values: [x, y]}}}");
  EXPECT_EQ(GridSize(spec), 4u);
  EXPECT_EQ(Dump(Grid(spec)),
            R"([{"a":1,"b":"x"},{"a":1,"b":"y"},{"a":2,"b":"x"},{"a":2,"b":"y"}])");
}

TEST(GridTest, LimitTakesTheFirst) {
  const GroupSpec spec = Parse("{matrix: {a: {range: '0:10:1'}}, grid_search: {n_experiments: 2}}");
  EXPECT_EQ(Dump(Grid(spec)), R"([{"a":0},{"a":1}])");
}

TEST(GridTest, HugeGridsNeedALimit) {
  const std::string matrix =
      "{matrix: {a: {range: '0:1000:1'}, b: {range: '0:1000:1'}, c: {range: '0:9999:1'}}";
  EXPECT_THAT(ErrorOf("version: 1\nkind: group\nhptuning: " + matrix + "}\n"),
              HasSubstr("makes 9999000000 experiments"));
  EXPECT_EQ(Grid(Parse(matrix + ", grid_search: {n_experiments: 3}}")).size(), 3u);
}

TEST(RandomTest, IsTheSameForTheSameSeed) {
  const std::string text =
      "{seed: 7, matrix: {a: {uniform: '0:1'}, b: {normal: '0:1'}, c: {values: [1, 2, 3]}}, "
      "random_search: {n_experiments: 5}}";
  const GroupSpec spec = Parse(text);
  Rng first = MakeRng(spec, 1);
  Rng second = MakeRng(spec, 2);
  const std::vector<Json> suggestions = RandomSearch(spec, first);
  EXPECT_EQ(suggestions.size(), 5u);
  EXPECT_EQ(Dump(suggestions), Dump(RandomSearch(spec, second)));
  Rng other(8);
  EXPECT_NE(Dump(suggestions), Dump(RandomSearch(spec, other)));
}

TEST(RandomTest, SuggestionsDifferAsLongAsThereAreOthers) {
  const GroupSpec spec = Parse(
      "{matrix: {a: {values: [1, 2]}, b: {pvalues: [[x, 0.999999], [y, 0.000001]]}}, "
      "random_search: {n_experiments: 50}}");
  Rng rng(1);
  const std::vector<Json> suggestions = RandomSearch(spec, rng);
  std::set<std::string> different;
  for (const Json& suggestion : suggestions) different.insert(suggestion.dump());
  EXPECT_EQ(suggestions.size(), 4u);
  EXPECT_EQ(different.size(), 4u);
}

struct Moments {
  double mean = 0;
  double deviation = 0;
  double low = INFINITY;
  double high = -INFINITY;
};

Moments Measure(const std::string& form) {
  const GroupSpec spec = Parse("{matrix: {a: {" + form + "}}, random_search: {n_experiments: 1}}");
  Rng rng(42);
  Moments moments;
  constexpr int kCount = 40000;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = Sample(spec.matrix[0], rng).get<double>();
    moments.mean += value / kCount;
    squares += value * value / kCount;
    moments.low = std::min(moments.low, value);
    moments.high = std::max(moments.high, value);
  }
  moments.deviation = std::sqrt(squares - moments.mean * moments.mean);
  return moments;
}

TEST(RandomTest, DistributionsHaveTheirMoments) {
  const Moments uniform = Measure("uniform: '2:4'");
  EXPECT_NEAR(uniform.mean, 3, 0.02);
  EXPECT_NEAR(uniform.deviation, 2 / std::sqrt(12), 0.02);
  EXPECT_GE(uniform.low, 2);
  EXPECT_LT(uniform.high, 4);
  const Moments normal = Measure("normal: {loc: 5, scale: 2}");
  EXPECT_NEAR(normal.mean, 5, 0.05);
  EXPECT_NEAR(normal.deviation, 2, 0.05);
  const Moments loguniform = Measure("loguniform: [0, 1]");
  EXPECT_NEAR(loguniform.mean, std::exp(1.0) - 1, 0.02);
  EXPECT_GE(loguniform.low, 1);
  const Moments lognormal = Measure("lognormal: [0, 0.5]");
  EXPECT_NEAR(lognormal.mean, std::exp(0.125), 0.02);
  const Moments pvalues = Measure("pvalues: [[0, 0.25], [1, 0.25]]");  // the rest goes to the last
  EXPECT_NEAR(pvalues.mean, 0.75, 0.02);
}

TEST(RandomTest, QuantizedValuesAreMultiples) {
  for (const char* form : {"quniform: '0:10:0.5'", "qnormal: '0:10:0.5'", "qloguniform: '0:3:0.5'",
                           "qlognormal: '0:1:0.5'"}) {
    const GroupSpec spec =
        Parse("{matrix: {a: {" + std::string(form) + "}}, random_search: {n_experiments: 1}}");
    Rng rng(3);
    for (int i = 0; i < 200; ++i) {
      const double value = Sample(spec.matrix[0], rng).get<double>();
      EXPECT_EQ(value * 2, std::floor(value * 2)) << form;
    }
  }
}

// The table of the paper for R = 81, eta = 3, with its later formula for n (34 and 15, not 27 and
// 9).
TEST(HyperbandTest, BracketsAreThePapers) {
  const std::vector<Bracket> brackets = HyperbandBrackets(81, 3);
  ASSERT_EQ(brackets.size(), 5u);
  const std::vector<std::vector<std::pair<int, int>>> expected = {
      {{81, 1}, {27, 3}, {9, 9}, {3, 27}, {1, 81}},
      {{34, 3}, {11, 9}, {3, 27}, {1, 81}},
      {{15, 9}, {5, 27}, {1, 81}},
      {{8, 27}, {2, 81}},
      {{5, 81}},
  };
  GroupSpec spec;
  spec.hyperband.resource_is_int = true;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(brackets[i].s, static_cast<int>(4 - i));
    ASSERT_EQ(brackets[i].rungs.size(), expected[i].size());
    for (size_t j = 0; j < expected[i].size(); ++j) {
      const Rung& rung = brackets[i].rungs[j];
      EXPECT_EQ(rung.n_configs, expected[i][j].first);
      EXPECT_EQ(ResourceValue(spec, rung), expected[i][j].second);
      const bool last = j + 1 == expected[i].size();
      EXPECT_EQ(rung.n_keep, last ? 0 : expected[i][j + 1].first);
    }
  }
}

TEST(HyperbandTest, PowersAreNotMissedByRounding) {
  EXPECT_EQ(HyperbandBrackets(243, 3).size(), 6u);  // log(243) / log(3) is 4.999999999999999
  EXPECT_EQ(HyperbandBrackets(1000, 10).size(), 4u);
  EXPECT_EQ(HyperbandBrackets(1, 3).size(), 1u);
  EXPECT_TRUE(HyperbandBrackets(81, 1).empty());
}

TEST(HyperbandTest, ResourceIsADeclarationOfMembers) {
  const GroupSpec spec = Parse(
      "{matrix: {lr: {uniform: '0:1'}}, hyperband: {max_iter: 9, eta: 3, resume: true, "
      "resource: {name: steps, type: int}, metric: {name: loss, optimization: minimize}}}",
      "run: {cmd: 'a {{ lr }} {{ steps }}'}\n");
  EXPECT_EQ(spec.algorithm, Algorithm::kHyperband);
  EXPECT_TRUE(spec.hyperband.resume);
  EXPECT_FALSE(spec.hyperband.metric.maximize);
  EXPECT_EQ(ResourceValue(spec, HyperbandBrackets(9, 3)[0].rungs[1]).dump(), "3");
}

TEST(HyperbandTest, BestTrialsKeepTheirOrderInTies) {
  const std::vector<Trial> trials = {{{}, 0.5}, {{}, NAN}, {{}, 0.9}, {{}, 0.5}, {{}, 0.1}};
  EXPECT_EQ(BestTrials(trials, true, 3), (std::vector<size_t>{2, 0, 3}));
  EXPECT_EQ(BestTrials(trials, false, 2), (std::vector<size_t>{4, 0}));
  EXPECT_EQ(BestTrials(trials, true, 99).size(), 4u);
}

}  // namespace
}  // namespace px::spec
