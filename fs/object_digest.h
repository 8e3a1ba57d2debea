// ObjectDigest: the XXH3-128 of a data object's file, read in pieces.
//
// Used by one thread at a time. Errors are those of the store's filesystem (EIO: a sector that
// cannot be read).
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cow/ids.h"
#include "fs/object_store.h"

namespace px::fs {

class ObjectDigest {
 public:
  enum class From {
    kCache,  // what the kernel has in memory will do
    kDisk,   // past the kernel's page cache
  };
  // ENOENT if there is no such object.
  static Result<std::unique_ptr<ObjectDigest>> Open(const ObjectStore& objects, cow::ObjectId id,
                                                    From from);
  ~ObjectDigest();

  int fd() const { return fd_.get(); }
  // As the file was when it was opened.
  const struct stat& file() const { return file_; }
  // Reads about `budget` bytes more; true at the end.
  Result<bool> Step(uint64_t budget);
  // Of the whole file: after Step gave true.
  std::array<std::byte, 16> Finish() const;
  uint64_t bytes() const { return done_; }
  // The file is still the one that was opened, with the same times.
  Result<bool> Unchanged() const;

 private:
  struct State;
  ObjectDigest(UniqueFd fd, const struct stat& file, bool direct);
  Result<size_t> ReadPiece();

  UniqueFd fd_;
  struct stat file_;
  bool direct_;
  uint64_t done_ = 0;
  std::unique_ptr<State> state_;
};

// While it lives, this thread yields processor and disk to all others. Not with a lock held that
// others may wait for.
class BackgroundPriority {
 public:
  BackgroundPriority();
  ~BackgroundPriority();
  BackgroundPriority(const BackgroundPriority&) = delete;
  BackgroundPriority& operator=(const BackgroundPriority&) = delete;

 private:
  int io_priority_;
};

}  // namespace px::fs
