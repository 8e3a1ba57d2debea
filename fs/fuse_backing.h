// The passthrough ioctls of linux/fuse.h (protocol 7.40), which Debian 12's kernel headers do not
// have yet.
#pragma once

#include <linux/ioctl.h>
#include <linux/types.h>

namespace px::fs {

struct BackingMap {
  __s32 fd = 0;
  __u32 flags = 0;
  __u64 padding = 0;
};
static_assert(sizeof(BackingMap) == 16);

inline constexpr unsigned kFuseDevMagic = 229;
inline constexpr unsigned long kBackingOpen = _IOW(kFuseDevMagic, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(kFuseDevMagic, 2, __u32);

}  // namespace px::fs
