// What mount(8) runs for the type fuse.px, under the name mount.fuse.px, from fstab and for `mount
// -o remount`:
//
//   mount.fuse.px STORE MOUNTPOINT [-sfnv] [-o OPTIONS] [-t fuse.px]
//
// OPTIONS are those of `px-fs mount`; what mount(8) and systemd keep there for themselves is passed
// over. With `remount` only the flags of the mount are changed (ro, rw, nosuid, nodev, noexec).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace px::fs {

// Whether the program was called as a helper of mount(8).
bool IsMountHelper(const std::string& program);

// `words` without the program's name. EINVAL: not understood; otherwise what Mount or mount(2)
// gives. EROFS: `rw` for a mount that was made with `ro`, whose daemon does not write.
Status RunMountHelper(const std::vector<std::string>& words);

}  // namespace px::fs
