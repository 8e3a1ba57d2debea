// For tests that call a Filesystem themselves: a kernel side that does nothing, so that every file
// is served in cached mode; who asks; where to begin.
#pragma once

#include <string>

#include "fs/filesystem.h"

namespace px::testing {

inline const fs::Caller kRoot{0, 0, 022, nullptr};
inline constexpr fs::NodeKey kTop{cow::kRootVolume, cow::kRootIno};  // the mount's root directory

class NoKernel final : public fs::KernelSide {
 public:
  Result<int> RegisterBacking(int) override { return Fail(EPERM); }
  void UnregisterBacking(int) override {}
  void InvalidateEntry(fs::NodeKey, const std::string&) override {}
  void InvalidateAttributes(fs::NodeKey) override {}
  void InvalidateData(fs::NodeKey) override {}
};

}  // namespace px::testing
