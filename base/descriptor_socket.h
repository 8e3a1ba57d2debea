// Datagrams with descriptors beside them, over a SOCK_SEQPACKET socket of AF_UNIX. Both functions
// take no memory from the heap.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

namespace px {

inline constexpr size_t kMaxSentDescriptors = 4;

// False with errno. EPIPE: the other end is gone (no signal). The descriptors stay the caller's.
bool SendDescriptors(int socket, std::span<const std::byte> bytes, std::span<const int> fds);

// How many bytes came; 0: the other end is gone; -1 with errno. `fds`, at most kMaxSentDescriptors,
// gets the descriptors that came, close-on-exec, and -1 beyond them.
ssize_t ReceiveDescriptors(int socket, std::span<std::byte> bytes, std::span<int> fds);

}  // namespace px
