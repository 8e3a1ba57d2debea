#include "launcher/sync_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "launcher/files.h"

namespace px::launcher {
namespace {

Result<std::vector<std::string>> ListDir(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  if (dir == nullptr) return FailErrno(path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return Fail(error.value(), path);
  return {};
}

// A write within the same clock tick as the last one leaves the time as it was. Waiting until the
// file's time is past means that any later write gives it another one, and the next comparison
// cannot be fooled.
void WaitUntilSettled(const struct stat& status) {
  constexpr int64_t kTickNs = 20'000'000;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age = ToNanoseconds(now) - ToNanoseconds(status.st_mtim);
  if (age >= 0 && age < kTickNs)
    std::this_thread::sleep_for(std::chrono::nanoseconds(kTickNs - age));
}

Status CopyBytes(int from, int to, const std::string& what) {
  std::vector<char> buffer(size_t{1} << 18);
  while (true) {
    const ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(what);
    if (n == 0) return {};
    PX_TRY(WriteAll(to, {buffer.data(), static_cast<size_t>(n)}));
  }
}

Status CopyFile(const std::string& from, const std::string& to) {
  PX_ASSIGN(const UniqueFd source, OpenFile(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (::fstat(source.get(), &status) != 0) return FailErrno(from);
  WaitUntilSettled(status);
  if (::fstat(source.get(), &status) != 0) return FailErrno(from);
  PX_ASSIGN(const UniqueFd target, OpenFile(to, O_WRONLY | O_CREAT | O_EXCL, 0600));
  PX_TRY(CopyBytes(source.get(), target.get(), from));
  if (::fchmod(target.get(), status.st_mode & 07777) != 0) return FailErrno(to);
  const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
  if (::futimens(target.get(), times.data()) != 0) return FailErrno(to);
  return {};
}

class Syncer {
 public:
  explicit Syncer(const SyncOptions& options) : options_(options) {}

  int64_t changes() const { return changes_; }

  Status Directory(const std::string& source, const std::string& target, const std::string& path) {
    PX_ASSIGN(const auto names, ListDir(source));
    std::set<std::string> wanted;
    for (const std::string& name : names) {
      const std::string below = path.empty() ? name : path + "/" + name;
      PX_ASSIGN(const bool kept, Entry(source + "/" + name, target + "/" + name, below));
      if (kept) wanted.insert(name);
    }
    PX_ASSIGN(const auto present, ListDir(target));
    for (const std::string& name : present) {
      if (wanted.contains(name) || name == ".snapshots") continue;
      PX_TRY(RemoveTree(target + "/" + name));
      ++changes_;
    }
    return {};
  }

 private:
  // False if the entry is not wanted.
  Result<bool> Entry(const std::string& source, const std::string& target,
                     const std::string& path) {
    struct stat from{};
    if (::lstat(source.c_str(), &from) != 0) {
      if (errno == ENOENT) return false;  // gone since it was listed
      return FailErrno(source);
    }
    const bool directory = S_ISDIR(from.st_mode);
    const bool ignored = options_.ignored(path, directory);
    if (ignored && (!directory || options_.prune(path))) return false;
    if (!directory && !S_ISREG(from.st_mode) && !S_ISLNK(from.st_mode)) return false;
    struct stat to{};
    const bool exists = ::lstat(target.c_str(), &to) == 0;
    if (exists && (from.st_mode & S_IFMT) != (to.st_mode & S_IFMT)) {
      PX_TRY(RemoveTree(target));
      PX_TRY(Make(source, target, path, from, nullptr));
    } else {
      PX_TRY(Make(source, target, path, from, exists ? &to : nullptr));
    }
    // An ignored directory stays only for what a later rule wants inside it.
    if (ignored && ::rmdir(target.c_str()) == 0) return false;
    return true;
  }

  Status Make(const std::string& source, const std::string& target, const std::string& path,
              const struct stat& from, const struct stat* to) {
    if (S_ISDIR(from.st_mode)) return MakeDirectory(source, target, path, from, to);
    if (S_ISLNK(from.st_mode)) return MakeLink(source, target, to != nullptr);
    const bool same = to != nullptr && from.st_size == to->st_size && from.st_mode == to->st_mode &&
                      ToNanoseconds(from.st_mtim) == ToNanoseconds(to->st_mtim);
    if (same) return {};
    PX_TRY(RemoveFile(target));
    ++changes_;
    return CopyFile(source, target);
  }

  Status MakeDirectory(const std::string& source, const std::string& target,
                       const std::string& path, const struct stat& from, const struct stat* to) {
    const mode_t mode = from.st_mode & 07777;
    if (to == nullptr) {
      if (::mkdir(target.c_str(), mode | 0700) != 0) return FailErrno(target);
      ++changes_;
    }
    PX_TRY(Directory(source, target, path));
    if ((to == nullptr || (to->st_mode & 07777) != mode) && ::chmod(target.c_str(), mode) != 0) {
      return FailErrno(target);
    }
    return {};
  }

  Status MakeLink(const std::string& source, const std::string& target, bool exists) {
    std::error_code error;
    const auto wanted = std::filesystem::read_symlink(source, error);
    if (error) return Fail(error.value(), source);
    if (exists && std::filesystem::read_symlink(target, error) == wanted) return {};
    PX_TRY(RemoveFile(target));
    ++changes_;
    if (::symlink(wanted.c_str(), target.c_str()) != 0) return FailErrno(target);
    return {};
  }

  const SyncOptions& options_;
  int64_t changes_ = 0;
};

}  // namespace

Result<int64_t> SyncTree(const std::string& source, const std::string& target,
                         const SyncOptions& options) {
  Syncer syncer(options);
  PX_TRY(syncer.Directory(source, target, ""));
  return syncer.changes();
}

}  // namespace px::launcher
