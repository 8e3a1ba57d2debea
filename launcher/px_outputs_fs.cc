#include "launcher/px_outputs_fs.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launcher/files.h"
#include "uapi/px_ioctl.h"

namespace px::launcher {
namespace {

Result<UniqueFd> OpenDir(const std::string& path) { return OpenFile(path, O_RDONLY | O_DIRECTORY); }

template <typename Argument>
Status Control(int fd, unsigned long request, Argument* argument, const std::string& what) {
  if (::ioctl(fd, request, argument) == 0) return {};
  if (errno == ENOTTY) return Fail(ENOTTY, what + ": not on a px filesystem");
  return FailErrno(what);
}

Status SetName(char (&field)[PX_NAME_MAX + 1], const std::string& name) {
  if (name.empty() || name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG, name);
  std::memcpy(field, name.data(), name.size());
  return {};
}

// A call on the parent directory of `path` that takes the last part of its name.
Status OnParent(const std::string& path, unsigned long request, const std::string& what) {
  PX_ASSIGN(const UniqueFd parent, OpenDir(ParentOf(path)));
  px_ioc_name argument{};
  PX_TRY(SetName(argument.name, NameOf(path)));
  return Control(parent.get(), request, &argument, what + " " + path);
}

Status OnVolume(const std::string& path, const std::string& name, unsigned long request,
                const std::string& what) {
  PX_ASSIGN(const UniqueFd volume, OpenDir(path));
  px_ioc_name argument{};
  PX_TRY(SetName(argument.name, name));
  return Control(volume.get(), request, &argument, what + " " + path);
}

}  // namespace

Status PxOutputsFs::CreateVolume(const std::string& path) {
  PX_TRY(MakeDirs(ParentOf(path)));
  return OnParent(path, PX_IOC_CREATE, "make volume");
}

Status PxOutputsFs::CloneVolume(const std::string& source, const std::string& destination,
                                bool read_only) {
  PX_TRY(MakeDirs(ParentOf(destination)));
  PX_ASSIGN(const UniqueFd from, OpenDir(source));
  PX_ASSIGN(const UniqueFd parent, OpenDir(ParentOf(destination)));
  px_ioc_clone argument{};
  PX_TRY(SetName(argument.name, NameOf(destination)));
  argument.flags = read_only ? PX_VOLUME_READONLY : 0;
  PX_TRY(Control(from.get(), PX_IOC_TOKEN, &argument.source, "open volume " + source));
  return Control(parent.get(), PX_IOC_CLONE, &argument, "clone " + source + " to " + destination);
}

Status PxOutputsFs::Snapshot(const std::string& path, const std::string& name) {
  return OnVolume(path, name, PX_IOC_SNAPSHOT, "snapshot " + name + " of");
}

Status PxOutputsFs::DropSnapshot(const std::string& path, const std::string& name) {
  return OnVolume(path, name, PX_IOC_SNAPSHOT_DROP, "drop snapshot " + name + " of");
}

Status PxOutputsFs::Drop(const std::string& path) { return OnParent(path, PX_IOC_DROP, "drop"); }

Status PxOutputsFs::Trash(const std::string& path) {
  return OnParent(path, PX_IOC_TRASH, "put into the trash");
}

std::string PxOutputsFs::HowToGetBack(const std::string& path) { return "px-fs undelete " + path; }

std::string PxOutputsFs::SnapshotPath(const std::string& path, const std::string& name) {
  return path + "/.snapshots/" + name;
}

Result<std::vector<std::string>> PxOutputsFs::Snapshots(const std::string& path) {
  return ListNames(path + "/.snapshots");
}

Result<std::vector<FileVersion>> PxOutputsFs::Versions(const std::string& file) {
  PX_ASSIGN(const UniqueFd parent, OpenDir(ParentOf(file)));
  const auto argument = std::make_unique<px_ioc_text>();
  *argument = {};
  const std::string name = NameOf(file);
  if (name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG, name);
  name.copy(argument->text, PX_NAME_MAX);
  // A file has few versions: the first answer holds the newest, and that is what is asked for.
  PX_TRY(Control(parent.get(), PX_IOC_VERSIONS, argument.get(), "versions of " + file));
  std::istringstream lines(
      std::string(argument->text, std::min<size_t>(argument->length, PX_TEXT_MAX)));
  std::vector<FileVersion> versions;
  std::string line;
  while (std::getline(lines, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    versions.push_back({.version = json.value("version", uint64_t{0}),
                        .bytes = json.value("size", int64_t{0}),
                        .at_ns = json.value("mtime_ns", int64_t{0}),
                        .replaced_ns = json.value("replaced_ns", int64_t{0}),
                        .closed = json.value("closed", true)});
  }
  return versions;
}

Status PxOutputsFs::RestoreVersion(const std::string& file, uint64_t version) {
  PX_ASSIGN(const UniqueFd parent, OpenDir(ParentOf(file)));
  px_ioc_restore argument{};
  argument.version = version;
  PX_TRY(SetName(argument.name, NameOf(file)));
  return Control(parent.get(), PX_IOC_RESTORE, &argument, "restore " + file);
}

Result<std::vector<Difference>> PxOutputsFs::Diff(const std::string& from, const std::string& to) {
  PX_ASSIGN(const UniqueFd before, OpenDir(from));
  PX_ASSIGN(const UniqueFd after, OpenDir(to));
  const auto argument = std::make_unique<px_ioc_text>();
  *argument = {};
  PX_TRY(Control(after.get(), PX_IOC_TOKEN, &argument->other, "open volume " + to));
  std::vector<Difference> differences;
  do {
    PX_TRY(Control(before.get(), PX_IOC_DIFF, argument.get(), "compare " + from + " with " + to));
    std::istringstream lines(
        std::string(argument->text, std::min<size_t>(argument->length, PX_TEXT_MAX)));
    std::string line;
    while (std::getline(lines, line)) {
      const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object() || json.value("type", "") == "dir") continue;
      differences.push_back({.path = json.value("path", ""),
                             .change = json.value("change", ""),
                             .bytes = json.value("size", int64_t{0})});
    }
  } while (std::any_of(std::begin(argument->cursor), std::end(argument->cursor),
                       [](uint8_t byte) { return byte != 0; }));
  return differences;
}

Result<VolumeUsage> PxOutputsFs::Usage(const std::string& path) {
  PX_ASSIGN(const UniqueFd volume, OpenDir(path));
  px_ioc_usage usage{};
  PX_TRY(Control(volume.get(), PX_IOC_USAGE, &usage, "usage of " + path));
  // The volume's own root directory is no entry of it.
  return VolumeUsage{.entries = usage.inodes == 0 ? 0 : usage.inodes - 1,
                     .logical_bytes = usage.logical_bytes,
                     .exclusive_bytes = usage.exclusive_bytes,
                     .shared_bytes = usage.shared_bytes};
}

Result<bool> PxOutputsFs::Exists(const std::string& path) {
  const auto volume = OpenFile(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!volume) {
    const int code = volume.error().code();
    if (code == ENOENT || code == ENOTDIR || code == ELOOP) return false;
    return Forward(Error(volume.error()));
  }
  px_ioc_info info{};
  PX_TRY(Control(volume->get(), PX_IOC_INFO, &info, "look at " + path));
  return info.volume != 0 && info.ino == 1;
}

bool IsPxMount(const std::string& path) {
  const auto root = OpenDir(path);
  px_ioc_info info{};
  return root && Control(root->get(), PX_IOC_INFO, &info, path).has_value() && info.abi == 1;
}

}  // namespace px::launcher
