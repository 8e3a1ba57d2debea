#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/spec.h"

namespace px::spec {

Result<Json> ParseParams(const std::vector<std::string>& arguments, const Json& base) {
  Json params = Json::object();
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (equals == std::string::npos || name.empty()) {
      return Fail(EINVAL, fmt::format("Invalid format for -P parameter: '{}'. Use -P name=value.",
                                      argument));
    }
    if (!IsCleanText(argument)) {
      return Fail(EINVAL, fmt::format("the -P parameter '{}' is not valid UTF-8 text", name));
    }
    if (params.contains(name)) return Fail(EINVAL, fmt::format("Repeated parameter: '{}'", name));
    params[name] = argument.substr(equals + 1);
  }
  Json override = Json::object();
  if (params.empty()) return override;
  const bool declarations = base.contains("declarations") && !base.contains("params");
  override[declarations ? "declarations" : "params"] = std::move(params);
  return override;
}

}  // namespace px::spec
