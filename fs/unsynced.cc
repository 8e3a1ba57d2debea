#include "fs/unsynced.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "base/log.h"

namespace px::fs {
namespace {

// With more files than that, one flush of the whole filesystem is quicker than one for each.
constexpr size_t kOneByOne = 32;

size_t DirOf(cow::ObjectId id) { return (id.value >> 8) & 0xff; }

}  // namespace

std::string ObjectName(cow::ObjectId id) { return fmt::format("{:02x}/{:x}", DirOf(id), id.value); }

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

uint64_t Unsynced::Mark() const {
  const MutexLock lock(mutex_);
  return mark_;
}

void Unsynced::Flushed(cow::ObjectId id, uint64_t mark) {
  const MutexLock lock(mutex_);
  const auto found = work_.objects.find(id.value);
  if (found != work_.objects.end() && found->second <= mark) work_.objects.erase(found);
}

Status Unsynced::FlushObjects(const Work& work) const {
  if (work.everything || work.objects.size() > kOneByOne) {
    return ::syncfs(dir_.get()) == 0 ? Status{} : Status(FailErrno("sync the store's filesystem"));
  }
  for (const auto& [id, mark] : work.objects) {
    const std::string name = ObjectName(cow::ObjectId{id});
    const UniqueFd fd(::openat(dir_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno == ENOENT) continue;  // nothing named it any more
    if (!fd || ::fsync(fd.get()) != 0) return FailErrno("sync object " + name);
  }
  return {};
}

Status Unsynced::FlushDirs(const Work& work) const {
  for (size_t i = 0; work.names && i < work.dirs.size(); ++i) {
    if (!work.dirs[i]) continue;
    const std::string name = fmt::format("{:02x}", i);
    const UniqueFd fd(::openat(dir_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) return FailErrno("sync objects/" + name);
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
  return FlushDirs(work);
}

Status Unsynced::End(uint64_t number, Status flushed) {
  const MutexLock lock(mutex_);
  while (ended_ != number - 1) flushed_.Wait(mutex_);
  ended_ = number;
  if (!flushed && !failed_) failed_ = flushed.error();
  flushed_.NotifyAll();
  return failed_ ? Status(Forward(*failed_)) : Status{};
}

// Work that was taken. Those who took some later wait for its end, so it has one in any case.
class Unsynced::Flush {
 public:
  Flush(Unsynced* owner, Work work) : owner_(*owner), work_(std::move(work)) {}
  ~Flush() {
    if (ended_) return;
    const Status ended = owner_.End(work_.number, Fail(EIO, "a flush was given up"));
    if (!ended) LogError("{}", ended.error().ToString());
  }
  Flush(const Flush&) = delete;
  Flush& operator=(const Flush&) = delete;

  Status Run() {
    Status flushed = owner_.FlushObjects(work_);
    if (flushed) flushed = owner_.FlushDirs(work_);
    ended_ = true;
    return owner_.End(work_.number, std::move(flushed));
  }

 private:
  Unsynced& owner_;
  const Work work_;
  bool ended_ = false;
};

std::function<Status()> Unsynced::Prepare() {
  const MutexLock lock(mutex_);
  const bool nothing = work_.objects.empty() && !work_.names && !work_.everything;
  if (nothing && ended_ == taken_ && !failed_) return {};
  Work work = std::exchange(work_, Work{});
  work.number = ++taken_;
  return [flush = std::make_shared<Flush>(this, std::move(work))] { return flush->Run(); };
}

}  // namespace px::fs
