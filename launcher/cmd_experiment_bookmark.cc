// px-launch experiment -xp N bookmark|unbookmark
#include "launcher/session.h"

namespace px::launcher {
namespace {

Done Bookmark(Context& context, const Session& session, bool bookmarked) {
  PXL_ASSIGN(const catalog::Experiment experiment, ResolveExperiment(context, session));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_TRY(catalog->SetBookmark(experiment.id, bookmarked));
  context.out() << (bookmarked ? "Experiment is bookmarked.\n" : "Experiment is unbookmarked.\n");
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
