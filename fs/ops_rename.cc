// rename, with RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT.
#include <dirent.h>
#include <stdio.h>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

// A smaller file is seldom a checkpoint, and much is renamed over small ones.
constexpr uint64_t kKeepRenamed = uint64_t{1} << 20;
// No tree is that deep that is sound.
constexpr int kDeepest = 1'000'000;

// A name taking part in a rename.
struct Place {
  NodeKey parent;
  std::string_view name;
  cow::InodeItem* parent_item = nullptr;
};

}  // namespace

Status Filesystem::MovedTo(cow::Txn& txn, NodeKey node, NodeKey parent, std::string_view name) {
  PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
  item.ctime = Now();
  item.parent = parent.ino.value;
  PX_TRY(SaveInode(txn, node, item));
  if (!node.IsVolumeRoot()) return {};
  PX_ASSIGN(const cow::Volume volume, txn.GetVolume(node.volume));
  PX_ASSIGN(VolumeAttributes attributes, VolumeAttributes::Parse(volume.attributes));
  attributes.parent_dir = parent.ino;
  attributes.name = name;
  return txn.SetAttributes(node.volume, attributes.Serialize());
}

Status Filesystem::CheckNotBelow(cow::Reader& reader, NodeKey dir, NodeKey node) {
  for (int depth = 0; dir != node; ++depth) {
    if (dir.IsVolumeRoot()) return {};
    if (depth > kDeepest) return Fail(EUCLEAN, "directories form a circle");
    PX_ASSIGN(const cow::InodeItem item, LoadDirectory(reader, dir));
    dir.ino = cow::Ino{item.parent};
  }
  return Fail(EINVAL, "a directory cannot go below itself");
}

Status Filesystem::Rename(NodeKey parent, std::string_view name, NodeKey new_parent,
                          std::string_view new_name, unsigned flags, const Caller& caller) {
  if (parent.volume != new_parent.volume) return Fail(EXDEV);
  if (parent.IsSnapshotsDir() || new_parent.IsSnapshotsDir()) return Fail(EROFS);
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT}) != 0) {
    return Fail(EINVAL);
  }
  if (DoneBefore()) return {};
  PX_TRY(CheckNewName(new_parent, new_name));
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));

  std::optional<std::pair<NodeKey, cow::InodeItem>> ghost;
  std::optional<std::pair<NodeKey, cow::ObjectId>> settle;
  Dropped dropped;
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    cow::InodeItem from_item, to_item;
    PX_ASSIGN(from_item, LoadDirectory(txn, parent));
    const bool same_parent = parent == new_parent;
    if (!same_parent) {
      PX_ASSIGN(to_item, LoadDirectory(txn, new_parent));
    }
    const Place from{parent, name, &from_item};
    const Place to{new_parent, new_name, same_parent ? &from_item : &to_item};

    PX_ASSIGN(const cow::DentryItem source, LoadDentry(txn, parent, name));
    const NodeKey source_node = Target(parent, source);
    std::optional<cow::DentryItem> target;
    if (auto loaded = LoadDentry(txn, new_parent, new_name); loaded) {
      target = *loaded;
    } else if (loaded.error().code() != ENOENT) {
      return Forward(loaded.error());
    }
    const bool exchange = (flags & RENAME_EXCHANGE) != 0;
    if (exchange && !target) return Fail(ENOENT);
    if (target && (flags & RENAME_NOREPLACE) != 0) return Fail(EEXIST);

    const bool source_dir = source.type == DT_DIR;
    if (!same_parent && source_dir) PX_TRY(CheckNotBelow(txn, new_parent, source_node));
    if (!same_parent && exchange && target->type == DT_DIR) {
      PX_TRY(CheckNotBelow(txn, parent, Target(new_parent, *target)));
    }
    if (target && !exchange) {
      const NodeKey target_node = Target(new_parent, *target);
      if (target_node == source_node) return {};
      const bool target_dir = target->type == DT_DIR;
      if (source_dir && !target_dir) return Fail(ENOTDIR);
      if (!source_dir && target_dir) return Fail(EISDIR);
      PX_ASSIGN(const cow::InodeItem target_item, LoadInode(txn, target_node));
      dropped = {.inode = true};  // a directory; of anything else it is found out
      if (!target_dir && S_ISREG(target_item.mode) && target_item.nlink == 1 &&
          !table_.Find(target_node)) {
        // The usual way to replace a checkpoint: what it replaces stays until the new one is on
        // disk.
        PX_ASSIGN(cow::InodeItem source_item, LoadInode(txn, source_node));
        // One that was flushed and closed is safe already.
        const cow::ObjectId content{source_item.object};
        if (S_ISREG(source_item.mode) &&
            (table_.Find(source_node) || objects_->unsynced()->Has(content))) {
          PX_TRY(KeepVersion(txn, source_node, target_item, kKeepRenamed, &source_item));
          const bool closed = table_.Find(source_node) == nullptr;
          if (closed && (source_item.flags & cow::kInodeHasVersions) != 0) {
            source_item.flags |= cow::kInodeComplete;
          }
          PX_TRY(SaveInode(txn, source_node, source_item));
          if ((source_item.flags & cow::kInodeHasVersions) != 0) {
            settle.emplace(source_node, cow::ObjectId{source_item.object});
          }
        }
      }
      if (!target_dir) {
        PX_ASSIGN(dropped, DropLink(txn, target_node, target_item));
      } else if (target_node.IsVolumeRoot()) {
        return Fail(target_item.entries > 0 ? ENOTEMPTY : EBUSY);
      } else {
        PX_TRY(EraseDirectory(txn, target_node, target_item));
      }
      if (dropped.inode) ghost.emplace(target_node, target_item);
      PX_TRY(EraseDentry(txn, to.parent, to.parent_item, to.name, target_dir));
    }
    PX_TRY(EraseDentry(txn, from.parent, from.parent_item, from.name, source_dir));
    if (exchange) {
      const bool target_dir = target->type == DT_DIR;
      PX_TRY(EraseDentry(txn, to.parent, to.parent_item, to.name, target_dir));
      PX_TRY(PutDentry(txn, from.parent, from.parent_item, from.name, *target));
      PX_TRY(MovedTo(txn, Target(new_parent, *target), from.parent, from.name));
    }
    PX_TRY(PutDentry(txn, to.parent, to.parent_item, to.name, source));
    PX_TRY(MovedTo(txn, source_node, to.parent, to.name));
    if ((flags & RENAME_WHITEOUT) != 0 && !exchange) {
      PX_TRY(PutWhiteout(txn, from.parent, from.parent_item, from.name, caller));
    }
    PX_TRY(SaveInode(txn, parent, from_item));
    return same_parent ? Status{} : SaveInode(txn, new_parent, to_item);
  }));
  if (settle) SettleLater(settle->first, settle->second);
  if (ghost) {
    const uint64_t bytes = ghost->second.size;
    AddGhost(ghost->first, ghost->second);
    if (dropped.object) ForgetPages(ghost->second);
    gate = Gate();
    GiveBackIfShort(bytes);
  }
  return {};
}

}  // namespace px::fs
