// Loaded into px-fs by LD_PRELOAD, in tests only: stands between it (SQLite and libfuse included)
// and libc for the calls that read or change the store. See fault_control.h for what it can be
// told.
//
// A descriptor is looked up in /proc at each call: no table of its own can go out of step that way.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/testing/fault_control.h"

namespace {

using px::testing::ChangesStore;
using px::testing::Fault;
using px::testing::FaultControl;
using px::testing::IsBackground;
using px::testing::SiteOf;
using px::testing::StoreCall;
using px::testing::StoreFile;

FaultControl* control = nullptr;
char store[PATH_MAX];
size_t store_size = 0;

__attribute__((constructor)) void Start() {
  const char* path = std::getenv(px::testing::kFaultControlVariable);
  const char* dir = std::getenv(px::testing::kFaultStoreVariable);
  if (path == nullptr || dir == nullptr || std::strlen(dir) >= sizeof store) return;
  std::strcpy(store, dir);
  store_size = std::strlen(store);
  const int fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC));
  if (fd < 0) return;
  void* memory = ::mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::syscall(SYS_close, fd);
  if (memory != MAP_FAILED) control = static_cast<FaultControl*>(memory);
}

// The function that this one stands before.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define NEXT(name) static const auto next = Next<decltype(::name)>(#name)

// The daemon's own threads have names (px-background...); those that serve requests have the
// program's, but while they work ahead.
bool InBackground() {
  char name[16] = "";
  ::prctl(PR_GET_NAME, name);
  for (const char* own : {"px-ahead", "px-background", "px-settle", "px-journal", "px-sealer"}) {
    if (std::strcmp(name, own) == 0) return true;
  }
  return false;
}

bool StartsWith(const char* text, const char* start) {
  return std::strncmp(text, start, std::strlen(start)) == 0;
}

// Which file of the store it is; false: none.
bool Classify(const char* path, StoreFile* file) {
  if (std::strncmp(path, store, store_size) != 0) return false;
  const char* rest = path + store_size;
  if (*rest != '/' && *rest != '\0') return false;
  if (*rest == '/') ++rest;
  if (StartsWith(rest, "objects")) {
    // objects/xx is 10 characters long, objects/xx/ID and "objects/#ID (deleted)" longer.
    *file = std::strlen(rest) > 10 ? StoreFile::kObject : StoreFile::kObjectDir;
  } else if (StartsWith(rest, "meta.log.")) {
    *file = StoreFile::kJournal;
  } else if (StartsWith(rest, "meta.db-wal")) {
    *file = StoreFile::kWal;
  } else if (StartsWith(rest, "meta.db-shm")) {
    *file = StoreFile::kShm;
  } else if (StartsWith(rest, "meta.db")) {
    *file = StoreFile::kDatabase;
  } else if (StartsWith(rest, "open.slots")) {
    *file = StoreFile::kSlots;
  } else if (StartsWith(rest, "seals.db")) {
    *file = StoreFile::kSeals;
  } else {
    *file = StoreFile::kOther;
  }
  return true;
}

bool PathOf(int fd, char (&path)[PATH_MAX]) {
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long size = ::syscall(SYS_readlink, link, path, sizeof path - 1);
  if (size <= 0) return false;
  path[size] = '\0';
  return true;
}

bool FileOfFd(int fd, StoreFile* file) {
  if (control == nullptr || fd < 0) return false;
  const int code = errno;
  char path[PATH_MAX];
  const bool found = PathOf(fd, path) && Classify(path, file);
  errno = code;
  return found;
}

bool FileAt(int dir, const char* name, StoreFile* file) {
  if (control == nullptr || name == nullptr) return false;
  if (name[0] == '/') return Classify(name, file);
  if (dir == AT_FDCWD) return false;
  const int code = errno;
  char path[PATH_MAX];
  bool found = PathOf(dir, path);
  if (found && std::strcmp(name, ".") != 0) {
    const size_t size = std::strlen(path);
    found = size + 1 + std::strlen(name) < sizeof path;
    if (found) std::snprintf(path + size, sizeof path - size, "/%s", name);
  }
  found = found && Classify(path, file);
  errno = code;
  return found;
}

void Die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// Counts the call, and says what is to become of it.
Fault Meet(StoreCall call, StoreFile file) {
  const bool background = InBackground();
  const uint32_t site = SiteOf(call, file, background);
  ++control->counts[site];
  if (ChangesStore(call)) ++control->changes;
  const auto fault = static_cast<Fault>(control->fault.load());
  if (fault == Fault::kNone) return fault;
  const uint32_t armed = control->site;
  const bool meant = armed == site || armed == px::testing::kAnySite ||
                     (armed == px::testing::kAnyChange && ChangesStore(call)) ||
                     (armed == px::testing::kAnyInBackground && background);
  if (!meant) return Fault::kNone;
  const uint64_t number = control->seen++;
  const uint64_t skip = control->skip, times = control->times;
  if (number < skip || number - skip >= times) return Fault::kNone;
  ++control->hits;
  if (fault == Fault::kKillBefore) Die();
  if (fault == Fault::kStall) {
    const timespec pause{0, 1'000'000};
    while (control->fault == static_cast<uint32_t>(Fault::kStall)) ::nanosleep(&pause, nullptr);
  }
  return fault;
}

// For calls that are done as a whole or not at all; `failed` is what they return with errno set.
template <typename Body>
auto Around(bool ours, StoreCall call, StoreFile file, const Body& body) -> decltype(body()) {
  if (!ours) return body();
  const Fault fault = Meet(call, file);
  if (fault == Fault::kFail) {
    errno = control->error;
    return static_cast<decltype(body())>(-1);
  }
  if (fault == Fault::kKillInside) Die();
  const auto result = body();
  if (fault == Fault::kKillAfter) Die();
  return result;
}

// For reads and writes: `body` is given how much of `size` to do.
template <typename Body>
ssize_t AroundBytes(int fd, StoreCall call, size_t size, const Body& body) {
  StoreFile file{};
  if (!FileOfFd(fd, &file)) return body(size);
  const Fault fault = Meet(call, file);
  const size_t half = size > 1 ? size / 2 : size;
  switch (fault) {
    case Fault::kFail:
      errno = control->error;
      return -1;
    case Fault::kShort:
      return body(half);
    case Fault::kKillInside:
      if (size > 1) body(half);
      Die();
    default:
      break;
  }
  const ssize_t result = body(size);
  if (fault == Fault::kKillAfter) Die();
  return result;
}

mode_t ModeOf(int flags, va_list arguments) {
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? va_arg(arguments, mode_t) : 0;
}

int OpenAt(int dir, const char* name, int flags, mode_t mode) {
  NEXT(openat64);
  StoreFile file{};
  const bool ours = FileAt(dir, name, &file);
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  if (ours && (flags & O_TMPFILE) == O_TMPFILE) file = StoreFile::kObject;
  return Around(ours, creates ? StoreCall::kCreate : StoreCall::kOpen, file,
                [&] { return next(dir, name, flags, mode); });
}

}  // namespace

extern "C" {

int open(const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(AT_FDCWD, name, flags, mode);
}
int open64(const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(AT_FDCWD, name, flags, mode);
}
int openat(int dir, const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(dir, name, flags, mode);
}
int openat64(int dir, const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(dir, name, flags, mode);
}

ssize_t read(int fd, void* bytes, size_t size) {
  NEXT(read);
  return AroundBytes(fd, StoreCall::kRead, size,
                     [&](size_t count) { return next(fd, bytes, count); });
}
ssize_t pread64(int fd, void* bytes, size_t size, off64_t offset) {
  NEXT(pread64);
  return AroundBytes(fd, StoreCall::kRead, size,
                     [&](size_t count) { return next(fd, bytes, count, offset); });
}
ssize_t pread(int fd, void* bytes, size_t size, off64_t offset) {
  return pread64(fd, bytes, size, offset);
}
ssize_t write(int fd, const void* bytes, size_t size) {
  NEXT(write);
  return AroundBytes(fd, StoreCall::kWrite, size,
                     [&](size_t count) { return next(fd, bytes, count); });
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  NEXT(pwrite64);
  return AroundBytes(fd, StoreCall::kWrite, size,
                     [&](size_t count) { return next(fd, bytes, count, offset); });
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off64_t offset) {
  return pwrite64(fd, bytes, size, offset);
}

int ftruncate64(int fd, off64_t size) {
  NEXT(ftruncate64);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kTruncate, file, [&] { return next(fd, size); });
}
int ftruncate(int fd, off64_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  NEXT(fallocate64);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kAllocate, file, [&] { return next(fd, mode, offset, size); });
}
int fallocate(int fd, int mode, off64_t offset, off64_t size) {
  return fallocate64(fd, mode, offset, size);
}
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
  // It gives the errno as its result.
  NEXT(posix_fallocate64);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  const int code = errno;
  const int result =
      Around(ours, StoreCall::kAllocate, file, [&] { return next(fd, offset, size); });
  if (result != -1) return result;
  const int injected = errno;
  errno = code;
  return injected;
}
int posix_fallocate(int fd, off64_t offset, off64_t size) {
  return posix_fallocate64(fd, offset, size);
}

int fsync(int fd) {
  NEXT(fsync);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kSync, file, [&] { return next(fd); });
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kSync, file, [&] { return next(fd); });
}
int syncfs(int fd) noexcept {
  NEXT(syncfs);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kSync, file, [&] { return next(fd); });
}

int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  StoreFile file{};
  const bool ours = FileAt(AT_FDCWD, to, &file);
  return Around(ours, StoreCall::kRename, file, [&] { return next(from, to); });
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) noexcept {
  NEXT(renameat2);
  StoreFile file{};
  const bool ours = FileAt(to_dir, to, &file);
  return Around(ours, StoreCall::kRename, file,
                [&] { return next(from_dir, from, to_dir, to, flags); });
}
int linkat(int from_dir, const char* from, int to_dir, const char* to, int flags) noexcept {
  NEXT(linkat);
  StoreFile file{};
  const bool ours = FileAt(to_dir, to, &file);
  return Around(ours, StoreCall::kLink, file,
                [&] { return next(from_dir, from, to_dir, to, flags); });
}
int unlink(const char* path) noexcept {
  NEXT(unlink);
  StoreFile file{};
  const bool ours = FileAt(AT_FDCWD, path, &file);
  return Around(ours, StoreCall::kUnlink, file, [&] { return next(path); });
}
int unlinkat(int dir, const char* name, int flags) noexcept {
  NEXT(unlinkat);
  StoreFile file{};
  const bool ours = FileAt(dir, name, &file);
  return Around(ours, StoreCall::kUnlink, file, [&] { return next(dir, name, flags); });
}
int mkdir(const char* path, mode_t mode) noexcept {
  NEXT(mkdir);
  StoreFile file{};
  const bool ours = FileAt(AT_FDCWD, path, &file);
  return Around(ours, StoreCall::kMkdir, file, [&] { return next(path, mode); });
}
int mkdirat(int dir, const char* name, mode_t mode) noexcept {
  NEXT(mkdirat);
  StoreFile file{};
  const bool ours = FileAt(dir, name, &file);
  return Around(ours, StoreCall::kMkdir, file, [&] { return next(dir, name, mode); });
}

int fstat64(int fd, struct stat64* info) noexcept {
  NEXT(fstat64);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kStat, file, [&] { return next(fd, info); });
}
int fstatat64(int dir, const char* name, struct stat64* info, int flags) noexcept {
  NEXT(fstatat64);
  StoreFile file{};
  const bool ours = FileAt(dir, name, &file);
  return Around(ours, StoreCall::kStat, file, [&] { return next(dir, name, info, flags); });
}
int fstatvfs64(int fd, struct statvfs64* info) noexcept {
  NEXT(fstatvfs64);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kSpace, file, [&] { return next(fd, info); });
}

off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  NEXT(lseek64);
  StoreFile file{};
  const bool ours = (whence == SEEK_DATA || whence == SEEK_HOLE) && FileOfFd(fd, &file);
  return Around(ours, StoreCall::kSeek, file, [&] { return next(fd, offset, whence); });
}
int futimens(int fd, const struct timespec times[2]) noexcept {
  NEXT(futimens);
  StoreFile file{};
  const bool ours = FileOfFd(fd, &file);
  return Around(ours, StoreCall::kTimes, file, [&] { return next(fd, times); });
}
ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t size,
                        unsigned flags) {
  NEXT(copy_file_range);
  return AroundBytes(to, StoreCall::kCopyRange, size, [&](size_t count) {
    return next(from, from_offset, to, to_offset, count, flags);
  });
}
void* mmap64(void* address, size_t size, int protection, int flags, int fd,
             off64_t offset) noexcept {
  NEXT(mmap64);
  StoreFile file{};
  const bool ours = (flags & MAP_ANONYMOUS) == 0 && FileOfFd(fd, &file);
  if (ours && Meet(StoreCall::kMap, file) == Fault::kFail) {
    errno = control->error;
    return MAP_FAILED;
  }
  return next(address, size, protection, flags, fd, offset);
}

int ioctl(int fd, unsigned long command, ...) noexcept {
  NEXT(ioctl);
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  StoreFile file{};
  const bool ours = command == FICLONE && FileOfFd(fd, &file);
  return Around(ours, StoreCall::kReflink, file, [&] { return next(fd, command, argument); });
}
int fcntl64(int fd, int command, ...) {
  NEXT(fcntl64);
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  StoreFile file{};
  const bool ours = command == F_DUPFD_CLOEXEC && FileOfFd(fd, &file);
  return Around(ours, StoreCall::kDuplicate, file, [&] { return next(fd, command, argument); });
}

}  // extern "C"
