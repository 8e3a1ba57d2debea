#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>

#include "base/io.h"

namespace px {
namespace {

using LoggerPtr = std::shared_ptr<spdlog::logger>;

// The one in use; set before there are threads.
LoggerPtr& Current() {
  // spdlog's own default writes to standard output, which belongs to the programs' results.
  // Never destroyed: threads may log while the process ends.
  static LoggerPtr& logger = *new LoggerPtr(
      std::make_shared<spdlog::logger>("px", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  return logger;
}

}  // namespace

spdlog::logger& Logger() { return *Current(); }

Status LogToFile(const std::string& path) {
  PX_TRY(MakePrivate(path));
  try {
    auto logger = std::make_shared<spdlog::logger>(
        "px", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, /*truncate=*/false));
    logger->set_level(Logger().level());
    logger->flush_on(spdlog::level::info);
    Current() = std::move(logger);
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
  Logger().set_level(parsed);
  return {};
}

void CheckFailed(const char* file, int line, const char* expression) {
  Logger().critical("{}:{}: broken invariant: {}", file, line, expression);
  Logger().flush();
  std::abort();
}

}  // namespace px
