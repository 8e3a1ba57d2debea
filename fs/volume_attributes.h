// What fs/ keeps about a volume in the engine's opaque `attributes`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cow/ids.h"
#include "cow/items.h"

namespace px::fs {

// Bytes: 0 format (4, now 1), 4 flags (4), 8 parent_dir (8), 16 created_ns (8), 24 parent_volume
// (4), 28 name.
struct VolumeAttributes {
  uint32_t flags = 0;           // PX_VOLUME_*
  cow::Ino parent_dir;          // where its dentry is, in the root volume
  int64_t created_ns = 0;       // since 1970
  cow::VolumeId parent_volume;  // of a snapshot: the volume it was taken of
  std::string name;             // of its dentry

  std::string Serialize() const;
  // EUCLEAN if it is not the form above.
  static Result<VolumeAttributes> Parse(std::string_view bytes);
  bool readonly() const;
  bool snapshot() const;
  bool trashed() const;
};

// What an entry says that names a volume.
cow::DentryItem VolumeDentry(cow::VolumeId volume);

}  // namespace px::fs
