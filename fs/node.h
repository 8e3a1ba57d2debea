// NodeKey: a file of the mount, by volume and inode number, and the one number FUSE and stat know
// it by.
//
// st_ino and the FUSE node id are the same: volume << 40 | ino. Unique over volumes (or `cp
// exp/23/f exp/24/f` would say "same file"), and still meaningful to a restarted daemon. The
// mount's root is volume 0, ino 1, so 1, which is what FUSE_ROOT_ID must be.
#pragma once

#include <cstdint>

#include "cow/ids.h"

namespace px::fs {

struct NodeKey {
  cow::VolumeId volume;
  cow::Ino ino;

  uint64_t ToFuse() const { return (uint64_t{volume.value} << 40) | ino.value; }
  static NodeKey FromFuse(uint64_t id) {
    return {cow::VolumeId{static_cast<uint32_t>(id >> 40)}, cow::Ino{id & cow::kMaxIno}};
  }
  bool operator==(const NodeKey&) const = default;
  bool IsVolumeRoot() const { return ino == cow::kRootIno; }
  bool IsSnapshotsDir() const { return volume != cow::kRootVolume && ino == cow::kSnapshotsIno; }
};

// The directory, in the root volume's tree, whose dentries are the snapshots of a volume. It has no
// inode item; the mount shows it as ino 2 of the volume, under the unlisted name .snapshots.
inline cow::Ino SnapshotIndexDir(cow::VolumeId volume) {
  return cow::Ino{(uint64_t{1} << 39) + volume.value};
}
// The directory, in the root volume's tree, whose dentries are the volumes in the trash, named
// WHEN.VOLUME (nanoseconds since 1970, volume id). It has no inode item and no name.
inline constexpr cow::Ino kTrashDir{(uint64_t{1} << 39) + (uint64_t{1} << 32)};
inline constexpr char kSnapshotsName[] = ".snapshots";

}  // namespace px::fs
