#include "fs/mount_helper.h"

#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "fs/control_client.h"
#include "fs/mount_command.h"

namespace px::fs {
namespace {

using Flag = std::pair<std::string_view, unsigned long>;

// Those that a remount can set; their opposites are how a mount is without them.
constexpr std::array kFlags = {Flag{"ro", MS_RDONLY},       Flag{"nosuid", MS_NOSUID},
                               Flag{"nodev", MS_NODEV},     Flag{"noexec", MS_NOEXEC},
                               Flag{"noatime", MS_NOATIME}, Flag{"nodiratime", MS_NODIRATIME}};

// mount(8)'s and systemd's own, opposites of flags, and what the table of mounts shows of a px
// mount.
constexpr std::array<std::string_view, 27> kPassedOver = {"defaults",   "auto",
                                                          "noauto",     "user",
                                                          "nouser",     "users",
                                                          "owner",      "group",
                                                          "_netdev",    "nofail",
                                                          "noiversion", "async",
                                                          "suid",       "dev",
                                                          "exec",       "atime",
                                                          "diratime",   "relatime",
                                                          "norelatime", "nostrictatime",
                                                          "nolazytime", "silent",
                                                          "loud",       "mand",
                                                          "nomand",     "default_permissions",
                                                          "subtype=px"};
constexpr std::array<std::string_view, 7> kPassedOverWithValue = {
    "x-", "X-", "comment=", "user_id=", "group_id=", "max_read=", "fsname="};

bool IsPassedOver(std::string_view word) {
  return std::find(kPassedOver.begin(), kPassedOver.end(), word) != kPassedOver.end() ||
         std::any_of(kPassedOverWithValue.begin(), kPassedOverWithValue.end(),
                     [&](std::string_view prefix) { return word.starts_with(prefix); });
}

Status Remount(const std::string& mountpoint, const std::vector<std::string>& options) {
  unsigned long flags = MS_REMOUNT;
  for (const std::string& word : options) {
    if (word == "rw") flags &= ~static_cast<unsigned long>(MS_RDONLY);  // the last word counts
    for (const auto& [name, flag] : kFlags) {
      if (word == name) flags |= flag;
    }
  }
  if ((flags & MS_RDONLY) == 0) {
    PX_ASSIGN(const std::string text, ControlStatus(mountpoint));
    const auto status = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (status.is_object() && status.value("read_only", false)) {
      return Fail(EROFS, mountpoint + " was mounted with 'ro': unmount it and mount it again");
    }
  }
  if (::mount("none", mountpoint.c_str(), nullptr, flags, nullptr) != 0) {
    return FailErrno("remount " + mountpoint);
  }
  return {};
}

}  // namespace

bool IsMountHelper(const std::string& program) {
  return std::filesystem::path(program).filename() == "mount.fuse.px";
}

Status RunMountHelper(const std::vector<std::string>& words) {
  std::vector<std::string> places, options;
  bool pretend = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool has_value = word == "-o" || word == "-t";
    if (has_value && i + 1 == words.size()) return Fail(EINVAL, word + " needs a value");
    if (has_value) {
      ++i;
      if (word == "-o") AddMountOptions(words[i], options);
    } else if (word.size() > 1 && word[0] == '-' &&
               word.find_first_not_of("sfnv", 1) == std::string::npos) {
      pretend = pretend || word.find('f') != std::string::npos;
    } else if (word.starts_with('-')) {
      return Fail(EINVAL, "unknown option " + word);
    } else {
      places.push_back(word);
    }
  }
  if (places.size() != 2) {
    return Fail(EINVAL, "usage: mount.fuse.px STORE MOUNTPOINT [-sfnv] [-o OPTIONS]");
  }
  if (pretend) return {};
  if (std::find(options.begin(), options.end(), "remount") != options.end()) {
    return Remount(places[1], options);
  }
  MountRequest request;
  request.store = places[0];
  request.mountpoint = places[1];
  std::erase_if(options, IsPassedOver);
  request.options = std::move(options);
  PX_ASSIGN(const int code, Mount(request));
  return code == 0 ? Status{} : Status(Fail(EIO, "the daemon ended with " + std::to_string(code)));
}

}  // namespace px::fs
