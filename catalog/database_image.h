// DatabaseImage: the pages of a database with checksums (catalog/checked_vfs.h), past SQLite: those
// of its file, and over them those that only its log has.
//
// For checks and repairs while nobody writes to either. What is damaged in the log hides what it
// held: a page whose newest frame is not sound is not.
//
// Not thread safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/result.h"
#include "base/unique_fd.h"
#include "catalog/checked_vfs.h"

namespace px::catalog {

class DatabaseImage {
 public:
  using Page = std::array<std::byte, kDatabasePage>;

  // Opens `database` and `log` (which may be missing). Frames of the log from `max_frames` on do
  // not count. ENOENT, EIO; ENOTSUP: it has no checksums.
  static Result<DatabaseImage> Open(const std::string& database, const std::string& log,
                                    uint64_t max_frames = UINT64_MAX);

  uint32_t pages() const { return pages_; }
  const LogFrames::Found& log() const { return log_found_; }
  // Reads page `number`, from 1 on. kDamaged: or it is not there. EIO.
  Result<PageState> Load(uint32_t number, Page* out) const;
  // The pages that are free; nothing if it cannot be known of all.
  Result<std::optional<std::unordered_set<uint32_t>>> FreePages() const;
  // Those of `count` pages from `from` on that are not sound. One that is free may be all zero: it
  // was free again before it was ever written; without a log any may be, which then may have it.
  Status FindDamaged(uint32_t from, uint32_t count,
                     const std::function<void(uint32_t, PageState)>& damaged) const;

 private:
  Status ReadLog(uint64_t max_frames);

  UniqueFd file_, log_;
  LogFrames::Found log_found_;
  bool with_log_ = false;
  uint32_t pages_ = 0;
  std::unordered_map<uint32_t, uint64_t> newest_;  // page -> its frame, or kDamagedFrame
};

// Writes the page of `database` as it was, if no more than one bit of it is wrong; the log must
// have no newer one, and nobody else write. Durable. EIO.
Status PutRight(const std::string& database, uint32_t number);

}  // namespace px::catalog
