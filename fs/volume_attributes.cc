#include "fs/volume_attributes.h"

#include <dirent.h>

#include <cstring>

#include "uapi/px_ioctl.h"

namespace px::fs {
namespace {

struct Header {
  uint32_t format = 1;
  uint32_t flags = 0;
  uint64_t parent_dir = 0;
  int64_t created_ns = 0;
  uint32_t parent_volume = 0;
} __attribute__((packed));
static_assert(sizeof(Header) == 28);

}  // namespace

std::string VolumeAttributes::Serialize() const {
  Header header;
  header.flags = flags;
  header.parent_dir = parent_dir.value;
  header.created_ns = created_ns;
  header.parent_volume = parent_volume.value;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  return bytes.append(name);
}

Result<VolumeAttributes> VolumeAttributes::Parse(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header) return Fail(EUCLEAN, "volume attributes too short");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.format != 1) return Fail(EUCLEAN, "volume attributes of an unknown format");
  VolumeAttributes parsed;
  parsed.flags = header.flags;
  parsed.parent_dir = cow::Ino{header.parent_dir};
  parsed.created_ns = header.created_ns;
  parsed.parent_volume = cow::VolumeId{header.parent_volume};
  parsed.name = bytes.substr(sizeof header);
  return parsed;
}

bool VolumeAttributes::readonly() const { return (flags & PX_VOLUME_READONLY) != 0; }
bool VolumeAttributes::snapshot() const { return (flags & PX_VOLUME_SNAPSHOT) != 0; }
bool VolumeAttributes::trashed() const { return (flags & PX_VOLUME_TRASHED) != 0; }

cow::DentryItem VolumeDentry(cow::VolumeId volume) {
  cow::DentryItem dentry;
  dentry.ino = cow::kRootIno.value;
  dentry.volume = volume.value;
  dentry.type = DT_DIR;
  return dentry;
}

}  // namespace px::fs
