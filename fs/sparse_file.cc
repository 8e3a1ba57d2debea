#include "fs/sparse_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "fs/object_store.h"

namespace px::fs {
namespace {

Result<size_t> ReadFully(int fd, std::span<char> buffer, uint64_t offset) {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got =
        ::pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("read an object");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Result<size_t> WriteFully(int fd, std::string_view data, uint64_t offset) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t put =
        ::pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && done == 0) return FailErrno("write an object");
    if (put <= 0) break;
    done += static_cast<size_t>(put);
  }
  return done;
}

Result<uint64_t> SizeOf(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return FailErrno("stat of an object");
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

Result<std::unique_ptr<SparseFile>> SparseFile::Open(int own, UniqueFd base,
                                                     cow::ObjectId base_object,
                                                     std::span<const Run> runs,
                                                     bool finds_data_by_block) {
  PX_ASSIGN(const uint64_t base_size, SizeOf(base.get()));
  std::unique_ptr<SparseFile> file(
      new SparseFile(own, std::move(base), base_object, base_size, finds_data_by_block));
  const MutexLock lock(file->mutex_);
  for (const Run& run : runs)
    file->MarkOwn(run.offset / kBlock, (run.offset + run.length + kBlock - 1) / kBlock);
  file->changed_.clear();
  return file;
}

bool SparseFile::AllOwn(uint64_t first, uint64_t end) const {
  end = std::min(end, blocks_);
  for (uint64_t block = first; block < end; ++block) {
    if (block % 64 == 0 && block + 64 <= end && bits_[block / 64] == ~uint64_t{0}) {
      block += 63;
      continue;
    }
    if (!IsOwn(block)) return false;
  }
  return true;
}

void SparseFile::MarkOwn(uint64_t first, uint64_t end) {
  end = std::min(end, blocks_);
  if (first >= end) return;
  for (uint64_t block = first; block < end; ++block)
    bits_[block / 64] |= uint64_t{1} << (block % 64);
  // Writes in sequence make one entry.
  if (!changed_.empty() && changed_.back().offset + changed_.back().length == first * kBlock) {
    changed_.back().length += (end - first) * kBlock;
  } else {
    changed_.push_back({first * kBlock, (end - first) * kBlock});
  }
}

Status SparseFile::CopyBlock(uint64_t block) {
  if (IsOwn(block)) return {};
  std::array<char, kBlock> bytes{};
  PX_ASSIGN(const size_t got, ReadFully(base_.get(), bytes, block * kBlock));
  PX_ASSIGN(const size_t put, WriteFully(own_, {bytes.data(), got}, block * kBlock));
  if (put != got) return Fail(ENOSPC, "copy a block");
  MarkOwn(block, block + 1);
  return {};
}

Status SparseFile::CopyEdges(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  if (offset % kBlock != 0) PX_TRY(CopyBlock(offset / kBlock));
  if (end % kBlock != 0) PX_TRY(CopyBlock(end / kBlock));
  return {};
}

Status SparseFile::SyncBase() const {
  if (::fdatasync(base_.get()) != 0) return FailErrno("sync an object");
  return {};
}

Result<size_t> SparseFile::Read(std::span<char> buffer, off_t offset) const {
  PX_ASSIGN(const uint64_t size, SizeOf(own_));
  const auto from = static_cast<uint64_t>(offset);
  if (from >= size) return 0;
  const size_t want = std::min<uint64_t>(buffer.size(), size - from);
  size_t done = 0;
  while (done < want) {
    const uint64_t at = from + done;
    bool own = false;
    uint64_t stop = at / kBlock + 1;
    {
      const MutexLock lock(mutex_);
      own = IsOwn(at / kBlock);
      const uint64_t last = (from + want + kBlock - 1) / kBlock;
      while (stop < last && IsOwn(stop) == own) ++stop;
    }
    const size_t length = std::min<uint64_t>(stop * kBlock, from + want) - at;
    const std::span<char> part = buffer.subspan(done, length);
    PX_ASSIGN(const size_t got, ReadFully(own ? own_ : base_.get(), part, at));
    // Behind the end of either object, but within the file: a hole.
    std::fill(part.begin() + static_cast<ptrdiff_t>(got), part.end(), '\0');
    done += length;
  }
  return done;
}

Result<size_t> SparseFile::Write(std::string_view data, off_t offset, bool* must_save) {
  const auto from = static_cast<uint64_t>(offset);
  {
    const MutexLock lock(mutex_);
    const uint64_t first = from / kBlock, end = (from + data.size() + kBlock - 1) / kBlock;
    const bool all_own = AllOwn(first, end);
    *must_save = !finds_data_by_block_ && (!all_own || Unsaved());
    if (!all_own) {
      PX_TRY(CopyEdges(from, data.size()));
      // Marked only after it is there: a reader meanwhile gets the old bytes, not a hole.
      PX_ASSIGN(const size_t put, WriteFully(own_, data, from));
      MarkOwn((from + kBlock - 1) / kBlock, (from + put) / kBlock);
      return put;
    }
  }
  return WriteFully(own_, data, from);
}

Status SparseFile::Truncate(uint64_t size, bool* must_save) {
  const MutexLock lock(mutex_);
  PX_ASSIGN(const uint64_t old_size, SizeOf(own_));
  const bool cuts_base = size < old_size && size < base_size_;
  if (cuts_base && size % kBlock != 0) PX_TRY(CopyBlock(size / kBlock));
  if (::ftruncate(own_, static_cast<off_t>(size)) != 0) return FailErrno("truncate an object");
  if (cuts_base) MarkOwn((size + kBlock - 1) / kBlock, blocks_);
  // Also what was marked after a crash, when this may be the same call once more: the next one may
  // make the file longer, and nothing shows then where it was cut.
  *must_save = Unsaved() && (size < base_size_ || !finds_data_by_block_);
  return {};
}

Status SparseFile::Fallocate(int mode, off_t offset, off_t length, bool* must_save) {
  const MutexLock lock(mutex_);
  const bool clears = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  if (clears) {
    PX_TRY(CopyEdges(static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
  } else {
    // Blocks that are allocated and not written would pass for data once the kernel has read them.
    PX_TRY(Fill(static_cast<uint64_t>(offset) / kBlock,
                (static_cast<uint64_t>(offset + length) + kBlock - 1) / kBlock));
  }
  if (::fallocate(own_, mode, offset, length) != 0) return FailErrno("fallocate an object");
  if (clears) {
    const auto from = static_cast<uint64_t>(offset), end = static_cast<uint64_t>(offset + length);
    MarkOwn((from + kBlock - 1) / kBlock, end / kBlock);
  }
  *must_save = clears || (!finds_data_by_block_ && Unsaved());
  return {};
}

Status SparseFile::Fill(uint64_t first, uint64_t stop_block) {
  PX_ASSIGN(const uint64_t size, SizeOf(own_));
  uint64_t block = first;
  stop_block = std::min(stop_block, blocks_);
  while (block < stop_block) {
    if (IsOwn(block)) {
      ++block;
      continue;
    }
    uint64_t end = block + 1;
    while (end < stop_block && !IsOwn(end)) ++end;
    const uint64_t from = block * kBlock;
    const uint64_t stop = std::min({end * kBlock, base_size_, size});
    if (from < stop) PX_TRY(ObjectStore::CopyRange(base_.get(), own_, from, stop - from));
    MarkOwn(block, end);
    block = end;
  }
  return {};
}

Status SparseFile::RecoverOwn() {
  const MutexLock lock(mutex_);
  off_t position = 0;
  while (finds_data_by_block_) {
    const off_t data = ::lseek(own_, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return FailErrno("find data of an object");
    const off_t hole = ::lseek(own_, data, SEEK_HOLE);
    if (hole < 0) return FailErrno("find a hole of an object");
    const auto from = static_cast<uint64_t>(data), end = static_cast<uint64_t>(hole);
    MarkOwn(from / kBlock, (end + kBlock - 1) / kBlock);
    position = hole;
  }
  // It was cut, and the crash came before the map was saved: what lies behind is not the base's.
  PX_ASSIGN(const uint64_t size, SizeOf(own_));
  MarkOwn((size + kBlock - 1) / kBlock, blocks_);
  return {};
}

bool SparseFile::WhollyOwn() const {
  const MutexLock lock(mutex_);
  return AllOwn(0, blocks_);
}

SparseFile::Run SparseFile::RunAround(uint64_t block) const {
  uint64_t first = block, end = block + 1;
  while (first > 0 && IsOwn(first - 1)) --first;
  while (end < blocks_ && IsOwn(end)) ++end;
  return {first * kBlock, (end - first) * kBlock};
}

std::vector<SparseFile::Run> SparseFile::Runs() const {
  const MutexLock lock(mutex_);
  std::vector<Run> runs;
  for (uint64_t block = 0; block < blocks_;) {
    if (!IsOwn(block)) {
      ++block;
      continue;
    }
    runs.push_back(RunAround(block));
    block = (runs.back().offset + runs.back().length) / kBlock;
  }
  return runs;
}

std::vector<SparseFile::Run> SparseFile::TakeChanged() {
  const MutexLock lock(mutex_);
  std::sort(changed_.begin(), changed_.end(),
            [](const Run& a, const Run& b) { return a.offset < b.offset; });
  std::vector<Run> runs;
  for (const Run& change : changed_) {
    if (!runs.empty() && change.offset < runs.back().offset + runs.back().length) continue;
    runs.push_back(RunAround(change.offset / kBlock));
  }
  changed_.clear();
  saving_ = true;
  return runs;
}

void SparseFile::EndSaving(const std::vector<Run>& unsaved) {
  const MutexLock lock(mutex_);
  changed_.insert(changed_.end(), unsaved.begin(), unsaved.end());
  saving_ = false;
}

}  // namespace px::fs
