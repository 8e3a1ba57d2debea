// The control ioctls of uapi/px_ioctl.h.
#pragma once

#include <fuse_lowlevel.h>

#include <string_view>

#include "fs/fuse_session.h"

namespace px::fs {

// Who sent the request. Its in_group may be asked until the request is answered.
Caller CallerOf(fuse_req_t req);
void ReplyFailure(fuse_req_t req, const Error& error);

// Answers the request now or later. An error that is returned was not answered yet.
Status ServeControl(fuse_req_t req, FuseSession& session, NodeKey node, unsigned command,
                    std::string_view argument, size_t out_size);

}  // namespace px::fs
