#include "launcher/rename_project.h"

#include <cstdio>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/local_cache.h"
#include "launcher/reconcile.h"

namespace px::launcher {
namespace {

Done Move(const std::string& from, const std::string& to) {
  // Not there: nothing was ever run, or an earlier call came this far.
  if (!PathExists(from)) return {};
  if (::rename(from.c_str(), to.c_str()) != 0) {
    PXL_TRY(Status(FailErrno("rename " + from + " to " + to)));
  }
  return {};
}

Done CheckIdle(catalog::Catalog& catalog, const catalog::Project& project) {
  PXL_ASSIGN(const auto unfinished, catalog.Unfinished());
  for (const catalog::Experiment& one : unfinished) {
    if (one.project != project.id) continue;
    return Refuse(ExitCode::kBusy,
                  "cannot rename project " + project.user + "/" + project.name + ": " +
                      NameFor(one) + " is " + std::string(StateName(one.state)),
                  CommandFor(one) + " stop");
  }
  return {};
}

}  // namespace

Done RenameProject(Context& context, const catalog::Project& project, const std::string& name) {
  if (!IsName(name)) {
    return Refuse(ExitCode::kUsage, "'" + name + "' is no project name",
                  "use letters, digits, - and _");
  }
  PXL_TRY(Reconcile(context));
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  if (catalog->FindProject(project.user, name)) {
    return Refuse(ExitCode::kFailed, "there is a project " + project.user + "/" + name + " already",
                  "choose another name");
  }
  PXL_TRY(CheckIdle(*catalog, project));
  PXL_TRY(context.Outputs());
  const Layout& layout = context.layout();
  PXL_TRY(Move(layout.Project(project.user, project.name), layout.Project(project.user, name)));
  const std::string logs = layout.logs() + "/" + project.user + "/";
  PXL_TRY(Move(logs + project.name, logs + name));
  catalog::Project renamed = project;
  renamed.name = name;
  PXL_TRY(catalog->UpdateProject(renamed));
  RenameCachedProject(project, name);
  return {};
}

}  // namespace px::launcher
