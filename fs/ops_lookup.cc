// lookup, readlink, readdir, statfs.
#include <dirent.h>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

// Directory positions: 1 and 2 stand after "." and "..", the others are the upper 62 bits of the
// last name's hash, so that they survive any change of the directory and a restart of the daemon.
constexpr off_t kAfterDot = 1, kAfterDotDot = 2;
off_t PositionOf(uint64_t hash) { return static_cast<off_t>((hash >> 2) + 3); }
uint64_t HashAfter(off_t position) { return (static_cast<uint64_t>(position) - 3 + 1) << 2; }
constexpr off_t kLastPosition = static_cast<off_t>((~uint64_t{0} >> 2) + 3);

// How many entries are read under one hold of the store's lock.
constexpr size_t kBatch = 128;

struct ListedEntry {
  std::string name;
  Entry entry;
  bool has_attr = false;
  off_t next = 0;
};

}  // namespace

Result<Entry> Filesystem::Lookup(NodeKey parent, std::string_view name) {
  Entry found;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    if (parent.IsVolumeRoot() && parent.volume != cow::kRootVolume && name == kSnapshotsName) {
      found.node = {parent.volume, cow::kSnapshotsIno};
      PX_ASSIGN(found.attr, SnapshotsDirAttr(reader, parent.volume));
      return {};
    }
    if (name == "." || name == "..") return LookupHandle(reader, parent, name == "..", &found);
    const NodeKey dir = parent.IsSnapshotsDir()
                            ? NodeKey{cow::kRootVolume, SnapshotIndexDir(parent.volume)}
                            : parent;
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(reader, dir, name));
    found.node = Target(dir, dentry);
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, found.node));
    PX_ASSIGN(found.attr, LiveAttr(found.node, item));
    return {};
  }));
  return found;
}

// Asked by who has a file by its handle only (open_by_handle_at, NFS): for itself, or for the
// directory above it.
Status Filesystem::LookupHandle(cow::Reader& reader, NodeKey node, bool above, Entry* found) {
  found->node = node;
  if (above && node.IsSnapshotsDir()) {
    found->node = {node.volume, cow::kRootIno};
  } else if (above) {
    PX_ASSIGN(const cow::InodeItem item, LoadDirectory(reader, node));
    found->node = ParentOf(node, item);
  }
  if (found->node.IsSnapshotsDir()) {
    PX_ASSIGN(found->attr, SnapshotsDirAttr(reader, node.volume));
    return {};
  }
  PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, found->node));
  PX_ASSIGN(found->attr, LiveAttr(found->node, item));
  return {};
}

NodeKey Filesystem::ParentOf(NodeKey node, const cow::InodeItem& item) {
  return {node.IsVolumeRoot() ? cow::kRootVolume : node.volume, cow::Ino{item.parent}};
}

Result<std::string> Filesystem::ReadLink(NodeKey node) {
  std::string target;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    if (!S_ISLNK(item.mode)) return Fail(EINVAL);
    return reader.Scan(node.volume, cow::SymlinkKey(node.ino, 0),
                       cow::ItemKeyEnd(node.ino, cow::ItemType::kSymlink),
                       [&target](std::string_view, std::string_view value) {
                         target.append(value);
                         return true;
                       });
  }));
  return target;
}

Status Filesystem::ReadDir(NodeKey node, off_t offset, bool with_attr,
                           const std::function<bool(const DirEntry&)>& visit) {
  const NodeKey dir =
      node.IsSnapshotsDir() ? NodeKey{cow::kRootVolume, SnapshotIndexDir(node.volume)} : node;
  NodeKey parent = node;
  if (!node.IsSnapshotsDir()) {
    cow::InodeItem self;
    const Status loaded = store_->View([&](cow::Reader& reader) -> Status {
      PX_ASSIGN(self, LoadInode(reader, node));
      return {};
    });
    if (!loaded && loaded.error().code() == ENOENT) return {};  // a removed directory is empty
    PX_TRY(loaded);
    parent = ParentOf(node, self);
  }
  const auto dot = [&](std::string_view name, NodeKey target, off_t next) {
    DirEntry entry{name, {target, {}}, false, next};
    entry.entry.attr.st_ino = target.ToFuse();
    entry.entry.attr.st_mode = S_IFDIR;
    return visit(entry);
  };
  if (offset < kAfterDot && !dot(".", node, kAfterDot)) return {};
  if (offset < kAfterDotDot && !dot("..", parent, kAfterDotDot)) return {};
  if (offset >= kLastPosition) return {};

  std::string from = offset <= kAfterDotDot ? cow::ItemKey(dir.ino, cow::ItemType::kDentry)
                                            : cow::DentryKeyFrom(dir.ino, HashAfter(offset));
  const std::string end = cow::ItemKeyEnd(dir.ino, cow::ItemType::kDentry);
  std::vector<ListedEntry> batch;
  do {
    batch.clear();
    // The visitor is called without the store's lock: it may be slow, and it is not ours.
    PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
      Status broken;
      PX_TRY(reader.Scan(dir.volume, from, end, [&](std::string_view key, std::string_view value) {
        const std::string_view rest = key.substr(9);
        const auto dentry = cow::FromBytes<cow::DentryItem>(value);
        if (!dentry || rest.size() < 8) {
          broken = Fail(EUCLEAN, "broken dentry");
          return false;
        }
        ListedEntry listed;
        listed.name = cow::DentryName(rest);
        listed.entry.node = Target(dir, *dentry);
        listed.entry.attr.st_ino = listed.entry.node.ToFuse();
        listed.entry.attr.st_mode = mode_t(DTTOIF(dentry->type));
        listed.next = PositionOf(cow::DentryHash(rest));
        from.assign(key).push_back('\0');
        batch.push_back(std::move(listed));
        return batch.size() < kBatch;
      }));
      PX_TRY(broken);
      if (!with_attr) return {};
      for (ListedEntry& listed : batch) {
        const auto item = LoadInode(reader, listed.entry.node);
        if (!item) continue;  // named in the log by the engine; a lookup will give the error
        const auto attr = LiveAttr(listed.entry.node, *item);
        if (!attr) continue;
        listed.entry.attr = *attr;
        listed.has_attr = true;
      }
      return {};
    }));
    for (const ListedEntry& listed : batch) {
      if (!visit({listed.name, listed.entry, listed.has_attr, listed.next})) return {};
    }
  } while (batch.size() == kBatch);
  return {};
}

Result<struct statvfs> Filesystem::StatFs() {
  PX_ASSIGN(struct statvfs result, objects_->StatFs());
  result.f_namemax = PX_NAME_MAX;
  return result;
}

}  // namespace px::fs
