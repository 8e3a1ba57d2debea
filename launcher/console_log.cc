#include "launcher/console_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "launcher/files.h"

namespace px::launcher {

std::vector<int64_t> LogFiles::PartNumbers() const {
  std::vector<int64_t> numbers;
  const std::string start = NameOf(parts) + ".";
  for (const std::string& name : ListNames(ParentOf(parts)).value_or(std::vector<std::string>{})) {
    if (!name.starts_with(start)) continue;
    int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + start.size(), end, number);
    if (error == std::errc() && stop == end) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// ---- Writing ----

Status ConsoleLogWriter::OpenFiles() {
  PX_ASSIGN(log_, OpenFile(files_.log, O_RDWR | O_CREAT | O_APPEND, 0644));
  PX_ASSIGN(index_, OpenFile(files_.index, O_WRONLY | O_CREAT | O_APPEND, 0644));
  const off_t size = ::lseek(log_.get(), 0, SEEK_END);
  if (size < 0) return FailErrno(files_.log);
  size_ = static_cast<uint64_t>(size);
  return {};
}

Result<ConsoleLogWriter> ConsoleLogWriter::Open(LogFiles files, const LogLimits& limits,
                                                Clock& clock) {
  ConsoleLogWriter writer;
  writer.files_ = std::move(files);
  writer.limits_ = limits;
  writer.clock_ = &clock;
  PX_TRY(MakeDirs(ParentOf(writer.files_.log)));
  PX_TRY(MakeDirs(ParentOf(writer.files_.index)));
  PX_TRY(writer.OpenFiles());
  // The last line of an attempt that was killed is no beginning of the next one's first.
  char last = '\n';
  if (writer.size_ > 0 &&
      ::pread(writer.log_.get(), &last, 1, static_cast<off_t>(writer.size_ - 1)) == 1 &&
      last != '\n') {
    PX_TRY(writer.Append("\n"));
  }
  return writer;
}

Status ConsoleLogWriter::Write(std::string_view bytes) {
  if (bytes.empty()) return {};
  const timespec now = clock_->Now();
  const LogTime time{.offset = size_,
                     .at_ns = static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
  std::array<char, sizeof(LogTime)> record{};
  std::memcpy(record.data(), &time, sizeof(time));
  const Status indexed = WriteAll(index_.get(), {record.data(), record.size()});
  const Status written = WriteAll(log_.get(), bytes);
  const off_t size = ::lseek(log_.get(), 0, SEEK_END);
  if (size >= 0) size_ = static_cast<uint64_t>(size);
  return written ? indexed : written;
}

// The index first: a reader that meets the log under its new name finds its times there.
Status ConsoleLogWriter::Rotate() {
  std::vector<int64_t> numbers = files_.PartNumbers();
  const int64_t number = numbers.empty() ? 1 : numbers.back() + 1;
  if (::rename(files_.index.c_str(), files_.PartIndex(number).c_str()) != 0 ||
      ::rename(files_.log.c_str(), files_.Part(number).c_str()) != 0) {
    return FailErrno("rotate " + files_.log);
  }
  numbers.push_back(number);
  PX_TRY(OpenFiles());
  if (limits_.total_bytes == 0) return {};
  uint64_t total = 0;
  // The newest part stays, whatever its size: a reader may be about to open it.
  for (size_t i = numbers.size(); i-- > 0;) {
    struct stat status{};
    if (::stat(files_.Part(numbers[i]).c_str(), &status) != 0) continue;
    total += static_cast<uint64_t>(status.st_size);
    if (total + limits_.rotate_bytes <= limits_.total_bytes || i + 1 == numbers.size()) continue;
    PX_TRY(RemoveFile(files_.Part(numbers[i])));
    PX_TRY(RemoveFile(files_.PartIndex(numbers[i])));
  }
  return {};
}

Status ConsoleLogWriter::Append(std::string_view bytes) {
  const uint64_t limit = limits_.rotate_bytes;
  if (limit == 0 || size_ + bytes.size() < limit) return Write(bytes);
  const size_t newline = bytes.rfind('\n');
  // A line that is longer than a whole part is broken.
  if (newline == std::string_view::npos && size_ < 2 * limit) return Write(bytes);
  const size_t here = newline == std::string_view::npos ? 0 : newline + 1;
  PX_TRY(Write(bytes.substr(0, here)));
  PX_TRY(Rotate());
  return Write(bytes.substr(here));
}

// ---- Reading ----

Result<bool> ConsoleLogReader::OpenNext() {
  const auto numbers = files_.PartNumbers();
  const auto next = std::upper_bound(numbers.begin(), numbers.end(), part_);
  const bool numbered = next != numbers.end();
  auto log = OpenFile(numbered ? files_.Part(*next) : files_.log, O_RDONLY);
  // No log yet; or a part that was removed for want of space since the names were read.
  if (!log && log.error().code() == ENOENT) return numbered;
  if (!log) return Forward(std::move(log).error());
  auto index = OpenFile(numbered ? files_.PartIndex(*next) : files_.index, O_RDONLY);
  if (!numbered) {
    // If a part was made in between, this is a later file than the next one.
    const auto now = files_.PartNumbers();
    if (std::upper_bound(now.begin(), now.end(), part_) != now.end()) return true;
  } else {
    part_ = *next;
  }
  log_ = std::move(*log);
  index_ = index ? std::move(*index) : UniqueFd();  // lines are shown without times
  offset_ = 0;
  times_.clear();
  time_ = 0;
  return false;
}

// True if what is open is a finished part: nothing is written to it any more.
Result<bool> ConsoleLogReader::IsRotated() {
  struct stat open{};
  struct stat present{};
  if (::fstat(log_.get(), &open) != 0) return FailErrno(files_.log);
  const bool exists = ::stat(files_.log.c_str(), &present) == 0;
  if (exists && open.st_ino == present.st_ino && open.st_dev == present.st_dev) return false;
  // Between the two renames of a rotation there is no log for a moment.
  const auto numbers = files_.PartNumbers();
  for (const int64_t number : numbers) {
    struct stat status{};
    if (::stat(files_.Part(number).c_str(), &status) == 0 && status.st_ino == open.st_ino) {
      part_ = number;
      return true;
    }
  }
  // Removed for want of space: all that is there is newer.
  if (open.st_nlink == 0 && !numbers.empty()) part_ = std::max(part_, numbers.front() - 1);
  return open.st_nlink == 0;
}

Status ConsoleLogReader::ReadIndex() {
  if (!index_) return {};
  std::array<LogTime, 1024> records{};
  while (true) {
    const ssize_t n = ::read(index_.get(), records.data(), sizeof(records));
    if (n <= 0) return {};
    const auto whole = static_cast<size_t>(n) / sizeof(LogTime);
    times_.insert(times_.end(), records.begin(), records.begin() + static_cast<ptrdiff_t>(whole));
    const auto extra = static_cast<off_t>(static_cast<size_t>(n) % sizeof(LogTime));
    if (extra != 0) {
      ::lseek(index_.get(), -extra, SEEK_CUR);
      return {};
    }
  }
}

int64_t ConsoleLogReader::TimeOf(uint64_t offset) {
  while (time_ + 1 < times_.size() && times_[time_ + 1].offset <= offset) ++time_;
  return time_ >= times_.size() || times_[time_].offset > offset ? 0 : times_[time_].at_ns;
}

void ConsoleLogReader::Split(std::string_view chunk, std::vector<LogLine>& lines) {
  size_t begin = 0;
  while (begin < chunk.size()) {
    if (partial_.empty()) partial_at_ns_ = TimeOf(offset_ + begin);
    const size_t end = chunk.find('\n', begin);
    partial_ += chunk.substr(begin, end - begin);
    if (end == std::string_view::npos) break;
    lines.push_back({partial_at_ns_, std::move(partial_)});
    partial_.clear();
    begin = end + 1;
  }
  offset_ += chunk.size();
}

Result<std::vector<LogLine>> ConsoleLogReader::Next(bool to_the_end) {
  std::vector<LogLine> lines;
  std::string chunk(size_t{1} << 20, '\0');
  while (lines.empty()) {
    if (!log_) {
      PX_ASSIGN(const bool again, OpenNext());
      if (again) continue;
      if (!log_) break;
    }
    // Asked before the read: what is at its end after that has been read whole.
    PX_ASSIGN(const bool rotated, IsRotated());
    const ssize_t n = ::read(log_.get(), chunk.data(), chunk.size());
    if (n < 0) return FailErrno(files_.log);
    if (n == 0 && !rotated) break;
    if (n == 0) {
      log_.Reset();
      continue;
    }
    PX_TRY(ReadIndex());
    Split({chunk.data(), static_cast<size_t>(n)}, lines);
  }
  if (to_the_end && lines.empty() && !partial_.empty()) {
    lines.push_back({partial_at_ns_, std::move(partial_)});
    partial_.clear();
  }
  return lines;
}

}  // namespace px::launcher
