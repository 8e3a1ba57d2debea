#include "cow/journal.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "cow/journal_record.h"

namespace px::cow {
namespace {

Status WriteAll(int fd, std::span<const std::byte> bytes, size_t at) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FailErrno("write the journal");
    bytes = bytes.subspan(static_cast<size_t>(put));
    at += static_cast<size_t>(put);
  }
  return {};
}

Status ReadAll(int fd, std::vector<std::byte>* out) {
  out->resize(Journal::kCapacity);
  size_t got = 0;
  while (got < out->size()) {
    const ssize_t n = ::pread(fd, out->data() + got, out->size() - got, static_cast<off_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno("read the journal");
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  out->resize(got);
  return {};
}

RecordHeader HeaderOf(std::span<const std::byte> record) {
  RecordHeader header;
  std::memcpy(&header, record.data(), sizeof header);
  return header;
}

}  // namespace

Result<UniqueFd> Journal::OpenFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return FailErrno(path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return FailErrno(path);
  if (static_cast<size_t>(info.st_size) >= kCapacity) return fd;
  // Written, not only allocated: later writes then change no metadata, and a flush has less to do.
  const std::vector<std::byte> zeros(kCapacity - static_cast<size_t>(info.st_size));
  PX_TRY(WriteAll(fd.get(), zeros, static_cast<size_t>(info.st_size)));
  if (::fsync(fd.get()) != 0) return FailErrno(path);
  return fd;
}

Journal::Run Journal::Parse(std::span<const std::byte> file) {
  Run run;
  RecordHeader last;
  for (;;) {
    const auto header = CheckRecord(file);
    if (!header) return run;
    // What is behind the newest record is left from an earlier use of the file.
    if (!run.empty() && (header->epoch != last.epoch || header->seq != last.seq + 1)) return run;
    last = *header;
    run.push_back(file.first(header->length));
    file = file.subspan(header->length);
  }
}

Result<std::unique_ptr<Journal>> Journal::Open(
    const std::string& dir, uint64_t taken_over,
    const std::function<Status(uint64_t seq, std::span<const std::byte> record)>& replay) {
  std::unique_ptr<Journal> journal(new Journal());
  std::array<std::vector<std::byte>, 2> bytes;
  std::vector<Run> runs;
  for (size_t i = 0; i < 2; ++i) {
    PX_ASSIGN(journal->files_[i], OpenFile(dir + "/meta.log." + std::to_string(i)));
    PX_TRY(ReadAll(journal->files_[i].get(), &bytes[i]));
    Run run = Parse(bytes[i]);
    if (!run.empty()) runs.push_back(std::move(run));
  }
  const UniqueFd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return FailErrno("sync " + dir);
  if (runs.size() == 2 && HeaderOf(runs[1][0]).seq < HeaderOf(runs[0][0]).seq) {
    std::swap(runs[0], runs[1]);
  }
  uint64_t last = taken_over;
  uint64_t epoch = 0;
  for (const Run& run : runs) {
    for (const auto& record : run) {
      const RecordHeader header = HeaderOf(record);
      if (header.seq <= taken_over) continue;
      // A gap: what is behind it was never acknowledged as durable, and what is before it was lost.
      if (header.seq != last + 1 || (epoch != 0 && header.epoch != epoch)) break;
      PX_TRY(replay(header.seq, record));
      last = header.seq;
      epoch = header.epoch;
    }
  }
  if (last > taken_over) LogInfo("journal: {} batches replayed", last - taken_over);
  return journal;
}

Status Journal::Restart() {
  const std::vector<std::byte> nothing(sizeof(RecordHeader));
  for (const UniqueFd& file : files_) {
    PX_TRY(WriteAll(file.get(), nothing, 0));
    if (::fdatasync(file.get()) != 0) return FailErrno("sync the journal");
  }
  // Never that of a record that an earlier opening left behind.
  if (::getrandom(&epoch_, sizeof epoch_, 0) != sizeof epoch_) {
    return FailErrno("get random bytes");
  }
  active_ = 0;
  end_ = 0;
  const MutexLock lock(sync_mutex_);
  broken_ = false;
  return {};
}

Status Journal::Append(std::span<const std::byte> record) {
  PX_CHECK(Fits(record.size()));
  unsynced_[active_] = true;
  PX_TRY(WriteAll(files_[active_].get(), record, end_));
  end_ += record.size();
  return {};
}

void Journal::Switch() {
  active_ = 1 - active_;
  end_ = 0;
}

Status Journal::Sync() {
  const MutexLock lock(sync_mutex_);
  if (broken_) return Fail(EIO, "the journal could not be written once");
  for (size_t i = 0; i < 2; ++i) {
    if (!unsynced_[i].exchange(false)) continue;
    if (::fdatasync(files_[i].get()) == 0) continue;
    broken_ = true;
    return FailErrno("sync the journal");
  }
  return {};
}

}  // namespace px::cow
