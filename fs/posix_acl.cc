#include "fs/posix_acl.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace px::fs {
namespace {

constexpr uint32_t kVersion = 2;
constexpr uint16_t kUserObj = 0x01, kUser = 0x02, kGroupObj = 0x04, kGroup = 0x08, kMask = 0x10,
                   kOther = 0x20;
constexpr size_t kHeaderSize = sizeof(uint32_t);
constexpr uint16_t kPermissions = 7;

}  // namespace

Result<PosixAcl> PosixAcl::Parse(std::string_view xattr) {
  uint32_t version = 0;
  if (xattr.size() < kHeaderSize || (xattr.size() - kHeaderSize) % sizeof(Entry) != 0) {
    return Fail(EINVAL, "ACL of a wrong size");
  }
  std::memcpy(&version, xattr.data(), sizeof version);
  if (version != kVersion) return Fail(EINVAL, "ACL of an unknown version");
  PosixAcl acl;
  acl.entries_.resize((xattr.size() - kHeaderSize) / sizeof(Entry));
  if (!acl.entries_.empty()) {
    std::memcpy(acl.entries_.data(), xattr.data() + kHeaderSize, xattr.size() - kHeaderSize);
  }
  // The kernel lets no other through; as a mode they would be another type of file.
  for (const Entry& entry : acl.entries_) {
    if ((entry.perm & ~kPermissions) != 0) return Fail(EINVAL, "ACL with an unknown permission");
  }
  if (acl.Find(kUserObj) == nullptr || acl.Find(kGroupObj) == nullptr ||
      acl.Find(kOther) == nullptr) {
    return Fail(EINVAL, "ACL lacks a required entry");
  }
  return acl;
}

std::string PosixAcl::Serialize() const {
  std::string bytes(reinterpret_cast<const char*>(&kVersion), sizeof kVersion);
  bytes.append(reinterpret_cast<const char*>(entries_.data()), entries_.size() * sizeof(Entry));
  return bytes;
}

PosixAcl::Entry* PosixAcl::Find(uint16_t tag) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [tag](const Entry& entry) { return entry.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

const PosixAcl::Entry* PosixAcl::Find(uint16_t tag) const {
  return const_cast<PosixAcl*>(this)->Find(tag);
}

void PosixAcl::ApplyCreateMode(mode_t* mode) {
  Entry* owner = Find(kUserObj);
  Entry* group = Find(kMask) != nullptr ? Find(kMask) : Find(kGroupObj);
  Entry* other = Find(kOther);
  owner->perm = static_cast<uint16_t>(owner->perm & ((*mode >> 6) & 7));
  group->perm = static_cast<uint16_t>(group->perm & ((*mode >> 3) & 7));
  other->perm = static_cast<uint16_t>(other->perm & (*mode & 7));
  *mode = (*mode & ~mode_t{0777}) | mode_t(owner->perm << 6) | mode_t(group->perm << 3) |
          mode_t(other->perm);
}

void PosixAcl::ApplyChmod(mode_t mode) {
  Entry* group = Find(kMask) != nullptr ? Find(kMask) : Find(kGroupObj);
  Find(kUserObj)->perm = static_cast<uint16_t>((mode >> 6) & 7);
  group->perm = static_cast<uint16_t>((mode >> 3) & 7);
  Find(kOther)->perm = static_cast<uint16_t>(mode & 7);
}

mode_t PosixAcl::EquivalentMode(mode_t mode) const {
  const Entry* group = Find(kMask) != nullptr ? Find(kMask) : Find(kGroupObj);
  return (mode & ~mode_t{0777}) | mode_t(Find(kUserObj)->perm << 6) | mode_t(group->perm << 3) |
         mode_t(Find(kOther)->perm);
}

bool PosixAcl::IsMinimal() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return entry.tag == kUserObj || entry.tag == kGroupObj || entry.tag == kOther;
  });
}

bool PosixAcl::Grants(uid_t uid, const std::function<bool(gid_t)>& in_group, uid_t owner,
                      gid_t group, unsigned want) const {
  const auto allows = [want](unsigned perm) { return (perm & want) == want; };
  const Entry* mask = Find(kMask);
  const unsigned limit = mask == nullptr ? 7 : mask->perm;
  if (uid == owner) return allows(Find(kUserObj)->perm);
  for (const Entry& entry : entries_) {
    if (entry.tag == kUser && entry.id == uid) return allows(entry.perm & limit);
  }
  bool member = false;
  for (const Entry& entry : entries_) {
    const bool matches =
        (entry.tag == kGroupObj && in_group(group)) || (entry.tag == kGroup && in_group(entry.id));
    if (!matches) continue;
    member = true;
    if (allows(entry.perm & limit)) return true;
  }
  return member ? false : allows(Find(kOther)->perm);
}

}  // namespace px::fs
