// MountFixture: the directory a filesystem test works in: px mounted in one of its modes, or a
// plain directory as the oracle. One per test program, chosen by --mode (see kModes in the .cc
// file):
//
//   plain        an ordinary directory                     plain-user   the same, as an ordinary
//   user plain-xfs    an ordinary directory of a loop image     passthrough  px, as root cached px
//   with -o nopassthrough, as root         user         px, as an ordinary user xfs          px
//   whose store is on XFS with reflinks    xfs-cached   the same, -o nopassthrough
//
// Everything lives in one directory of its own, TMPDIR/px-mount-test.PID.XXXXXX. The next program
// to start cleans up after one that died: mounts are taken off lazily, the processes that name the
// directory killed. Use from one thread, but for AbortConnection.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tests/mount/process.h"

namespace px::testing {

// The mounts of this process's namespace, as the kernel lists them: what is mounted over another
// comes later.
struct MountEntry {
  std::string point, type;
};
std::vector<MountEntry> MountTable();

struct MountMode {
  std::string_view name;
  bool px;                   // a px mount, else the oracle
  bool root;                 // the mounter and the tests are root
  bool xfs;                  // the store, or the plain directory, is on a loop-mounted XFS
  std::string_view options;  // for `px-fs mount -o`
};

// The mode of that name, or nullptr.
const MountMode* FindMountMode(std::string_view name);
std::string MountModeNames();

class MountFixture {
 public:
  // Makes the directory and, for a px mode, mounts. EOPNOTSUPP with the reason if this machine
  // cannot (no /dev/fuse, no root, no program, no loop device): skip then, unless
  // PX_REQUIRE_MOUNT=1.
  static Result<std::unique_ptr<MountFixture>> Create(const MountMode& mode);
  // Unmounts and removes all of it.
  ~MountFixture();
  MountFixture(const MountFixture&) = delete;
  MountFixture& operator=(const MountFixture&) = delete;

  const MountMode& mode() const { return mode_; }
  bool px() const { return mode_.px; }
  // The mount point, or the plain directory.
  const std::string& root() const { return root_; }
  // A directory for the test's own use, on no px mount.
  const std::string& scratch() const { return scratch_; }
  const std::string& store() const { return store_; }

  // NAME=VALUE words that px-fs gets in its environment from the next Mount on.
  void set_environment(std::vector<std::string> words) { environment_ = std::move(words); }
  // Whether a keeper starts another daemon where one dies, from the next Mount on.
  void set_keeper(bool keeper) { keeper_ = keeper; }

  // No-ops on a plain directory. Unmount fails with EBUSY while something in the mount is open.
  Status Mount();
  Status Unmount();
  Status Remount();
  // The process that answers at present, as the keeper says; 0 if there is none.
  pid_t DaemonPid() const;
  // kill -9 of every process of this mount, and the dead mount taken away.
  void KillDaemon();
  // Mounts again if an earlier test left the daemon dead.
  Status EnsureMounted();

  // `px-fs ARGS...`
  RunResult PxFs(const std::vector<std::string>& args) const;
  static std::string PxFsProgram();

  // Wakes whoever waits for the daemon: kills it and detaches the mount. Any thread.
  void AbortConnection() const;
  // The last lines the daemon wrote.
  std::string LogTail() const;

 private:
  MountFixture(const MountMode& mode, std::string directory);
  Status PrepareBacking();
  void Detach() const;

  const MountMode& mode_;
  std::string directory_;
  std::string root_;
  std::string scratch_;
  std::string store_;
  std::string log_;
  std::string xfs_;  // where the loop image is mounted, if it is
  std::vector<std::string> environment_;
  bool keeper_ = true;
  Background daemon_;
};

}  // namespace px::testing
