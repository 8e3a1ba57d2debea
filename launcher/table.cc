#include "launcher/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace px::launcher {
namespace {

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.-+e") == std::string::npos;
}

// Columns of a terminal, for UTF-8 text: bytes that begin a character.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
  }));
}

void PrintRow(std::ostream& out, const std::vector<std::string>& row,
              const std::vector<size_t>& widths, const std::vector<bool>& right) {
  std::string line;
  for (size_t i = 0; i < row.size(); ++i) {
    const std::string pad(widths[i] - Width(row[i]), ' ');
    line += (i == 0 ? "" : "  ") + (right[i] ? pad + row[i] : row[i] + pad);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out << line << '\n';
}

std::string Ago(int64_t count, const std::string& unit) {
  return fmt::format("{} {}{} ago", count, unit, count == 1 ? "" : "s");
}

}  // namespace

void Table::Print(std::ostream& out) const {
  const size_t columns = rows_.empty() ? headers_.size() : rows_.front().size();
  std::vector<size_t> widths(columns, 0);
  std::vector<bool> right(columns, !rows_.empty());
  for (size_t i = 0; i < headers_.size(); ++i) widths[i] = Width(headers_[i]);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < columns; ++i) {
      widths[i] = std::max(widths[i], Width(row[i]));
      if (!IsNumber(row[i])) right[i] = false;
    }
  }
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.emplace_back(width, '-');
  if (headers_.empty()) right.assign(columns, false);
  if (!headers_.empty()) {
    PrintRow(out, headers_, widths, right);
  }
  PrintRow(out, rule, widths, right);
  for (const auto& row : rows_) PrintRow(out, row, widths, right);
  if (headers_.empty()) PrintRow(out, rule, widths, right);
}

void PrintSection(std::ostream& out, const std::string& title, const Pairs& pairs) {
  if (pairs.empty()) return;
  Table table({});
  for (const auto& [name, value] : pairs) table.Add({name, value});
  out << '\n' << title << "\n\n";
  table.Print(out);
}

std::string FormatTime(int64_t at_ns) {
  if (at_ns == 0) return "";
  const auto seconds = static_cast<time_t>(at_ns / 1'000'000'000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

std::string FormatAgo(int64_t at_ns, int64_t now_ns) {
  if (at_ns == 0) return "";
  const int64_t seconds = (now_ns - at_ns) / 1'000'000'000;
  if (seconds < 60) return "a few seconds ago";
  if (seconds < 3600) return Ago(seconds / 60, "minute");
  if (seconds < 86'400) return Ago(seconds / 3600, "hour");
  if (seconds < 7 * 86'400) return Ago(seconds / 86'400, "day");
  if (seconds < 365 * 86'400) return Ago(seconds / (7 * 86'400), "week");
  return Ago(seconds / (365 * 86'400), "year");
}

std::string FormatDuration(int64_t ns) {
  const int64_t seconds = std::max<int64_t>(ns, 0) / 1'000'000'000;
  const int64_t minutes = seconds / 60;
  const int64_t hours = minutes / 60;
  const int64_t days = hours / 24;
  if (days > 0) return fmt::format("{}d {}h {}m", days, hours % 24, minutes % 60);
  if (hours > 0) return fmt::format("{}h {}m", hours, minutes % 60);
  if (minutes > 0) return fmt::format("{}m {}s", minutes, seconds % 60);
  return fmt::format("{}s", seconds);
}

std::string FormatSize(int64_t bytes) {
  constexpr std::array<const char*, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatNumber(double value) { return fmt::format("{:.6g}", value); }

}  // namespace px::launcher
