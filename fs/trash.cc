// The trash: volumes that were dropped and are kept whole for a while, without a name in the mount.
// A trashed volume keeps its id, its tree and its snapshots; its dentry is in kTrashDir.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

// Below the smaller of these the filesystem counts as nearly full.
constexpr uint64_t kShortParts = 20;  // a twentieth of it
constexpr uint64_t kShortBytes = uint64_t{10} << 30;

// How much of a file's space is in blocks that other files share (reflinks). 0 where the filesystem
// does not say.
uint64_t SharedBytes(int fd) {
  constexpr size_t kExtents = 256;
  std::vector<char> buffer(sizeof(fiemap) + kExtents * sizeof(fiemap_extent));
  uint64_t shared = 0, from = 0;
  for (;;) {
    auto* map = reinterpret_cast<fiemap*>(buffer.data());
    *map = {};
    map->fm_start = from;
    map->fm_length = FIEMAP_MAX_OFFSET - from;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtents;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0 || map->fm_mapped_extents == 0) return shared;
    for (size_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0) shared += extent.fe_length;
      from = extent.fe_logical + extent.fe_length;
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) return shared;
    }
  }
}

}  // namespace

Result<std::vector<Filesystem::Trashed>> Filesystem::LoadTrash(cow::Reader& reader) {
  std::vector<Trashed> trash;
  PX_TRY(reader.Scan(cow::kRootVolume, cow::ItemKey(kTrashDir, cow::ItemType::kDentry),
                     cow::ItemKeyEnd(kTrashDir, cow::ItemType::kDentry),
                     [&](std::string_view key, std::string_view value) {
                       const auto dentry = cow::FromBytes<cow::DentryItem>(value);
                       if (!dentry || key.size() < 18) return true;
                       Trashed one;
                       one.volume = cow::VolumeId{dentry->volume};
                       one.name = cow::DentryName(key.substr(9));
                       std::from_chars(one.name.data(), one.name.data() + one.name.size(),
                                       one.dropped_ns);
                       trash.push_back(std::move(one));
                       return true;
                     }));
  std::sort(trash.begin(), trash.end(), [](const Trashed& a, const Trashed& b) {
    return std::pair(a.dropped_ns, a.volume) < std::pair(b.dropped_ns, b.volume);
  });
  return trash;
}

Result<std::vector<cow::VolumeId>> Filesystem::WithSnapshots(cow::Reader& reader,
                                                             cow::VolumeId volume) {
  PX_ASSIGN(const std::vector<SnapshotName> snapshots, SnapshotsOf(reader, volume));
  std::vector<cow::VolumeId> all{volume};
  for (const SnapshotName& snapshot : snapshots) all.push_back(snapshot.volume);
  return all;
}

// The caller's transaction takes the dentry away.
Status Filesystem::PutIntoTrash(cow::Txn& txn, cow::VolumeId volume) {
  PX_ASSIGN(const cow::Volume row, txn.GetVolume(volume));
  PX_ASSIGN(VolumeAttributes attributes, VolumeAttributes::Parse(row.attributes));
  attributes.flags |= PX_VOLUME_TRASHED;
  PX_TRY(txn.SetAttributes(volume, attributes.Serialize()));
  const std::string name = fmt::format("{}.{}", Now().Nanoseconds(), volume.value);
  return txn.Put(cow::kRootVolume, cow::DentryKey(kTrashDir, name),
                 cow::AsBytes(VolumeDentry(volume)));
}

Status Filesystem::Undelete(NodeKey parent, const std::string& name, cow::VolumeId volume,
                            const Caller& caller) {
  if (DoneBefore()) {
    InvalidateName(parent, name);
    return {};
  }
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Fail(EINVAL, "not a name for a volume");
  }
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));
  std::vector<cow::VolumeId> back;
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(const std::vector<Trashed> trash, LoadTrash(txn));
    // Newest first.
    for (auto one = trash.rbegin(); one != trash.rend(); ++one) {
      PX_ASSIGN(const cow::Volume row, txn.GetVolume(one->volume));
      PX_ASSIGN(VolumeAttributes attributes, VolumeAttributes::Parse(row.attributes));
      const bool here = attributes.parent_dir == parent.ino && attributes.name == name;
      if (volume.value == 0 ? !here : one->volume != volume) continue;
      // Of what belongs to others not even the existence is told.
      if (!CheckOwner(txn, one->volume, caller)) continue;
      PX_TRY(AttachVolume(txn, parent, name, one->volume, caller));
      PX_TRY(txn.Erase(cow::kRootVolume, cow::DentryKey(kTrashDir, one->name)));
      attributes.flags &= ~PX_VOLUME_TRASHED;
      attributes.parent_dir = parent.ino;
      attributes.name = name;
      PX_TRY(txn.SetAttributes(one->volume, attributes.Serialize()));
      const NodeKey root{one->volume, cow::kRootIno};
      PX_ASSIGN(cow::InodeItem item, LoadInode(txn, root));
      item.parent = parent.ino.value;
      PX_TRY(SaveInode(txn, root, item));
      PX_ASSIGN(back, WithSnapshots(txn, one->volume));
      return {};
    }
    return Fail(ENOENT, "not in the trash");
  }));
  {
    const WriterLock lock(volumes_mutex_);
    for (const cow::VolumeId one : back) volumes_.erase(one.value);  // they were marked as dropped
  }
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(parent, name);
  return {};
}

bool Filesystem::IsExpired(const Trashed& trashed) const {
  const int64_t age = Now().Nanoseconds() - trashed.dropped_ns;
  return age >= std::chrono::nanoseconds(options_.trash_age).count();
}

Status Filesystem::ListTrash(px_ioc_text* text, const Caller& caller) {
  uint64_t position = 0;
  std::memcpy(&position, text->cursor, sizeof position);
  std::memset(text->cursor, 0, sizeof text->cursor);
  text->length = 0;
  return store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const std::vector<Trashed> trash, LoadTrash(reader));
    for (; position < trash.size(); ++position) {
      const Trashed& one = trash[position];
      if (!CheckOwner(reader, one.volume, caller)) continue;
      PX_ASSIGN(const cow::Volume row, reader.GetVolume(one.volume));
      PX_ASSIGN(const VolumeAttributes attributes, VolumeAttributes::Parse(row.attributes));
      const auto parent = PathIn(reader, {cow::kRootVolume, attributes.parent_dir});
      const std::string dir = !parent ? "?/" : *parent == "." ? "" : *parent + "/";
      const nlohmann::ordered_json json{
          {"volume", one.volume.value},
          {"path", dir + attributes.name},
          {"dropped_ns", one.dropped_ns},
          {"expires_ns", one.dropped_ns + std::chrono::nanoseconds(options_.trash_age).count()}};
      const std::string line =
          json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
      if (text->length + line.size() > PX_TEXT_MAX) {
        std::memcpy(text->cursor, &position, sizeof position);
        return {};
      }
      std::memcpy(text->text + text->length, line.data(), line.size());
      text->length += static_cast<uint32_t>(line.size());
    }
    return {};
  });
}

Status Filesystem::DropTrashed(const Trashed& trashed) {
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_TRY(txn.Erase(cow::kRootVolume, cow::DentryKey(kTrashDir, trashed.name)));
    PX_ASSIGN(const std::vector<SnapshotName> snapshots, SnapshotsOf(txn, trashed.volume));
    for (const SnapshotName& snapshot : snapshots) {
      const cow::Ino index = SnapshotIndexDir(trashed.volume);
      PX_TRY(txn.Erase(cow::kRootVolume, cow::DentryKey(index, snapshot.name)));
      PX_TRY(txn.DropVolume(snapshot.volume));
    }
    return txn.DropVolume(trashed.volume);
  }));
  MarkDropped(trashed.volume);
  WakeBackground();
  return {};
}

Status Filesystem::ThinTrash() {
  std::vector<Trashed> trash;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(trash, LoadTrash(reader));
    return {};
  }));
  for (const Trashed& one : trash) {
    bool drop = IsExpired(one);
    if (!drop) {
      PX_ASSIGN(const Space space, SpaceLeft());
      drop = space.left < std::min(space.size / kShortParts, kShortBytes);
      if (drop) LogInfo("trash: space is short: volume {} goes early", one.volume.value);
    }
    if (!drop) return {};  // nor are those after it older
    const Status dropped = DropTrashed(one);
    if (!dropped && dropped.error().code() != ENOENT) return dropped;
    // What it held must be free before one can say whether the next has to go.
    for (bool done = false; !done;) PX_TRY(ReclaimStep(&done, Reclaim::kAll));
  }
  return {};
}

Result<px_ioc_gc> Filesystem::Measure(const std::vector<Trashed>& trash) {
  px_ioc_gc result{};
  std::vector<cow::VolumeId> volumes;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    for (const Trashed& one : trash) {
      PX_ASSIGN(const std::vector<cow::VolumeId> all, WithSnapshots(reader, one.volume));
      volumes.insert(volumes.end(), all.begin(), all.end());
    }
    return {};
  }));
  std::vector<cow::ObjectId> objects;
  PX_TRY(store_->WouldFree(volumes, [&](cow::ObjectId object) { objects.push_back(object); }));
  for (const cow::ObjectId object : objects) {
    const auto fd = objects_->OpenObject(object, O_RDONLY);
    struct stat info{};
    if (!fd || ::fstat(fd->get(), &info) != 0) continue;  // gone, or damaged: it frees nothing
    const uint64_t bytes = static_cast<uint64_t>(info.st_blocks) * 512;
    const uint64_t shared =
        objects_->has_reflinks() ? std::min(bytes, SharedBytes(fd->get())) : uint64_t{0};
    result.bytes += bytes - shared;
    result.shared_bytes += shared;
  }
  result.volumes = static_cast<uint32_t>(trash.size());
  return result;
}

Status Filesystem::CollectGarbage(px_ioc_gc* request, const Caller& caller) {
  if ((request->flags & ~(PX_GC_DRY_RUN | PX_GC_ALL)) != 0) return Fail(EINVAL);
  const bool all = (request->flags & PX_GC_ALL) != 0;
  const bool dry = (request->flags & PX_GC_DRY_RUN) != 0;
  if (options_.read_only && !dry) return Fail(EROFS);
  // What was dropped before goes by itself: it is not counted.
  std::vector<Trashed> trash;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(trash, LoadTrash(reader));
    std::erase_if(trash, [&](const Trashed& one) {
      return (!all && !IsExpired(one)) || !CheckOwner(reader, one.volume, caller);
    });
    return {};
  }));
  PX_ASSIGN(const px_ioc_gc result, Measure(trash));
  const uint32_t flags = request->flags;
  *request = result;
  request->flags = flags;
  if (dry) return {};
  for (const Trashed& one : trash) {
    const Status dropped = DropTrashed(one);
    if (!dropped && dropped.error().code() != ENOENT) return dropped;
  }
  for (bool done = false; !done;) PX_TRY(ReclaimStep(&done, Reclaim::kAll));
  return {};
}

}  // namespace px::fs
