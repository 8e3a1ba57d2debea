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

}  // namespace
}  // namespace px::spec
