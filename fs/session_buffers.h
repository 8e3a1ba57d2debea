// SessionBuffers: what the requests of a session are received into, one buffer for each slot.
//
// Their memory is there before the kernel copies into it, and stays: a page that had to be brought
// in first would not be for a process that is just being killed, and the request would fail (EIO)
// instead of coming again to the next daemon (fuse_copy_fill in fs/fuse/dev.c).
//
// Each slot belongs to one thread at a time.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace px::fs {

inline constexpr size_t kMaxWrite = size_t{1} << 20;  // bytes of a request's data

class SessionBuffers {
 public:
  explicit SessionBuffers(size_t count) : slots_(count) {}

  // Reads a request from /dev/fuse. As RequestSource::receive.
  int Receive(int fd, unsigned slot);
  // What was received last, and its header.
  std::string_view Request(unsigned slot) const {
    return {slots_[slot].memory.get(), slots_[slot].size};
  }
  fuse_in_header Header(unsigned slot) const;

 private:
  struct Unmap {
    void operator()(char* memory) const;
  };
  struct Slot {
    std::unique_ptr<char, Unmap> memory;  // from the slot's first use on
    size_t size = 0;
  };
  static std::unique_ptr<char, Unmap> Allocate();

  std::vector<Slot> slots_;
};

}  // namespace px::fs
