#include "base/time_slice.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/log.h"

namespace px {
namespace {

// sched_attr of sched_setattr(2), in its first form; <linux/sched/types.h> cannot be included
// beside <sched.h>.
struct SchedAttributes {
  uint32_t size = 0;
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // of the usual policy: the slice
  uint64_t deadline = 0;
  uint64_t period = 0;
};
static_assert(sizeof(SchedAttributes) == 48);

}  // namespace

void SetTimeSlice(std::chrono::nanoseconds slice) {
  SchedAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  attributes.runtime = static_cast<uint64_t>(slice.count());
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) {
    LogDebug("time slice of a thread: errno {}", errno);
  }
}

}  // namespace px
