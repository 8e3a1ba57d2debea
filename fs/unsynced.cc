#include "fs/unsynced.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "base/io.h"

namespace px::fs {
namespace {

// With more files than that, one flush of the whole filesystem is quicker than one for each.
constexpr size_t kOneByOne = 32;

size_t DirOf(cow::ObjectId id) { return (id.value >> 8) % kObjectDirs; }

// The error of a flush.
Status FailFlush(std::string context, bool* lost) {
  *lost = !IsNoRoom(errno);
  return FailErrno(std::move(context));
}

}  // namespace

std::string ObjectDirName(size_t number) { return fmt::format("{:02x}", number); }

std::string ObjectName(cow::ObjectId id) {
  return fmt::format("{}/{:x}", ObjectDirName(DirOf(id)), id.value);
}

void Unsynced::Add(cow::ObjectId id) {
  const MutexLock lock(mutex_);
  work_.objects[id.value] = ++mark_;
}

void Unsynced::AddName(cow::ObjectId id) {
  const MutexLock lock(mutex_);
  work_.dirs[DirOf(id)] = true;
  work_.names = true;
}

void Unsynced::AddEverything() {
  const MutexLock lock(mutex_);
  work_.everything = true;
}

bool Unsynced::Has(cow::ObjectId id) const {
  const MutexLock lock(mutex_);
  return work_.everything || work_.objects.contains(id.value) || !running_.empty();
}

uint64_t Unsynced::Mark() const {
  const MutexLock lock(mutex_);
  return mark_;
}

void Unsynced::Flushed(cow::ObjectId id, uint64_t mark) {
  const MutexLock lock(mutex_);
  const auto found = work_.objects.find(id.value);
  if (found != work_.objects.end() && found->second <= mark) work_.objects.erase(found);
}

Status Unsynced::FlushObjects(const Work& work, bool* lost) const {
  if (work.everything || work.objects.size() > kOneByOne) {
    return ::syncfs(dir_.get()) == 0 ? Status{} : FailFlush("sync the store's filesystem", lost);
  }
  for (const auto& [id, mark] : work.objects) {
    const std::string name = ObjectName(cow::ObjectId{id});
    const UniqueFd fd(::openat(dir_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno == ENOENT) continue;  // nothing named it any more
    if (!fd) return FailErrno("open object " + name + " to sync it");
    if (::fsync(fd.get()) != 0) return FailFlush("sync object " + name, lost);
  }
  return {};
}

Status Unsynced::FlushDirs(const Work& work, bool* lost) const {
  for (size_t i = 0; work.names && i < work.dirs.size(); ++i) {
    if (!work.dirs[i]) continue;
    const std::string name = ObjectDirName(i);
    const UniqueFd fd(::openat(dir_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return FailErrno("open objects/" + name + " to sync it");
    if (::fsync(fd.get()) != 0) return FailFlush("sync objects/" + name, lost);
  }
  return {};
}

Status Unsynced::SyncNames() {
  Work work;
  {
    const MutexLock lock(mutex_);
    // They stay: a sync point that fails here as well must say so.
    work.dirs = work_.dirs;
    work.names = work_.names;
  }
  return FlushDirsNow(work);
}

Status Unsynced::SyncRemoved(const std::vector<cow::ObjectId>& ids) {
  Work work;
  for (const cow::ObjectId id : ids) work.dirs[DirOf(id)] = true;
  work.names = true;
  return FlushDirsNow(work);
}

Status Unsynced::FlushDirsNow(const Work& work) {
  bool lost = false;
  Status status = FlushDirs(work, &lost);
  if (!lost) return status;
  const MutexLock lock(mutex_);
  broken_ = status.error();
  return status;
}

std::function<Status()> Unsynced::Prepare() {
  const MutexLock lock(mutex_);
  const bool nothing = work_.objects.empty() && !work_.names && !work_.everything;
  if (nothing && running_.empty() && !broken_) return {};
  const uint64_t number = ++taken_;
  const uint64_t oldest = running_.empty() ? number : *running_.begin();
  running_.insert(number);
  auto work = std::make_shared<Work>(std::exchange(work_, Work{}));
  return [this, number, oldest, work] { return Run(number, oldest, *work); };
}

Status Unsynced::Run(uint64_t number, uint64_t oldest, const Work& work) {
  bool lost = false;
  Status status = FlushObjects(work, &lost);
  if (status) status = FlushDirs(work, &lost);
  const MutexLock lock(mutex_);
  if (!status) {
    if (lost) {
      broken_ = status.error();
    } else {
      for (const auto& [id, mark] : work.objects) work_.objects.emplace(id, mark);
      for (size_t i = 0; i < work.dirs.size(); ++i) work_.dirs[i] = work_.dirs[i] || work.dirs[i];
      work_.names = work_.names || work.names;
      work_.everything = work_.everything || work.everything;
    }
    failed_.emplace(number, status.error());
  }
  running_.erase(number);
  finished_.NotifyAll();
  while (!running_.empty() && *running_.begin() < number) finished_.Wait(mutex_);
  const auto before = failed_.lower_bound(oldest);
  if (status && before != failed_.end() && before->first < number) status = Forward(before->second);
  if (running_.empty()) failed_.clear();
  if (broken_) return Forward(*broken_);
  return status;
}

}  // namespace px::fs
