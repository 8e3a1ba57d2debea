// FuseSession: a Filesystem behind /dev/fuse. Owns the libfuse session and the threads that serve
// it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "fs/filesystem.h"

struct fuse_session;

namespace px::fs {

struct SessionOptions {
  FilesystemOptions filesystem;
  bool allow_other = false;
  bool io_uring = true;  // where kernel and libfuse offer it
  unsigned threads = 16;
  unsigned stacking = 0;  // 1 if the store's own filesystem is stacked (overlayfs)
  std::string name;       // shown as the source of the mount
};

class ControlThreads;
class RequestLoop;

class FuseSession final : public KernelSide {
 public:
  // Opens the filesystem on `parts` and mounts it. EPERM/EACCES no right to /dev/fuse or to mount,
  // ENODEV no FUSE in the kernel, otherwise what Filesystem::Open gives.
  static Result<std::unique_ptr<FuseSession>> Mount(Filesystem::Parts parts,
                                                    const SessionOptions& options,
                                                    const std::string& mountpoint, Clock* clock);
  ~FuseSession() override;

  // Serves requests until the mount is gone or a SIGINT, SIGTERM or SIGHUP came. `ready` is called
  // once, when the kernel has been answered for the first time.
  Status Run(std::function<void()> ready);

  Result<int> RegisterBacking(int fd) override;
  void UnregisterBacking(int backing_id) override;
  void InvalidateEntry(NodeKey parent, const std::string& name) override;
  void InvalidateAttributes(NodeKey node) override;
  void InvalidateData(NodeKey node) override;

  // For the bridge.
  Filesystem& filesystem() { return *filesystem_; }
  const SessionOptions& options() const { return options_; }
  // Has a thread of its own do it, once the requests that came before the present one are served.
  void Defer(std::function<void()> work);
  void Answered();
  void set_uring(bool on) { uring_ = on; }
  bool uring() const { return uring_; }

 private:
  explicit FuseSession(SessionOptions options);

  const SessionOptions options_;
  std::unique_ptr<Filesystem> filesystem_;
  std::unique_ptr<RequestLoop> loop_;
  std::unique_ptr<ControlThreads> control_;
  struct fuse_session* session_ = nullptr;
  bool mounted_ = false;
  bool uring_ = false;
  std::function<void()> ready_;
};

}  // namespace px::fs
