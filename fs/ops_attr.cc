// getattr, setattr.
#include <fuse_lowlevel.h>

#include "fs/filesystem.h"
#include "fs/posix_acl.h"

namespace px::fs {
namespace {

cow::Time FromTimespec(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
}

// Who changes the owner, or writes, ends what the owner's identity lends.
bool EndsPrivileges(int to_set, const cow::InodeItem& item) {
  constexpr int kEnds =
      FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID;
  return (to_set & kEnds) != 0 && (to_set & FUSE_SET_ATTR_MODE) == 0 && !S_ISDIR(item.mode);
}

// What an inode's item alone says.
void Apply(const struct stat& attr, int to_set, const cow::Time& now, cow::InodeItem* item) {
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) {
    item->mode = (item->mode & S_IFMT) | (attr.st_mode & 07777);
  }
  if ((to_set & FUSE_SET_ATTR_UID) != 0) item->uid = attr.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) item->gid = attr.st_gid;
  if (EndsPrivileges(to_set, *item)) {
    item->mode &= ~uint32_t{S_ISUID};
    if ((item->mode & S_IXGRP) != 0) item->mode &= ~uint32_t{S_ISGID};
  }
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) {
    item->atime = now;
  } else if ((to_set & FUSE_SET_ATTR_ATIME) != 0) {
    item->atime = FromTimespec(attr.st_atim);
  }
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) {
    item->mtime = now;
  } else if ((to_set & FUSE_SET_ATTR_MTIME) != 0) {
    item->mtime = FromTimespec(attr.st_mtim);
  }
  item->ctime = now;
}

}  // namespace

Result<struct stat> Filesystem::GetAttr(NodeKey node) {
  struct stat attr{};
  const Status status = store_->View([&](cow::Reader& reader) -> Status {
    if (node.IsSnapshotsDir()) {
      PX_ASSIGN(attr, SnapshotsDirAttr(reader, node.volume));
      return {};
    }
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    PX_ASSIGN(attr, LiveAttr(node, item));
    return {};
  });
  if (status) return attr;
  if (status.error().code() == ENOENT && ghost_count_ > 0) {
    const MutexLock lock(ghosts_mutex_);
    const auto ghost = ghosts_.find(node.ToFuse());
    if (ghost != ghosts_.end()) return LiveAttr(node, ghost->second.item);
  }
  return Forward(status.error());
}

Result<std::optional<timespec>> Filesystem::BirthTime(NodeKey node) {
  std::optional<timespec> birth;
  if (node.IsSnapshotsDir()) return birth;
  const Status status = store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    birth = timespec{static_cast<time_t>(item.btime.sec), static_cast<long>(item.btime.nsec)};
    return {};
  });
  // What was removed has no item any more.
  if (!status && status.error().code() != ENOENT) return Forward(status.error());
  return birth;
}

Result<struct stat> Filesystem::SetAttr(NodeKey node, const struct stat& attr, int to_set,
                                        const Caller&) {
  if (node.IsSnapshotsDir()) return Fail(EROFS);
  const bool truncate = (to_set & FUSE_SET_ATTR_SIZE) != 0;
  if (truncate && attr.st_size < 0) return Fail(EINVAL);
  // The size comes last: where it fails, no content is lost to a call that returned an error.
  PX_ASSIGN(const struct stat result, SetAttrOfTree(node, attr, to_set));
  if (!truncate) return result;
  PX_TRY(TruncateTo(node, static_cast<uint64_t>(attr.st_size)));
  return GetAttr(node);
}

Result<struct stat> Filesystem::SetAttrOfTree(NodeKey node, const struct stat& attr, int to_set) {
  PX_ASSIGN(const Gate gate, EnterToWrite(node.volume));
  struct stat result{};
  const Status status = store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    Apply(attr, to_set, Now(), &item);
    if ((to_set & FUSE_SET_ATTR_MODE) != 0 && (item.flags & cow::kInodeHasAccessAcl) != 0) {
      PX_ASSIGN(const std::string bytes, LoadXattr(txn, node, kAccessAclName));
      PX_ASSIGN(PosixAcl acl, PosixAcl::Parse(bytes));
      acl.ApplyChmod(item.mode);
      PX_TRY(StoreXattr(txn, node, kAccessAclName, acl.Serialize()));
    }
    if (EndsPrivileges(to_set, item) && (item.flags & cow::kInodeHasXattrs) != 0) {
      const Status erased = EraseXattr(txn, node, "security.capability");
      if (!erased && erased.error().code() != ENODATA) return erased;
    }
    const bool mtime = (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0;
    // A file open for writing has its mtime in the object file.
    const auto open = mtime && S_ISREG(item.mode) ? table_.Find(node) : nullptr;
    if (open != nullptr) {
      const ReaderLock lock(open->io);
      const timespec times[2] = {
          {0, UTIME_OMIT},
          {static_cast<time_t>(item.mtime.sec), static_cast<long>(item.mtime.nsec)}};
      if (open->live && ::futimens(open->fd.get(), times) != 0)
        return FailErrno("set times of an object");
    }
    PX_TRY(SaveInode(txn, node, item));
    PX_ASSIGN(result, LiveAttr(node, item));
    return {};
  });
  if (status) return result;
  if (status.error().code() != ENOENT) return Forward(status.error());
  // A removed inode that somebody holds, with a descriptor that did not open it (O_PATH), or of a
  // directory.
  const MutexLock lock(ghosts_mutex_);
  const auto ghost = ghosts_.find(node.ToFuse());
  if (ghost == ghosts_.end()) return Forward(status.error());
  Apply(attr, to_set, Now(), &ghost->second.item);
  NoteGhost(node, &ghost->second);
  return LiveAttr(node, ghost->second.item);
}

}  // namespace px::fs
