#include "fs/session_buffers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace px::fs {
namespace {

// The kernel asks for room for a whole write and its headers, in whole pages.
constexpr size_t kBytes = kMaxWrite + 2 * 4096;

}  // namespace

void SessionBuffers::Unmap::operator()(char* memory) const { ::munmap(memory, kBytes); }

std::unique_ptr<char, SessionBuffers::Unmap> SessionBuffers::Allocate() {
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // An ordinary user may have no right to lock so much: then it is only likely to stay.
  [[maybe_unused]] const int locked = ::mlock(memory, kBytes);
  return std::unique_ptr<char, Unmap>(static_cast<char*>(memory));
}

int SessionBuffers::Receive(int fd, unsigned slot) {
  Slot& into = slots_[slot];
  if (into.memory == nullptr) into.memory = Allocate();
  if (into.memory == nullptr) return -ENOMEM;
  const ssize_t got = ::read(fd, into.memory.get(), kBytes);
  if (got < 0 && errno == ENODEV) return 0;       // the mount is gone
  if (got < 0 && errno == ENOENT) return -EINTR;  // a request that was given up while it was read
  if (got < 0) return -errno;
  if (static_cast<size_t>(got) < sizeof(fuse_in_header)) return -EIO;
  into.size = static_cast<size_t>(got);
  return static_cast<int>(got);
}

fuse_in_header SessionBuffers::Header(unsigned slot) const {
  fuse_in_header header{};
  std::memcpy(&header, slots_[slot].memory.get(), sizeof header);
  return header;
}

}  // namespace px::fs
