// Rendering: declarations, templates in sections, overrides.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

using testing::HasSubstr;

class RenderTest : public testing::Test {
 protected:
  // The raw specification of a YAML text.
  Json Raw(const std::string& yaml) {
    Result<Json> raw = ReadText(yaml, "px.yml", &marks_);
    if (!raw) ADD_FAILURE() << raw.error().context();
    return raw ? *raw : Json::object();
  }
  ExperimentSpec Rendered(const std::string& yaml) { return RenderedRaw(Raw(yaml)); }
  ExperimentSpec RenderedRaw(const Json& raw) {
    Result<ExperimentSpec> spec = Render(raw, {.marks = &marks_});
    if (!spec) ADD_FAILURE() << spec.error().context();
    return spec ? *spec : ExperimentSpec{};
  }
  std::string ErrorOf(const std::string& yaml) {
    const Result<ExperimentSpec> spec = Render(Raw(yaml), {.marks = &marks_});
    EXPECT_TRUE(spec || spec.error().code() == EINVAL);
    return spec ? "no error" : spec.error().context();
  }
  Json Declared(const std::string& declarations) {
    return Rendered("version: 1\nkind: experiment\ndeclarations:\n" + declarations).declarations;
  }

  Marks marks_;
};

TEST_F(RenderTest, CommandUsesDeclarations) {
  const ExperimentSpec spec = Rendered(
      "version: 1\nkind: experiment\ndeclarations: {lr: 0.01, layers: [64, 32]}\n"
      "run:\n  cmd: python train.py --lr={{ lr }} --first={{ layers[0] }}\n");
  EXPECT_EQ(spec.cmd, "python train.py --lr=0.01 --first=64");
  EXPECT_EQ(spec.kind, Kind::kExperiment);
  EXPECT_EQ(spec.declarations.dump(), R"({"lr":0.01,"layers":[64,32]})");
}

TEST_F(RenderTest, OverriddenDeclarationChangesTheCommand) {
  const Json base =
      Raw("version: 1\nkind: experiment\ndeclarations:\n  lr: 0.01\n"
          "run:\n  cmd: python train.py --lr={{ lr }}\n");
  EXPECT_EQ(RenderedRaw(base).cmd, "python train.py --lr=0.01");
  const ExperimentSpec spec = RenderedRaw(Merge(base, Raw("declarations: {lr: 0.1}\n")));
  EXPECT_EQ(spec.cmd, "python train.py --lr=0.1");
  EXPECT_EQ(spec.declarations["lr"], 0.1);
}

TEST_F(RenderTest, OverrideMayUseTheOtherNameOfDeclarations) {
  const Json base =
      Raw("version: 1\nkind: experiment\ndeclarations: {lr: 0.01}\nrun: {cmd: 'a {{ lr }}'}\n");
  EXPECT_EQ(RenderedRaw(Merge(base, Raw("params: {lr: 5}\n"))).cmd, "a 5");
}

TEST_F(RenderTest, UndefinedNameIsAnErrorWithPlaceAndNearestName) {
  const std::string error = ErrorOf(
      "version: 1\nkind: experiment\ndeclarations: {learning_rate: 1}\nrun:\n"
      "  cmd: python train.py {{ learning_rte }}\n");
  EXPECT_THAT(error, HasSubstr("px.yml:5:3: in 'run.cmd': 'learning_rte' is not defined; did you "
                               "mean 'learning_rate'?"));
}

TEST_F(RenderTest, DeclaredTextIsReadAsALiteral) {
  EXPECT_EQ(
      Declared("  a: '1e-3'\n  b: 'True'\n  c: '[1,2]'\n  d: '007'\n  e: adam\n  f: 'None'\n"
               "  g: [\"1\", {x: '2.5'}]\n  h: '\"5\"'\n")
          .dump(),
      R"({"a":0.001,"b":true,"c":[1,2],"d":"007","e":"adam","f":null,"g":[1,{"x":2.5}],"h":"5"})");
}

TEST_F(RenderTest, DeclarationsReferToEachOtherInAnyOrder) {
  EXPECT_EQ(Declared("  c: '{{ b + 1 }}'\n  b: '{{ a * 2 }}'\n  a: 5\n  d: 'x{{ a }}'\n").dump(),
            R"({"c":11,"b":10,"a":5,"d":"x5"})");
  EXPECT_EQ(
      Declared("  net: {layers: [8, 16]}\n  last: '{{ net.layers[-1] }}'\n  copy: '{{ net }}'\n")
          .dump(),
      R"({"net":{"layers":[8,16]},"last":16,"copy":{"layers":[8,16]}})");
}

TEST_F(RenderTest, KeysAreRenderedToo) {
  EXPECT_EQ(Declared("  a: x\n  m: {'k_{{ a }}': 1}\n").dump(), R"({"a":"x","m":{"k_x":1}})");
  EXPECT_THAT(
      ErrorOf("version: 1\nkind: experiment\ndeclarations: {a: x, m: {x: 1, '{{ a }}': 2}}\n"),
      HasSubstr("the key 'x' appears twice after rendering"));
}

TEST_F(RenderTest, CirclesAreNamed) {
  const std::string error = ErrorOf(
      "version: 1\nkind: experiment\ndeclarations:\n  a: '{{ b }}'\n  b: '{{ c }}'\n  c: '{{ a "
      "}}'\n");
  EXPECT_THAT(error, HasSubstr("declarations refer to each other in a circle: a -> b -> c -> a"));
  EXPECT_THAT(ErrorOf("version: 1\nkind: experiment\ndeclarations: {a: '{{ a }}'}\n"),
              HasSubstr("circle: a -> a"));
}

TEST_F(RenderTest, LongChainsOfDeclarationsAreErrors) {
  std::string text = "version: 1\nkind: experiment\ndeclarations:\n  d0: 1\n";
  for (int i = 60; i > 0; --i) {
    text += "  d" + std::to_string(i) + ": '{{ d" + std::to_string(i - 1);
    for (int j = 0; j < 90; ++j) text += "+1";
    text += " }}'\n";
  }
  EXPECT_THAT(ErrorOf(text), HasSubstr("declarations refer to each other too deeply"));
}

TEST_F(RenderTest, MessagesCutBetweenCharacters) {
  std::string text = "version: 1\nkind: experiment\nrun:\n  cmd: '{{ ";
  for (int i = 0; i < 30; ++i) text += "\u00e9 ";
  Json(ErrorOf(text + "'\n")).dump();  // would throw
  Json(ErrorOf(text + "}}'\n")).dump();
  EXPECT_EQ(Rendered("version: 1\nkind: experiment\nparams: {gr\u00f6\u00dfe: 1}\n"
                     "run: {cmd: '{{ gr\u00f6\u00dfe }}'}\n")
                .cmd,
            "1");
}

TEST_F(RenderTest, AFailedDeclarationIsReportedOnce) {
  const std::string error = ErrorOf(
      "version: 1\nkind: experiment\ndeclarations: {a: '{{ zz }}', b: '{{ a }}'}\n"
      "run: {cmd: '{{ a }} {{ b }}'}\n");
  EXPECT_THAT(error, HasSubstr("in 'declarations.a': 'zz' is not defined"));
  EXPECT_EQ(error.find("zz"), error.rfind("'zz'") + 1) << error;
}

TEST_F(RenderTest, AllUndefinedNamesAreReportedTogether) {
  const std::string error =
      ErrorOf("version: 1\nkind: experiment\nrun:\n  cmd: '{{ one }}'\nname: '{{ two }}'\n");
  EXPECT_THAT(error, HasSubstr("px.yml:4:3: in 'run.cmd': 'one' is not defined"));
  EXPECT_THAT(error, HasSubstr("px.yml:5:1: in 'name': 'two' is not defined"));
}

TEST_F(RenderTest, CommandStaysText) {
  const std::string head = "version: 1\nkind: experiment\n";
  EXPECT_EQ(Rendered(head + "run: {cmd: '[1, 2]'}\n").cmd, "[1, 2]");
  EXPECT_EQ(Rendered(head + "run: {cmd: '5'}\n").cmd, "5");
  EXPECT_EQ(Rendered(head + "declarations: {a: [1]}\nrun: {cmd: '{{ a }}'}\n").cmd, "[1]");
  EXPECT_THAT(ErrorOf(head + "run: {cmd: 5}\n"), HasSubstr("'run.cmd' must be text or a list"));
}

TEST_F(RenderTest, RenderedTextIsNoTemplateAgain) {
  EXPECT_EQ(Rendered("version: 1\nkind: experiment\ndeclarations: {a: \"{{ '{{' }} b }}\"}\n"
                     "run: {cmd: 'echo {{ a }}'}\n")
                .cmd,
            "echo {{ b }}");
}

TEST_F(RenderTest, SpacesInCommandsStayAsWritten) {
  const std::string head = "version: 1\nkind: experiment\nrun:\n  cmd: ";
  EXPECT_EQ(Rendered(head + "'echo \"b  c\"   d'\n").cmd, "echo \"b  c\"   d");
  EXPECT_EQ(Rendered(head + "['cd x', 'python  a.py', \"b\\n\"]\n").cmd,
            "cd x && python  a.py && b");
  EXPECT_EQ(Rendered(head + "|\n    a\n    b\n").cmd, "a\nb");
}

TEST_F(RenderTest, BackslashesOfJoinedLinesAreDropped) {
  const std::string head = "version: 1\nkind: experiment\nrun:\n  cmd: ";
  // The way the documentation of Polyaxon writes long commands: YAML joins the lines.
  EXPECT_EQ(Rendered(head + "python train.py \\\n    --lr=1 \\\n    --n=2\n").cmd,
            "python train.py  --lr=1  --n=2");
  EXPECT_EQ(Rendered(head + "|\n    a \\\n      b\n").cmd, "a \\\n  b");
  EXPECT_EQ(Rendered(head + "\"echo a\\\\ b '\\\\ ' \\\" \\\\\\\\ \\\"\"\n").cmd,
            "echo a\\ b '\\ ' \" \\\\ \"");
}

TEST_F(RenderTest, EnvironmentIsExtracted) {
  const ExperimentSpec spec = Rendered(R"(
version: 1
kind: experiment
name: my-run
description: words
tags: [a, b]
framework: pytorch
backend: native
logging: {level: debug}
params: {gpus: 2}
environment:
  resources:
    cpu: {requests: 0.5, limits: 2}
    memory: {limits: 1024}
    gpu: {limits: "{{ gpus }}"}
  max_restarts: 3
  node_selectors: {node: big}
  replicas: {n_workers: 4, n_ps: 1}
  outputs: {experiments: [1, other], jobs: [7]}
  persistence: {data: [d1], outputs: o1}
build:
  image: tensorflow/tensorflow:1.4
  build_steps: [pip install x]
  env_vars: [[A, 1], [B, true]]
  nocache: yes
)");
  EXPECT_EQ(spec.name, "my-run");
  EXPECT_EQ(spec.tags, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(spec.framework, "pytorch");
  EXPECT_EQ(spec.logging_level, "DEBUG");
  const Environment& environment = spec.environment;
  EXPECT_EQ(environment.resources.cpu.requests, 0.5);
  EXPECT_EQ(environment.resources.cpu.limits, 2);
  EXPECT_FALSE(environment.resources.memory.requests);
  EXPECT_EQ(environment.resources.memory.limits, 1024);
  EXPECT_EQ(environment.resources.gpu.limits, 2);
  EXPECT_EQ(environment.max_restarts, 3);
  EXPECT_EQ(environment.node_selector.dump(), R"({"node":"big"})");
  EXPECT_EQ(environment.replicas.n_workers, 4);
  EXPECT_EQ(environment.replicas.n_ps, 1);
  EXPECT_EQ(environment.outputs_experiments, (std::vector<Json>{1, "other"}));
  EXPECT_EQ(environment.outputs_jobs, (std::vector<Json>{7}));
  EXPECT_EQ(environment.persistence_data, (std::vector<std::string>{"d1"}));
  ASSERT_TRUE(spec.build);
  EXPECT_EQ(spec.build->image, "tensorflow/tensorflow:1.4");
  EXPECT_EQ(spec.build->env_vars,
            (std::vector<std::pair<std::string, std::string>>{{"A", "1"}, {"B", "True"}}));
  EXPECT_TRUE(spec.build->nocache);
  EXPECT_EQ(spec.rendered["environment"]["resources"]["gpu"]["limits"], 2);
}

TEST_F(RenderTest, OldFrameworkSectionsAreReplicas) {
  const ExperimentSpec spec = Rendered(
      "version: 1\nkind: experiment\nenvironment:\n  tensorflow:\n    n_workers: 2\n"
      "    default_worker_resources: {cpu: {limits: 1}}\n    worker_resources: [{index: 1, gpu: "
      "{limits: 1}}]\n");
  EXPECT_EQ(spec.framework, "tensorflow");
  EXPECT_EQ(
      spec.environment.replicas.raw.dump(),
      R"({"n_workers":2,"default_worker":{"resources":{"cpu":{"limits":1}}},"worker":[{"index":1,"resources":{"gpu":{"limits":1}}}]})");
}

TEST_F(RenderTest, WrongValuesAfterRenderingAreErrors) {
  EXPECT_THAT(
      ErrorOf("version: 1\nkind: experiment\ndeclarations: {g: lots}\nenvironment:\n"
              "  resources:\n    gpu: {limits: '{{ g }}'}\n"),
      HasSubstr("px.yml:6:11: 'environment.resources.gpu.limits' must be a number, not text"));
  EXPECT_THAT(
      ErrorOf("version: 1\nkind: experiment\nenvironment: {resources: {gpu: {limits: 1.5}}}\n"),
      HasSubstr("must be whole devices, or a fraction of one, not 1.5"));
  EXPECT_THAT(ErrorOf("version: 1\nkind: experiment\nenvironment: {resources: {cpu: {requests: 2, "
                      "limits: 1}}}\n"),
              HasSubstr("requests 2, which is more than its limit of 1"));
}

TEST_F(RenderTest, NullSectionsAreAbsent) {
  const Json base =
      Raw("version: 1\nkind: experiment\nenvironment: {resources: {gpu: {limits: 1}}}\nrun: {cmd: "
          "x}\n");
  const ExperimentSpec spec = RenderedRaw(Merge(base, Raw("environment: null\nrun:\n")));
  EXPECT_FALSE(spec.environment.resources.gpu.limits);
  EXPECT_EQ(spec.cmd, "");
}

TEST_F(RenderTest, MatrixValuesAreDeclarations) {
  const Json raw =
      Raw("version: 1\nkind: group\nhptuning: {matrix: {lr: {values: [1, 2]}}}\n"
          "params: {twice: '{{ lr * 2 }}'}\nrun: {cmd: 'a {{ lr }} {{ twice }}'}\n");
  Json matrix = Json::object();
  matrix["lr"] = 2;
  const Result<ExperimentSpec> spec = Render(raw, {.matrix = matrix});
  ASSERT_TRUE(spec) << spec.error().context();
  EXPECT_EQ(spec->kind, Kind::kExperiment);
  EXPECT_EQ(spec->cmd, "a 2 4");
  EXPECT_EQ(spec->declarations.dump(), R"({"twice":4,"lr":2})");
  EXPECT_FALSE(spec->rendered.contains("hptuning"));
}

TEST_F(RenderTest, InputsGiveDefaultsAndRequirements) {
  const std::string head =
      "version: 1\nkind: experiment\ninputs:\n  - {name: lr, type: float, default: 0.1}\n"
      "  - {name: data, type: str}\nrun: {cmd: '{{ data }} {{ lr }}'}\n";
  EXPECT_EQ(Rendered(head + "params: {data: d}\n").cmd, "d 0.1");
  EXPECT_THAT(ErrorOf(head), HasSubstr("Input data is required, no param was passed."));
  EXPECT_THAT(ErrorOf(head + "params: {data: d, lrr: 1}\n"),
              HasSubstr("Received unexpected params `lrr`.\n  hint: did you mean 'lr'?"));
}

TEST_F(RenderTest, ParamsFromTheCommandLineBecomeLiterals) {
  const Json base =
      Raw("version: 1\nkind: experiment\ndeclarations: {lr: 1, on: false}\nrun: {cmd: 'a {{ lr }} "
          "{{ l }}'}\n");
  const Result<Json> params = ParseParams({"lr=1e-3", "on=True", "l=[1, 2]", "e=", "f=a=b"}, base);
  ASSERT_TRUE(params);
  EXPECT_TRUE(params->contains("declarations"));
  const ExperimentSpec spec = RenderedRaw(Merge(base, *params));
  EXPECT_EQ(spec.cmd, "a 0.001 [1, 2]");
  EXPECT_EQ(spec.declarations.dump(), R"({"lr":0.001,"on":true,"l":[1,2],"e":"","f":"a=b"})");
}

TEST_F(RenderTest, AJobNeedsACommand) {
  EXPECT_EQ(Rendered("version: 1\nkind: job\nrun: {cmd: x}\n").kind, Kind::kJob);
  EXPECT_THAT(ErrorOf("version: 1\nkind: job\n"), HasSubstr("a job needs section 'run'"));
  EXPECT_THAT(ErrorOf("version: 1\nkind: job\nrun: {cmd: ''}\n"), HasSubstr("is empty"));
}

TEST_F(RenderTest, ABuildMayHaveItsFieldsAtTheTop) {
  EXPECT_EQ(Rendered("version: 1\nkind: build\nimage: a:1\n").build->image, "a:1");
  EXPECT_EQ(Rendered("version: 1\nkind: build\nbuild: {image: a:2}\n").build->image, "a:2");
}

}  // namespace
}  // namespace px::spec
