// px-launch tree [N]
#include <memory>

#include "launcher/describe.h"
#include "launcher/reconcile.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

using catalog::Experiment;

std::string Label(const Experiment& e) {
  std::string text = std::to_string(e.number) + " " + std::string(StateName(e.state));
  if (e.is_clone()) text += " (" + std::string(StrategyName(e.strategy)) + ")";
  if (!e.last_message.empty()) text += ": " + e.last_message;
  return text;
}

class TreePrinter {
 public:
  TreePrinter(Context& context, catalog::Catalog& catalog) : context_(context), catalog_(catalog) {}

  Done Print(const Experiment& experiment, const std::string& indent) {
    PXL_ASSIGN(const auto clones, catalog_.ClonesOf(experiment.id));
    for (size_t i = 0; i < clones.size(); ++i) {
      const bool last = i + 1 == clones.size();
      context_.out() << indent << (last ? "└─ " : "├─ ") << Label(clones[i]) << '\n';
      PXL_TRY(Print(clones[i], indent + (last ? "   " : "│  ")));
    }
    return {};
  }

  Outcome<spec::Json> ToJson(const Experiment& experiment) {
    PXL_ASSIGN(const auto clones, catalog_.ClonesOf(experiment.id));
    spec::Json json = ExperimentJson(experiment, context_.layout());
    json["clones"] = spec::Json::array();
    for (const Experiment& clone : clones) {
      PXL_ASSIGN(spec::Json below, ToJson(clone));
      json["clones"].push_back(std::move(below));
    }
    return json;
  }

 private:
  Context& context_;
  catalog::Catalog& catalog_;
};

// From what everything it descends from began with; stops where an original was deleted.
Outcome<Experiment> Ancestor(catalog::Catalog& catalog, Experiment experiment) {
  while (experiment.original) {
    PXL_ASSIGN(experiment, catalog.GetExperiment(experiment.original));
  }
  return experiment;
}

Done Tree(Context& context, Session& session, int64_t number) {
  if (number != 0) session.experiment = number;
  PXL_ASSIGN(const Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(const Experiment top, Ancestor(*catalog, experiment));
  TreePrinter printer(context, *catalog);
  if (session.json) {
    PXL_ASSIGN(const spec::Json json, printer.ToJson(top));
    context.Answer(json);
    return {};
  }
  context.out() << Label(top) << '\n';
  return printer.Print(top, "");
}

}  // namespace

void AddTree(CLI::App& app, Session& session) {
  auto number = std::make_shared<int64_t>(0);
  CLI::App* command =
      AddCommand(app, session, "tree", "Show what an experiment came from and what came of it.",
                 [number](Context& context, Session& s) { return Tree(context, s, *number); });
  command->add_option("NUMBER", *number, "The experiment; the current one without it.")
      ->check(CLI::PositiveNumber);
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
}

}  // namespace px::launcher
