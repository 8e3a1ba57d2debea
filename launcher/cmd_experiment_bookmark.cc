// px-launch experiment -xp N bookmark|unbookmark
#include "launcher/describe.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Bookmark(Context& context, const Session& session, bool bookmarked) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->SetBookmark(experiment.id, bookmarked));
  context.Say(TitleOf(experiment.kind) + (bookmarked ? " is bookmarked." : " is unbookmarked."),
              {{"id", experiment.number}, {"bookmarked", bookmarked}});
  return {};
}

}  // namespace

void AddExperimentBookmark(CLI::App& experiment, Session& session) {
  AddCommand(experiment, session, "bookmark", "Mark it, for lists with --bookmarked.",
             [](Context& context, Session& s) { return Bookmark(context, s, true); });
  AddCommand(experiment, session, "unbookmark", "Take the mark away.",
             [](Context& context, Session& s) { return Bookmark(context, s, false); });
}

}  // namespace px::launcher
