#include "fs/rescue.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <unordered_set>

#include "fs/filesystem.h"
#include "fs/node.h"
#include "fs/volume_attributes.h"
#include "uapi/px_ioctl.h"

namespace px::fs {
namespace {

constexpr size_t kAtOnce = 256;  // changes of one transaction

cow::Time Now() { return {::time(nullptr), 0}; }

Result<bool> Exists(cow::Reader& reader, cow::VolumeId volume, const std::string& key) {
  const auto found = reader.Get(volume, key);
  if (!found && found.error().code() != ENOENT) return Forward(found.error());
  return found.has_value();
}

// `name`, or one like it that the directory does not have.
Result<std::string> FreeName(cow::Reader& reader, cow::Ino dir, const std::string& name) {
  std::string free = name;
  for (int i = 1;; ++i) {
    PX_ASSIGN(const bool taken, Exists(reader, cow::kRootVolume, cow::DentryKey(dir, free)));
    if (!taken) return free;
    // A name may have 255 bytes.
    free = fmt::format("{}.{}", name.substr(0, 240), i);
  }
}

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

cow::InodeItem LostDirectory(cow::Ino parent) {
  cow::InodeItem item;
  item.mode = S_IFDIR | 0700;
  item.uid = ::geteuid();
  item.gid = ::getegid();
  item.nlink = 2;
  item.parent = parent.value;
  item.atime = item.mtime = item.ctime = item.btime = Now();
  return item;
}

Status AddEntry(cow::Txn& txn, cow::VolumeId volume, cow::Ino dir, std::string_view name,
                const cow::DentryItem& dentry) {
  PX_ASSIGN(cow::InodeItem item, Filesystem::LoadInode(txn, {volume, dir}));
  ++item.entries;
  if (dentry.type == DT_DIR) ++item.nlink;
  PX_TRY(txn.Put(volume, cow::DentryKey(dir, name), cow::AsBytes(dentry)));
  return Filesystem::SaveInode(txn, {volume, dir}, item);
}

Result<cow::Ino> LostAndFound(cow::Txn& txn, cow::VolumeId volume) {
  PX_ASSIGN(const cow::InodeItem root, Filesystem::LoadInode(txn, {volume, cow::kRootIno}));
  for (int i = 0;; ++i) {
    const std::string name = i == 0 ? "lost+found" : fmt::format("lost+found.{}", i);
    const auto found = txn.Get(volume, cow::DentryKey(cow::kRootIno, name));
    if (found) {
      PX_ASSIGN(const auto dentry, cow::FromBytes<cow::DentryItem>(*found));
      if (dentry.type == DT_DIR && dentry.volume == 0) return cow::Ino{dentry.ino};
      continue;
    }
    if (found.error().code() != ENOENT) return Forward(found.error());
    PX_ASSIGN(const cow::Ino ino, txn.NewIno(volume));
    cow::InodeItem item = LostDirectory(cow::kRootIno);
    item.uid = root.uid;
    item.gid = root.gid;
    cow::DentryItem dentry;
    dentry.ino = ino.value;
    dentry.type = DT_DIR;
    PX_TRY(Filesystem::SaveInode(txn, {volume, ino}, item));
    PX_TRY(AddEntry(txn, volume, cow::kRootIno, name, dentry));
    return ino;
  }
}

namespace {

struct Unnamed {
  cow::VolumeId id;
  VolumeAttributes attributes;
};

Result<std::vector<Unnamed>> FindVolumes(cow::Store* store) {
  std::vector<Unnamed> unnamed;
  PX_TRY(store->View([&](cow::Reader& reader) -> Status {
    std::unordered_set<uint32_t> named;
    PX_TRY(reader.Scan(cow::kRootVolume, {}, {}, [&](std::string_view key, std::string_view value) {
      named.insert(VolumeNamedBy(key, value));
      return true;
    }));
    return reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
      if (volume.id == cow::kRootVolume || named.contains(volume.id.value)) return true;
      const auto attributes = VolumeAttributes::Parse(volume.attributes);
      unnamed.push_back({volume.id, attributes ? *attributes : VolumeAttributes()});
      if (!IsName(unnamed.back().attributes.name)) {
        unnamed.back().attributes.name = fmt::format("volume-{}", volume.id.value);
      }
      return true;
    });
  }));
  return unnamed;
}

Result<std::string> NameInDirectory(cow::Txn& txn, const Unnamed& volume) {
  VolumeAttributes attributes = volume.attributes;
  attributes.flags &= ~(PX_VOLUME_SNAPSHOT | PX_VOLUME_TRASHED);
  attributes.parent_volume = {};
  cow::Ino dir = attributes.parent_dir;
  const auto parent = Filesystem::LoadInode(txn, {cow::kRootVolume, dir});
  if (!parent && parent.error().code() != ENOENT) return Forward(parent.error());
  if (dir.value == 0 || dir >= SnapshotIndexDir(cow::VolumeId{0}) ||
      (parent && !S_ISDIR(parent->mode))) {
    PX_ASSIGN(dir, LostAndFound(txn, cow::kRootVolume));
  } else if (!parent) {
    PX_ASSIGN(const cow::Ino found, LostAndFound(txn, cow::kRootVolume));
    cow::DentryItem dentry;
    dentry.ino = dir.value;
    dentry.type = DT_DIR;
    PX_TRY(Filesystem::SaveInode(txn, {cow::kRootVolume, dir}, LostDirectory(found)));
    PX_TRY(AddEntry(txn, cow::kRootVolume, found, fmt::format("#{}", dir.value), dentry));
  }
  PX_ASSIGN(attributes.name, FreeName(txn, dir, attributes.name));
  attributes.parent_dir = dir;
  PX_TRY(AddEntry(txn, cow::kRootVolume, dir, attributes.name, VolumeDentry(volume.id)));
  PX_TRY(txn.SetAttributes(volume.id, attributes.Serialize()));
  const auto root = Filesystem::LoadInode(txn, {volume.id, cow::kRootIno});
  if (root && root->parent != dir.value) {
    cow::InodeItem item = *root;
    item.parent = dir.value;
    PX_TRY(Filesystem::SaveInode(txn, {volume.id, cow::kRootIno}, item));
  }
  return fmt::format("'{}' in directory {}", attributes.name, dir.value);
}

// Where it is put, in words.
Result<std::string> Name(cow::Txn& txn, const Unnamed& volume) {
  const VolumeAttributes& attributes = volume.attributes;
  if (attributes.snapshot()) {
    const auto of = txn.GetVolume(attributes.parent_volume);
    if (of) {
      const cow::Ino index = SnapshotIndexDir(attributes.parent_volume);
      PX_ASSIGN(const std::string name, FreeName(txn, index, attributes.name));
      PX_TRY(txn.Put(cow::kRootVolume, cow::DentryKey(index, name),
                     cow::AsBytes(VolumeDentry(volume.id))));
      return fmt::format("snapshot '{}' of volume {}", name, attributes.parent_volume.value);
    }
    if (of.error().code() != ENOENT) return Forward(of.error());
  } else if (attributes.trashed()) {
    const std::string name =
        fmt::format("{}.{}", int64_t{::time(nullptr)} * 1'000'000'000, volume.id.value);
    PX_TRY(txn.Put(cow::kRootVolume, cow::DentryKey(kTrashDir, name),
                   cow::AsBytes(VolumeDentry(volume.id))));
    return std::string("in the trash");
  }
  return NameInDirectory(txn, volume);
}

}  // namespace

Status NameVolumes(cow::Store* store, bool repair, FsckLog* log) {
  const auto unnamed = FindVolumes(store);
  if (!unnamed && unnamed.error().code() != ENOMEM) {
    // A root volume that cannot be read is a finding already, and may name any.
    return {};
  }
  PX_TRY(unnamed);
  for (const Unnamed& volume : *unnamed) {
    const std::string text =
        fmt::format("volume {} ('{}'): no name", volume.id.value, volume.attributes.name);
    if (!repair) {
      log->Find(text);
      continue;
    }
    std::string where;
    PX_TRY(store->Update([&](cow::Txn& txn) -> Status {
      PX_ASSIGN(where, Name(txn, volume));
      return {};
    }));
    log->Find(text + ": it is " + where + " now", /*repaired=*/true);
  }
  return {};
}

Result<std::unordered_set<uint64_t>> NameObjects(cow::Store* store, const ObjectStore& objects,
                                                 const std::vector<cow::ObjectId>& ids) {
  std::unordered_set<uint64_t> named;
  for (size_t done = 0; done < ids.size(); done += kAtOnce) {
    const size_t end = std::min(ids.size(), done + kAtOnce);
    PX_TRY(store->Update([&](cow::Txn& txn) -> Status {
      PX_ASSIGN(const cow::Ino dir, LostAndFound(txn, cow::kRootVolume));
      for (size_t i = done; i < end; ++i) {
        PX_ASSIGN(const UniqueFd file, objects.OpenObject(ids[i], O_RDONLY));
        struct stat info{};
        if (::fstat(file.get(), &info) != 0) return FailErrno("stat of an object");
        if (info.st_size == 0) continue;
        PX_ASSIGN(const cow::Ino ino, txn.NewIno(cow::kRootVolume));
        cow::InodeItem item;
        item.mode = S_IFREG | 0600;
        item.uid = ::geteuid();
        item.gid = ::getegid();
        item.nlink = 1;
        item.size = static_cast<uint64_t>(info.st_size);
        item.blocks = static_cast<uint64_t>(info.st_blocks);
        item.parent = dir.value;
        item.object = ids[i].value;
        item.content = cow::ContentKind::kWhole;
        item.mtime = {info.st_mtim.tv_sec, static_cast<uint32_t>(info.st_mtim.tv_nsec)};
        item.atime = item.ctime = item.btime = Now();
        cow::DentryItem dentry;
        dentry.ino = ino.value;
        dentry.type = DT_REG;
        PX_TRY(Filesystem::SaveInode(txn, {cow::kRootVolume, ino}, item));
        PX_ASSIGN(const std::string name,
                  FreeName(txn, dir, fmt::format("object-{:x}", ids[i].value)));
        PX_TRY(AddEntry(txn, cow::kRootVolume, dir, name, dentry));
        named.insert(ids[i].value);
      }
      return {};
    }));
  }
  return named;
}

}  // namespace px::fs
