#include "launcher/px_outputs_fs.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstring>

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
