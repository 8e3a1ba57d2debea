#include "fs/live_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace px::fs {

uint64_t LiveTable::CheckOf(const Stored& cell) {
  // Any mix will do that a torn or zeroed cell does not satisfy; never 0.
  uint64_t mix = cell.seq * 0x9E3779B97F4A7C15u + cell.kind;
  for (size_t at = 0; at < kPayload; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, cell.payload.data() + at, sizeof word);
    mix = (mix ^ word) * 0xC2B2AE3D27D4EB4Fu;
    mix ^= mix >> 29;
  }
  return mix | 1;
}

Result<std::unique_ptr<LiveTable>> LiveTable::Open(UniqueFd memory, bool keep,
                                                   std::vector<Cell>* found) {
  if (!keep && ::ftruncate(memory.get(), 0) != 0) return FailErrno("empty the live table");
  struct stat info{};
  if (::fstat(memory.get(), &info) != 0) return FailErrno("stat the live table");
  std::unique_ptr<LiveTable> table(new LiveTable(std::move(memory)));
  const size_t chunk_bytes = kChunkCells * sizeof(Stored);
  const size_t chunks = static_cast<size_t>(info.st_size) / chunk_bytes;
  const MutexLock lock(table->mutex_);
  do {
    PX_TRY(table->MapChunk());
  } while (table->chunks_.size() < chunks);
  std::vector<uint32_t> free;
  for (size_t i = table->chunks_.size() * kChunkCells; i > 0; --i) {
    const auto index = static_cast<uint32_t>(i - 1);
    const Stored& stored = *table->At(index);
    if (stored.check == 0 || stored.check != CheckOf(stored)) {
      free.push_back(index);
      continue;
    }
    found->push_back({index, static_cast<Kind>(stored.kind), stored.seq, stored.payload});
    table->seq_ = std::max(table->seq_, stored.seq);
  }
  table->free_ = std::move(free);
  std::sort(found->begin(), found->end(),
            [](const Cell& a, const Cell& b) { return a.seq < b.seq; });
  return table;
}

LiveTable::~LiveTable() {
  const MutexLock lock(mutex_);
  for (Stored* chunk : chunks_) ::munmap(chunk, kChunkCells * sizeof(Stored));
}

Status LiveTable::MapChunk() {
  const size_t bytes = kChunkCells * sizeof(Stored);
  if ((chunks_.size() + 1) * kChunkCells > kMaxCells) return Fail(ENFILE, "the live table is full");
  const off_t offset = static_cast<off_t>(chunks_.size() * bytes);
  struct stat info{};
  if (::fstat(fd_.get(), &info) != 0) return FailErrno("stat the live table");
  // Allocated, not only sized: a store for which there is no memory would be a SIGBUS.
  if (info.st_size < offset + static_cast<off_t>(bytes)) {
    const int error = ::posix_fallocate(fd_.get(), offset, static_cast<off_t>(bytes));
    if (error != 0) return Fail(error == ENOSPC ? ENOMEM : error, "grow the live table");
  }
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
  if (mapped == MAP_FAILED) return FailErrno("map the live table");
  const auto first = static_cast<uint32_t>(chunks_.size() * kChunkCells);
  chunks_.push_back(static_cast<Stored*>(mapped));
  for (uint32_t i = kChunkCells; i > 0; --i) free_.push_back(first + i - 1);
  return {};
}

Result<LiveTable::Place> LiveTable::PutBytes(Kind kind, std::span<const std::byte> bytes) {
  const MutexLock lock(mutex_);
  if (free_.empty()) PX_TRY(MapChunk());
  const Place place{free_.back(), ++seq_};
  free_.pop_back();
  Stored* stored = At(place.index);
  stored->kind = static_cast<uint32_t>(kind);
  stored->zero = 0;
  stored->seq = place.seq;
  stored->payload.fill(std::byte{0});
  std::copy(bytes.begin(), bytes.end(), stored->payload.begin());
  std::atomic_ref<uint64_t>(stored->check).store(CheckOf(*stored), std::memory_order_release);
  return place;
}

void LiveTable::Clear(uint32_t index) {
  const MutexLock lock(mutex_);
  std::atomic_ref<uint64_t>(At(index)->check).store(0, std::memory_order_release);
  free_.push_back(index);
}

bool LiveTable::ClearHandle(uint64_t handle, uint64_t node) {
  const MutexLock lock(mutex_);
  const auto index = static_cast<uint32_t>(handle & (kMaxCells - 1));
  if (index / kChunkCells >= chunks_.size()) return false;
  Stored* stored = At(index);
  if (stored->check == 0 || HandleOf(index, stored->seq) != handle ||
      stored->kind != static_cast<uint32_t>(Kind::kHandle)) {
    return false;
  }
  LiveHandle cell;
  std::memcpy(&cell, stored->payload.data(), sizeof cell);
  if (cell.node != node) return false;
  std::atomic_ref<uint64_t>(stored->check).store(0, std::memory_order_release);
  free_.push_back(index);
  return true;
}

LiveGhost LiveGhost::Of(uint64_t node, const cow::InodeItem& item) {
  LiveGhost ghost;
  ghost.node = node;
  ghost.mode = item.mode;
  ghost.uid = item.uid;
  ghost.gid = item.gid;
  ghost.rdev = static_cast<uint32_t>(item.rdev);
  ghost.size = item.size;
  ghost.atime_sec = item.atime.sec;
  ghost.mtime_sec = item.mtime.sec;
  ghost.ctime_sec = item.ctime.sec;
  ghost.atime_nsec = item.atime.nsec;
  ghost.mtime_nsec = item.mtime.nsec;
  ghost.ctime_nsec = item.ctime.nsec;
  return ghost;
}

cow::InodeItem LiveGhost::ToItem() const {
  cow::InodeItem item;
  item.mode = mode;
  item.uid = uid;
  item.gid = gid;
  item.rdev = rdev;
  item.size = size;
  item.atime = {atime_sec, atime_nsec};
  item.mtime = {mtime_sec, mtime_nsec};
  item.ctime = {ctime_sec, ctime_nsec};
  return item;
}

}  // namespace px::fs
