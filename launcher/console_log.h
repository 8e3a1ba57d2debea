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
// Where a size is configured the log is rotated, at the end of a line if one comes in reasonable
// time: what was written so far becomes the next numbered part beside the index, PARTS.1, PARTS.2,
// … (and PARTS.1.times), and the log begins anew. With a limit the oldest parts are removed.
//
// Writers: one process at a time. Readers: any number, at any time; they read all parts as one
// stream.
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

// Where the parts of one console are.
struct LogFiles {
  std::string log;
  std::string index;
  std::string parts;  // without the number

  std::string Part(int64_t number) const { return parts + "." + std::to_string(number); }
  std::string PartIndex(int64_t number) const { return Part(number) + ".times"; }
  // The numbers of the parts that are there, ascending.
  std::vector<int64_t> PartNumbers() const;
};

struct LogLimits {
  uint64_t rotate_bytes = 0;  // a part ends when it is larger; 0: never
  uint64_t total_bytes = 0;   // of all parts and the log together, about; 0: no limit
};

class ConsoleLogWriter {
 public:
  // Appends to what is there, on a new line; makes all files and their directories. `clock` must
  // outlive it.
  static Result<ConsoleLogWriter> Open(LogFiles files, const LogLimits& limits, Clock& clock);
  // ENOSPC and other errno values of write. What fitted is kept; the next call goes on behind it.
  Status Append(std::string_view bytes);

 private:
  ConsoleLogWriter() = default;
  Status OpenFiles();
  Status Write(std::string_view bytes);
  Status Rotate();

  LogFiles files_;
  LogLimits limits_;
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
// Reads a log from its beginning on, also while it grows and is rotated.
class ConsoleLogReader {
 public:
  explicit ConsoleLogReader(LogFiles files) : files_(std::move(files)) {}
  // The lines that were completed since the last call, a bounded number of them; none if there are
  // none now. With `to_the_end`, also a last line without a newline. No log yet means no lines.
  // Parts that were removed before they could be read are left out without a word.
  Result<std::vector<LogLine>> Next(bool to_the_end);

 private:
  // True if it should be tried again at once.
  Result<bool> OpenNext();
  Result<bool> IsRotated();
  Status ReadIndex();
  int64_t TimeOf(uint64_t offset);
  void Split(std::string_view chunk, std::vector<LogLine>& lines);

  LogFiles files_;
  UniqueFd log_;
  UniqueFd index_;
  int64_t part_ = 0;  // the last numbered part that was opened, or passed
  std::string partial_;
  int64_t partial_at_ns_ = 0;   // of its first byte, once it has one
  uint64_t offset_ = 0;         // in the open file, of the first byte behind `partial_`
  std::vector<LogTime> times_;  // of the open file
  size_t time_ = 0;             // those before it are passed
};

}  // namespace px::launcher
