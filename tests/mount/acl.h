// POSIX ACLs in the form the kernel takes them, as an xattr: no library needed.
// linux/posix_acl_xattr.h: version 2, then entries of tag (2), permissions (2), id (4), little
// endian.
#pragma once

#include <sys/xattr.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace px::testing {

inline constexpr const char* kAclAccess = "system.posix_acl_access";
inline constexpr const char* kAclDefault = "system.posix_acl_default";

struct AclEntry {
  enum Tag : uint16_t {
    kUserObj = 0x01,
    kUser = 0x02,
    kGroupObj = 0x04,
    kGroup = 0x08,
    kMask = 0x10,
    kOther = 0x20,
  };
  uint16_t tag;
  uint16_t perm;
  uint32_t id = ~uint32_t{0};

  bool operator==(const AclEntry&) const = default;
};
static_assert(sizeof(AclEntry) == 8);

using Acl = std::vector<AclEntry>;

inline std::string EncodeAcl(const Acl& acl) {
  const uint32_t version = 2;
  std::string bytes(reinterpret_cast<const char*>(&version), sizeof version);
  bytes.append(reinterpret_cast<const char*>(acl.data()), acl.size() * sizeof(AclEntry));
  return bytes;
}

// An empty list if there is none.
inline Acl ReadAcl(const char* path, const char* name) {
  char bytes[4096];
  const ssize_t n = ::getxattr(path, name, bytes, sizeof bytes);
  if (n < 4) return {};
  Acl acl((static_cast<size_t>(n) - 4) / sizeof(AclEntry));
  std::memcpy(acl.data(), bytes + 4, acl.size() * sizeof(AclEntry));
  return acl;
}

inline int WriteAcl(const char* path, const char* name, const Acl& acl) {
  const std::string bytes = EncodeAcl(acl);
  return ::setxattr(path, name, bytes.data(), bytes.size(), 0) == 0 ? 0 : errno;
}

}  // namespace px::testing
