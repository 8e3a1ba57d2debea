// Calls on files that take more than one system call each, and what their errors mean.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace px {

// What write(2) and pwrite(2) leave is written too: all of `bytes`, or the errno of the call that
// failed; `what` is the error's context.
Status WriteAll(int fd, std::string_view bytes, const char* what = "write");
Status WriteAllAt(int fd, std::span<const std::byte> bytes, uint64_t offset, const char* what);

// Makes a file's content durable, or a directory's names. The errno of the call that failed.
Status SyncPath(const std::string& path);

// An empty file at `path` that is for its owner only (0600), if there is none. One that is there is
// not opened: to close it would end the POSIX locks that this process holds on it.
Status MakePrivate(const std::string& path);

// There was no room: on the disk, or in a quota.
constexpr bool IsNoRoom(int error) { return error == ENOSPC || error == EDQUOT; }

}  // namespace px
