// A kernel side that does nothing: every file is served in cached mode.
#pragma once

#include <string>

#include "fs/filesystem.h"

namespace px::testing {

class NoKernel final : public fs::KernelSide {
 public:
  Result<int> RegisterBacking(int) override { return Fail(EPERM); }
  void UnregisterBacking(int) override {}
  void InvalidateEntry(fs::NodeKey, const std::string&) override {}
  void InvalidateAttributes(fs::NodeKey) override {}
  void InvalidateData(fs::NodeKey) override {}
};

}  // namespace px::testing
