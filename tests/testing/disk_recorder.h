// DiskRecorder: notes every change that this process makes below one directory, and every flush, by
// standing in front of libc's calls; then builds what a disk may hold after a power cut.
//
// What was not flushed may be there or not: writes, page by page, in any combination (or up to one
// moment only); new, removed and changed names of a directory up to some moment, which may be
// another one for each directory. fsync of a file flushes its bytes, of a directory its names.
// That is what POSIX leaves open, and more than ext4, XFS or btrfs do.
//
// One recorder at a time; from any thread. FICLONE is answered by a copy, so that code for
// filesystems with reflinks runs on any. Memory mappings are not seen.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/fuzz/random.h"

namespace px::testing {

class DiskRecorder {
 public:
  // `dir` must be empty, on a filesystem that does not use an inode number twice (tmpfs).
  explicit DiskRecorder(const std::string& dir);
  ~DiskRecorder();
  DiskRecorder(const DiskRecorder&) = delete;
  DiskRecorder& operator=(const DiskRecorder&) = delete;

  // How many things happened so far.
  size_t Position() const;
  // Whether FICLONE works.
  void AllowReflinks(bool allow);
  void Stop();

  // Writes into `target`, an empty directory, what the disk may hold if the power went after the
  // first `position` events.
  void BuildCrashState(size_t position, const std::string& target, Random* random) const;
};

}  // namespace px::testing
