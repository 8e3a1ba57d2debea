// px-launch upload
#include "launcher/session.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

Done Upload(Context& context, const Session& session) {
  PXL_ASSIGN(const catalog::Project project, ResolveProject(context, session));
  PXL_ASSIGN(const std::string name, SnapshotWorkingDirectory(context, project));
  if (session.json) {
    context.out() << spec::Json{{"snapshot", name}, {"path", context.layout().Code(project, name)}}
                  << '\n';
  } else {
    context.out() << "Files uploaded.\n";
  }
  return {};
}

}  // namespace

void AddUpload(CLI::App& app, Session& session) {
  CLI::App* command = AddCommand(app, session, "upload",
                                 "Snapshot the working directory as the project's code.", Upload);
  command->add_option("-p,--project", session.project, "PROJECT or USER/PROJECT.");
}

}  // namespace px::launcher
