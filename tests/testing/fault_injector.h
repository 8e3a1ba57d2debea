// FaultInjector: the test's end of the fault shim (fault_control.h): the memory both share, and
// what px-fs must find in its environment to be loaded with the shim.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tests/testing/fault_control.h"

namespace px::testing {

// "write meta.log by requests".
std::string SiteName(uint32_t site);

// What `call` can fail with on a local filesystem that works as it should but is full, over quota,
// damaged, read-only, or short of memory or descriptors.
std::vector<int> ErrnosOf(StoreCall call);

class FaultInjector {
 public:
  using Counts = std::vector<uint64_t>;  // by site

  // `scratch`: a directory for the shared memory's file; `store`: the store that px-fs will open.
  // Its parent must exist.
  static Result<std::unique_ptr<FaultInjector>> Create(const std::string& scratch,
                                                       const std::string& store);
  ~FaultInjector();
  FaultInjector(const FaultInjector&) = delete;
  FaultInjector& operator=(const FaultInjector&) = delete;

  // NAME=VALUE words.
  const std::vector<std::string>& environment() const { return environment_; }

  // Lets `skip` calls of `site` pass, then has `times` of them hit.
  void Arm(Fault fault, uint32_t site, uint64_t skip = 0, uint64_t times = 1, int error = 0);
  // How many were hit.
  uint64_t Disarm();
  uint64_t hits() const { return control_->hits; }
  // Calls since the shim was loaded first.
  Counts CountsNow() const;
  uint64_t changes() const { return control_->changes; }

 private:
  FaultInjector(FaultControl* control, std::vector<std::string> environment)
      : control_(control), environment_(std::move(environment)) {}

  FaultControl* const control_;
  const std::vector<std::string> environment_;
};

}  // namespace px::testing
