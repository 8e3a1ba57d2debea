#include "fs/control_client.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/unique_fd.h"

namespace px::fs {
namespace {

Result<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailErrno(path);
  return fd;
}

Status Call(int fd, unsigned long command, void* argument, const std::string& path) {
  if (::ioctl(fd, command, argument) == 0) return {};
  if (errno == ENOTTY) return Fail(ENOTTY, path + " is not on a px filesystem");
  return FailErrno(path);
}

// The open parent directory and the last name of a path.
struct Location {
  UniqueFd parent;
  std::string name;
};

Result<Location> Locate(const std::string& path) {
  std::filesystem::path full = std::filesystem::path(path).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  Location location;
  location.name = full.filename();
  if (location.name.empty() || location.name == "." || location.name == "..") {
    return Fail(EINVAL, path + " does not end in a name");
  }
  if (location.name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG, path);
  const std::string parent = full.has_parent_path() ? full.parent_path().string() : ".";
  PX_ASSIGN(location.parent, OpenDirectory(parent));
  return location;
}

px_ioc_name ToName(const std::string& name) {
  px_ioc_name argument{};
  name.copy(argument.name, PX_NAME_MAX);
  return argument;
}

Status CallNamed(unsigned long command, int fd, const std::string& name, const std::string& path) {
  if (name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG, path);
  px_ioc_name argument = ToName(name);
  return Call(fd, command, &argument, path);
}

Status CallLocated(unsigned long command, const std::string& path) {
  PX_ASSIGN(const Location location, Locate(path));
  return CallNamed(command, location.parent.get(), location.name, path);
}

Result<px_ioc_token> TokenOf(const std::string& path) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  px_ioc_token token{};
  if (Status status = Call(fd.get(), PX_IOC_TOKEN, &token, path); !status) {
    if (status.error().code() == EINVAL) return Fail(EINVAL, path + " is not the root of a volume");
    return Forward(std::move(status).error());
  }
  return token;
}

void SplitLines(const px_ioc_text& text, const std::function<void(const std::string&)>& line) {
  std::string_view rest(text.text, std::min<size_t>(text.length, PX_TEXT_MAX));
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    line(std::string(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

bool HasMore(const px_ioc_text& text) {
  return std::any_of(std::begin(text.cursor), std::end(text.cursor),
                     [](__u8 byte) { return byte != 0; });
}

Status Lines(int fd, unsigned long command, px_ioc_text* text, const std::string& path,
             const std::function<void(const std::string&)>& line) {
  bool more = true;
  while (more) {
    PX_TRY(Call(fd, command, text, path));
    SplitLines(*text, line);
    more = HasMore(*text);
  }
  return {};
}

Result<std::string> OneAnswer(unsigned long command, const std::string& path) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  const auto text = std::make_unique<px_ioc_text>();
  *text = {};
  PX_TRY(Call(fd.get(), command, text.get(), path));
  return std::string(text->text, std::min<size_t>(text->length, PX_TEXT_MAX));
}

// A listing of a directory.
Status List(unsigned long command, const std::string& path,
            const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  const auto text = std::make_unique<px_ioc_text>();
  *text = {};
  return Lines(fd.get(), command, text.get(), path, line);
}

Status Compare(unsigned long command, const std::string& a, const std::string& b,
               const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(const px_ioc_token token, TokenOf(b));
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(a));
  const auto text = std::make_unique<px_ioc_text>();
  *text = {};
  text->other = token;
  return Lines(fd.get(), command, text.get(), a, line);
}

}  // namespace

Result<px_ioc_info> ControlInfo(const std::string& path) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  px_ioc_info info{};
  PX_TRY(Call(fd.get(), PX_IOC_INFO, &info, path));
  return info;
}

Status ControlCreate(const std::string& path) { return CallLocated(PX_IOC_CREATE, path); }

Result<uint32_t> ControlClone(const std::string& source, const std::string& target,
                              uint32_t flags) {
  PX_ASSIGN(const px_ioc_token token, TokenOf(source));
  PX_ASSIGN(const Location location, Locate(target));
  px_ioc_clone argument{};
  argument.source = token;
  argument.flags = flags;
  location.name.copy(argument.name, PX_NAME_MAX);
  PX_TRY(Call(location.parent.get(), PX_IOC_CLONE, &argument, target));
  return argument.volume;
}

Status ControlDrop(const std::string& path, bool trash) {
  return CallLocated(trash ? PX_IOC_TRASH : PX_IOC_DROP, path);
}

Status ControlUndelete(const std::string& path, uint32_t volume) {
  PX_ASSIGN(const Location location, Locate(path));
  px_ioc_undelete argument{};
  argument.volume = volume;
  location.name.copy(argument.name, PX_NAME_MAX);
  return Call(location.parent.get(), PX_IOC_UNDELETE, &argument, path);
}

Status ControlTrashList(const std::string& path,
                        const std::function<void(const std::string&)>& line) {
  return List(PX_IOC_TRASH_LIST, path, line);
}

Result<px_ioc_gc> ControlGc(const std::string& path, uint32_t flags) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  px_ioc_gc argument{};
  argument.flags = flags;
  PX_TRY(Call(fd.get(), PX_IOC_GC, &argument, path));
  return argument;
}

Status ControlSnapshot(const std::string& path, const std::string& name) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  return CallNamed(PX_IOC_SNAPSHOT, fd.get(), name, path);
}

Status ControlDropSnapshot(const std::string& path, const std::string& name) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  return CallNamed(PX_IOC_SNAPSHOT_DROP, fd.get(), name, path);
}

Result<px_ioc_usage> ControlUsage(const std::string& path) {
  PX_ASSIGN(const UniqueFd fd, OpenDirectory(path));
  px_ioc_usage usage{};
  PX_TRY(Call(fd.get(), PX_IOC_USAGE, &usage, path));
  return usage;
}

Status ControlDiff(const std::string& a, const std::string& b,
                   const std::function<void(const std::string&)>& line) {
  return Compare(PX_IOC_DIFF, a, b, line);
}

Status ControlChanges(const std::string& a, const std::string& b,
                      const std::function<void(const std::string&)>& line) {
  return Compare(PX_IOC_CHANGES, a, b, line);
}

Status ControlList(const std::string& path, const std::function<void(const std::string&)>& line) {
  return List(PX_IOC_LIST, path, line);
}

Status ControlVersions(const std::string& file,
                       const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(const Location location, Locate(file));
  const auto text = std::make_unique<px_ioc_text>();
  *text = {};
  location.name.copy(text->text, PX_NAME_MAX);
  return Lines(location.parent.get(), PX_IOC_VERSIONS, text.get(), file, line);
}

Status ControlRestore(const std::string& file, uint64_t version) {
  PX_ASSIGN(const Location location, Locate(file));
  px_ioc_restore argument{};
  argument.version = version;
  location.name.copy(argument.name, PX_NAME_MAX);
  return Call(location.parent.get(), PX_IOC_RESTORE, &argument, file);
}

Result<std::string> ControlStatus(const std::string& path) {
  return OneAnswer(PX_IOC_STATUS, path);
}

Result<bool> ControlScrub(int mount, uint64_t budget, px_ioc_text* text, const std::string& path,
                          const std::function<void(const std::string&)>& line) {
  std::memset(text->text, 0, sizeof text->text);
  const std::string digits = std::to_string(budget);
  digits.copy(text->text, sizeof text->text - 1);
  PX_TRY(Call(mount, PX_IOC_SCRUB, text, path));
  SplitLines(*text, line);
  return HasMore(*text);
}

Result<std::string> ControlScrubStatus(const std::string& path) {
  return OneAnswer(PX_IOC_SCRUB_STATUS, path);
}

Status ControlAccept(const std::string& file) { return CallLocated(PX_IOC_ACCEPT, file); }

}  // namespace px::fs
