#include "launcher/code_snapshot.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "base/log.h"
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

constexpr const char* kUnfinished = ".new";

// Everybody who makes a snapshot of this project holds the lock with others. Who gets it alone
// knows that nobody is at it: what is unfinished then was left by somebody who was killed.
Outcome<UniqueFd> LockCode(const Layout& layout, const catalog::Project& project,
                           OutputsFs& outputs) {
  const std::string path = layout.CodeLock(project);
  PXL_TRY(MakeDirs(ParentOf(path)));
  PXL_ASSIGN(UniqueFd lock, OpenFile(path, O_RDWR | O_CREAT, 0644));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    std::error_code error;
    std::vector<std::string> left;
    for (const auto& entry :
         std::filesystem::directory_iterator(ParentOf(layout.Code(project, "1")), error)) {
      if (entry.path().string().ends_with(kUnfinished)) left.push_back(entry.path().string());
    }
    for (const std::string& volume : left) {
      // Space that comes back a little later is no reason to refuse a snapshot.
      if (const Status dropped = outputs.Drop(volume); !dropped) {
        LogWarn("{}", dropped.error().ToString());
      }
    }
  }
  if (::flock(lock.get(), LOCK_SH) != 0) PXL_TRY(Status(FailErrno(path)));
  return lock;
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
  PXL_ASSIGN(const UniqueFd lock, LockCode(layout, project, *outputs));
  const std::string working = layout.Code(project, name + kUnfinished);

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
