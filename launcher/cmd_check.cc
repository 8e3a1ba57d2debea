// px-launch check -f FILE
#include <memory>

#include "launcher/session.h"
#include "launcher/spec/group.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

struct Options {
  std::vector<std::string> files;
  std::vector<std::string> params;
  bool definition = false;
};

Done Check(Context& context, const Session& session, const Options& options) {
  std::vector<std::string> files = options.files;
  if (files.empty()) {
    auto found = spec::DefaultFile(".");
    if (!found) {
      return Refuse(ExitCode::kNotFound, "Polyaxonfile is not present in this directory",
                    "px-launch init PROJECT, or name it with -f FILE");
    }
    files.push_back(std::move(*found));
  }
  spec::Marks marks;
  PXL_ASSIGN(spec::Json raw, ReadSpecFiles(files, marks));
  PXL_ASSIGN(const spec::Json params, spec::ParseParams(options.params, raw));
  raw = spec::Merge(raw, params);
  const auto problems = spec::Validate(raw, {.marks = &marks});
  if (!problems.empty()) {
    return Refuse(ExitCode::kFailed,
                  "Polyaxonfile is not valid\n" + spec::FormatProblems(problems));
  }
  const bool group = raw.value("kind", "") == "group";
  std::string definition = "This polyaxon specification has One experiment";
  spec::Json rendered;
  if (group) {
    PXL_ASSIGN(const spec::GroupSpec parsed, spec::ParseGroup(raw, {.marks = &marks}));
    definition = "This polyaxon specification has a group with " +
                 std::to_string(parsed.concurrency) + " concurrent runs";
    rendered = parsed.raw;
  } else {
    PXL_ASSIGN(const spec::ExperimentSpec parsed, spec::Render(raw, {.marks = &marks}));
    rendered = parsed.rendered;
  }
  if (session.json) {
    context.Answer(rendered);
    return {};
  }
  context.out() << "Polyaxonfile valid\n";
  if (options.definition) context.out() << definition << '\n';
  return {};
}

}  // namespace

void AddCheck(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      AddCommand(app, session, "check", "Check a polyaxonfile without running it.",
                 [options](Context& context, Session& s) { return Check(context, s, *options); });
  AddFiles(*command, options->files, "The polyaxonfile.");
  command->add_option("-P,--params", options->params, "A declaration.")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  command->add_flag("--definition", options->definition, "Say what it would run (-def).");
}

}  // namespace px::launcher
