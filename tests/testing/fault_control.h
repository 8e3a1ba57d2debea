// FaultControl: the memory through which a test tells the fault shim (fault_shim.cc) inside px-fs
// which of the calls on the store's files fails, or at which the process is killed.
//
// A *site* is what a call does, to which of the store's files, from which threads: "write meta.log
// by requests". The shim counts every call of every site, whether or not anything is armed. Only
// lock-free atomics, so that two processes can share it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace px::testing {

enum class StoreCall : uint32_t {
  kOpen,
  kCreate,  // an open that may make the file
  kRead,
  kWrite,
  kTruncate,
  kAllocate,
  kSync,
  kRename,
  kLink,
  kUnlink,
  kMkdir,
  kStat,
  kReflink,
  kCopyRange,
  kMap,
  kSpace,  // statfs
  kSeek,
  kTimes,
  kDuplicate,  // of a descriptor
  kCount,
};

// Which of the store's files, by name.
enum class StoreFile : uint32_t {
  kObject,     // objects/xx/ID, or a nameless one
  kObjectDir,  // objects, objects/xx
  kJournal,    // meta.log.*
  kDatabase,   // meta.db
  kWal,        // meta.db-wal
  kShm,        // meta.db-shm
  kSlots,      // open.slots
  kSeals,      // seals.db and its log
  kOther,
  kCount,
};

inline constexpr size_t kStoreCalls = static_cast<size_t>(StoreCall::kCount);
inline constexpr size_t kStoreFiles = static_cast<size_t>(StoreFile::kCount);
// The last factor: requests and control calls, or the daemon's own threads.
inline constexpr size_t kSites = kStoreCalls * kStoreFiles * 2;

constexpr uint32_t SiteOf(StoreCall call, StoreFile file, bool background) {
  return (static_cast<uint32_t>(call) * static_cast<uint32_t>(kStoreFiles) +
          static_cast<uint32_t>(file)) *
             2 +
         (background ? 1 : 0);
}
constexpr StoreCall CallOf(uint32_t site) {
  return static_cast<StoreCall>(site / 2 / static_cast<uint32_t>(kStoreFiles));
}
constexpr StoreFile FileOf(uint32_t site) {
  return static_cast<StoreFile>(site / 2 % static_cast<uint32_t>(kStoreFiles));
}
constexpr bool IsBackground(uint32_t site) { return site % 2 != 0; }

// True if a kill before, inside or after it leaves the store in different states.
constexpr bool ChangesStore(StoreCall call) {
  switch (call) {
    case StoreCall::kCreate:
    case StoreCall::kWrite:
    case StoreCall::kTruncate:
    case StoreCall::kAllocate:
    case StoreCall::kSync:
    case StoreCall::kRename:
    case StoreCall::kLink:
    case StoreCall::kUnlink:
    case StoreCall::kMkdir:
    case StoreCall::kReflink:
    case StoreCall::kCopyRange:
    case StoreCall::kTimes:
      return true;
    default:
      return false;
  }
}

enum class Fault : uint32_t {
  kNone,
  kFail,        // with `error`, without having done anything
  kShort,       // half of a read or write is done, and no error given
  kKillBefore,  // SIGKILL
  kKillInside,  // half of a write is done, then SIGKILL; as kKillBefore for other calls
  kKillAfter,
  kStall,  // the call is not made before this fault is disarmed
};

// Any site. Or any that changes the store.
inline constexpr uint32_t kAnySite = kSites;
inline constexpr uint32_t kAnyChange = kSites + 1;
inline constexpr uint32_t kAnyInBackground = kSites + 2;  // whatever the call

struct FaultControl {
  std::array<std::atomic<uint64_t>, kSites> counts;
  std::atomic<uint64_t> changes;  // calls of sites that change the store
  // Of what is armed; written before `fault`, which arms it.
  std::atomic<uint32_t> site;
  std::atomic<uint64_t> skip;   // let so many calls pass first
  std::atomic<uint64_t> times;  // then hit so many
  std::atomic<int32_t> error;
  std::atomic<uint32_t> fault;
  std::atomic<uint64_t> seen;  // calls since it was armed
  std::atomic<uint64_t> hits;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);

// In the environment of px-fs.
inline constexpr const char* kFaultControlVariable = "PX_FAULT_CONTROL";  // the file to map
inline constexpr const char* kFaultStoreVariable = "PX_FAULT_STORE";      // the store's real path

}  // namespace px::testing
