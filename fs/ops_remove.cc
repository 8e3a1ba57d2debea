// unlink, rmdir.
#include <dirent.h>

#include "fs/filesystem.h"

namespace px::fs {

Status Filesystem::EraseDentry(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                               std::string_view name, bool is_dir) {
  if (parent_item->entries > 0) --parent_item->entries;
  if (is_dir && parent_item->nlink > 2) --parent_item->nlink;
  parent_item->mtime = parent_item->ctime = Now();
  return txn.Erase(parent.volume, cow::DentryKey(parent.ino, name));
}

Status Filesystem::EraseDirectory(cow::Txn& txn, NodeKey node, const cow::InodeItem& item) {
  if (item.entries > 0) return Fail(ENOTEMPTY);
  if (!node.IsVolumeRoot()) return EraseInode(txn, node, item);
  // An empty volume goes as an empty directory does, unless there are snapshots of what it was.
  const NodeKey index{cow::kRootVolume, SnapshotIndexDir(node.volume)};
  bool has_snapshots = false;
  PX_TRY(txn.Scan(index.volume, cow::ItemKey(index.ino, cow::ItemType::kDentry),
                  cow::ItemKeyEnd(index.ino, cow::ItemType::kDentry),
                  [&](std::string_view, std::string_view) {
                    has_snapshots = true;
                    return false;
                  }));
  if (has_snapshots) return Fail(EBUSY, "the volume has snapshots");
  if (!table_.OfVolume(node.volume).empty()) return Fail(EBUSY, "a file of the volume is open");
  return txn.DropVolume(node.volume);
}

Status Filesystem::Unlink(NodeKey parent, std::string_view name) {
  if (DoneBefore()) return {};
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));
  if (parent.IsSnapshotsDir()) return Fail(EROFS);
  NodeKey node;
  cow::InodeItem item;
  Dropped dropped;
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(txn, parent, name));
    if (dentry.type == DT_DIR) return Fail(EISDIR);
    PX_ASSIGN(cow::InodeItem parent_item, LoadInode(txn, parent));
    node = Target(parent, dentry);
    PX_ASSIGN(item, LoadInode(txn, node));
    PX_TRY(EraseDentry(txn, parent, &parent_item, name, false));
    PX_TRY(SaveInode(txn, parent, parent_item));
    PX_ASSIGN(dropped, DropLink(txn, node, item));
    return {};
  }));
  if (dropped.inode) {
    AddGhost(node, item);
    if (dropped.object) ForgetPages(item);
    gate = Gate();
    GiveBackIfShort(item.size);
  }
  return {};
}

Status Filesystem::Rmdir(NodeKey parent, std::string_view name) {
  if (DoneBefore()) return {};
  PX_ASSIGN(const Gate gate, EnterToWrite(parent.volume));
  if (parent.IsSnapshotsDir()) return Fail(EROFS);
  NodeKey node;
  cow::InodeItem item;
  if (parent.volume == cow::kRootVolume) {
    // It may be a volume, and releases of files of it on their way.
    const Status looked = store_->View([&](cow::Reader& reader) -> Status {
      PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(reader, parent, name));
      node = Target(parent, dentry);
      return {};
    });
    if (looked && node.volume != cow::kRootVolume) DrainOpens(node.volume);
  }
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(txn, parent, name));
    if (dentry.type != DT_DIR) return Fail(ENOTDIR);
    PX_ASSIGN(cow::InodeItem parent_item, LoadInode(txn, parent));
    node = Target(parent, dentry);
    PX_ASSIGN(item, LoadInode(txn, node));
    PX_TRY(EraseDirectory(txn, node, item));
    PX_TRY(EraseDentry(txn, parent, &parent_item, name, true));
    return SaveInode(txn, parent, parent_item);
  }));
  AddGhost(node, item);
  WakeBackground();
  return {};
}

}  // namespace px::fs
