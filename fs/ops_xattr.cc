// Extended attributes and what ACLs among them do to modes.
#include <fmt/format.h>
#include <sys/xattr.h>

#include <algorithm>

#include "fs/filesystem.h"
#include "fs/posix_acl.h"

namespace px::fs {
namespace {

constexpr size_t kMaxXattrName = 255;
constexpr size_t kMaxXattrSize = 65536;
constexpr char kVirtualPrefix[] = "user.px.";

bool IsKnownNamespace(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.") ||
         name.starts_with("security.") || name == kAccessAclName || name == kDefaultAclName;
}

std::string XattrEnd(cow::Ino ino, std::string_view name) {
  // Behind the last chunk of that name: the terminator 0 becomes 1.
  std::string end = cow::XattrKey(ino, name, 0);
  end.resize(end.size() - 2);
  end.back() = '\1';
  return end;
}

}  // namespace

Result<std::string> Filesystem::LoadXattr(cow::Reader& reader, NodeKey node,
                                          std::string_view name) {
  std::string value;
  bool found = false;
  PX_TRY(reader.Scan(node.volume, cow::XattrKey(node.ino, name, 0), XattrEnd(node.ino, name),
                     [&](std::string_view, std::string_view chunk) {
                       found = true;
                       value.append(chunk);
                       return true;
                     }));
  if (!found) return Fail(ENODATA);
  uint32_t size = 0;
  if (value.size() < sizeof size) return Fail(EUCLEAN, "broken xattr");
  std::memcpy(&size, value.data(), sizeof size);
  value.erase(0, sizeof size);
  if (value.size() != size) return Fail(EUCLEAN, "broken xattr");
  return value;
}

Status Filesystem::EraseXattr(cow::Txn& txn, NodeKey node, std::string_view name) {
  std::vector<std::string> keys;
  PX_TRY(txn.Scan(node.volume, cow::XattrKey(node.ino, name, 0), XattrEnd(node.ino, name),
                  [&keys](std::string_view key, std::string_view) {
                    keys.emplace_back(key);
                    return true;
                  }));
  if (keys.empty()) return Fail(ENODATA);
  for (const std::string& key : keys) PX_TRY(txn.Erase(node.volume, key));
  return {};
}

Status Filesystem::StoreXattr(cow::Txn& txn, NodeKey node, std::string_view name,
                              std::string_view value) {
  const Status erased = EraseXattr(txn, node, name);
  if (!erased && erased.error().code() != ENODATA) return erased;
  const auto size = static_cast<uint32_t>(value.size());
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  bytes.append(value);
  uint16_t chunk = 0;
  for (size_t at = 0; at < bytes.size(); at += cow::kMaxValue) {
    PX_TRY(txn.Put(node.volume, cow::XattrKey(node.ino, name, chunk++),
                   std::string_view(bytes).substr(at, cow::kMaxValue)));
  }
  return {};
}

Status Filesystem::SetAcl(cow::Txn& txn, NodeKey node, cow::InodeItem* item, std::string_view name,
                          std::string_view value, const Caller& caller) {
  PX_ASSIGN(const PosixAcl acl, PosixAcl::Parse(value));
  if (name == kDefaultAclName) {
    if (!S_ISDIR(item->mode)) return Fail(EACCES);
    item->flags |= cow::kInodeHasXattrs | cow::kInodeHasDefaultAcl;
    return StoreXattr(txn, node, name, value);
  }
  item->mode = acl.EquivalentMode(item->mode);
  if (caller.uid != 0 && !caller.IsMember(item->gid)) item->mode &= ~uint32_t{S_ISGID};
  if (acl.IsMinimal()) {
    item->flags &= ~cow::kInodeHasAccessAcl;
    const Status erased = EraseXattr(txn, node, name);
    return !erased && erased.error().code() != ENODATA ? erased : Status{};
  }
  item->flags |= cow::kInodeHasXattrs | cow::kInodeHasAccessAcl;
  return StoreXattr(txn, node, name, value);
}

Status Filesystem::SetXattr(NodeKey node, std::string_view name, std::string_view value, int flags,
                            const Caller& caller) {
  if (DoneBefore()) return {};
  PX_TRY(CheckRoom());
  if (node.IsSnapshotsDir()) return Fail(EROFS);
  PX_ASSIGN(const Gate gate, EnterToWrite(node.volume));
  if (name.size() > kMaxXattrName) return Fail(ERANGE);
  if (value.size() > kMaxXattrSize) return Fail(E2BIG);
  if (name.starts_with(kVirtualPrefix)) return Fail(EPERM, "user.px.* are facts, not settings");
  if (!IsKnownNamespace(name)) return Fail(EOPNOTSUPP);
  return Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    if (flags != 0) {
      const auto old = LoadXattr(txn, node, name);
      if (!old && old.error().code() != ENODATA) return Forward(old.error());
      if (old && (flags & XATTR_CREATE) != 0) return Fail(EEXIST);
      if (!old && (flags & XATTR_REPLACE) != 0) return Fail(ENODATA);
    }
    if (name == kAccessAclName || name == kDefaultAclName) {
      PX_TRY(SetAcl(txn, node, &item, name, value, caller));
    } else {
      item.flags |= cow::kInodeHasXattrs;
      PX_TRY(StoreXattr(txn, node, name, value));
    }
    item.ctime = Now();
    return SaveInode(txn, node, item);
  });
}

Result<std::string> Filesystem::VirtualXattr(NodeKey node, std::string_view name) {
  const std::string_view fact = name.substr(sizeof kVirtualPrefix - 1);
  if (fact == "volume") return fmt::format("{}", node.volume.value);
  if (fact == "exclusive_bytes" || fact == "shared_bytes") {
    if (!node.IsVolumeRoot()) return Fail(ENODATA);
    PX_ASSIGN(const Usage usage, MeasureUsage(node, Caller{}));
    return fmt::format("{}", fact == "shared_bytes" ? usage.shared_bytes : usage.exclusive_bytes);
  }
  return Fail(ENODATA);
}

Result<std::string> Filesystem::GetXattr(NodeKey node, std::string_view name) {
  if (name.starts_with(kVirtualPrefix)) return VirtualXattr(node, name);
  if (node.IsSnapshotsDir()) return Fail(ENODATA);
  std::string value;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    const auto item = LoadInode(reader, node);
    if (!item && item.error().code() == ENOENT) return Fail(ENODATA);  // removed, still held
    PX_TRY(item);
    if ((item->flags & cow::kInodeHasXattrs) == 0) return Fail(ENODATA);
    PX_ASSIGN(value, LoadXattr(reader, node, name));
    return {};
  }));
  return value;
}

Result<std::string> Filesystem::ListXattr(NodeKey node, const Caller& caller) {
  std::string names;
  if (node.IsSnapshotsDir()) return names;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    const auto item = LoadInode(reader, node);
    if (!item && item.error().code() == ENOENT) return {};
    PX_TRY(item);
    if ((item->flags & cow::kInodeHasXattrs) == 0) return {};
    return reader.Scan(node.volume, cow::ItemKey(node.ino, cow::ItemType::kXattr),
                       cow::ItemKeyEnd(node.ino, cow::ItemType::kXattr),
                       [&](std::string_view key, std::string_view) {
                         // ino 8 · X · hash 8 · name · 0 · chunk 2
                         if (key.size() < 9 + 8 + 3) return true;
                         const bool first = key.ends_with(std::string_view("\0\0", 2));
                         const std::string_view name = key.substr(17, key.size() - 17 - 3);
                         if (!first) return true;
                         if (caller.uid != 0 && name.starts_with("trusted.")) return true;
                         names.append(name).push_back('\0');
                         return true;
                       });
  }));
  return names;
}

Status Filesystem::RemoveXattr(NodeKey node, std::string_view name) {
  if (DoneBefore()) return {};
  if (node.IsSnapshotsDir()) return Fail(EROFS);
  PX_ASSIGN(const Gate gate, EnterToWrite(node.volume));
  if (name.starts_with(kVirtualPrefix)) return Fail(EPERM);
  return Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    const bool acl = name == kAccessAclName || name == kDefaultAclName;
    const Status erased = EraseXattr(txn, node, name);
    // Removing a list that is not there is no error, as elsewhere.
    if (!erased && !(acl && erased.error().code() == ENODATA)) return erased;
    if (name == kAccessAclName) item.flags &= ~cow::kInodeHasAccessAcl;
    if (name == kDefaultAclName) item.flags &= ~cow::kInodeHasDefaultAcl;
    item.ctime = Now();
    return SaveInode(txn, node, item);
  });
}

}  // namespace px::fs
