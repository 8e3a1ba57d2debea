// Journal: two files of fixed size, written in turn, that hold the batches a page table has not
// taken over yet.
//
// Records go into the active file, one after the other. Switch makes the other file the active one;
// what is in the file before it must have been taken over durably by the next Switch, which writes
// over it. The space is allocated when the journal is made, so that appending needs none.
//
// Threads: Append and Switch by one thread at a time; Sync by any, beside anything but Restart.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/page_table.h"

namespace px::cow {

// What to do where something is damaged: fail, or have what is left.
enum class Damage { kRefused, kPassedOver };

class Journal {
 public:
  static constexpr size_t kCapacity = size_t{8} << 20;  // of each file, in bytes

  // Opens or makes `dir`/meta.log.0 and .1. Records with a number above `taken_over`, without a gap
  // from there on, are given to `replay` in order (as they are on disk, whole and valid) before
  // this returns; of those that another boot wrote, only what comes before the last sync point
  // among them: a power cut may have taken what the later ones name. Nothing is appended before
  // Restart. `boot` stands for the running kernel.
  //
  // On one boot nothing but damage makes a gap before a record. EUCLEAN then, unless `damage` says
  // to go on without what is behind it.
  static Result<std::unique_ptr<Journal>> Open(
      const std::string& dir, const std::string& boot, uint64_t taken_over, Damage damage,
      const std::function<Status(uint64_t seq, std::span<const std::byte> record)>& replay);
  // The number before the first record of the newest opening; 0 if there are none.
  static Result<uint64_t> Beginning(const std::string& dir);

  // Forgets all records: those up to number `last` have been taken over, durably. Both files begin
  // with a record that says so: if one is damaged, the other tells what belongs to this opening.
  Status Restart(uint64_t last) PX_EXCLUDES(sync_mutex_);

  uint64_t epoch() const { return epoch_; }
  bool Fits(size_t size) const { return end_ + size <= kCapacity; }
  size_t used() const { return end_; }
  // Puts the record behind the last one; a kill of the process cannot undo it. EIO, and then as if
  // it had not been called.
  Status Append(std::span<const std::byte> record);
  void Switch();
  // What was appended before the call survives power loss, as long as Switch does not take its file
  // for new records. EIO: the kernel may have dropped what it could not write, so every later call
  // fails too, until Restart.
  Status Sync() PX_EXCLUDES(sync_mutex_);

 private:
  Journal() = default;
  static Result<UniqueFd> OpenFile(const std::string& path);
  using Run = std::vector<std::span<const std::byte>>;
  static Run Parse(std::span<const std::byte> file);
  // Both files' records from the beginning on, the older first. `bytes` holds them.
  using Bytes = std::array<std::vector<std::byte>, 2>;
  static Result<std::vector<Run>> ReadRuns(const std::array<UniqueFd, 2>& files, Bytes* bytes);
  // How many records of that epoch come after number `last`, without regard to what is between
  // them.
  static size_t CountAfter(const Bytes& bytes, uint64_t epoch, uint64_t last);
  // The records of both files that follow `taken_over`, in order.
  static Run Chain(std::span<const Run> runs, uint64_t taken_over);

  std::array<UniqueFd, 2> files_;
  Mutex sync_mutex_;
  bool broken_ PX_GUARDED_BY(sync_mutex_) = false;
  std::array<std::atomic<bool>, 2> unsynced_{};
  uint32_t boot_ = 0;
  uint64_t epoch_ = 0;  // the boot in its upper half
  size_t active_ = 0;
  size_t end_ = 0;  // of the active file's records
};

}  // namespace px::cow
