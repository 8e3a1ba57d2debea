#include "tests/mount/volume.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/unique_fd.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

int IoctlOn(const std::string& path, unsigned long request, void* argument) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno;
  return ::ioctl(fd.get(), request, argument) < 0 ? errno : 0;
}

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

template <size_t N>
bool SetName(char (&field)[N], const std::string& name) {
  if (name.size() >= N) return false;
  std::memcpy(field, name.c_str(), name.size() + 1);
  return true;
}

int NameIoctl(const std::string& path, unsigned long request, const std::string& name) {
  px_ioc_name argument{};
  if (!SetName(argument.name, name)) return ENAMETOOLONG;
  return IoctlOn(path, request, &argument);
}

}  // namespace

int CreateVolume(const std::string& path) {
  return NameIoctl(ParentOf(path), PX_IOC_CREATE, fs::path(path).filename());
}

int CloneVolume(const std::string& source, const std::string& target, uint32_t flags) {
  px_ioc_clone argument{};
  argument.flags = flags;
  if (!SetName(argument.name, fs::path(target).filename())) return ENAMETOOLONG;
  if (const int error = IoctlOn(source, PX_IOC_TOKEN, &argument.source); error != 0) return error;
  return IoctlOn(ParentOf(target), PX_IOC_CLONE, &argument);
}

int DropVolume(const std::string& path) {
  return NameIoctl(ParentOf(path), PX_IOC_DROP, fs::path(path).filename());
}

int RestoreFile(const std::string& path) {
  px_ioc_restore argument{};
  if (!SetName(argument.name, fs::path(path).filename())) return ENAMETOOLONG;
  return IoctlOn(ParentOf(path), PX_IOC_RESTORE, &argument);
}

int SnapshotVolume(const std::string& path, const std::string& name) {
  return NameIoctl(path, PX_IOC_SNAPSHOT, name);
}

int DropSnapshot(const std::string& path, const std::string& name) {
  return NameIoctl(path, PX_IOC_SNAPSHOT_DROP, name);
}

px_ioc_info InfoOf(const std::string& path) {
  px_ioc_info info{};
  EXPECT_EQ(IoctlOn(path, PX_IOC_INFO, &info), 0) << path;
  return info;
}

px_ioc_usage UsageOf(const std::string& path) {
  px_ioc_usage usage{};
  EXPECT_EQ(IoctlOn(path, PX_IOC_USAGE, &usage), 0) << path;
  return usage;
}

}  // namespace px::testing
