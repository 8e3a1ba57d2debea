// The process's logger, and CHECK for our own bugs.
//
// Log lines go to standard error, or to a file once LogToFile was called. Thread safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "base/result.h"

namespace px {

// What the functions below write to.
spdlog::logger& Logger();
// Sends every later log line to `path` (appended, flushed from level info up), which only its owner
// may read if it is new.
Status LogToFile(const std::string& path);
// One of trace, debug, info, warn, error, off. Unknown names are EINVAL.
Status SetLogLevel(const std::string& level);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  Logger().debug(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  Logger().info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogWarn(fmt::format_string<Args...> format, Args&&... args) {
  Logger().warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  Logger().error(format, std::forward<Args>(args)...);
}

// Logs the place and the text, then aborts. For broken invariants of our own code only.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression);

}  // namespace px

#define PX_CHECK(expression)                            \
  (static_cast<bool>(expression) ? static_cast<void>(0) \
                                 : ::px::CheckFailed(__FILE__, __LINE__, #expression))
