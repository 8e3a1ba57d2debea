// The px filesystem as the launcher's OutputsFs, through the ioctls of uapi/px_ioctl.h.
#pragma once

#include "launcher/outputs_fs.h"

namespace px::launcher {

class PxOutputsFs final : public OutputsFs {
 public:
  Status CreateVolume(const std::string& path) override;
  Status CloneVolume(const std::string& source, const std::string& destination,
                     bool read_only) override;
  Status Snapshot(const std::string& path, const std::string& name) override;
  Status DropSnapshot(const std::string& path, const std::string& name) override;
  Status Drop(const std::string& path) override;
  Status Trash(const std::string& path) override;
  std::string HowToGetBack(const std::string& path) override;
  std::string SnapshotPath(const std::string& path, const std::string& name) override;
  Result<std::vector<std::string>> Snapshots(const std::string& path) override;
  Result<std::vector<FileVersion>> Versions(const std::string& file) override;
  Status RestoreVersion(const std::string& file, uint64_t version) override;
  Result<std::vector<Difference>> Diff(const std::string& from, const std::string& to) override;
  Result<VolumeUsage> Usage(const std::string& path) override;
  Result<bool> Exists(const std::string& path) override;
};

// True if a px filesystem answers at `path`.
bool IsPxMount(const std::string& path);

}  // namespace px::launcher
