#include "launcher/config.h"

#include <pwd.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "launcher/files.h"
#include "launcher/spec/problem.h"
#include "launcher/spec/spec.h"

namespace px::launcher {
namespace {

using Values = std::map<std::string, std::string>;
constexpr std::array<const char*, 10> kKeys{"store",  "outputs",    "logs",       "user",
                                            "grace",  "heartbeat",  "log_rotate", "log_limit",
                                            "engine", "gpu_foreign"};

std::string FromEnvironment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

std::string HomeDirectory() {
  const std::string home = FromEnvironment("HOME");
  if (!home.empty()) return home;
  const passwd* entry = ::getpwuid(::geteuid());
  return entry == nullptr ? "/" : entry->pw_dir;
}

std::string LoginName() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry == nullptr ? std::to_string(::geteuid()) : entry->pw_name;
}

Done CheckKey(const std::string& key, const std::string& where) {
  const std::vector<std::string> known(kKeys.begin(), kKeys.end());
  if (std::find(known.begin(), known.end(), key) != known.end()) return {};
  const std::string nearest = spec::NearestName(key, known);
  return Refuse(ExitCode::kFailed, where + ": unknown key '" + key + "'",
                nearest.empty() ? "known keys: store, outputs, logs, user, grace, heartbeat, "
                                  "log_rotate, log_limit, engine, "
                                  "gpu_foreign"
                                : "did you mean '" + nearest + "'?");
}

bool IsBlank(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first != std::string::npos && line[first] != '#') return false;
  }
  return true;
}

// Read as polyaxonfiles are: the same checks, the same messages with line and column.
Outcome<Values> ReadConfigFile(const std::string& path) {
  Values values;
  if (!PathExists(path)) return values;
  PXL_ASSIGN(const std::string text, ReadFile(path));
  if (IsBlank(text)) return values;
  PXL_ASSIGN(const spec::Json root, spec::ReadText(text, path));
  for (const auto& [key, value] : root.items()) {
    PXL_TRY(CheckKey(key, path));
    if (value.is_structured() || value.is_null()) {
      return Refuse(ExitCode::kFailed, path + ": '" + key + "' is not a single value");
    }
    values[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return values;
}

std::string Absolute(std::string path) {
  if (path.starts_with("~/")) path = HomeDirectory() + path.substr(1);
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Outcome<int> Milliseconds(const std::string& text, const std::string& key, int fallback) {
  if (text.empty()) return fallback;
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(seconds >= 0) || seconds > 1e6) {
    return Refuse(ExitCode::kFailed, "configuration: " + key + " is '" + text + "'",
                  "give a number of seconds");
  }
  return static_cast<int>(seconds * 1000);
}

// "4096", "100 MiB", "1.5G": powers of 1024, with or without the B.
Outcome<uint64_t> Size(const std::string& text, const std::string& key) {
  if (text.empty()) return uint64_t{0};
  char* end = nullptr;
  double bytes = std::strtod(text.c_str(), &end);
  while (*end == ' ') ++end;
  const std::string unit = end;
  constexpr std::string_view kUnits = "KMGT";
  const size_t power = unit.empty() ? std::string_view::npos : kUnits.find(unit[0]);
  const std::string rest = unit.empty() ? "" : unit.substr(1);
  const bool plain = unit.empty() || unit == "B";
  const bool known =
      power != std::string_view::npos && (rest.empty() || rest == "iB" || rest == "B");
  for (size_t i = 0; known && i <= power; ++i) bytes *= 1024;
  if (text[0] < '0' || text[0] > '9' || !(plain || known) || !(bytes >= 0) || bytes > 1e18) {
    return Refuse(ExitCode::kFailed, "configuration: " + key + " is '" + text + "'",
                  "give a size, such as 100MiB");
  }
  return static_cast<uint64_t>(bytes);
}

Done CheckForeign(const std::string& value) {
  if (value == "avoid" || value == "ignore") return {};
  return Refuse(ExitCode::kFailed, "configuration: gpu_foreign is '" + value + "'",
                "give avoid or ignore");
}

// A limit alone means parts of a quarter of it.
Outcome<LogLimits> ReadLogLimits(const std::string& rotate, const std::string& limit) {
  LogLimits limits;
  PXL_ASSIGN(limits.rotate_bytes, Size(rotate, "log_rotate"));
  PXL_ASSIGN(limits.total_bytes, Size(limit, "log_limit"));
  if (limits.rotate_bytes == 0) limits.rotate_bytes = limits.total_bytes / 4;
  return limits;
}

}  // namespace

bool IsName(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c == '-' || c == '_' || (c < 0x80 && std::isalnum(c) != 0);
  });
}

Outcome<Config> LoadConfig(const Flags& flags) {
  Config config;
  config.home = FromEnvironment("PX_HOME");
  if (config.home.empty()) config.home = HomeDirectory() + "/.local/share/px";
  config.home = Absolute(config.home);
  config.file = config.home + "/config.yml";
  const std::string second = HomeDirectory() + "/.config/px/config.yml";
  if (!PathExists(config.file) && PathExists(second)) config.file = second;
  PXL_ASSIGN(const Values values, ReadConfigFile(config.file));

  const auto choose = [&](const std::string& flag, const char* variable, const std::string& key,
                          const std::string& fallback) {
    if (!flag.empty()) return flag;
    if (const std::string value = FromEnvironment(variable); !value.empty()) return value;
    const auto found = values.find(key);
    return found != values.end() && !found->second.empty() ? found->second : fallback;
  };
  config.store = Absolute(choose(flags.store, "PX_STORE", "store", config.home + "/store"));
  config.outputs =
      Absolute(choose(flags.outputs, "PX_OUTPUTS", "outputs", config.home + "/outputs"));
  config.logs = Absolute(choose(flags.logs, "PX_LOGS", "logs", config.home + "/logs"));
  config.user = choose("", "PX_USER", "user", LoginName());
  PXL_ASSIGN(config.grace_ms,
             Milliseconds(choose("", "PX_GRACE", "grace", ""), "grace", config.grace_ms));
  PXL_ASSIGN(config.heartbeat_ms, Milliseconds(choose("", "PX_HEARTBEAT", "heartbeat", ""),
                                               "heartbeat", config.heartbeat_ms));
  PXL_ASSIGN(config.log_limits, ReadLogLimits(choose("", "PX_LOG_ROTATE", "log_rotate", ""),
                                              choose("", "PX_LOG_LIMIT", "log_limit", "")));
  config.gpu_foreign = choose("", "PX_GPU_FOREIGN", "gpu_foreign", config.gpu_foreign);
  PXL_TRY(CheckForeign(config.gpu_foreign));
  config.engine = choose("", "PX_ENGINE", "engine", config.engine);
  config.heartbeat_ms = std::max(config.heartbeat_ms, 10);
  if (!IsName(config.user)) {
    return Refuse(
        ExitCode::kFailed,
        "the user name '" + config.user + "' has characters other than letters, digits, - and _",
        "set PX_USER to a plain name");
  }
  return config;
}

Environment Config::ToEnvironment() const {
  return {{"PX_HOME", home},
          {"PX_STORE", store},
          {"PX_OUTPUTS", outputs},
          {"PX_LOGS", logs},
          {"PX_USER", user},
          {"PX_ENGINE", engine},
          {"PX_GPU_FOREIGN", gpu_foreign},
          {"PX_GRACE", std::to_string(grace_ms / 1000.0)},
          {"PX_HEARTBEAT", std::to_string(heartbeat_ms / 1000.0)},
          {"PX_LOG_ROTATE", std::to_string(log_limits.rotate_bytes)},
          {"PX_LOG_LIMIT", std::to_string(log_limits.total_bytes)}};
}

Done WriteConfig(const Config& config, const std::map<std::string, std::string>& changes) {
  PXL_ASSIGN(Values values, ReadConfigFile(config.file));
  for (const auto& [key, value] : changes) {
    PXL_TRY(CheckKey(key, "config"));
    if (key == "grace" || key == "heartbeat") PXL_TRY(Milliseconds(value, key, 0));
    if (key == "gpu_foreign" && !value.empty()) PXL_TRY(CheckForeign(value));
    if (key == "log_rotate" || key == "log_limit") PXL_TRY(Size(value, key));
    if (key == "user" && !value.empty() && !IsName(value)) {
      return Refuse(ExitCode::kFailed, "'" + value + "' is no user name",
                    "use letters, digits, - and _");
    }
    if (value.empty()) {
      values.erase(key);
    } else {
      values[key] = value;
    }
  }
  YAML::Emitter text;
  text << values;
  PXL_TRY(MakeDirs(ParentOf(config.file)));
  PXL_TRY(WriteFile(config.file, std::string(text.c_str()) + "\n"));
  return {};
}

}  // namespace px::launcher
