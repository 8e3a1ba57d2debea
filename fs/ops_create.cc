// mknod, mkdir, symlink, link, create, tmpfile.
#include <dirent.h>
#include <fcntl.h>

#include "fs/filesystem.h"
#include "fs/posix_acl.h"

namespace px::fs {
namespace {

// Of those that are made without a content; a symlink has one.
bool IsKindOfNode(mode_t mode) {
  return S_ISREG(mode) || S_ISDIR(mode) || S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) ||
         S_ISSOCK(mode);
}

}  // namespace

Status Filesystem::CheckNewName(NodeKey parent, std::string_view name) {
  // A kernel knows that they exist, or are none, and does not ask.
  if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos) {
    return Fail(EINVAL, "not a name");
  }
  if (parent.IsVolumeRoot() && parent.volume != cow::kRootVolume && name == kSnapshotsName) {
    return Fail(EEXIST);
  }
  return {};
}

Result<bool> Filesystem::Exists(cow::Reader& reader, NodeKey parent, std::string_view name) {
  PX_TRY(CheckNewName(parent, name));
  const auto dentry = LoadDentry(reader, parent, name);
  if (dentry) return true;
  if (dentry.error().code() == ENOENT) return false;
  return Forward(dentry.error());
}

Status Filesystem::PutDentry(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                             std::string_view name, const cow::DentryItem& dentry) {
  ++parent_item->entries;
  if (dentry.type == DT_DIR) ++parent_item->nlink;
  parent_item->mtime = parent_item->ctime = Now();
  return txn.Put(parent.volume, cow::DentryKey(parent.ino, name), cow::AsBytes(dentry));
}

Status Filesystem::InheritAcl(cow::Txn& txn, NodeKey parent, const cow::InodeItem& parent_item,
                              NodeKey node, cow::InodeItem* item) {
  if ((parent_item.flags & cow::kInodeHasDefaultAcl) == 0 || S_ISLNK(item->mode)) return {};
  PX_ASSIGN(const std::string bytes, LoadXattr(txn, parent, kDefaultAclName));
  PX_ASSIGN(PosixAcl acl, PosixAcl::Parse(bytes));
  if (S_ISDIR(item->mode)) {
    PX_TRY(StoreXattr(txn, node, kDefaultAclName, bytes));
    item->flags |= cow::kInodeHasXattrs | cow::kInodeHasDefaultAcl;
  }
  mode_t mode = item->mode;
  acl.ApplyCreateMode(&mode);
  item->mode = mode;
  if (acl.IsMinimal()) return {};
  item->flags |= cow::kInodeHasXattrs | cow::kInodeHasAccessAcl;
  return StoreXattr(txn, node, kAccessAclName, acl.Serialize());
}

Result<Filesystem::NewInode> Filesystem::PutNewInode(cow::Txn& txn, NodeKey parent,
                                                     cow::InodeItem* parent_item, mode_t mode,
                                                     dev_t rdev, const Caller& caller) {
  PX_TRY(CheckRoom());
  NewInode created;
  PX_ASSIGN(const cow::Ino ino, txn.NewIno(parent.volume));
  created.node = {parent.volume, ino};
  cow::InodeItem& item = created.item;
  item.mode = mode;
  item.uid = caller.uid;
  item.gid = caller.gid;
  item.nlink = S_ISDIR(mode) ? 2 : 1;
  item.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
  item.atime = item.mtime = item.ctime = item.btime = Now();
  item.parent = parent.ino.value;
  if ((parent_item->mode & S_ISGID) != 0) {
    item.gid = parent_item->gid;
    if (S_ISDIR(mode)) item.mode |= S_ISGID;
  }
  // With a default ACL the umask has no say (FUSE_DONT_MASK leaves that to us).
  if ((parent_item->flags & cow::kInodeHasDefaultAcl) == 0 && !S_ISLNK(mode)) {
    item.mode &= ~(caller.umask & 0777);
  }
  PX_TRY(InheritAcl(txn, parent, *parent_item, created.node, &item));
  return created;
}

Status Filesystem::PutNamed(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                            std::string_view name, const NewInode& created) {
  PX_TRY(SaveInode(txn, created.node, created.item));
  cow::DentryItem dentry;
  dentry.ino = created.node.ino.value;
  dentry.type = static_cast<uint8_t>(IFTODT(created.item.mode));
  PX_TRY(PutDentry(txn, parent, parent_item, name, dentry));
  return SaveInode(txn, parent, *parent_item);
}

Status Filesystem::PutWhiteout(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                               std::string_view name, const Caller& caller) {
  PX_ASSIGN(const NewInode created, PutNewInode(txn, parent, parent_item, S_IFCHR, 0, caller));
  return PutNamed(txn, parent, parent_item, name, created);
}

Result<Filesystem::Content> Filesystem::NewContent(cow::Txn& txn, NewInode* created) {
  Content content;
  PX_ASSIGN(content.object, txn.NewObject());
  PX_ASSIGN(content.fd, objects_->Take(content.object));
  PX_ASSIGN(content.start, PrepareLive(created->node, content.fd.get(), content.object));
  created->item.object = content.object.value;
  created->item.content = cow::ContentKind::kWhole;
  return content;
}

Result<Entry> Filesystem::MakeNode(NodeKey parent, std::string_view name, mode_t mode, dev_t rdev,
                                   const Caller& caller) {
  if (const auto done = DoneBefore()) return EntryOf(NodeKey::FromFuse(*done));
  if (!IsKindOfNode(mode)) return Fail(EINVAL, "no kind of node");
  PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
  Entry entry;
  uint64_t made = 0;
  PX_TRY(Once(
      [&](cow::Txn& txn) -> Status {
        PX_ASSIGN(cow::InodeItem parent_item, LoadDirectory(txn, parent));
        PX_ASSIGN(const bool exists, Exists(txn, parent, name));
        if (exists) return Fail(EEXIST);
        PX_ASSIGN(const NewInode created,
                  PutNewInode(txn, parent, &parent_item, mode, rdev, caller));
        PX_TRY(PutNamed(txn, parent, &parent_item, name, created));
        entry = {created.node, Attr(created.node, created.item)};
        made = created.node.ToFuse();
        return {};
      },
      &made));
  return entry;
}

Result<Entry> Filesystem::MakeSymlink(NodeKey parent, std::string_view name,
                                      std::string_view target, const Caller& caller) {
  if (const auto done = DoneBefore()) return EntryOf(NodeKey::FromFuse(*done));
  PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
  Entry entry;
  uint64_t made = 0;
  PX_TRY(Once(
      [&](cow::Txn& txn) -> Status {
        PX_ASSIGN(cow::InodeItem parent_item, LoadDirectory(txn, parent));
        PX_ASSIGN(const bool exists, Exists(txn, parent, name));
        if (exists) return Fail(EEXIST);
        PX_ASSIGN(NewInode created,
                  PutNewInode(txn, parent, &parent_item, S_IFLNK | 0777, 0, caller));
        created.item.size = target.size();
        uint16_t chunk = 0;
        for (size_t at = 0; at < target.size(); at += cow::kMaxValue) {
          PX_TRY(txn.Put(parent.volume, cow::SymlinkKey(created.node.ino, chunk++),
                         target.substr(at, cow::kMaxValue)));
        }
        PX_TRY(PutNamed(txn, parent, &parent_item, name, created));
        entry = {created.node, Attr(created.node, created.item)};
        made = created.node.ToFuse();
        return {};
      },
      &made));
  return entry;
}

Result<Entry> Filesystem::Link(NodeKey node, NodeKey parent, std::string_view name) {
  if (node.volume != parent.volume) return Fail(EXDEV);
  if (DoneBefore()) return EntryOf(node);
  PX_TRY(CheckRoom());
  PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
  Entry entry;
  bool was_orphan = false;
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem parent_item, LoadDirectory(txn, parent));
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    if (S_ISDIR(item.mode)) return Fail(EPERM);
    if (item.nlink >= 0x7fffffff) return Fail(EMLINK);
    PX_ASSIGN(const bool exists, Exists(txn, parent, name));
    if (exists) return Fail(EEXIST);
    was_orphan = item.nlink == 0;
    if (was_orphan) PX_TRY(txn.Erase(node.volume, cow::OrphanKey(node.ino)));
    ++item.nlink;
    item.ctime = Now();
    item.parent = parent.ino.value;
    PX_TRY(SaveInode(txn, node, item));
    cow::DentryItem dentry;
    dentry.ino = node.ino.value;
    dentry.type = static_cast<uint8_t>(IFTODT(item.mode));
    PX_TRY(PutDentry(txn, parent, &parent_item, name, dentry));
    PX_TRY(SaveInode(txn, parent, parent_item));
    // Before the lock is given up: a release after it must not take the file for unlinked.
    if (const auto open = was_orphan ? table_.Find(node) : nullptr) open->orphan = false;
    PX_ASSIGN(const struct stat attr, LiveAttr(node, item));
    entry = {node, attr};
    return {};
  }));
  return entry;
}

Result<Filesystem::Created> Filesystem::Create(NodeKey parent, std::string_view name, mode_t mode,
                                               int flags, const Caller& caller) {
  if (const auto taken = OpenedBefore()) return CreatedBefore(taken->node, flags);
  if (const auto done = DoneBefore()) return CreatedBefore(NodeKey::FromFuse(*done), flags);
  Created result;
  bool exists = false;
  {
    PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
    Content content;
    uint64_t made = 0;
    PX_TRY(Once(
        [&](cow::Txn& txn) -> Status {
          PX_ASSIGN(cow::InodeItem parent_item, LoadDirectory(txn, parent));
          PX_ASSIGN(exists, Exists(txn, parent, name));
          if (exists) return {};
          PX_ASSIGN(NewInode created,
                    PutNewInode(txn, parent, &parent_item, S_IFREG | (mode & 07777), 0, caller));
          PX_ASSIGN(content, NewContent(txn, &created));
          PX_TRY(PutNamed(txn, parent, &parent_item, name, created));
          result.entry = {created.node, Attr(created.node, created.item)};
          made = created.node.ToFuse();
          return {};
        },
        &made));
    if (!exists) {
      PX_ASSIGN(result.opened, OpenNew(result.entry.node, std::move(content), flags));
      WakePool();
    }
  }
  if (!exists) {
    PX_TRY(BeginSyncing(result.entry.node, flags, result.opened));
    return result;
  }
  if ((flags & O_EXCL) != 0) return Fail(EEXIST);
  PX_ASSIGN(result.entry, Lookup(parent, name));
  if (!S_ISREG(result.entry.attr.st_mode)) return Fail(EEXIST);
  PX_ASSIGN(result.opened, Open(result.entry.node, flags, false));
  return result;
}

Result<Filesystem::Created> Filesystem::TmpFile(NodeKey parent, mode_t mode, int flags,
                                                const Caller& caller) {
  if (const auto taken = OpenedBefore()) return CreatedBefore(taken->node, flags);
  if (const auto done = DoneBefore()) return CreatedBefore(NodeKey::FromFuse(*done), flags);
  PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
  Created result;
  Content content;
  uint64_t made = 0;
  PX_TRY(Once(
      [&](cow::Txn& txn) -> Status {
        PX_ASSIGN(cow::InodeItem parent_item, LoadDirectory(txn, parent));
        PX_ASSIGN(NewInode created,
                  PutNewInode(txn, parent, &parent_item, S_IFREG | (mode & 07777), 0, caller));
        created.item.nlink = 0;
        PX_ASSIGN(content, NewContent(txn, &created));
        PX_TRY(SaveInode(txn, created.node, created.item));
        PX_TRY(txn.Put(parent.volume, cow::OrphanKey(created.node.ino), {}));
        result.entry = {created.node, Attr(created.node, created.item)};
        made = created.node.ToFuse();
        return {};
      },
      &made));
  PX_ASSIGN(result.opened, OpenNew(result.entry.node, std::move(content), flags));
  table_.MarkOrphan(result.entry.node);
  WakePool();
  return result;
}

}  // namespace px::fs
