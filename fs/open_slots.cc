#include "fs/open_slots.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "base/io.h"
#include "base/log.h"

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
  const size_t chunks = (static_cast<size_t>(info.st_size) + kChunkBytes - 1) / kChunkBytes;
  const MutexLock lock(slots->mutex_);
  do {
    PX_TRY(slots->AddChunk());
    PX_TRY(slots->ReadChunk(slots->chunks_ - 1, left_over));
  } while (slots->chunks_ < chunks);
  std::erase_if(slots->free_, [&](uint32_t index) PX_NO_TSA {
    return std::binary_search(slots->used_.begin(), slots->used_.end(), index);
  });
  return slots;
}

Status OpenSlots::AddChunk() {
  // XFS asks for room even where all is allocated.
  struct stat info{};
  if (::fstat(fd_.get(), &info) != 0) return FailErrno("stat the table of open files");
  const auto bytes = static_cast<off_t>(kChunkBytes);
  const off_t offset = static_cast<off_t>(chunks_) * bytes;
  const off_t end = offset + bytes;
  if (info.st_size < end || info.st_blocks * 512 < end) {
    const int error = ::posix_fallocate(fd_.get(), offset, bytes);
    if (error != 0) return Fail(error, "grow the table of open files");
  }
  const auto first = static_cast<uint32_t>(chunks_ * kChunkSlots);
  ++chunks_;
  for (uint32_t i = kChunkSlots; i > 0; --i) free_.push_back(first + i - 1);
  return {};
}

Status OpenSlots::ReadChunk(size_t chunk, std::vector<Entry>* left_over) {
  std::vector<Slot> found(kChunkSlots);
  const auto offset = static_cast<off_t>(chunk * kChunkBytes);
  const ssize_t got = ::pread(fd_.get(), found.data(), kChunkBytes, offset);
  if (got < 0) return FailErrno("read the table of open files");
  found.resize(static_cast<size_t>(got) / sizeof(Slot));
  for (size_t i = 0; i < found.size(); ++i) {
    const Slot& slot = found[i];
    if (slot.check == 0) continue;
    used_.push_back(static_cast<uint32_t>(chunk * kChunkSlots + i));
    if (slot.check != CheckOf(slot)) continue;
    left_over->push_back(
        {NodeKey::FromFuse(slot.node), cow::ObjectId{slot.object}, slot.base_mtime_ns});
  }
  return {};
}

Status OpenSlots::Write(uint32_t index, const Slot& slot) const {
  const auto bytes = std::as_bytes(std::span(&slot, 1));
  return WriteAllAt(fd_.get(), bytes, uint64_t{index} * sizeof(Slot),
                    "write the table of open files");
}

Result<uint32_t> OpenSlots::Set(const Entry& entry) {
  const MutexLock lock(mutex_);
  if (free_.empty()) PX_TRY(AddChunk());
  Slot slot{entry.node.ToFuse(), entry.object.value, entry.base_mtime_ns, 0};
  slot.check = CheckOf(slot);
  const uint32_t index = free_.back();
  PX_TRY(Write(index, slot));
  free_.pop_back();
  return index;
}

void OpenSlots::ForgetLeftOver() {
  std::vector<uint32_t> used;
  {
    const MutexLock lock(mutex_);
    used.swap(used_);
  }
  for (const uint32_t index : used) Clear(index);
}

void OpenSlots::Clear(uint32_t slot) {
  Erase(slot);
  const MutexLock lock(mutex_);
  free_.push_back(slot);
}

void OpenSlots::Erase(uint32_t index) const {
  // One that stays does no harm: what it says of the file is looked up again after a crash.
  if (const Status erased = Write(index, Slot{}); !erased) {
    LogWarn("slot {}: {}", index, erased.error().ToString());
  }
}

}  // namespace px::fs
