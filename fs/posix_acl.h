// POSIX access control lists in the form of the system.posix_acl_* xattrs (linux/posix_acl_xattr.h,
// version 2).
//
// With FUSE_POSIX_ACL the kernel checks permissions and caches lists, but leaves to the filesystem
// what a list does to a mode: inheritance at creation, chmod of a file with a list, and the mode
// that a new list implies. The rules are those of the kernel's fs/posix_acl.c.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace px::fs {

inline constexpr char kAccessAclName[] = "system.posix_acl_access";
inline constexpr char kDefaultAclName[] = "system.posix_acl_default";

class PosixAcl {
 public:
  // EINVAL if the bytes are no valid list.
  static Result<PosixAcl> Parse(std::string_view xattr);
  std::string Serialize() const;

  // What a file made with `*mode` in a directory with this default list gets: narrows *mode and
  // this list.
  void ApplyCreateMode(mode_t* mode);
  // chmod: puts the mode's bits into the list's owner, mask (or group) and other entries.
  void ApplyChmod(mode_t mode);
  // The permission bits the list stands for, over the other bits of `mode`.
  mode_t EquivalentMode(mode_t mode) const;
  // True if the list says no more than a mode can.
  bool IsMinimal() const;
  // Whether the list grants `want` (bits 4 2 1) to the user, who is not the file's owner's superior
  // (no root here).
  bool Grants(uid_t uid, const std::function<bool(gid_t)>& in_group, uid_t owner, gid_t group,
              unsigned want) const;

 private:
  struct Entry {
    uint16_t tag;
    uint16_t perm;
    uint32_t id;
  } __attribute__((packed));
  Entry* Find(uint16_t tag);
  const Entry* Find(uint16_t tag) const;
  std::vector<Entry> entries_;
};

}  // namespace px::fs
