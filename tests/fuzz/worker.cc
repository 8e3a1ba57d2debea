#include "tests/fuzz/worker.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

namespace px::testing {
namespace {

constexpr size_t kMaxHandles = 8;
constexpr size_t kMaxMaps = 4;
constexpr off_t kMaxOffset = 3 << 20;
constexpr size_t kHistory = 60;
// A tick of the clock that the kernel takes file times from.
constexpr int64_t kTickNs = 10'000'000;

int64_t MTimeNs(const struct stat& st) {
  return int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

// /proc gives a path to a file without one, for calls that take only paths.
std::string ProcPath(int root, const std::string& path) {
  return fmt::format("/proc/self/fd/{}/{}", root, path);
}

// A short form of bytes for the report.
std::string Digest(const std::string& bytes) {
  uint64_t hash = 14695981039346656037U;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  return fmt::format("{} bytes {:016x}", bytes.size(), hash);
}

}  // namespace

Worker::Worker(const std::string& subject, const std::string& oracle, int id, uint64_t seed,
               bool use_maps)
    : subtree_(fmt::format("w{}", id)), use_maps_(use_maps), random_(seed) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  roots_[0].Reset(::open(subject.c_str(), kFlags));
  roots_[1].Reset(::open(oracle.c_str(), kFlags));
}

Worker::~Worker() {
  while (!maps_.empty()) DropMap();
}

std::string Worker::Report() const {
  std::string text;
  for (const std::string& line : history_) text += "  " + line + "\n";
  return text + difference_;
}

bool Worker::RunOps(const std::string& volume, int count) {
  base_ = volume + "/" + subtree_;
  for (size_t side = 0; side < kSides; ++side) {
    if (::mkdirat(roots_[side].get(), base_.c_str(), 0755) != 0 && errno != EEXIST) {
      Differ("mkdir " + base_, fmt::format("side {}: {}", side, strerrorname_np(errno)));
    }
  }
  for (int i = 0; i < count && difference_.empty(); ++i) Step();
  return difference_.empty();
}

void Worker::Step() {
  const uint64_t dice = random_.Below(100);
  if (dice < 28) {
    NameStep();
  } else if (dice < 75) {
    HandleStep();
  } else if (dice < 85) {
    if (use_maps_) MapStep();
  } else {
    MetaStep();
  }
}

Worker::Outcome Worker::Both(const std::string& what, const Call& call) {
  history_.push_back(what);
  if (history_.size() > kHistory) history_.pop_front();
  std::array<Outcome, kSides> outcomes;
  for (size_t side = 0; side < kSides; ++side) {
    errno = 0;
    outcomes[side] = call(side, roots_[side].get());
    if (outcomes[side].result < 0) {
      outcomes[side].result = -1;
      outcomes[side].error = errno;
    }
  }
  if (!(outcomes[0] == outcomes[1])) {
    const auto show = [](const Outcome& o) {
      return fmt::format("{} {} {}", o.result, o.error == 0 ? "ok" : strerrorname_np(o.error),
                         o.data.size() < 400 ? o.data : Digest(o.data));
    };
    const std::string& ours = outcomes[0].data;
    const auto at =
        static_cast<size_t>(std::ranges::mismatch(ours, outcomes[1].data).in1 - ours.begin());
    const auto bytes = [at](const std::string& data) {
      std::string text;
      for (const char byte : data.substr(at, 16)) {
        text += fmt::format("{:02x} ", static_cast<unsigned char>(byte));
      }
      return text;
    };
    Differ(what, fmt::format("\n    subject: {}\n    oracle:  {}\n    from byte {}: {}/ {}",
                             show(outcomes[0]), show(outcomes[1]), at, bytes(ours),
                             bytes(outcomes[1].data)));
  }
  return outcomes[0];
}

void Worker::Differ(const std::string& what, const std::string& detail) {
  if (difference_.empty()) difference_ = "DIFFERENCE at: " + what + ": " + detail + "\n";
}

void Worker::Changing(const std::string& what, const Handle& handle, const Call& call) {
  struct stat before{};
  struct stat after{};
  ::fstat(handle.fds[0].get(), &before);
  Both(what, call);
  ::fstat(handle.fds[0].get(), &after);
  if (MTimeNs(after) + kTickNs < MTimeNs(before)) Differ(what, "mtime went back");
}

std::string Worker::RandomPath() {
  static constexpr std::array kNames = {"a",  "b",         "c",    "dd",
                                        "ee", "\xff\x01z", ".dot", "name with blanks"};
  std::string path = base_;
  const uint64_t depth = 1 + random_.Below(3);
  for (uint64_t i = 0; i < depth; ++i)
    path.append("/").append(kNames[random_.Below(kNames.size())]);
  if (random_.OneIn(60)) path += "/" + std::string(250, 'l');
  return path;
}

off_t Worker::RandomOffset() {
  const uint64_t limit = random_.OneIn(3) ? kMaxOffset : 40'000;
  const uint64_t offset = random_.Below(limit);
  return static_cast<off_t>(random_.OneIn(3) ? offset / 4096 * 4096 : offset);
}

size_t Worker::RandomSize() {
  const size_t size = random_.Below(random_.OneIn(4) ? 200'000 : 9'000);
  return random_.OneIn(3) ? (size + 4096) / 4096 * 4096 : size;
}

std::string Worker::RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  uint64_t word = random_.Next();
  for (size_t i = 0; i < size; ++i) {
    if (i % 8 == 0) word = word * 6364136223846793005U + 1442695040888963407U;
    bytes[i] = static_cast<char>(word >> (8 * (i % 8)));
  }
  return bytes;
}

Worker::Handle* Worker::RandomHandle() {
  if (handles_.empty()) OpenFile();
  return handles_.empty() ? nullptr : &handles_[random_.Below(handles_.size())];
}

void Worker::NameStep() {
  const std::string path = RandomPath();
  const char* p = path.c_str();
  switch (random_.Below(9)) {
    case 0:
    case 1:
      Both("mkdir " + path, [&](size_t, int root) { return Outcome{::mkdirat(root, p, 0755)}; });
      return;
    case 2:
      Both("rmdir " + path,
           [&](size_t, int root) { return Outcome{::unlinkat(root, p, AT_REMOVEDIR)}; });
      return;
    case 3:
      Both("unlink " + path, [&](size_t, int root) { return Outcome{::unlinkat(root, p, 0)}; });
      return;
    case 4: {
      const std::string to = RandomPath();
      Both("link " + path + " " + to,
           [&](size_t, int root) { return Outcome{::linkat(root, p, root, to.c_str(), 0)}; });
      return;
    }
    case 5: {
      const std::string target(1 + random_.Below(random_.OneIn(5) ? 4'000 : 30), 's');
      Both("symlink " + path,
           [&](size_t, int root) { return Outcome{::symlinkat(target.c_str(), root, p)}; });
      return;
    }
    case 6:
      if (random_.OneIn(4)) {
        Both("mkfifo " + path,
             [&](size_t, int root) { return Outcome{::mkfifoat(root, p, 0640)}; });
        return;
      }
      [[fallthrough]];
    default:
      Rename();
  }
}

void Worker::Rename() {
  static constexpr std::array<unsigned, 4> kFlags = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const std::string from = RandomPath();
  const std::string to = RandomPath();
  const unsigned flags = kFlags[random_.Below(kFlags.size())];
  Both(fmt::format("rename {} {} flags {}", from, to, flags), [&](size_t, int root) {
    return Outcome{::renameat2(root, from.c_str(), root, to.c_str(), flags)};
  });
}

void Worker::HandleStep() {
  switch (random_.Below(16)) {
    case 0:
    case 1:
      return OpenFile();
    case 2:
      return CloseFile();
    case 3:
    case 4:
    case 5:
      return ReadFile();
    case 6:
      return AllocateFile();
    case 7:
      return SeekFile();
    case 8:
      return CopyRange();
    case 9: {
      Handle* handle = RandomHandle();
      if (handle == nullptr) return;
      const off_t size = RandomOffset();
      Changing(fmt::format("ftruncate {} {}", handle->name, size), *handle, [&](size_t side, int) {
        return Outcome{::ftruncate(handle->fds[side].get(), size)};
      });
      return;
    }
    case 10: {
      const Handle* handle = RandomHandle();
      if (handle == nullptr) return;
      Both("fsync " + handle->name,
           [&](size_t side, int) { return Outcome{::fsync(handle->fds[side].get())}; });
      return;
    }
    default:
      return WriteFile();
  }
}

void Worker::OpenFile() {
  static constexpr std::array<int, 8> kFlags = {O_RDONLY,
                                                O_RDWR,
                                                O_RDWR | O_CREAT,
                                                O_RDWR | O_CREAT,
                                                O_WRONLY | O_CREAT | O_TRUNC,
                                                O_RDWR | O_APPEND,
                                                O_RDWR | O_CREAT | O_EXCL,
                                                O_WRONLY};
  if (handles_.size() >= kMaxHandles) CloseFile();
  const std::string path = RandomPath();
  // Never waits on a fifo.
  const int flags = kFlags[random_.Below(kFlags.size())] | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
  const mode_t mode = random_.OneIn(3) ? 0600 : 0644;
  Handle handle;
  const Outcome outcome =
      Both(fmt::format("open {} {:#o}", path, flags), [&](size_t side, int root) {
        handle.fds[side].Reset(::openat(root, path.c_str(), flags, mode));
        return Outcome{handle.fds[side] ? 0 : -1};
      });
  if (outcome.result != 0) return;
  struct stat st{};
  ::fstat(handle.fds[0].get(), &st);
  if (!S_ISREG(st.st_mode)) return;
  handle.writable = (flags & O_ACCMODE) == O_RDWR;
  handle.name = path.substr(base_.size());
  handles_.push_back(std::move(handle));
}

void Worker::CloseFile() {
  if (handles_.empty()) return;
  const size_t which = random_.Below(handles_.size());
  Both("close " + handles_[which].name,
       [&](size_t side, int) { return Outcome{::close(handles_[which].fds[side].Release())}; });
  handles_.erase(handles_.begin() + static_cast<std::ptrdiff_t>(which));
}

void Worker::ReadFile() {
  const Handle* handle = RandomHandle();
  if (handle == nullptr) return;
  const off_t offset = random_.OneIn(3) ? 0 : RandomOffset();
  const size_t size = random_.OneIn(8) ? size_t{kMaxOffset} : RandomSize();
  Both(fmt::format("pread {} {}+{}", handle->name, offset, size), [&](size_t side, int) {
    Outcome outcome;
    outcome.data.resize(size);
    outcome.result = ::pread(handle->fds[side].get(), outcome.data.data(), size, offset);
    outcome.data.resize(outcome.result < 0 ? 0 : static_cast<size_t>(outcome.result));
    return outcome;
  });
}

void Worker::WriteFile() {
  const Handle* handle = RandomHandle();
  if (handle == nullptr) return;
  const off_t offset = RandomOffset();
  const std::string bytes = RandomBytes(RandomSize());
  // As rsync does: nothing but the content says then that it was written.
  const bool sets_back = random_.OneIn(6);
  Changing(fmt::format("pwrite {} {}+{}{}", handle->name, offset, bytes.size(),
                       sets_back ? " and time set back" : ""),
           *handle, [&](size_t side, int) {
             const int fd = handle->fds[side].get();
             struct stat before{};
             if (sets_back) ::fstat(fd, &before);
             const Outcome put{::pwrite(fd, bytes.data(), bytes.size(), offset)};
             const timespec times[] = {before.st_atim, before.st_mtim};
             if (sets_back && ::futimens(fd, times) != 0) return Outcome{-1};
             return put;
           });
}

void Worker::AllocateFile() {
  static constexpr std::array<int, 5> kModes = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
      FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const Handle* handle = RandomHandle();
  if (handle == nullptr) return;
  const int mode = kModes[random_.Below(kModes.size())];
  const off_t offset = RandomOffset();
  const auto size = static_cast<off_t>(RandomSize());
  Changing(fmt::format("fallocate {} mode {} {}+{}", handle->name, mode, offset, size), *handle,
           [&](size_t side, int) {
             return Outcome{::fallocate(handle->fds[side].get(), mode, offset, size)};
           });
}

// A hole that the subject sees must be zeros for the oracle.
void Worker::SeekFile() {
  const Handle* handle = RandomHandle();
  if (handle == nullptr) return;
  const int fd = handle->fds[0].get();
  const off_t start = RandomOffset();
  struct stat st{};
  ::fstat(handle->fds[1].get(), &st);
  const off_t hole = ::lseek(fd, start, SEEK_HOLE);
  if ((hole < 0) != (start >= st.st_size)) {
    return Differ(fmt::format("SEEK_HOLE {} {}", handle->name, start),
                  fmt::format("{} of {}", hole, st.st_size));
  }
  if (hole < 0 || hole >= st.st_size) return;
  off_t data = ::lseek(fd, hole, SEEK_DATA);
  if (data < 0) data = st.st_size;
  std::string bytes(static_cast<size_t>(std::min<off_t>(data - hole, 1 << 20)), '\0');
  const ssize_t n = ::pread(handle->fds[1].get(), bytes.data(), bytes.size(), hole);
  if (n > 0 && bytes.find_first_not_of('\0') != std::string::npos) {
    Differ(fmt::format("SEEK_HOLE {} {}", handle->name, start), "the hole is not zeros");
  }
}

void Worker::CopyRange() {
  const Handle* from = RandomHandle();
  const Handle* to = RandomHandle();
  if (from == nullptr || to == nullptr || from == to) return;
  const off_t from_at = random_.OneIn(2) ? 0 : RandomOffset();
  const off_t to_at = random_.OneIn(2) ? 0 : RandomOffset();
  const size_t size = RandomSize();
  Changing(fmt::format("copy_file_range {} {} to {} {} size {}", from->name, from_at, to->name,
                       to_at, size),
           *to, [&](size_t side, int) {
             // A short copy is allowed: what counts is where it ends.
             Outcome outcome;
             off_t in = from_at;
             off_t out = to_at;
             while (in - from_at < static_cast<off_t>(size)) {
               const ssize_t n =
                   ::copy_file_range(from->fds[side].get(), &in, to->fds[side].get(), &out,
                                     size - static_cast<size_t>(in - from_at), 0);
               if (n < 0) return Outcome{-1};
               if (n == 0) break;
             }
             outcome.result = in - from_at;
             return outcome;
           });
}

void Worker::MapStep() {
  switch (random_.Below(6)) {
    case 0:
      return MakeMap();
    case 1:
      return random_.OneIn(3) ? DropMap() : MakeMap();
    case 2:
    case 3:
      return ReadMap();
    default:
      return WriteMap();
  }
}

void Worker::MakeMap() {
  if (maps_.size() >= kMaxMaps) return DropMap();
  const Handle* handle = RandomHandle();
  if (handle == nullptr || !handle->writable) return;
  // Long enough for the file not to end below the map: an access there would be SIGBUS, so the file
  // is made to be that long, by a write that no later truncate of this worker can foresee: each
  // access checks the size first.
  Mapping map;
  map.size = 4096 + random_.Below(100'000);
  map.writable = !random_.OneIn(3);
  const int protection = map.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  Both(fmt::format("mmap {} {}", handle->name, map.size), [&](size_t side, int) {
    void* at = ::mmap(nullptr, map.size, protection, MAP_SHARED, handle->fds[side].get(), 0);
    if (at == MAP_FAILED) return Outcome{-1};
    map.at[side] = static_cast<char*>(at);
    return Outcome{};
  });
  map.oracle.Reset(::fcntl(handle->fds[1].get(), F_DUPFD_CLOEXEC, 0));
  if (map.at[0] != nullptr && map.at[1] != nullptr) maps_.push_back(std::move(map));
}

void Worker::DropMap() {
  if (maps_.empty()) return;
  const size_t which = random_.Below(maps_.size());
  for (char* at : maps_[which].at) ::munmap(at, maps_[which].size);
  maps_.erase(maps_.begin() + static_cast<std::ptrdiff_t>(which));
}

// Bytes go through process_vm-like calls: a page beyond the file's end is EFAULT there, not SIGBUS.
void Worker::ReadMap() {
  if (maps_.empty()) return MakeMap();
  const Mapping& map = maps_[random_.Below(maps_.size())];
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return;
  const UniqueFd reader(pipe_fds[0]);
  const UniqueFd writer(pipe_fds[1]);
  const size_t offset = random_.Below(map.size) / 4096 * 4096;
  const size_t size = std::min<size_t>(4096, map.size - offset);
  Both(fmt::format("read map {}+{}", offset, size), [&](size_t side, int) {
    Outcome outcome;
    outcome.result = ::write(writer.get(), map.at[side] + offset, size);
    if (outcome.result <= 0) return outcome;
    outcome.data.resize(static_cast<size_t>(outcome.result));
    if (::read(reader.get(), outcome.data.data(), outcome.data.size()) < 0) return Outcome{-1};
    return outcome;
  });
}

void Worker::WriteMap() {
  if (maps_.empty()) return MakeMap();
  const Mapping& map = maps_[random_.Below(maps_.size())];
  if (!map.writable) return;
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return;
  const UniqueFd reader(pipe_fds[0]);
  const UniqueFd writer(pipe_fds[1]);
  const size_t offset = random_.Below(map.size);
  size_t size = std::min<size_t>(1 + random_.Below(4096), map.size - offset);
  // Not behind the end within the last page: the kernel's FUSE leaves that in its page, where it
  // shows up once the file grows (see docs/GUARANTEES.md). Whole pages behind the end are EFAULT.
  struct stat info{};
  if (::fstat(map.oracle.get(), &info) != 0) return;
  const auto end = static_cast<size_t>(info.st_size);
  const size_t page_end = (end + 4095) / 4096 * 4096;
  if (offset < page_end && offset + size > end) {
    if (offset >= end) return;
    size = end - offset;
  }
  const std::string bytes = RandomBytes(size);
  const bool sync = random_.OneIn(4);
  Both(fmt::format("write map {}+{}{}", offset, bytes.size(), sync ? " msync" : ""),
       [&](size_t side, int) {
         if (::write(writer.get(), bytes.data(), bytes.size()) < 0) return Outcome{-1};
         Outcome outcome;
         outcome.result = ::read(reader.get(), map.at[side] + offset, bytes.size());
         // What did not get in must not stay in the pipe for the other side.
         std::string rest(bytes.size(), '\0');
         const int saved = errno;
         if (outcome.result < static_cast<int64_t>(bytes.size())) {
           const size_t left =
               bytes.size() - static_cast<size_t>(std::max<int64_t>(outcome.result, 0));
           if (::read(reader.get(), rest.data(), left) < 0) return Outcome{-2};
         }
         if (sync && ::msync(map.at[side], map.size, MS_SYNC) != 0) return Outcome{-1};
         errno = saved;
         return outcome;
       });
}

void Worker::MetaStep() {
  const std::string path = RandomPath();
  const char* p = path.c_str();
  switch (random_.Below(9)) {
    case 0: {
      const mode_t mode = static_cast<mode_t>(random_.Below(01000)) | 0700;
      Both(fmt::format("chmod {} {:o}", path, mode),
           [&](size_t, int root) { return Outcome{::fchmodat(root, p, mode, 0)}; });
      return;
    }
    case 1: {
      const auto second = static_cast<time_t>(random_.Below(1'000'000'000));
      const timespec times[2] = {{second, 1}, {second + 1, 999'999'999}};
      Both("utimens " + path, [&](size_t, int root) {
        return Outcome{::utimensat(root, p, times, AT_SYMLINK_NOFOLLOW)};
      });
      return;
    }
    case 2: {
      const std::string name = fmt::format("user.x{}", random_.Below(4));
      const std::string value = RandomBytes(random_.Below(300));
      const int flags = static_cast<int>(random_.Below(3));
      Both(fmt::format("setxattr {} {} {} flags {}", path, name, value.size(), flags),
           [&](size_t, int root) {
             return Outcome{::lsetxattr(ProcPath(root, path).c_str(), name.c_str(), value.data(),
                                        value.size(), flags)};
           });
      return;
    }
    case 3: {
      const std::string name = fmt::format("user.x{}", random_.Below(4));
      Both("removexattr " + path + " " + name, [&](size_t, int root) {
        return Outcome{::lremovexattr(ProcPath(root, path).c_str(), name.c_str())};
      });
      return;
    }
    case 4: {
      const std::string name = fmt::format("user.x{}", random_.Below(4));
      Both("getxattr " + path + " " + name, [&](size_t, int root) {
        Outcome outcome;
        outcome.data.resize(400);
        outcome.result =
            ::lgetxattr(ProcPath(root, path).c_str(), name.c_str(), outcome.data.data(), 400);
        outcome.data.resize(outcome.result < 0 ? 0 : static_cast<size_t>(outcome.result));
        return outcome;
      });
      return;
    }
    case 5: {
      const off_t size = RandomOffset();
      Both(fmt::format("truncate {} {}", path, size), [&](size_t, int root) {
        return Outcome{::truncate(ProcPath(root, path).c_str(), size)};
      });
      return;
    }
    case 6:
      return ListDir();
    default:
      return CompareStat();
  }
}

void Worker::ListDir() {
  const std::string path = random_.OneIn(2) ? base_ : RandomPath();
  Both("readdir " + path, [&](size_t, int root) {
    const int fd = ::openat(root, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Outcome{-1};
    DIR* stream = ::fdopendir(fd);
    std::set<std::string> names;
    while (const dirent* entry = ::readdir(stream)) {
      names.insert(fmt::format("{}:{}", entry->d_name, entry->d_type));
    }
    ::closedir(stream);
    Outcome outcome;
    for (const std::string& name : names) outcome.data += name + "\n";
    return outcome;
  });
}

void Worker::CompareStat() {
  const std::string path = RandomPath();
  Both("stat " + path, [&](size_t, int root) {
    struct stat st{};
    if (::fstatat(root, path.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Outcome{-1};
    Outcome outcome;
    outcome.data = fmt::format("mode {:o} nlink {} uid {} gid {} size {}", st.st_mode, st.st_nlink,
                               st.st_uid, st.st_gid, S_ISDIR(st.st_mode) ? 0 : st.st_size);
    return outcome;
  });
}

}  // namespace px::testing
