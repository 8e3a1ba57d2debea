#include "catalog/space_reserve.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "base/log.h"

namespace px::catalog {
namespace {

constexpr uint64_t kPart = 32;
constexpr uint64_t kLeast = uint64_t{4} << 20;
constexpr uint64_t kMost = uint64_t{24} << 20;
constexpr off_t kStep = off_t{512} << 10;

off_t Wanted(const struct statfs& space) {
  const uint64_t size = space.f_blocks * static_cast<uint64_t>(space.f_frsize);
  return static_cast<off_t>(std::clamp(size / kPart, kLeast, kMost));
}

}  // namespace

bool SpaceReserve::Open() {
  if (!fd_) fd_.Reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  return static_cast<bool>(fd_);
}

off_t SpaceReserve::Allocated() const {
  struct stat info{};
  if (::fstat(fd_.get(), &info) != 0) return 0;
  return std::min<off_t>(info.st_size, info.st_blocks * 512);
}

bool SpaceReserve::Keep() {
  if (settled_.load(std::memory_order_relaxed)) return true;
  const MutexLock lock(mutex_);
  struct statfs space{};
  if (!Open() || ::fstatfs(fd_.get(), &space) != 0) {
    const bool full = errno == ENOSPC;
    if (!full) LogDebug("{}: no reserve: errno {}", path_, errno);
    settled_ = !full;
    return settled_;
  }
  // It writes nothing in place, so that what is allocated is no room for anything; and over quota
  // it then takes not even what would lift the quota.
  if (space.f_type == BTRFS_SUPER_MAGIC) {
    settled_ = true;
    return true;
  }
  const off_t wanted = Wanted(space);
  const uint64_t left = space.f_bavail * static_cast<uint64_t>(space.f_frsize);
  off_t has = Allocated();
  int error = 0;
  while (error == 0 && has < wanted) {
    if (left < static_cast<uint64_t>(kStep)) return false;
    // All at once where there is room, else step by step what there is.
    const auto missing = static_cast<uint64_t>(wanted - has);
    const off_t step = left >= missing ? wanted - has : std::min(kStep, wanted - has);
    if (::fallocate(fd_.get(), 0, has, step) == 0) {
      has += step;
    } else {
      error = errno;
    }
  }
  // Over quota each try costs, on btrfs even others: whether there is room now, nobody can say.
  settled_ = error != ENOSPC;
  if (error != 0 && settled_) LogDebug("{}: no reserve: errno {}", path_, error);
  return settled_;
}

bool SpaceReserve::GiveUp(cow::ReserveUse use) {
  const MutexLock lock(mutex_);
  if (!Open()) return false;
  struct statfs space{};
  const off_t wanted = ::fstatfs(fd_.get(), &space) == 0 ? Wanted(space) : 0;
  const off_t stays = use == cow::ReserveUse::kInUse     ? wanted / 2
                      : use == cow::ReserveUse::kOpening ? wanted / 8
                                                         : 0;
  if (Allocated() <= stays) return false;
  // Some filesystems have the blocks to give out again only when this is on disk.
  if (::ftruncate(fd_.get(), stays) != 0 || ::fsync(fd_.get()) != 0) return false;
  settled_ = false;
  LogWarn("{}: the disk is full: the space that is kept for that is used now", path_);
  return true;
}

}  // namespace px::catalog
