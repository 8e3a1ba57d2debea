#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>

namespace px {

Status LogToFile(const std::string& path) {
  try {
    auto logger = std::make_shared<spdlog::logger>(
        "px", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, /*truncate=*/false));
    logger->set_level(spdlog::get_level());
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& error) {
    return Fail(EIO, error.what());
  }
  return {};
}

Status SetLogLevel(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return Fail(EINVAL, "unknown log level '" + level + "'");
  }
  spdlog::set_level(parsed);
  return {};
}

void CheckFailed(const char* file, int line, const char* expression) {
  spdlog::critical("{}:{}: broken invariant: {}", file, line, expression);
  spdlog::default_logger()->flush();
  std::abort();
}

}  // namespace px
