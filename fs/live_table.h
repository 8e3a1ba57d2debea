// LiveTable: what must outlive the daemon while the mount lives on, in memory that the keeper holds
// too (a memfd): the inodes that the kernel has open, their handles, clone tokens, removed inodes
// that the kernel still knows.
//
// A cell is all there or not at all, whenever the process is killed: its check is stored last, and
// a cell that changes is a new one, published before the old one is freed (of two for the same
// thing the one with the higher sequence number counts). It is for a daemon that takes over a mount
// (docs/design/0003-keeper.md); without a keeper there is none.
//
// Thread safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/items.h"

namespace px::fs {

class LiveTable {
 public:
  enum class Kind : uint32_t {
    kInode = 1,
    kHandle = 2,
    kToken = 3,
    kGhost = 4,
    kMapped = 5,
    kSession = 6,
  };
  static constexpr size_t kPayload = 104;
  struct Cell {
    uint32_t index = 0;
    Kind kind = Kind::kInode;
    uint64_t seq = 0;
    std::array<std::byte, kPayload> payload{};

    template <typename T>
    T As() const;
  };
  // Names a cell for ever: its place and its sequence number.
  static uint64_t HandleOf(uint32_t index, uint64_t seq) { return (seq << 24) | index; }

  // `found`: what an earlier daemon left, in the order it was put; with `keep` its cells stay, else
  // the table is empty.
  static Result<std::unique_ptr<LiveTable>> Open(UniqueFd memory, bool keep,
                                                 std::vector<Cell>* found);
  ~LiveTable();

  struct Place {
    uint32_t index = 0;
    uint64_t seq = 0;
    uint64_t handle() const { return HandleOf(index, seq); }
  };
  // T is at most kPayload bytes, trivially copyable, without padding. ENOMEM, ENFILE: it could not
  // grow.
  template <typename T>
  Result<Place> Put(Kind kind, const T& value);
  void Clear(uint32_t index) PX_EXCLUDES(mutex_);
  // Clears the cell if it is the one that was put under that handle, for that node. False: it is
  // gone, or never was.
  bool ClearHandle(uint64_t handle, uint64_t node) PX_EXCLUDES(mutex_);

 private:
  // Bytes: 0 check (8), 8 kind (4), 12 zero (4), 16 seq (8), 24 payload (104).
  struct Stored {
    uint64_t check;  // 0: free
    uint32_t kind;
    uint32_t zero;
    uint64_t seq;
    std::array<std::byte, kPayload> payload;
  };
  static_assert(sizeof(Stored) == 128);
  static constexpr size_t kChunkCells = 4096;
  static constexpr size_t kMaxCells = size_t{1} << 24;

  explicit LiveTable(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<Place> PutBytes(Kind kind, std::span<const std::byte> bytes) PX_EXCLUDES(mutex_);
  Status MapChunk() PX_REQUIRES(mutex_);
  Stored* At(uint32_t index) PX_REQUIRES(mutex_) {
    return chunks_[index / kChunkCells] + index % kChunkCells;
  }
  static uint64_t CheckOf(const Stored& cell);

  const UniqueFd fd_;
  Mutex mutex_;
  std::vector<Stored*> chunks_ PX_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_ PX_GUARDED_BY(mutex_);
  uint64_t seq_ PX_GUARDED_BY(mutex_) = 0;
};

// An open that was answered, or was about to be. Cell kHandle.
struct LiveHandle {
  uint64_t node = 0;
  uint64_t request = 0;  // Request::unique of the open
  uint32_t access = 0;   // O_ACCMODE of its flags
  uint32_t zero = 0;
};
static_assert(sizeof(LiveHandle) == 24);

// A removed inode that the kernel has not forgotten: its last attributes. Cell kGhost.
struct LiveGhost {
  uint64_t node = 0;
  uint32_t mode = 0, uid = 0, gid = 0, rdev = 0;
  uint64_t size = 0;
  int64_t atime_sec = 0, mtime_sec = 0, ctime_sec = 0;
  uint32_t atime_nsec = 0, mtime_nsec = 0, ctime_nsec = 0, zero = 0;

  static LiveGhost Of(uint64_t node, const cow::InodeItem& item);
  cow::InodeItem ToItem() const;
};
static_assert(sizeof(LiveGhost) == 72);

template <typename T>
T LiveTable::Cell::As() const {
  static_assert(sizeof(T) <= kPayload && std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(static_cast<void*>(&value), payload.data(), sizeof value);
  return value;
}

template <typename T>
Result<LiveTable::Place> LiveTable::Put(Kind kind, const T& value) {
  static_assert(sizeof(T) <= kPayload && std::is_trivially_copyable_v<T>);
  return PutBytes(kind, std::as_bytes(std::span(&value, 1)));
}

}  // namespace px::fs
