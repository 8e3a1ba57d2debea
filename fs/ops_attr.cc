// getattr, setattr.
#include <fuse_lowlevel.h>

#include "fs/filesystem.h"
#include "fs/posix_acl.h"

namespace px::fs {
namespace {

cow::Time FromTimespec(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
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
    attr = Attr(node, item);
    return {};
  });
  if (status) return attr;
  if (status.error().code() == ENOENT && ghost_count_ > 0) {
    const MutexLock lock(ghosts_mutex_);
    const auto ghost = ghosts_.find(node.ToFuse());
    if (ghost != ghosts_.end()) return Attr(node, ghost->second.item);
  }
  return Forward(status.error());
}

Result<struct stat> Filesystem::SetAttr(NodeKey node, const struct stat& attr, int to_set,
                                        const Caller&) {
  if (node.IsSnapshotsDir()) return Fail(EROFS);
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    if (attr.st_size < 0) return Fail(EINVAL);
    PX_TRY(TruncateTo(node, static_cast<uint64_t>(attr.st_size)));
  }
  PX_ASSIGN(const Gate gate, EnterToWrite(node.volume));
  struct stat result{};
  const Status status = store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    const cow::Time now = Now();
    if ((to_set & FUSE_SET_ATTR_MODE) != 0) {
      item.mode = (item.mode & S_IFMT) | (attr.st_mode & 07777);
      if ((item.flags & cow::kInodeHasAccessAcl) != 0) {
        PX_ASSIGN(const std::string bytes, LoadXattr(txn, node, kAccessAclName));
        PX_ASSIGN(PosixAcl acl, PosixAcl::Parse(bytes));
        acl.ApplyChmod(item.mode);
        PX_TRY(StoreXattr(txn, node, kAccessAclName, acl.Serialize()));
      }
    }
    const bool chown = (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0;
    if ((to_set & FUSE_SET_ATTR_UID) != 0) item.uid = attr.st_uid;
    if ((to_set & FUSE_SET_ATTR_GID) != 0) item.gid = attr.st_gid;
    const bool kill = (to_set & (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID)) != 0;
    if ((chown || kill) && !S_ISDIR(item.mode) && (to_set & FUSE_SET_ATTR_MODE) == 0) {
      item.mode &= ~uint32_t{S_ISUID};
      if ((item.mode & S_IXGRP) != 0) item.mode &= ~uint32_t{S_ISGID};
      if ((item.flags & cow::kInodeHasXattrs) != 0) {
        const Status erased = EraseXattr(txn, node, "security.capability");
        if (!erased && erased.error().code() != ENODATA) return erased;
      }
    }
    if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) {
      item.atime = now;
    } else if ((to_set & FUSE_SET_ATTR_ATIME) != 0) {
      item.atime = FromTimespec(attr.st_atim);
    }
    const bool mtime = (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0;
    if (mtime)
      item.mtime = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0 ? now : FromTimespec(attr.st_mtim);
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
    item.ctime = now;
    PX_TRY(SaveInode(txn, node, item));
    result = Attr(node, item);
    return {};
  });
  if (status) return result;
  if (status.error().code() == ENOENT) return GetAttr(node);  // a removed inode: nothing to change
  return Forward(status.error());
}

}  // namespace px::fs
