// SparseFile: block-granular copy-on-write of one file where the store's filesystem has no
// reflinks.
//
// The file's bytes are in two objects: `own`, which only this inode names and which has the file's
// true size, and `base`, which others share and nobody writes. A map of 4 KiB blocks says which of
// them are own; all others, up to the base's size, are the base's; behind it everything is own. The
// first byte written into a shared file of any size costs one block.
//
// The map is kept in the tree as extent items (cow/items.h). Blocks that became own by a write are
// also data in the own object, so after a crash its data ranges complete the map; blocks that
// became own as holes (truncate, punch) are not, so their change is put into the tree before it is
// answered: such calls say so by `*must_save`. Where the store's filesystem does not tell such
// blocks of data apart (its own are larger, or it does not store zeros), that goes for writes, too.
//
// Thread safe: one mutex serialises whoever makes blocks own, readers take it for the map only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/ids.h"

namespace px::fs {

class SparseFile {
 public:
  static constexpr uint64_t kBlock = 4096;

  // A run of own bytes, block aligned.
  struct Run {
    uint64_t offset = 0;
    uint64_t length = 0;
  };

  // `own` is borrowed and must stay open; `runs` are own already.
  static Result<std::unique_ptr<SparseFile>> Open(int own, UniqueFd base, cow::ObjectId base_object,
                                                  std::span<const Run> runs,
                                                  bool finds_data_by_block);

  cow::ObjectId base_object() const { return base_object_; }
  // The base's file was exchanged for another with the same bytes. Nobody else may be using this
  // file.
  void ReplaceBase(UniqueFd base) { base_ = std::move(base); }

  // Makes the base's bytes survive power loss.
  Status SyncBase() const;
  Result<size_t> Read(std::span<char> buffer, off_t offset) const PX_EXCLUDES(mutex_);
  Result<size_t> Write(std::string_view data, off_t offset, bool* must_save) PX_EXCLUDES(mutex_);
  Status Truncate(uint64_t size, bool* must_save) PX_EXCLUDES(mutex_);
  // As fallocate(2).
  Status Fallocate(int mode, off_t offset, off_t length, bool* must_save) PX_EXCLUDES(mutex_);
  // Marks as own what has data in the own object, and all that lies behind its end. After a crash
  // only; to be saved before the file can grow again.
  Status RecoverOwn() PX_EXCLUDES(mutex_);

  bool WhollyOwn() const PX_EXCLUDES(mutex_);
  std::vector<Run> Runs() const PX_EXCLUDES(mutex_);
  // The runs around what became own since the last call, each as large as it is now; for the tree.
  // One caller at a time, who calls EndSaving with those of them that it could not save.
  std::vector<Run> TakeChanged() PX_EXCLUDES(mutex_);
  void EndSaving(const std::vector<Run>& unsaved) PX_EXCLUDES(mutex_);

 private:
  SparseFile(int own, UniqueFd base, cow::ObjectId base_object, uint64_t base_size,
             bool finds_data_by_block)
      : own_(own),
        base_(std::move(base)),
        base_object_(base_object),
        base_size_(base_size),
        blocks_((base_size + kBlock - 1) / kBlock),
        finds_data_by_block_(finds_data_by_block),
        bits_((blocks_ + 63) / 64) {}

  bool IsOwn(uint64_t block) const PX_REQUIRES(mutex_) {
    return block >= blocks_ || (bits_[block / 64] >> (block % 64) & 1) != 0;
  }
  // Something became own that may not be in the tree.
  bool Unsaved() const PX_REQUIRES(mutex_) { return saving_ || !changed_.empty(); }
  bool AllOwn(uint64_t first, uint64_t end) const PX_REQUIRES(mutex_);
  // Copies those of these blocks that are the base's.
  Status Fill(uint64_t first, uint64_t stop_block) PX_REQUIRES(mutex_);
  void MarkOwn(uint64_t first, uint64_t end) PX_REQUIRES(mutex_);
  // Makes one block own with the base's bytes.
  Status CopyBlock(uint64_t block) PX_REQUIRES(mutex_);
  // Copies the blocks that [offset, offset + length) covers in part.
  Status CopyEdges(uint64_t offset, uint64_t length) PX_REQUIRES(mutex_);
  Run RunAround(uint64_t block) const PX_REQUIRES(mutex_);

  const int own_;
  UniqueFd base_;
  const cow::ObjectId base_object_;
  const uint64_t base_size_;
  const uint64_t blocks_;  // of the base; behind them all is own
  const bool finds_data_by_block_;

  mutable Mutex mutex_;
  std::vector<uint64_t> bits_ PX_GUARDED_BY(mutex_);
  std::vector<Run> changed_ PX_GUARDED_BY(mutex_);
  bool saving_ PX_GUARDED_BY(mutex_) = false;  // what was taken is on its way into the tree
};

}  // namespace px::fs
