// FuseSession: a Filesystem behind /dev/fuse. Owns the libfuse session and the threads that serve
// it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "fs/filesystem.h"
#include "fs/fuse_device.h"
#include "fs/keeper_link.h"
#include "fs/mount_table.h"
#include "fs/notifier.h"
#include "fs/request.h"
#include "fs/wake_latency.h"

struct fuse_session;

namespace px::fs {

struct SessionOptions {
  FilesystemOptions filesystem;
  bool allow_other = false;
  bool io_uring = true;  // where kernel and libfuse offer it
  unsigned threads = 16;
  unsigned stacking = 0;       // 1 if the store's own filesystem is stacked (overlayfs)
  std::string name;            // shown as the source of the mount
  bool keeper = true;          // one is wanted, where io_uring is not used
  bool quick_wake_ups = true;  // of processors, while many requests come; where we may ask for it
  std::string flags;           // of the mount, for the FUSE library: ",nosuid,noexec"
};

// What the keeper is given beside the device.
struct KeptFds {
  int lock = -1;
  int state = -1;
};

// Whether a mount with these options is served through io_uring. Its requests belong to the rings
// of one process, so that nobody can take it over.
bool UsesUring(const SessionOptions& options);

class ControlThreads;
class RequestLoop;
class SessionBuffers;

class FuseSession final : public KernelSide {
 public:
  // Opens the filesystem on `parts` and mounts it, or takes over the mount that the keeper holds.
  // EPERM/EACCES no right to /dev/fuse or to mount, ENODEV no FUSE in the kernel, otherwise what
  // Filesystem::Open gives. `notifier` and `keeper` must outlive the session. No keeper: nobody
  // takes this mount over.
  static Result<std::unique_ptr<FuseSession>> Mount(Filesystem::Parts parts,
                                                    const SessionOptions& options,
                                                    const std::string& mountpoint, Clock* clock,
                                                    Notifier* notifier, KeeperLink* keeper,
                                                    KeptFds kept);
  ~FuseSession() override;

  // Serves requests until the mount is gone, a SIGINT, SIGTERM or SIGHUP came, or the keeper wants
  // another daemon (*hand_over). `ready` is called once, when the kernel has been answered for the
  // first time.
  Status Run(std::function<void()> ready, bool* hand_over);

  Result<int> RegisterBacking(int fd) override;
  void UnregisterBacking(int backing_id) override;
  void UnregisterIfKnown(int backing_id) override;
  void InvalidateEntry(NodeKey parent, const std::string& name) override;
  void InvalidateAttributes(NodeKey node) override;
  void InvalidateData(NodeKey node) override;
  void WaitForEarlier() override;
  uint64_t RequestsRead() const override;

  // For the bridge.
  Filesystem& filesystem() { return *filesystem_; }
  const SessionOptions& options() const { return options_; }
  // Has a thread of its own do it, once the requests that came before the present one are served.
  void Defer(std::function<void()> work);
  void Answered();
  void RefusePassthrough() { passthrough_refused_ = true; }
  // Fails with EROFS where the mount was made or became read-only.
  Status RefuseIfReadOnly();
  std::string StatusJson();
  void set_uring(bool on) { uring_ = on; }
  bool uring() const { return uring_; }

 private:
  FuseSession(SessionOptions options, std::string mountpoint);

  // `body` now, or by a control thread while nobody answers requests yet that it may wait for.
  void Notify(std::function<void()> body);
  Status Serve(bool* hand_over);
  // Until `done` is readable: what was begun is ended, and the loop stopped, where `signalled` is
  // readable or the keeper wants another daemon (*hand_over).
  void Watch(int done, int signalled, bool* hand_over);
  Status Unmount();
  bool CloseBacking(int backing_id);

  // fuse_takeover.cc: the first request of a mount, and those that come again.
  Status TakeDevice();
  Status Begin();
  Status AnswerFirst();
  Status Replay();
  // Has libfuse serve what was received.
  void Dispatch(unsigned slot, uint32_t lane);
  void Process(std::string_view request);

  const SessionOptions options_;
  const std::string mountpoint_;
  ReadOnlyWatch read_only_;
  KeeperLink* keeper_ = nullptr;
  KeptFds kept_;
  std::unique_ptr<Filesystem> filesystem_;
  std::unique_ptr<SessionBuffers> buffers_;  // one for each slot of the loop
  WakeLatency wake_latency_;                 // of the loop's watching thread
  std::unique_ptr<RequestLoop> loop_;
  std::unique_ptr<ControlThreads> control_;
  struct fuse_session* session_ = nullptr;
  FuseDevice device_;  // that of session_
  Notifier* notifier_ = nullptr;
  bool passthrough_refused_ = false;
  std::atomic<bool> serving_ = false;  // requests are answered by the loop
  bool mounted_ = false;
  bool uring_ = false;
  std::function<void()> ready_;
};

}  // namespace px::fs
