// A job's console on disk: the bytes as they came in a plain file, and beside it when they came.
//
// The log is what `cat` shows: nothing is added to what the job wrote. The index holds 16-byte
// records, written before the bytes they speak of, so a reader that sees a line always finds its
// time:
//
//   offset  size  content (little endian)
//   0       8     offset in the log from which on this record counts
//   8       8     nanoseconds since 1970, UTC
//
// Writers: one process at a time. Readers: any number, at any time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace px::launcher {

struct LogTime {
  uint64_t offset = 0;
  int64_t at_ns = 0;
};
static_assert(sizeof(LogTime) == 16);

class ConsoleLogWriter {
 public:
  // Appends to what is there; makes both files and their directories. `clock` must outlive it.
  static Result<ConsoleLogWriter> Open(const std::string& log, const std::string& index,
                                       Clock& clock);
  // ENOSPC and other errno values of write. What fitted is kept; the next call goes on behind it.
  Status Append(std::string_view bytes);

 private:
  ConsoleLogWriter() = default;
  UniqueFd log_;
  UniqueFd index_;
  uint64_t size_ = 0;
  Clock* clock_ = nullptr;
};

struct LogLine {
  int64_t at_ns = 0;  // 0 if the index does not know
  std::string text;   // without the newline
};

// Reads a log from its beginning on, also while it grows.
class ConsoleLogReader {
 public:
  ConsoleLogReader(std::string log, std::string index)
      : log_path_(std::move(log)), index_path_(std::move(index)) {}
  // The lines that were completed since the last call, a bounded number of them; none if there are
  // none now. With `to_the_end`, also a last line without a newline. No log yet means no lines.
  Result<std::vector<LogLine>> Next(bool to_the_end);

 private:
  Status ReadIndex();
  int64_t TimeOf(uint64_t offset);

  std::string log_path_;
  std::string index_path_;
  UniqueFd log_;
  UniqueFd index_;
  std::string partial_;
  uint64_t partial_offset_ = 0;  // of the first byte of `partial_`
  std::vector<LogTime> times_;   // not yet passed, oldest first
};

}  // namespace px::launcher
