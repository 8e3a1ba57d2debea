#include "launcher/console_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "launcher/files.h"

namespace px::launcher {

Result<ConsoleLogWriter> ConsoleLogWriter::Open(const std::string& log, const std::string& index,
                                                Clock& clock) {
  ConsoleLogWriter writer;
  PX_TRY(MakeDirs(ParentOf(log)));
  PX_TRY(MakeDirs(ParentOf(index)));
  PX_ASSIGN(writer.log_, OpenFile(log, O_WRONLY | O_CREAT | O_APPEND, 0644));
  PX_ASSIGN(writer.index_, OpenFile(index, O_WRONLY | O_CREAT | O_APPEND, 0644));
  const off_t size = ::lseek(writer.log_.get(), 0, SEEK_END);
  if (size < 0) return FailErrno(log);
  writer.size_ = static_cast<uint64_t>(size);
  writer.clock_ = &clock;
  return writer;
}

Status ConsoleLogWriter::Append(std::string_view bytes) {
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

Status ConsoleLogReader::ReadIndex() {
  if (!index_) {
    auto index = OpenFile(index_path_, O_RDONLY);
    if (!index) return {};  // lines are shown without times
    index_ = std::move(*index);
  }
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
  size_t passed = 0;
  while (passed + 1 < times_.size() && times_[passed + 1].offset <= offset) ++passed;
  times_.erase(times_.begin(), times_.begin() + static_cast<ptrdiff_t>(passed));
  return times_.empty() || times_.front().offset > offset ? 0 : times_.front().at_ns;
}

Result<std::vector<LogLine>> ConsoleLogReader::Next(bool to_the_end) {
  std::vector<LogLine> lines;
  if (!log_) {
    auto log = OpenFile(log_path_, O_RDONLY);
    if (!log && log.error().code() == ENOENT) return lines;
    if (!log) return Forward(std::move(log).error());
    log_ = std::move(*log);
  }
  std::string chunk(size_t{1} << 20, '\0');
  const ssize_t n = ::read(log_.get(), chunk.data(), chunk.size());
  if (n < 0) return FailErrno(log_path_);
  chunk.resize(static_cast<size_t>(n));
  PX_TRY(ReadIndex());
  partial_ += chunk;
  size_t begin = 0;
  while (true) {
    const size_t end = partial_.find('\n', begin);
    if (end == std::string::npos) break;
    lines.push_back({TimeOf(partial_offset_ + begin), partial_.substr(begin, end - begin)});
    begin = end + 1;
  }
  partial_.erase(0, begin);
  partial_offset_ += begin;
  if (to_the_end && n == 0 && !partial_.empty()) {
    lines.push_back({TimeOf(partial_offset_), partial_});
    partial_offset_ += partial_.size();
    partial_.clear();
  }
  return lines;
}

}  // namespace px::launcher
