// Both names of each call are wanted, not one renamed to the other.
#undef _FILE_OFFSET_BITS

#include "tests/testing/disk_recorder.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>

namespace px::testing {
namespace {

enum class Kind { kWrite, kTruncate, kPunch, kSync, kSyncAll, kName, kUnname, kRename, kExchange };

struct Event {
  Kind kind;
  uint64_t file = 0;  // inode number
  bool is_dir = false;
  uint64_t offset = 0;  // or the size
  std::string data;
  uint64_t dir = 0, other_dir = 0;
  std::string name, other_name;
  uint64_t length = 0;  // of a hole
};

struct Log {
  std::mutex mutex;
  std::vector<Event> events;
  std::set<uint64_t> files;  // inode numbers below the directory
  uint64_t root = 0;
  dev_t device = 0;
  std::atomic<bool> running = false;
  std::atomic<bool> reflinks = false;
};

Log& TheLog() {
  static Log log;
  return log;
}

struct Id {
  uint64_t ino = 0;
  bool dir = false;
  uint64_t size = 0;
};

bool IdOf(int fd, Id* id) {
  struct stat info{};
  if (::fstat(fd, &info) != 0 || info.st_dev != TheLog().device) return false;
  *id = {info.st_ino, S_ISDIR(info.st_mode), static_cast<uint64_t>(info.st_size)};
  return TheLog().files.contains(id->ino);
}

// The directory and last part of a path, if the directory is ours.
bool Locate(int at, const char* path, uint64_t* dir, std::string* name) {
  std::string full(path);
  const size_t slash = full.rfind('/');
  *name = slash == std::string::npos ? full : full.substr(slash + 1);
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : full.substr(0, slash);
  struct stat info{};
  if (::fstatat(at, parent.c_str(), &info, 0) != 0 || info.st_dev != TheLog().device) return false;
  *dir = info.st_ino;
  return TheLog().files.contains(*dir);
}

void Push(Event event) { TheLog().events.push_back(std::move(event)); }

// Runs a call and, if it worked, notes it.
template <typename Call, typename Note>
auto Recorded(Call call, Note note) {
  Log& log = TheLog();
  if (!log.running) return call();
  const std::lock_guard lock(log.mutex);
  const auto result = call();
  const int saved = errno;
  if (result >= 0) note(result);
  errno = saved;
  return result;
}

void NoteWrite(int fd, const void* data, size_t size, uint64_t offset) {
  Id id;
  if (!IdOf(fd, &id)) return;
  // Page by page: each may reach the disk or not.
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const size_t part = std::min<size_t>(size, 4096 - offset % 4096);
    Push({Kind::kWrite, id.ino, false, offset, std::string(bytes, part), 0, 0, {}, {}});
    bytes += part;
    offset += part;
    size -= part;
  }
}

void NoteTruncate(int fd) {
  Id id;
  if (IdOf(fd, &id)) Push({Kind::kTruncate, id.ino, false, id.size, {}, 0, 0, {}, {}});
}

void NotePunch(int fd, uint64_t offset, uint64_t length) {
  Id id;
  if (!IdOf(fd, &id) || offset >= id.size) return;
  constexpr uint64_t kPage = 4096;
  const uint64_t end = std::min(offset + length, id.size);
  const uint64_t from = (offset + kPage - 1) / kPage * kPage;
  const uint64_t to =
      offset + length >= id.size ? (end + kPage - 1) / kPage * kPage : end / kPage * kPage;
  if (from >= to) {
    NoteWrite(fd, std::string(end - offset, '\0').data(), end - offset, offset);
    return;
  }
  if (offset < from) NoteWrite(fd, std::string(from - offset, '\0').data(), from - offset, offset);
  if (to < end) NoteWrite(fd, std::string(end - to, '\0').data(), end - to, to);
  Push({Kind::kPunch, id.ino, false, from, {}, 0, 0, {}, {}, to - from});
}

void NoteSync(int fd) {
  Id id;
  if (IdOf(fd, &id)) Push({Kind::kSync, id.ino, id.dir, 0, {}, 0, 0, {}, {}});
}

void NoteOpen(int fd, int at, const char* path, int flags) {
  struct stat info{};
  if (::fstat(fd, &info) != 0 || info.st_dev != TheLog().device) return;
  const bool known = TheLog().files.contains(info.st_ino);
  uint64_t dir = 0;
  std::string name;
  if (!known && (flags & O_CREAT) != 0 && Locate(at, path, &dir, &name)) {
    TheLog().files.insert(info.st_ino);
    Push({Kind::kName, info.st_ino, false, 0, {}, dir, 0, name, {}});
  } else if (!known && (flags & O_TMPFILE) == O_TMPFILE) {
    if (::fstatat(at, path, &info, 0) == 0 && TheLog().files.contains(info.st_ino)) {
      ::fstat(fd, &info);
      TheLog().files.insert(info.st_ino);
    }
  } else if (known && (flags & O_TRUNC) != 0) {
    NoteTruncate(fd);
  }
}

int OpenAt(int at, const char* path, int flags, mode_t mode) {
  return Recorded([&] { return static_cast<int>(::syscall(SYS_openat, at, path, flags, mode)); },
                  [&](int fd) { NoteOpen(fd, at, path, flags); });
}

int MakeDir(int at, const char* path, mode_t mode) {
  return Recorded([&] { return static_cast<int>(::syscall(SYS_mkdirat, at, path, mode)); },
                  [&](int) {
                    uint64_t dir = 0;
                    std::string name;
                    struct stat info{};
                    if (!Locate(at, path, &dir, &name)) return;
                    ::fstatat(at, path, &info, 0);
                    TheLog().files.insert(info.st_ino);
                    Push({Kind::kName, info.st_ino, true, 0, {}, dir, 0, name, {}});
                  });
}

int UnlinkAt(int at, const char* path, int flags) {
  uint64_t dir = 0;
  std::string name;
  return Recorded([&] { return static_cast<int>(::syscall(SYS_unlinkat, at, path, flags)); },
                  [&](int) {
                    if (Locate(at, path, &dir, &name)) {
                      Push({Kind::kUnname, 0, false, 0, {}, dir, 0, name, {}});
                    }
                  });
}

int RenameAt(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  return Recorded(
      [&] { return static_cast<int>(::syscall(SYS_renameat2, from_at, from, to_at, to, flags)); },
      [&](int) {
        Event event{(flags & RENAME_EXCHANGE) != 0 ? Kind::kExchange : Kind::kRename,
                    0,
                    false,
                    0,
                    {},
                    0,
                    0,
                    {},
                    {}};
        if (Locate(from_at, from, &event.dir, &event.name) &&
            Locate(to_at, to, &event.other_dir, &event.other_name)) {
          Push(event);
        }
      });
}

void NoteCopy(int fd, uint64_t offset, size_t size) {
  std::string bytes(size, '\0');
  const ssize_t got = ::pread(fd, bytes.data(), size, static_cast<off_t>(offset));
  if (got > 0) NoteWrite(fd, bytes.data(), static_cast<size_t>(got), offset);
}

int CloneByCopy(int to, int from) {
  return Recorded(
      [&] {
        struct stat info{};
        if (::fstat(from, &info) != 0) return -1;
        std::string bytes(static_cast<size_t>(info.st_size), '\0');
        if (::pread(from, bytes.data(), bytes.size(), 0) != info.st_size) return -1;
        ::syscall(SYS_ftruncate, to, info.st_size);
        ::syscall(SYS_pwrite64, to, bytes.data(), bytes.size(), 0);
        return 0;
      },
      [&](int) {
        NoteTruncate(to);
        Id id;
        if (IdOf(to, &id)) NoteCopy(to, 0, id.size);
      });
}

// --- What a disk may hold ---

struct File {
  static constexpr uint64_t kPage = 4096;
  std::string bytes;
  std::set<uint64_t> pages;  // that were written; the others are holes

  void Apply(const Event& event) {
    if (event.kind == Kind::kTruncate) {
      bytes.resize(event.offset, '\0');
      pages.erase(pages.lower_bound((event.offset + kPage - 1) / kPage), pages.end());
      return;
    }
    if (event.kind == Kind::kPunch) {
      const uint64_t end = std::min<uint64_t>(event.offset + event.length, bytes.size());
      if (event.offset < end) {
        bytes.replace(event.offset, end - event.offset, end - event.offset, '\0');
      }
      pages.erase(pages.lower_bound(event.offset / kPage),
                  pages.lower_bound((event.offset + event.length) / kPage));
      return;
    }
    bytes.resize(std::max(bytes.size(), event.offset + event.data.size()), '\0');
    bytes.replace(event.offset, event.data.size(), event.data);
    pages.insert(event.offset / kPage);  // a write is of one page
  }
  void Write(int fd) const {
    if (::ftruncate(fd, static_cast<off_t>(bytes.size())) != 0) std::abort();
    for (const uint64_t page : pages) {
      const std::string_view part = std::string_view(bytes).substr(page * kPage, kPage);
      if (::pwrite(fd, part.data(), part.size(), static_cast<off_t>(page * kPage)) !=
          static_cast<ssize_t>(part.size())) {
        std::abort();
      }
    }
  }
};

class Disk {
 public:
  Disk(Random* random, bool names_in_order) : random_(*random), names_in_order_(names_in_order) {}

  void Play(const std::vector<Event>& events, size_t end) {
    for (size_t i = 0; i < end; ++i) {
      const Event& event = events[i];
      switch (event.kind) {
        case Kind::kWrite:
        case Kind::kTruncate:
        case Kind::kPunch:
          pending_[event.file].push_back(&event);
          break;
        case Kind::kSync:
          if (event.is_dir) {
            SettleNames(event.file);
          } else {
            SettleFile(event.file);
          }
          break;
        case Kind::kSyncAll:
          while (!pending_.empty()) SettleFile(pending_.begin()->first);
          for (const Event* name : names_) ApplyName(*name);
          names_.clear();
          break;
        default:
          names_.push_back(&event);
      }
    }
    Crash();
  }

  void Write(const std::string& target, uint64_t dir) const {
    const auto entries = dirs_.find(dir);
    if (entries == dirs_.end()) return;
    for (const auto& [name, entry] : entries->second) {
      const std::string path = target + "/" + name;
      if (entry.is_dir) {
        ::mkdir(path.c_str(), 0700);
        Write(path, entry.file);
        continue;
      }
      const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
      const auto file = files_.find(entry.file);
      if (file != files_.end()) file->second.Write(fd);
      ::close(fd);
    }
  }

 private:
  struct Entry {
    uint64_t file = 0;
    bool is_dir = false;
  };

  void SettleFile(uint64_t file) {
    for (const Event* event : pending_[file]) files_[file].Apply(*event);
    pending_.erase(file);
  }

  static bool Concerns(const Event& event, uint64_t dir) {
    return event.dir == dir || event.other_dir == dir;
  }
  // All pending changes of the directory's names, and what they rest on.
  void SettleNames(uint64_t dir) {
    if (names_in_order_) {
      size_t last = 0;
      for (size_t i = 0; i < names_.size(); ++i) {
        if (Concerns(*names_[i], dir)) last = i + 1;
      }
      for (size_t i = 0; i < last; ++i) ApplyName(*names_[i]);
      names_.erase(names_.begin(), names_.begin() + static_cast<ptrdiff_t>(last));
      return;
    }
    // A change of two directories takes both along.
    std::set<uint64_t> wanted{dir};
    for (auto event = names_.rbegin(); event != names_.rend(); ++event) {
      if ((*event)->other_dir == 0) continue;
      if (wanted.contains((*event)->dir) || wanted.contains((*event)->other_dir)) {
        wanted.insert((*event)->dir);
        wanted.insert((*event)->other_dir);
      }
    }
    std::erase_if(names_, [&](const Event* event) {
      if (!wanted.contains(event->dir)) return false;
      ApplyName(*event);
      return true;
    });
  }

  void ApplyName(const Event& event) {
    auto& dir = dirs_[event.dir];
    if (event.kind == Kind::kName) {
      dir[event.name] = {event.file, event.is_dir};
    } else if (event.kind == Kind::kUnname) {
      dir.erase(event.name);
    } else if (event.kind == Kind::kRename) {
      const Entry moved = dir[event.name];
      dir.erase(event.name);
      dirs_[event.other_dir][event.other_name] = moved;
    } else {
      std::swap(dir[event.name], dirs_[event.other_dir][event.other_name]);
    }
  }

  void Crash() {
    const uint64_t all = random_.Below(6);
    for (const auto& [file, events] : pending_) {
      const uint64_t way = all < 2 ? all : random_.Below(4);
      const size_t until = random_.Below(events.size() + 1);
      for (size_t i = 0; i < events.size(); ++i) {
        const bool there = way == 0   ? false
                           : way == 1 ? true
                           : way == 2 ? i < until
                                      : random_.Below(2) == 0;
        if (there) files_[file].Apply(*events[i]);
      }
    }
    if (names_in_order_) {
      const size_t until = random_.Below(names_.size() + 1);
      for (size_t i = 0; i < until; ++i) ApplyName(*names_[i]);
      return;
    }
    while (!names_.empty()) {
      // Some directories wholly, others not at all.
      const uint64_t dir = names_[random_.Below(names_.size())]->dir;
      if (random_.Below(2) == 0) {
        SettleNames(dir);
      } else {
        std::erase_if(names_, [dir](const Event* event) { return Concerns(*event, dir); });
      }
    }
  }

  Random& random_;
  const bool names_in_order_;
  std::map<uint64_t, std::vector<const Event*>> pending_;
  std::vector<const Event*> names_;
  std::map<uint64_t, File> files_;
  std::map<uint64_t, std::map<std::string, Entry>> dirs_;
};

}  // namespace

DiskRecorder::DiskRecorder(const std::string& dir) {
  struct stat info{};
  if (::stat(dir.c_str(), &info) != 0) std::abort();
  Log& log = TheLog();
  log.events.clear();
  log.files = {info.st_ino};
  log.root = info.st_ino;
  log.device = info.st_dev;
  log.running = true;
}

DiskRecorder::~DiskRecorder() { Stop(); }
void DiskRecorder::Stop() { TheLog().running = false; }
void DiskRecorder::AllowReflinks(bool allow) { TheLog().reflinks = allow; }

size_t DiskRecorder::Position() const {
  const std::lock_guard lock(TheLog().mutex);
  return TheLog().events.size();
}

void DiskRecorder::BuildCrashState(size_t position, const std::string& target,
                                   Random* random) const {
  Disk disk(random, random->Below(2) == 0);
  disk.Play(TheLog().events, position);
  disk.Write(target, TheLog().root);
}

}  // namespace px::testing

// --- In front of libc ---

using px::testing::CloneByCopy;
using px::testing::MakeDir;
using px::testing::NoteCopy;
using px::testing::NotePunch;
using px::testing::NoteSync;
using px::testing::NoteTruncate;
using px::testing::NoteWrite;
using px::testing::OpenAt;
using px::testing::Recorded;
using px::testing::RenameAt;
using px::testing::TheLog;
using px::testing::UnlinkAt;

namespace {

mode_t ModeOf(int flags, va_list arguments) {
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(at, path, flags, mode);
}
int openat64(int at, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return OpenAt(at, path, flags, mode);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return Recorded([&]() -> ssize_t { return ::syscall(SYS_pwrite64, fd, data, size, offset); },
                  [&](ssize_t put) {
                    NoteWrite(fd, data, static_cast<size_t>(put), static_cast<uint64_t>(offset));
                  });
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return pwrite(fd, data, size, offset);
}
ssize_t write(int fd, const void* data, size_t size) {
  return Recorded([&]() -> ssize_t { return ::syscall(SYS_write, fd, data, size); },
                  [&](ssize_t put) {
                    const off_t end = ::lseek(fd, 0, SEEK_CUR);
                    if (end >= put) {
                      NoteWrite(fd, data, static_cast<size_t>(put),
                                static_cast<uint64_t>(end - put));
                    }
                  });
}

int ftruncate(int fd, off_t size) noexcept {
  return Recorded([&] { return static_cast<int>(::syscall(SYS_ftruncate, fd, size)); },
                  [&](int) { NoteTruncate(fd); });
}
int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return Recorded(
      [&] { return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, length)); },
      [&](int) {
        if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
          NotePunch(fd, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
        } else {
          NoteTruncate(fd);
        }
      });
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  return fallocate(fd, mode, offset, length);
}

int fsync(int fd) {
  return Recorded([&] { return static_cast<int>(::syscall(SYS_fsync, fd)); },
                  [&](int) { NoteSync(fd); });
}
int fdatasync(int fd) {
  return Recorded([&] { return static_cast<int>(::syscall(SYS_fdatasync, fd)); },
                  [&](int) { NoteSync(fd); });
}
int syncfs(int fd) noexcept {
  return Recorded(
      [&] { return static_cast<int>(::syscall(SYS_syncfs, fd)); },
      [&](int) {
        TheLog().events.push_back({px::testing::Kind::kSyncAll, 0, false, 0, {}, 0, 0, {}, {}});
      });
}

int mkdir(const char* path, mode_t mode) noexcept { return MakeDir(AT_FDCWD, path, mode); }
int mkdirat(int at, const char* path, mode_t mode) noexcept { return MakeDir(at, path, mode); }
int unlink(const char* path) noexcept { return UnlinkAt(AT_FDCWD, path, 0); }
int unlinkat(int at, const char* path, int flags) noexcept { return UnlinkAt(at, path, flags); }
int rename(const char* from, const char* to) noexcept {
  return RenameAt(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat2(int from_at, const char* from, int to_at, const char* to, unsigned flags) noexcept {
  return RenameAt(from_at, from, to_at, to, flags);
}

int linkat(int from_at, const char* from, int to_at, const char* to, int flags) noexcept {
  return Recorded(
      [&] { return static_cast<int>(::syscall(SYS_linkat, from_at, from, to_at, to, flags)); },
      [&](int) {
        uint64_t dir = 0;
        std::string name;
        struct stat info{};
        if (!px::testing::Locate(to_at, to, &dir, &name)) return;
        ::fstatat(to_at, to, &info, AT_SYMLINK_NOFOLLOW);
        TheLog().files.insert(info.st_ino);
        TheLog().events.push_back(
            {px::testing::Kind::kName, info.st_ino, false, 0, {}, dir, 0, name, {}});
      });
}

ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t size,
                        unsigned flags) {
  const off64_t at = to_offset != nullptr ? *to_offset : ::lseek(to, 0, SEEK_CUR);
  return Recorded(
      [&]() -> ssize_t {
        return ::syscall(SYS_copy_file_range, from, from_offset, to, to_offset, size, flags);
      },
      [&](ssize_t copied) {
        NoteCopy(to, static_cast<uint64_t>(at), static_cast<size_t>(copied));
      });
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (request == FICLONE && TheLog().running) {
    if (TheLog().reflinks)
      return CloneByCopy(fd, static_cast<int>(reinterpret_cast<intptr_t>(argument)));
    errno = EOPNOTSUPP;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

}  // extern "C"
