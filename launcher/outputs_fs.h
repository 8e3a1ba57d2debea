// OutputsFs: the few things the launcher asks of the filesystem that holds outputs and code.
//
// The real one (px_outputs_fs.h) asks the px filesystem through ioctls on the mount; tests have one
// on plain directories. Paths are absolute. May be called from any thread. Whatever returned
// success survives a kill of the daemon.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace px::launcher {

struct VolumeUsage {
  uint64_t entries = 0;  // files, directories and others below the volume's root
  uint64_t logical_bytes = 0;
  uint64_t exclusive_bytes = 0;  // on disk, held by this volume alone
  uint64_t shared_bytes = 0;     // on disk, also held by others
};

// An older content of a file, kept because the newer one was never finished.
struct FileVersion {
  uint64_t version = 0;
  int64_t bytes = 0;
  int64_t at_ns = 0;        // when it was written
  int64_t replaced_ns = 0;  // when something else took its place
  bool closed = true;       // else it may be torn itself
};

// What differs between two volumes, seen from the first.
struct Difference {
  std::string path;
  std::string change;  // "added", "removed", "modified"
  int64_t bytes = 0;   // of what there is afterwards
};

class OutputsFs {
 public:
  virtual ~OutputsFs() = default;

  // A new, empty volume; its parent directories are made. EEXIST.
  virtual Status CreateVolume(const std::string& path) = 0;
  // `destination` becomes a volume with the content of `source` at one moment, atomically. ENOENT,
  // EEXIST.
  virtual Status CloneVolume(const std::string& source, const std::string& destination,
                             bool read_only) = 0;
  // Keeps the volume's content as PATH/.snapshots/NAME, read-only. EEXIST.
  virtual Status Snapshot(const std::string& path, const std::string& name) = 0;
  virtual Status DropSnapshot(const std::string& path, const std::string& name) = 0;
  // Removes a volume whole, snapshots included. ENOENT, EBUSY while a file in it is open.
  virtual Status Drop(const std::string& path) = 0;
  // The same, but it stays whole in the trash, from where HowToGetBack tells people to take it.
  virtual Status Trash(const std::string& path) = 0;
  // What to type: "px-fs undelete PATH".
  virtual std::string HowToGetBack(const std::string& path) = 0;
  // Where a snapshot's content is, and the names of all snapshots of the volume, sorted.
  virtual std::string SnapshotPath(const std::string& path, const std::string& name) = 0;
  virtual Result<std::vector<std::string>> Snapshots(const std::string& path) = 0;
  // Kept versions of a regular file, newest first. ENOTTY where none are ever kept.
  virtual Result<std::vector<FileVersion>> Versions(const std::string& file) = 0;
  // Exchanges the file's content with a kept version, which then holds what the file had. ENOENT if
  // there is no such, EBUSY while the file is open.
  virtual Status RestoreVersion(const std::string& file, uint64_t version) = 0;
  // What would have to be done to `from` to have `to`; directories are left out. In no order.
  virtual Result<std::vector<Difference>> Diff(const std::string& from, const std::string& to) = 0;
  virtual Result<VolumeUsage> Usage(const std::string& path) = 0;
  // True if `path` is a volume (a link to one is not).
  virtual Result<bool> Exists(const std::string& path) = 0;
};

}  // namespace px::launcher
