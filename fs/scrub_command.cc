#include "fs/scrub_command.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "fs/control_client.h"

namespace px::fs {
namespace {

constexpr uint64_t kMostBudget = uint64_t{64} << 20;
constexpr uint64_t kLeastBudget = uint64_t{64} << 10;

// So that the bytes read since `began` are no more than `rate` a second.
void Hold(std::chrono::steady_clock::time_point began, uint64_t bytes, uint64_t rate) {
  if (rate == 0) return;
  const auto due =
      began +
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(
          std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate)));
  const auto left =
      std::chrono::duration_cast<std::chrono::nanoseconds>(due - std::chrono::steady_clock::now());
  if (left.count() <= 0) return;
  const timespec time{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  ::nanosleep(&time, nullptr);
}

}  // namespace

Result<ScrubReport> RunScrub(const std::string& mountpoint, uint64_t rate,
                             const std::function<void(const std::string&)>& finding,
                             const std::function<void(const std::string&)>& progress) {
  const UniqueFd mount(::open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!mount) return FailErrno(mountpoint);
  const auto text = std::make_unique<px_ioc_text>();
  *text = {};
  const uint64_t budget = rate == 0 ? kMostBudget : std::clamp(rate / 5, kLeastBudget, kMostBudget);
  const auto began = std::chrono::steady_clock::now();
  ScrubReport report;
  for (bool more = true; more;) {
    uint64_t bytes = 0;
    PX_ASSIGN(
        more,
        ControlScrub(mount.get(), budget, text.get(), mountpoint, [&](const std::string& line) {
          const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
          if (!json.is_object() || !json.contains("progress")) return finding(line);
          report.progress = json["progress"].dump();
          bytes = json["progress"].value("bytes", uint64_t{0});
          report.findings = json["progress"].value("findings", uint64_t{0});
          progress(report.progress);
        }));
    if (more) Hold(began, bytes, rate);
  }
  return report;
}

}  // namespace px::fs
