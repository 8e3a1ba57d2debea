#include "fs/object_digest.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY  // for a state that is no pointer
#include <xxhash.h>

#include <cstdlib>
#include <cstring>

#include "base/time_slice.h"

namespace px::fs {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr size_t kAlignment = 4096;

}  // namespace

struct ObjectDigest::State {
  State() : buffer(static_cast<char*>(std::aligned_alloc(kAlignment, kPiece)), std::free) {
    XXH3_128bits_reset(&hash);
  }
  XXH3_state_t hash;
  std::unique_ptr<char, void (*)(void*)> buffer;
};

ObjectDigest::ObjectDigest(UniqueFd fd, const struct stat& file, bool direct)
    : fd_(std::move(fd)), file_(file), direct_(direct), state_(std::make_unique<State>()) {}

ObjectDigest::~ObjectDigest() = default;

Result<std::unique_ptr<ObjectDigest>> ObjectDigest::Open(const ObjectStore& objects,
                                                         cow::ObjectId id, From from) {
  bool direct = from == From::kDisk;
  auto fd = objects.OpenObject(id, direct ? O_RDONLY | O_DIRECT : O_RDONLY);
  if (!fd && direct && fd.error().code() == EINVAL) {
    direct = false;
    fd = objects.OpenObject(id, O_RDONLY);
  }
  if (!fd) return Forward(std::move(fd).error());
  struct stat file{};
  if (::fstat(fd->get(), &file) != 0) return FailErrno("stat of an object");
  // Where the page cache cannot be passed by, it is emptied of what is clean.
  if (from == From::kDisk && !direct) ::posix_fadvise(fd->get(), 0, 0, POSIX_FADV_DONTNEED);
  std::unique_ptr<ObjectDigest> digest(new ObjectDigest(std::move(*fd), file, direct));
  if (digest->state_->buffer == nullptr) return Fail(ENOMEM);
  return digest;
}

Result<size_t> ObjectDigest::ReadPiece() {
  for (;;) {
    const ssize_t got = ::pread(fd_.get(), state_->buffer.get(), kPiece, static_cast<off_t>(done_));
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EINVAL || !direct_) return FailErrno("read an object");
    // It was opened so, but cannot be read so (or not at the end of the file).
    direct_ = false;
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) != 0) {
      return FailErrno("read an object");
    }
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

Result<bool> ObjectDigest::Step(uint64_t budget) {
  for (uint64_t read = 0; read < budget;) {
    PX_ASSIGN(const size_t got, ReadPiece());
    if (got == 0) return true;
    XXH3_128bits_update(&state_->hash, state_->buffer.get(), got);
    done_ += got;
    read += got;
    // The end of the file, where a direct read could not go on.
    if (got % kAlignment != 0) return true;
  }
  return false;
}

std::array<std::byte, 16> ObjectDigest::Finish() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->hash));
  std::array<std::byte, 16> digest{};
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

Result<bool> ObjectDigest::Unchanged() const {
  struct stat now{};
  if (::fstat(fd_.get(), &now) != 0) return FailErrno("stat of an object");
  const auto same = [](const timespec& a, const timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
  };
  return now.st_size == file_.st_size && same(now.st_mtim, file_.st_mtim) &&
         same(now.st_ctim, file_.st_ctim);
}

// SCHED_IDLE and the idle class of the disk's scheduler, both of which a thread may leave again
// without privileges. Errors are no matter: it is a courtesy.
BackgroundPriority::BackgroundPriority()
    : io_priority_(static_cast<int>(::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0))) {
  const sched_param none{};
  (void)::sched_setscheduler(0, SCHED_IDLE, &none);
  (void)::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

BackgroundPriority::~BackgroundPriority() {
  const sched_param none{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &none);
  SetTimeSlice(kLongSlice);
  if (io_priority_ >= 0) (void)::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, io_priority_);
}

}  // namespace px::fs
