#include "launcher/plot.h"

#include <algorithm>
#include <cmath>

#include "launcher/table.h"

namespace px::launcher {
namespace {

std::string Padded(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

void PrintPlot(std::ostream& out, const std::string& title, const std::vector<double>& values,
               const PlotSize& size) {
  std::vector<double> finite;
  for (const double value : values) {
    if (std::isfinite(value)) finite.push_back(value);
  }
  out << title << " (" << values.size() << (values.size() == 1 ? " value)\n" : " values)\n");
  if (finite.empty()) {
    out << "  nothing to draw\n";
    return;
  }
  const auto [lowest, highest] = std::minmax_element(finite.begin(), finite.end());
  const double low = *lowest;
  // All alike: drawn in the lowest row.
  const double range = *highest > low ? *highest - low : 1;
  const auto count = finite.size();
  const auto columns = std::min<size_t>(static_cast<size_t>(size.columns), count);
  std::vector<std::string> rows(static_cast<size_t>(size.rows), std::string(columns, ' '));
  for (size_t i = 0; i < count; ++i) {
    const size_t column = i * columns / count;
    const double height = (finite[i] - low) / range * (size.rows - 1);
    rows[static_cast<size_t>(size.rows - 1 - std::lround(height))][column] = '*';
  }
  const std::string top = FormatNumber(*highest);
  const std::string bottom = FormatNumber(low);
  const size_t width = std::max(top.size(), bottom.size());
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::string label = row == 0 ? top : row + 1 == rows.size() ? bottom : "";
    std::string line = rows[row];
    line.erase(line.find_last_not_of(' ') + 1);
    out << "  " << Padded(label, width) << " |" << line << '\n';
  }
  out << "  " << std::string(width, ' ') << " +" << std::string(columns, '-') << '\n';
}

}  // namespace px::launcher
