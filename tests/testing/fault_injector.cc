#include "tests/testing/fault_injector.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <new>

#include "base/unique_fd.h"

namespace px::testing {

std::string SiteName(uint32_t site) {
  static constexpr const char* kCalls[kStoreCalls] = {
      "open",   "create", "read",   "write", "truncate", "allocate", "sync",
      "rename", "link",   "unlink", "mkdir", "stat",     "clone",    "copy",
      "map",    "space",  "seek",   "times", "dup"};
  static constexpr const char* kFiles[kStoreFiles] = {
      "an object",   "an object dir", "meta.log", "meta.db",     "meta.db-wal",
      "meta.db-shm", "open.slots",    "seals.db", "another file"};
  if (site == kAnySite) return "any call";
  if (site == kAnyChange) return "any change";
  if (site == kAnyInBackground) return "any call in the background";
  return std::string(kCalls[static_cast<size_t>(CallOf(site))]) + " " +
         kFiles[static_cast<size_t>(FileOf(site))] +
         (IsBackground(site) ? " in the background" : " by requests");
}

std::vector<int> ErrnosOf(StoreCall call) {
  switch (call) {
    case StoreCall::kOpen:
      return {EIO, EMFILE, ENFILE, ENOMEM, EROFS};
    case StoreCall::kCreate:
      return {EIO, EMFILE, ENFILE, ENOMEM, EROFS, ENOSPC, EDQUOT};
    case StoreCall::kRead:
      return {EIO, EINTR, ENOMEM};
    case StoreCall::kWrite:
      return {ENOSPC, EDQUOT, EIO, EROFS, EINTR, ENOMEM};
    case StoreCall::kTruncate:
    case StoreCall::kAllocate:
      return {ENOSPC, EDQUOT, EIO, EROFS, EINTR};
    case StoreCall::kSync:
      return {ENOSPC, EDQUOT, EIO};
    case StoreCall::kRename:
    case StoreCall::kLink:
    case StoreCall::kUnlink:
    case StoreCall::kMkdir:
      return {ENOSPC, EDQUOT, EIO, EROFS, ENOMEM};
    case StoreCall::kReflink:
      return {ENOSPC, EDQUOT, EIO, EROFS, EOPNOTSUPP, EINVAL};
    case StoreCall::kCopyRange:
      return {ENOSPC, EDQUOT, EIO, EROFS, EINTR, ENOMEM};
    case StoreCall::kTimes:
      return {ENOSPC, EDQUOT, EIO, EROFS};
    case StoreCall::kMap:
      return {ENOMEM, ENFILE};
    case StoreCall::kDuplicate:
      return {EMFILE};
    case StoreCall::kStat:
    case StoreCall::kSpace:
    case StoreCall::kSeek:
      return {EIO, ENOMEM};
    case StoreCall::kCount:
      break;
  }
  std::abort();
}

Result<std::unique_ptr<FaultInjector>> FaultInjector::Create(const std::string& scratch,
                                                             const std::string& store) {
#ifndef PX_FAULT_SHIM
  return Fail(EOPNOTSUPP, "the fault shim is not built with sanitizers");
#else
  const std::string path = scratch + "/fault-control";
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || ::ftruncate(fd.get(), sizeof(FaultControl)) != 0) return FailErrno("create " + path);
  void* memory =
      ::mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return FailErrno("map " + path);
  const std::filesystem::path place(store);
  std::error_code error;
  const std::string real =
      std::filesystem::canonical(place.parent_path(), error) / place.filename();
  if (error) return Fail(error.value(), store);
  return std::unique_ptr<FaultInjector>(new FaultInjector(
      new (memory) FaultControl(),
      {std::string("LD_PRELOAD=") + PX_FAULT_SHIM, std::string(kFaultControlVariable) + "=" + path,
       std::string(kFaultStoreVariable) + "=" + real}));
#endif
}

FaultInjector::~FaultInjector() { ::munmap(control_, sizeof(FaultControl)); }

void FaultInjector::Arm(Fault fault, uint32_t site, uint64_t skip, uint64_t times, int error) {
  Disarm();
  control_->site = site;
  control_->skip = skip;
  control_->times = times;
  control_->error = error;
  control_->seen = 0;
  control_->hits = 0;
  control_->fault = static_cast<uint32_t>(fault);
}

uint64_t FaultInjector::Disarm() {
  control_->fault = static_cast<uint32_t>(Fault::kNone);
  return control_->hits;
}

FaultInjector::Counts FaultInjector::CountsNow() const {
  Counts counts(kSites);
  for (size_t site = 0; site < kSites; ++site) counts[site] = control_->counts[site];
  return counts;
}

}  // namespace px::testing
