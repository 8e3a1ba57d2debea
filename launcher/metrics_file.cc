#include "launcher/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "launcher/files.h"

namespace px::launcher {
namespace {

int64_t TimeOf(const nlohmann::json& at, int64_t now) {
  if (at.is_number()) return static_cast<int64_t>(at.get<double>() * 1e9);
  if (!at.is_string()) return now;
  const auto text = at.get<std::string>();
  tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) rest = ::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
  if (rest == nullptr) return now;
  const double fraction = *rest == '.' ? std::strtod(rest, nullptr) : 0;
  return static_cast<int64_t>(::timegm(&parts)) * 1'000'000'000 +
         static_cast<int64_t>(fraction * 1e9);
}

void ParseLine(const std::string& line, int64_t now, std::vector<catalog::MetricPoint>& points) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("metrics") || !json["metrics"].is_object()) return;
  const int64_t at = TimeOf(json.value("at", nlohmann::json()), now);
  for (const auto& [name, value] : json["metrics"].items()) {
    if (value.is_number()) points.push_back({.at = at, .name = name, .value = value.get<double>()});
  }
}

}  // namespace

Status IngestMetrics(catalog::Catalog& catalog, Clock& clock, catalog::ExperimentId id,
                     const std::string& path) {
  const auto file = OpenFile(path, O_RDONLY);
  if (!file) {
    if (file.error().code() == ENOENT) return {};
    return Forward(Error(file.error()));
  }
  PX_ASSIGN(int64_t offset, catalog.MetricsOffset(id));
  std::string text;
  std::string buffer(size_t{1} << 16, '\0');
  while (true) {
    const auto at = static_cast<off_t>(offset) + static_cast<off_t>(text.size());
    const ssize_t n = ::pread(file->get(), buffer.data(), buffer.size(), at);
    if (n < 0) return FailErrno(path);
    if (n == 0) break;
    text.append(buffer, 0, static_cast<size_t>(n));
  }
  const timespec now = clock.Now();
  const int64_t now_ns = static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  std::vector<catalog::MetricPoint> points;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    ParseLine(text.substr(begin, end - begin), now_ns, points);
    begin = end + 1;
  }
  if (begin == 0) return {};
  return catalog.AddMetrics(id, points, offset + static_cast<int64_t>(begin));
}

}  // namespace px::launcher
