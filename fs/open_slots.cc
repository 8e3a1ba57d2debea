#include "fs/open_slots.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

namespace px::fs {

uint64_t OpenSlots::CheckOf(const Slot& slot) {
  // Any mix will do that a torn or zeroed slot does not satisfy; never 0.
  return ((slot.node * 0x9E3779B97F4A7C15u) ^ (slot.object * 0xC2B2AE3D27D4EB4Fu) ^
          (static_cast<uint64_t>(slot.base_mtime_ns) * 0x165667B19E3779F9u)) |
         1;
}

Result<std::unique_ptr<OpenSlots>> OpenSlots::Open(const std::string& path,
                                                   std::vector<Entry>* left_over) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return FailErrno("open " + path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return FailErrno("stat " + path);
  std::unique_ptr<OpenSlots> slots(new OpenSlots(std::move(fd)));
  const size_t chunk_bytes = kChunkSlots * sizeof(Slot);
  const size_t chunks = (static_cast<size_t>(info.st_size) + chunk_bytes - 1) / chunk_bytes;
  const MutexLock lock(slots->mutex_);
  do {
    PX_TRY(slots->MapChunk());
  } while (slots->chunks_.size() < chunks);
  std::erase_if(slots->free_, [&](uint32_t index) PX_NO_TSA {
    const Slot slot = *slots->At(index);
    if (slot.check == 0 || slot.check != CheckOf(slot)) return false;
    left_over->push_back(
        {NodeKey::FromFuse(slot.node), cow::ObjectId{slot.object}, slot.base_mtime_ns});
    slots->left_over_.push_back(index);
    return true;
  });
  return slots;
}

OpenSlots::~OpenSlots() {
  const MutexLock lock(mutex_);
  for (Slot* chunk : chunks_) ::munmap(chunk, kChunkSlots * sizeof(Slot));
}

Status OpenSlots::MapChunk() {
  const size_t bytes = kChunkSlots * sizeof(Slot);
  const off_t offset = static_cast<off_t>(chunks_.size() * bytes);
  // Allocated, not only sized: a store into a hole of a full disk would be a SIGBUS. XFS asks for
  // room even where all is allocated.
  struct stat info{};
  if (::fstat(fd_.get(), &info) != 0) return FailErrno("stat the table of open files");
  const off_t end = offset + static_cast<off_t>(bytes);
  if (info.st_size < end || info.st_blocks * 512 < end) {
    const int error = ::posix_fallocate(fd_.get(), offset, static_cast<off_t>(bytes));
    if (error != 0) return Fail(error, "grow the table of open files");
  }
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
  if (mapped == MAP_FAILED) return FailErrno("map the table of open files");
  const auto first = static_cast<uint32_t>(chunks_.size() * kChunkSlots);
  chunks_.push_back(static_cast<Slot*>(mapped));
  for (uint32_t i = kChunkSlots; i > 0; --i) free_.push_back(first + i - 1);
  return {};
}

Result<uint32_t> OpenSlots::Set(const Entry& entry) {
  const MutexLock lock(mutex_);
  if (free_.empty()) PX_TRY(MapChunk());
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot* slot = At(index);
  slot->node = entry.node.ToFuse();
  slot->object = entry.object.value;
  slot->base_mtime_ns = entry.base_mtime_ns;
  std::atomic_ref<uint64_t>(slot->check).store(CheckOf(*slot), std::memory_order_release);
  return index;
}

void OpenSlots::ForgetLeftOver() {
  const MutexLock lock(mutex_);
  for (const uint32_t index : left_over_) {
    std::atomic_ref<uint64_t>(At(index)->check).store(0, std::memory_order_release);
    free_.push_back(index);
  }
  left_over_.clear();
}

void OpenSlots::Clear(uint32_t slot) {
  const MutexLock lock(mutex_);
  std::atomic_ref<uint64_t>(At(slot)->check).store(0, std::memory_order_release);
  free_.push_back(slot);
}

}  // namespace px::fs
