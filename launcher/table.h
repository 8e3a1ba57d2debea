// Tables and words for people: plain columns, times and sizes as one says them.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace px::launcher {

// Columns two spaces apart under dashed rules; a column of numbers only is set to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  void Print(std::ostream& out) const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

using Pairs = std::vector<std::pair<std::string, std::string>>;
// A titled table of names and values without a header line; nothing if there are none.
void PrintSection(std::ostream& out, const std::string& title, const Pairs& pairs);

// Of nanoseconds since 1970: "2018-11-08 07:45:05 UTC"; empty for 0.
std::string FormatTime(int64_t at_ns);
// "a few seconds ago", "5 minutes ago"; empty for 0.
std::string FormatAgo(int64_t at_ns, int64_t now_ns);
// "1d 2h 3m", "1m 55s", "49s".
std::string FormatDuration(int64_t ns);
// "1.5 KiB".
std::string FormatSize(int64_t bytes);
std::string FormatNumber(double value);

}  // namespace px::launcher
