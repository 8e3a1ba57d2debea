#include "tests/testing/dir_outputs_fs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/files.h"
#include "launcher/process.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

// Snapshots lie beside the volume, so that its content is only what jobs wrote:
// PATH.snapshots/NAME.
std::string PlaceOf(const std::string& path, const std::string& name) {
  return path + ".snapshots/" + name;
}

Status CopyTree(const std::string& from, const std::string& to) {
  PX_TRY(launcher::MakeDirs(launcher::ParentOf(to)));
  if (launcher::PathExists(to)) return Fail(EEXIST, to);
  if (!launcher::PathExists(from)) return Fail(ENOENT, from);
  // Atomic, as the real one is: a caller that is killed leaves a cp behind, which goes on.
  const std::string temporary =
      launcher::ParentOf(to) + "/.copy-" + std::to_string(::getpid()) + "-" + launcher::NameOf(to);
  PX_ASSIGN(const launcher::Finished copied, launcher::RunProgram({"cp", "-a", from, temporary}));
  if (copied.exit_code < 0) return Fail(EIO, "cp was killed");
  if (copied.exit_code != 0) return Fail(EIO, copied.output);
  if (::rename(temporary.c_str(), to.c_str()) != 0) return FailErrno(to);
  return {};
}

}  // namespace

Status DirOutputsFs::CreateVolume(const std::string& path) {
  PX_TRY(launcher::MakeDirs(launcher::ParentOf(path)));
  if (::mkdir(path.c_str(), 0755) != 0) return FailErrno(path);
  return {};
}

Status DirOutputsFs::CloneVolume(const std::string& source, const std::string& destination, bool) {
  return CopyTree(source, destination);
}

Status DirOutputsFs::Snapshot(const std::string& path, const std::string& name) {
  return CopyTree(path, PlaceOf(path, name));
}

Status DirOutputsFs::DropSnapshot(const std::string& path, const std::string& name) {
  return Drop(PlaceOf(path, name));
}

Status DirOutputsFs::Drop(const std::string& path) {
  if (!launcher::PathExists(path)) return Fail(ENOENT, path);
  std::error_code error;
  fs::remove_all(path, error);
  fs::remove_all(path + ".snapshots", error);
  return {};
}

Status DirOutputsFs::Trash(const std::string& path) {
  if (!launcher::PathExists(path)) return Fail(ENOENT, path);
  const std::string trash = launcher::ParentOf(path) + "/.trash/";
  PX_TRY(launcher::MakeDirs(trash));
  int number = 1;
  while (launcher::PathExists(trash + launcher::NameOf(path) + "-" + std::to_string(number))) {
    ++number;
  }
  const std::string place = trash + launcher::NameOf(path) + "-" + std::to_string(number);
  if (::rename(path.c_str(), place.c_str()) != 0) return FailErrno(path);
  std::error_code error;
  fs::remove_all(path + ".snapshots", error);
  return {};
}

std::string DirOutputsFs::HowToGetBack(const std::string& path) {
  return "mv " + launcher::ParentOf(path) + "/.trash/" + launcher::NameOf(path) + "-1 " + path;
}

std::string DirOutputsFs::SnapshotPath(const std::string& path, const std::string& name) {
  return PlaceOf(path, name);
}

Result<std::vector<std::string>> DirOutputsFs::Snapshots(const std::string& path) {
  return launcher::ListNames(path + ".snapshots");
}

Result<std::vector<launcher::FileVersion>> DirOutputsFs::Versions(const std::string& file) {
  return Fail(ENOTTY, file);
}

Status DirOutputsFs::RestoreVersion(const std::string& file, uint64_t) {
  return Fail(ENOTTY, file);
}

Result<std::vector<launcher::Difference>> DirOutputsFs::Diff(const std::string& from,
                                                             const std::string& to) {
  std::vector<launcher::Difference> differences;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(to, error)) {
    if (entry.is_directory()) continue;
    const std::string path = fs::relative(entry.path(), to).string();
    const auto size = static_cast<int64_t>(entry.file_size());
    const auto before = launcher::ReadFile(from + "/" + path);
    if (!before) {
      differences.push_back({path, "added", size});
    } else if (*before != launcher::ReadFile(entry.path().string()).value_or("")) {
      differences.push_back({path, "modified", size});
    }
  }
  for (const auto& entry : fs::recursive_directory_iterator(from, error)) {
    if (entry.is_directory()) continue;
    const std::string path = fs::relative(entry.path(), from).string();
    if (!launcher::PathExists(to + "/" + path)) differences.push_back({path, "removed", 0});
  }
  if (error) return Fail(error.value(), from);
  return differences;
}

Result<launcher::VolumeUsage> DirOutputsFs::Usage(const std::string& path) {
  std::error_code error;
  launcher::VolumeUsage usage;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    ++usage.entries;
    if (entry.is_regular_file() && !entry.is_symlink()) usage.logical_bytes += entry.file_size();
  }
  if (error) return Fail(error.value(), path);
  return usage;
}

Result<bool> DirOutputsFs::Exists(const std::string& path) {
  return fs::is_directory(fs::symlink_status(path));
}

}  // namespace px::testing
