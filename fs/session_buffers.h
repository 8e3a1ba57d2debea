// SessionBuffers: what the requests of a session are received into, one buffer for each slot.
//
// Each slot belongs to one thread at a time.
#pragma once

#include <fuse_lowlevel.h>
#include <linux/fuse.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace px::fs {

struct SessionBuffers {
  explicit SessionBuffers(size_t count) : slots(count) {}
  ~SessionBuffers() {
    for (const fuse_buf& buffer : slots) std::free(buffer.mem);
  }
  SessionBuffers(const SessionBuffers&) = delete;
  SessionBuffers& operator=(const SessionBuffers&) = delete;

  // As RequestSource::receive.
  int Receive(fuse_session* session, unsigned slot) {
    return fuse_session_receive_buf(session, &slots[slot]);
  }
  // Of what was received last.
  fuse_in_header Header(unsigned slot) const {
    fuse_in_header header{};
    std::memcpy(&header, slots[slot].mem, sizeof header);
    return header;
  }

  std::vector<fuse_buf> slots;
};

}  // namespace px::fs
