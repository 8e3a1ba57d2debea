#include "cow/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "base/io.h"
#include "base/log.h"
#include "cow/journal_record.h"

namespace px::cow {
namespace {

constexpr const char* kWrite = "write the journal";

std::string PathOf(const std::string& dir, size_t file) {
  return dir + "/meta.log." + std::to_string(file);
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

}  // namespace

Result<UniqueFd> Journal::OpenFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return FailErrno(path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return FailErrno(path);
  if (static_cast<size_t>(info.st_size) >= kCapacity) return fd;
  // Written, not only allocated: later writes then change no metadata, and a flush has less to do.
  const std::vector<std::byte> zeros(kCapacity - static_cast<size_t>(info.st_size));
  PX_TRY(WriteAllAt(fd.get(), zeros, static_cast<uint64_t>(info.st_size), kWrite));
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

Journal::Run Journal::Chain(std::span<const Run> runs, uint64_t taken_over) {
  Run chain;
  uint64_t last = taken_over;
  uint64_t epoch = 0;
  for (const Run& run : runs) {
    for (const auto& record : run) {
      const RecordHeader header = HeaderOf(record);
      if (header.seq <= taken_over) continue;
      // A gap: what is before it was lost, so what is behind it was never durable.
      if (header.seq != last + 1 || (epoch != 0 && header.epoch != epoch)) return chain;
      chain.push_back(record);
      last = header.seq;
      epoch = header.epoch;
    }
  }
  return chain;
}

Result<std::vector<Journal::Run>> Journal::ReadRuns(const std::array<UniqueFd, 2>& files,
                                                    Bytes* bytes) {
  std::vector<Run> runs;
  for (size_t i = 0; i < files.size(); ++i) {
    PX_TRY(ReadAll(files[i].get(), &(*bytes)[i]));
    Run run = Parse((*bytes)[i]);
    if (!run.empty()) runs.push_back(std::move(run));
  }
  if (runs.size() == 2 && HeaderOf(runs[1][0]).seq < HeaderOf(runs[0][0]).seq) {
    std::swap(runs[0], runs[1]);
  }
  return runs;
}

size_t Journal::CountAfter(const Bytes& bytes, uint64_t epoch, uint64_t last) {
  size_t count = 0;
  for (std::span<const std::byte> left : bytes) {
    while (const auto record = FindRecord(left)) {
      const RecordHeader header = HeaderOf(*record);
      if (header.epoch == epoch && header.seq > last) ++count;
      left = left.subspan(static_cast<size_t>(record->data() + record->size() - left.data()));
    }
  }
  return count;
}

Result<uint64_t> Journal::Beginning(const std::string& dir) {
  std::array<UniqueFd, 2> files;
  for (size_t i = 0; i < 2; ++i) {
    PX_ASSIGN(files[i], OpenFile(PathOf(dir, i)));
  }
  Bytes bytes;
  PX_ASSIGN(const std::vector<Run> runs, ReadRuns(files, &bytes));
  if (runs.empty()) return 0;
  const bool both = HeaderOf(runs.front()[0]).epoch == HeaderOf(runs.back()[0]).epoch;
  const auto& first = (both ? runs.front() : runs.back())[0];
  const uint64_t seq = HeaderOf(first).seq;
  return SyncPointOf(first) == seq ? seq : seq - 1;  // it may be the one of Restart
}

Result<std::unique_ptr<Journal>> Journal::Open(
    const std::string& dir, const std::string& boot, uint64_t taken_over, Damage damage,
    const std::function<Status(uint64_t seq, std::span<const std::byte> record)>& replay) {
  std::unique_ptr<Journal> journal(new Journal());
  journal->boot_ = static_cast<uint32_t>(XXH3_64bits(boot.data(), boot.size()));
  for (size_t i = 0; i < 2; ++i) {
    PX_ASSIGN(journal->files_[i], OpenFile(PathOf(dir, i)));
  }
  Bytes bytes;
  PX_ASSIGN(const std::vector<Run> runs, ReadRuns(journal->files_, &bytes));
  PX_TRY(SyncPath(dir));
  Run chain = Chain(runs, taken_over);
  const size_t found = chain.size();
  const Run& newest = !chain.empty() || runs.empty() ? chain : runs.back();
  const uint64_t epoch = newest.empty() ? 0 : HeaderOf(newest[0]).epoch;
  if (epoch >> 32 == journal->boot_) {
    const uint64_t last = taken_over + found;
    if (const size_t lost = CountAfter(bytes, epoch, last); lost > 0) {
      const std::string what =
          fmt::format("the journal is damaged: record {} cannot be read, and {} come behind it",
                      last + 1, lost);
      if (damage == Damage::kRefused) return Fail(EUCLEAN, what);
      LogError("{}: {}", dir, what);
    }
  } else {
    uint64_t covered = taken_over;
    for (const auto& record : chain) {
      covered = std::max(covered, SyncPointOf(record).value_or(covered));
    }
    while (!chain.empty() && HeaderOf(chain.back()).seq > covered) chain.pop_back();
  }
  for (const auto& record : chain) {
    if (!SyncPointOf(record)) PX_TRY(replay(HeaderOf(record).seq, record));
  }
  if (found > 0) {
    LogInfo("journal: {} records replayed, {} not, which came after the last sync point",
            chain.size(), found - chain.size());
  }
  return journal;
}

Status Journal::Restart(uint64_t last) {
  // Never that of a record that an earlier opening left behind.
  uint32_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) {
    return FailErrno("get random bytes");
  }
  epoch_ = uint64_t{boot_} << 32 | random;
  std::vector<std::byte> first;
  EncodeSyncPoint(epoch_, last, last, &first);
  for (const UniqueFd& file : files_) {
    PX_TRY(WriteAllAt(file.get(), first, 0, kWrite));
    if (::fdatasync(file.get()) != 0) return FailErrno("sync the journal");
  }
  active_ = 0;
  end_ = first.size();
  const MutexLock lock(sync_mutex_);
  broken_ = false;
  return {};
}

Status Journal::Append(std::span<const std::byte> record) {
  PX_CHECK(Fits(record.size()));
  unsynced_[active_] = true;
  PX_TRY(WriteAllAt(files_[active_].get(), record, end_, kWrite));
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
