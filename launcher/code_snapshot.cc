#include "launcher/code_snapshot.h"

#include <sys/stat.h>

#include <set>

#include "launcher/files.h"
#include "launcher/spec/ignore.h"
#include "launcher/sync_tree.h"

namespace px::launcher {
namespace {

Outcome<spec::IgnoreRules> ReadIgnoreRules(const std::string& directory) {
  const std::string path = directory + "/.polyaxonignore";
  if (!PathExists(path)) return spec::IgnoreRules(spec::DefaultIgnoreText());
  PXL_ASSIGN(const std::string text, ReadFile(path));
  return spec::IgnoreRules(text);
}

// Our own directories, by device and inode: a working directory above them must not snapshot them.
class OwnPlaces {
 public:
  explicit OwnPlaces(const Config& config) {
    for (const std::string& path : {config.store, config.outputs, config.logs}) {
      struct stat status{};
      if (::stat(path.c_str(), &status) == 0) places_.emplace(status.st_dev, status.st_ino);
    }
  }
  bool Contains(const std::string& path) const {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0 && places_.contains({status.st_dev, status.st_ino});
  }

 private:
  std::set<std::pair<dev_t, ino_t>> places_;
};

SyncOptions MakeOptions(const spec::IgnoreRules& rules, const OwnPlaces& own,
                        const std::string& directory) {
  const auto never = [&own, directory](const std::string& path, bool is_directory) {
    return path == ".polyaxon" || (is_directory && own.Contains(directory + "/" + path));
  };
  return {
      .ignored =
          [&rules, never](const std::string& path, bool is_directory) {
            return never(path, is_directory) || rules.IsIgnored(path, is_directory);
          },
      .prune = [&rules, never](
                   const std::string& path) { return never(path, true) || rules.CanPrune(path); }};
}

}  // namespace

Outcome<std::string> TakeCodeSnapshot(Context& context, const catalog::Project& project,
                                      const std::string& directory) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(const spec::IgnoreRules rules, ReadIgnoreRules(directory));
  PXL_ASSIGN(const std::string latest, catalog->LatestCode(project.id));
  PXL_ASSIGN(const std::string name, catalog->ReserveCode(project.id));
  const Layout& layout = context.layout();
  const std::string working = layout.Code(project, name + ".new");

  bool has_base = false;
  if (!latest.empty()) {
    PXL_ASSIGN(has_base, outputs->Exists(layout.Code(project, latest)));
  }
  if (has_base) {
    PXL_TRY(outputs->CloneVolume(layout.Code(project, latest), working, /*read_only=*/false));
  } else {
    PXL_TRY(outputs->CreateVolume(working));
  }
  const OwnPlaces own(context.config());
  const auto changes = SyncTree(directory, working, MakeOptions(rules, own, directory));
  const bool unchanged = has_base && changes && *changes == 0;
  Status sealed;
  if (changes && !unchanged) {
    sealed = outputs->CloneVolume(working, layout.Code(project, name), /*read_only=*/true);
  }
  const Status dropped = outputs->Drop(working);
  if (!changes) return Refuse(changes.error(), "cannot snapshot the code in " + directory);
  PXL_TRY(sealed);
  PXL_TRY(dropped);
  if (unchanged) return latest;
  PXL_TRY(catalog->PublishCode(project.id, name));
  return name;
}

}  // namespace px::launcher
