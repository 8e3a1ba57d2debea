// Writing whole buffers: what write(2) and pwrite(2) leave is written too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace px {

// All of `bytes`, or the errno of the call that failed; `what` is the error's context.
Status WriteAll(int fd, std::string_view bytes, const char* what = "write");
Status WriteAllAt(int fd, std::span<const std::byte> bytes, uint64_t offset, const char* what);

}  // namespace px
