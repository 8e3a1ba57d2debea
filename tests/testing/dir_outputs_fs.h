// The launcher's OutputsFs on plain directories: volumes are directories with a marker beside them,
// clones are `cp -a`. For tests that need no mount. Not atomic, not fast.
#pragma once

#include "launcher/outputs_fs.h"

namespace px::testing {

class DirOutputsFs final : public launcher::OutputsFs {
 public:
  Status CreateVolume(const std::string& path) override;
  Status CloneVolume(const std::string& source, const std::string& destination,
                     bool read_only) override;
  Status Snapshot(const std::string& path, const std::string& name) override;
  Status DropSnapshot(const std::string& path, const std::string& name) override;
  Status Drop(const std::string& path) override;
  // Moves it to PARENT/.trash/NAME-1, -2, ...
  Status Trash(const std::string& path) override;
  std::string HowToGetBack(const std::string& path) override;
  std::string SnapshotPath(const std::string& path, const std::string& name) override;
  Result<std::vector<std::string>> Snapshots(const std::string& path) override;
  Result<std::vector<launcher::FileVersion>> Versions(const std::string& file) override;
  Status RestoreVersion(const std::string& file, uint64_t version) override;
  Result<std::vector<launcher::Difference>> Diff(const std::string& from,
                                                 const std::string& to) override;
  Result<launcher::VolumeUsage> Usage(const std::string& path) override;
  Result<bool> Exists(const std::string& path) override;
};

}  // namespace px::testing
