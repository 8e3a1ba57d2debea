// SmallDisk: a filesystem of its own in a loop-mounted image, with a px store on it and that store
// mounted, for tests that fill, copy or damage what is below a mount. Needs root.
//
// All of it lives in one directory, named so that the next mount test cleans up after one that died
// (see mount_fixture.h).
#pragma once

#include <sys/statvfs.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tests/mount/process.h"

namespace px::testing {

class SmallDisk {
 public:
  // `type`: "ext4", "xfs", "few-inodes": ext4 with about 2000 of them, "large-blocks": XFS with
  // blocks of 16 KiB and no reflinks, or "btrfs-quota": btrfs where the store may have a third of
  // the disk. EOPNOTSUPP with the reason if this machine cannot.
  static Result<std::unique_ptr<SmallDisk>> Create(const std::string& type, uint64_t megabytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::string& disk() const { return disk_; }
  const std::string& root() const { return root_; }  // of the px mount
  std::string store() const { return disk_ + "/store"; }
  const std::string& directory() const { return directory_; }

  // Mounts the store; `options` as of px-fs mount -o.
  Status Mount(const std::string& options = "");
  Status Unmount();
  void KillDaemon();
  // The disk takes nothing more, and forgets what it has not written; then it works again, as after
  // a power cut. The px daemon must be gone before RestartDisk.
  void StopDisk() const;
  Status RestartDisk() const;
  // btrfs-quota only.
  Status LiftQuota() const;
  // ext4 only: as if its metadata were found broken. It turns read-only by itself, until
  // RestartDisk.
  Status TriggerError() const;
  struct statvfs Space() const;
  uint64_t FreeBytes() const;
  // `px-fs ARGS...`
  static RunResult PxFs(const std::vector<std::string>& args);
  std::string Log() const;

 private:
  explicit SmallDisk(std::string directory);

  const std::string directory_, disk_, root_;
  std::string options_;  // the disk is mounted with
};

}  // namespace px::testing
