// The table of FUSE requests, each translated into one call of Filesystem (userdata: a
// FuseSession).
#pragma once

#include <fuse_lowlevel.h>

namespace px::fs {

fuse_lowlevel_ops BridgeOperations();

}  // namespace px::fs
