#include "fs/object_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/io.h"
#include "base/log.h"

namespace px::fs {
namespace {

std::string DescriptorPath(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

constexpr uint64_t kLarge = uint64_t{1} << 20;

bool TryReflinks(int dir) {
  const auto temp = [dir] {
    return UniqueFd(::openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  };
  const UniqueFd from = temp();
  const UniqueFd to = temp();
  if (!from || !to) return false;
  const std::string block(4096, 'x');
  if (::pwrite(from.get(), block.data(), block.size(), 0) != static_cast<ssize_t>(block.size())) {
    // On a full disk it cannot be tried.
    struct statfs info{};
    return ::fstatfs(dir, &info) == 0 &&
           (info.f_type == XFS_SUPER_MAGIC || info.f_type == BTRFS_SUPER_MAGIC);
  }
  return ::ioctl(to.get(), FICLONE, from.get()) == 0;
}

bool TryData(int dir) {
  constexpr off_t kBlock = 4096, kMany = 1024, kFirst = 256, kSecond = kFirst + 2;
  const UniqueFd file(::openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), kMany * kBlock) != 0) return false;
  const std::string zeros(kBlock, '\0'), bytes(kBlock, 'x');
  if (::pwrite(file.get(), zeros.data(), kBlock, kFirst * kBlock) != kBlock ||
      ::pwrite(file.get(), bytes.data(), kBlock, kSecond * kBlock) != kBlock) {
    // On a full disk it cannot be tried.
    struct statfs info{};
    return ::fstatfs(dir, &info) == 0 && info.f_bsize <= kBlock;
  }
  const auto seek = [&](off_t block, int whence) {
    return ::lseek(file.get(), block * kBlock, whence);
  };
  return seek(0, SEEK_DATA) == kFirst * kBlock &&
         seek(kFirst, SEEK_HOLE) == (kFirst + 1) * kBlock &&
         seek(kFirst + 1, SEEK_DATA) == kSecond * kBlock &&
         seek(kSecond, SEEK_HOLE) == (kSecond + 1) * kBlock && seek(kSecond + 1, SEEK_DATA) < 0 &&
         errno == ENXIO;
}

bool HasNoatime(int fd) {
  int flags = 0;
  return ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOATIME_FL) != 0;
}

bool SetNoatime(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return false;
  flags |= FS_NOATIME_FL;
  return ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

// Nobody asks for an object's access time. Where files inherit from their directory that they have
// none (XFS, ext4), they are to; false: they do not.
bool InheritNoatime(int dir) {
  if (!HasNoatime(dir)) {
    for (size_t i = 0; i < kObjectDirs; ++i) {
      const UniqueFd sub(
          ::openat(dir, ObjectDirName(i).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!sub || !SetNoatime(sub.get())) return false;
    }
    if (!SetNoatime(dir)) return false;  // the last: it stands for all
  }
  const UniqueFd file(
      ::openat(dir, ObjectDirName(0).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return file && HasNoatime(file.get());
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> ObjectStore::Open(const std::string& dir) {
  UniqueFd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailErrno("open " + dir);
  bool made = false;
  for (size_t i = 0; i < kObjectDirs; ++i) {
    const std::string name = ObjectDirName(i);
    if (::mkdirat(fd.get(), name.c_str(), 0700) == 0) {
      made = true;
    } else if (errno != EEXIST) {
      return FailErrno("create " + dir + "/" + name);
    }
  }
  if (::mkdirat(fd.get(), "kept", 0700) != 0 && errno != EEXIST && errno != EROFS) {
    return FailErrno("create " + dir + "/kept");
  }
  if (made && ::fsync(fd.get()) != 0) return FailErrno("sync " + dir);
  const bool reflinks = TryReflinks(fd.get());
  const bool finds_data_by_block = TryData(fd.get());
  const bool noatime = InheritNoatime(fd.get());
  UniqueFd again(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!again) return FailErrno("open " + dir);
  auto unsynced = std::make_shared<Unsynced>(std::move(again));
  return std::unique_ptr<ObjectStore>(
      new ObjectStore(std::move(fd), std::move(unsynced), reflinks, finds_data_by_block, noatime));
}

Result<UniqueFd> ObjectStore::OpenObject(cow::ObjectId id, int flags) const {
  UniqueFd fd(::openat(dir_.get(), ObjectName(id).c_str(), flags | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return FailErrno("open object " + ObjectName(id));
  return fd;
}

Result<uint64_t> ObjectStore::SizeOf(cow::ObjectId id) const {
  struct stat info{};
  if (::fstatat(dir_.get(), ObjectName(id).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno("stat object " + ObjectName(id));
  }
  return static_cast<uint64_t>(info.st_size);
}

Result<UniqueFd> ObjectStore::Create(cow::ObjectId id) const {
  const std::string name = ObjectName(id);
  constexpr int kFlags = O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW;
  UniqueFd fd(::openat(dir_.get(), name.c_str(), kFlags, 0600));
  if (!fd && errno == EEXIST) {
    // A leftover of an earlier pool, or of a transaction that was aborted. It goes, but is not
    // emptied: somebody may still read it.
    if (::unlinkat(dir_.get(), name.c_str(), 0) != 0) return FailErrno("replace object " + name);
    fd.Reset(::openat(dir_.get(), name.c_str(), kFlags, 0600));
  }
  if (!fd) return FailErrno("create object " + name);
  if (inherits_noatime_) return fd;
  // With an access time that is ahead of all others (relatime) the kernel writes none at the first
  // read after a write. Where it cannot be set, it does.
  constexpr time_t kFar = 4'000'000'000;  // a filesystem that cannot store it takes its latest
  const timespec times[] = {{kFar, 0}, {0, UTIME_OMIT}};
  if (::futimens(fd.get(), times) != 0) {
    LogDebug("access time of object {:x}: errno {}", id.value, errno);
  }
  return fd;
}

void ObjectStore::ConsumeLocked(cow::ObjectId id) {
  consumed_end_ = std::max(consumed_end_, id.value + 1);
  while (!pool_.empty() && pool_.front().id.value < consumed_end_) pool_.pop_front();
}

Result<UniqueFd> ObjectStore::Take(cow::ObjectId id) {
  UniqueFd fd;
  {
    const MutexLock lock(mutex_);
    while (making_ == id) made_.Wait(mutex_);
    while (!pool_.empty() && pool_.front().id < id) pool_.pop_front();
    if (!pool_.empty() && pool_.front().id == id) fd = std::move(pool_.front().fd);
    ConsumeLocked(id);
  }
  // An aborted transaction gave the id back after its file had been taken, or the pool ran dry.
  if (!fd) {
    PX_ASSIGN(fd, Create(id));
  }
  // Not before: a sync point that comes between would have flushed a directory without the name.
  // And not when it was made ahead: none waits for the names of files that nobody took.
  unsynced_->AddName(id);
  return fd;
}

std::optional<cow::ObjectId> ObjectStore::BeginMaking(cow::ObjectId next, size_t want) {
  if (pool_.size() >= want) return std::nullopt;
  uint64_t id = std::max(next.value, consumed_end_);
  if (!pool_.empty()) id = std::max(id, pool_.back().id.value + 1);
  making_ = cow::ObjectId{id};
  return making_;
}

Status ObjectStore::Make(cow::ObjectId id) {
  // Without the mutex: who takes one that is there does not wait for the next.
  auto fd = Create(id);
  const MutexLock lock(mutex_);
  making_.reset();
  made_.NotifyAll();
  if (!fd) return Forward(fd.error());
  // Higher ids may have been consumed meanwhile.
  if (id.value >= consumed_end_) pool_.push_back({id, std::move(*fd)});
  return {};
}

Status ObjectStore::Fill(cow::ObjectId next, size_t want) {
  for (;;) {
    std::optional<cow::ObjectId> id;
    {
      const MutexLock lock(mutex_);
      while (making_) made_.Wait(mutex_);
      id = BeginMaking(next, want);
    }
    if (!id) return {};
    PX_TRY(Make(*id));
  }
}

Status ObjectStore::FillOne(size_t want) {
  std::optional<cow::ObjectId> id;
  {
    const MutexLock lock(mutex_);
    if (pool_.empty() || making_) return {};
    id = BeginMaking(pool_.front().id, want);
  }
  return id ? Make(*id) : Status{};
}

size_t ObjectStore::PoolSize() const {
  const MutexLock lock(mutex_);
  return pool_.size();
}

Result<UniqueFd> ObjectStore::TempFile() const {
  UniqueFd fd(::openat(dir_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return FailErrno("create a temporary object");
  return fd;
}

Status ObjectStore::Adopt(int temp, cow::ObjectId id) {
  const MutexLock lock(mutex_);
  while (making_ == id) made_.Wait(mutex_);
  // linkat does not replace: the pool's file of that id goes first.
  if (::unlinkat(dir_.get(), ObjectName(id).c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno("replace object " + ObjectName(id));
  }
  ConsumeLocked(id);
  if (::linkat(AT_FDCWD, DescriptorPath(temp).c_str(), dir_.get(), ObjectName(id).c_str(),
               AT_SYMLINK_FOLLOW) != 0) {
    return FailErrno("name object " + ObjectName(id));
  }
  unsynced_->AddName(id);
  unsynced_->Add(id);
  return {};
}

namespace {

constexpr char kKeptDir[] = "kept";

std::string KeptName(uint64_t name) { return fmt::format("{}/{:x}", kKeptDir, name); }

}  // namespace

Status ObjectStore::Keep(int temp, uint64_t name) const {
  const std::string path = KeptName(name);
  if (::unlinkat(dir_.get(), path.c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno("replace " + path);
  }
  if (::linkat(AT_FDCWD, DescriptorPath(temp).c_str(), dir_.get(), path.c_str(),
               AT_SYMLINK_FOLLOW) != 0) {
    return FailErrno("name " + path);
  }
  return {};
}

Result<UniqueFd> ObjectStore::OpenKept(uint64_t name) const {
  UniqueFd fd(::openat(dir_.get(), KeptName(name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return FailErrno("open " + KeptName(name));
  return fd;
}

void ObjectStore::DropKept(uint64_t name) const {
  if (::unlinkat(dir_.get(), KeptName(name).c_str(), 0) != 0 && errno != ENOENT) {
    LogWarn("removing {}: errno {}", KeptName(name), errno);
  }
}

void ObjectStore::DropKeptExcept(const std::set<uint64_t>& names) const {
  const int fd = ::openat(dir_.get(), kKeptDir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), &::closedir);
  while (const dirent* entry = ::readdir(dir.get())) {
    uint64_t name = 0;
    const std::string_view text(entry->d_name);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), name, 16);
    if (error != std::errc() || end != text.data() + text.size()) continue;
    if (!names.contains(name)) DropKept(name);
  }
}

void ObjectStore::RemoveName(cow::ObjectId id) const {
  if (::unlinkat(dir_.get(), ObjectName(id).c_str(), 0) != 0 && errno != ENOENT) {
    LogWarn("removing object {:x}: errno {}", id.value, errno);
  }
}

Status ObjectStore::Exchange(cow::ObjectId a, cow::ObjectId b) const {
  if (::renameat2(dir_.get(), ObjectName(a).c_str(), dir_.get(), ObjectName(b).c_str(),
                  RENAME_EXCHANGE) != 0) {
    return FailErrno("exchange objects " + ObjectName(a) + " and " + ObjectName(b));
  }
  unsynced_->AddName(a);
  unsynced_->AddName(b);
  return {};
}

// XFS gives back the blocks of an unlinked file when it likes, those of a truncated one at once;
// who waits for space must not have to guess. Not where somebody still has the file mapped, though.
void ObjectStore::EmptyIfLarge(cow::ObjectId id) const {
  struct stat info{};
  if (::fstatat(dir_.get(), ObjectName(id).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      static_cast<uint64_t>(info.st_blocks) * 512 < kLarge) {
    return;
  }
  const auto fd = OpenObject(id, O_WRONLY);
  if (!fd || ::fcntl(fd->get(), F_SETLEASE, F_WRLCK) != 0) return;  // refused: it is open elsewhere
  if (::ftruncate(fd->get(), 0) != 0) LogWarn("emptying object {:x}: errno {}", id.value, errno);
  ::fcntl(fd->get(), F_SETLEASE, F_UNLCK);
}

Status ObjectStore::Remove(cow::ObjectId id) const {
  EmptyIfLarge(id);
  if (::unlinkat(dir_.get(), ObjectName(id).c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno("remove object " + ObjectName(id));
  }
  return {};
}

void ObjectStore::ForgetPages(cow::ObjectId id) const {
  const auto fd = OpenObject(id, O_RDONLY);
  if (fd) ::posix_fadvise(fd->get(), 0, 0, POSIX_FADV_DONTNEED);
}

Status ObjectStore::Copy(int from, int to, uint64_t size) const {
  if (has_reflinks_) {
    if (::ioctl(to, FICLONE, from) == 0) {
      if (::ftruncate(to, static_cast<off_t>(size)) != 0)
        return FailErrno("truncate a reflinked object");
      return {};
    }
    // A reflink can be refused for one file (too many owners of a block): copy then.
    if (IsNoRoom(errno) || errno == EIO || errno == EROFS) {
      return FailErrno("reflink an object");
    }
  }
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) return FailErrno("size a copy of an object");
  return CopyRange(from, to, 0, size);
}

Status ObjectStore::CopyRange(int from, int to, uint64_t offset, uint64_t length) {
  const off_t end = static_cast<off_t>(offset + length);
  off_t position = static_cast<off_t>(offset);
  while (position < end) {
    const off_t data = ::lseek(from, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return FailErrno("find data of an object");
    if (data >= end) return {};
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return FailErrno("find a hole of an object");
    off_t in = data, out = data;
    const off_t stop = std::min(hole, end);
    while (in < stop) {
      const ssize_t copied =
          ::copy_file_range(from, &in, to, &out, static_cast<size_t>(stop - in), 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied < 0) return FailErrno("copy an object");
      if (copied == 0) break;  // it became shorter meanwhile
    }
    position = std::max(stop, data + 1);
  }
  return {};
}

Result<struct statvfs> ObjectStore::StatFs() const {
  struct statvfs result{};
  if (::fstatvfs(dir_.get(), &result) != 0) return FailErrno("statfs of the store");
  return result;
}

Status ObjectStore::Scan(const std::function<void(cow::ObjectId)>& visit) const {
  for (size_t i = 0; i < kObjectDirs; ++i) {
    const std::string name = ObjectDirName(i);
    const int fd = ::openat(dir_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return FailErrno("open objects/" + name);
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), &::closedir);
    while (const dirent* entry = ::readdir(dir.get())) {
      uint64_t id = 0;
      const std::string_view text(entry->d_name);
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id, 16);
      if (error == std::errc() && end == text.data() + text.size()) visit(cow::ObjectId{id});
    }
  }
  return {};
}

}  // namespace px::fs
