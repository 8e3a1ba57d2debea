#include "launcher/upkeep.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/files.h"

namespace px::launcher {
namespace {

bool IsDue(const struct stat& status, std::chrono::milliseconds interval) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age_ms = (now.tv_sec - status.st_mtim.tv_sec) * 1000 +
                         (now.tv_nsec - status.st_mtim.tv_nsec) / 1'000'000;
  return age_ms < 0 || age_ms >= interval.count();
}

}  // namespace

Done DoIfDue(const std::string& stamp, std::chrono::milliseconds interval,
             const std::function<Done()>& work) {
  struct stat status{};
  if (::stat(stamp.c_str(), &status) == 0 && !IsDue(status, interval)) return {};
  PXL_ASSIGN(const UniqueFd file, OpenFile(stamp, O_RDWR | O_CREAT, 0644));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return {};
  // Somebody may have done it between the first look and the lock; a new file's time says nothing.
  if (::fstat(file.get(), &status) != 0) return {};
  if (status.st_size > 0 && !IsDue(status, interval)) return {};
  PXL_TRY(work());
  // At the end, so that work which takes longer than the interval does not follow on itself.
  ::lseek(file.get(), 0, SEEK_SET);
  PXL_TRY(WriteAll(file.get(), "done\n"));
  return {};
}

}  // namespace px::launcher
