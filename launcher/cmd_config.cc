// px-launch config [--list] | get KEY... | set --KEY VALUE... | purge
#include <memory>

#include "launcher/describe.h"
#include "launcher/files.h"
#include "launcher/session.h"

namespace px::launcher {
namespace {

Pairs Values(const Config& config) {
  return {{"file", config.file},
          {"home", config.home},
          {"store", config.store},
          {"outputs", config.outputs},
          {"logs", config.logs},
          {"user", config.user},
          {"grace", FormatNumber(config.grace_ms / 1000.0)},
          {"heartbeat", FormatNumber(config.heartbeat_ms / 1000.0)},
          {"log_rotate", std::to_string(config.log_limits.rotate_bytes)},
          {"log_limit", std::to_string(config.log_limits.total_bytes)},
          {"engine", config.engine},
          {"gpu_foreign", config.gpu_foreign}};
}

Done Print(Context& context, const Session& session, const std::vector<std::string>& keys) {
  Pairs wanted;
  for (const auto& pair : Values(context.config())) {
    if (keys.empty() || std::find(keys.begin(), keys.end(), pair.first) != keys.end()) {
      wanted.push_back(pair);
    }
  }
  if (wanted.empty()) return Refuse(ExitCode::kNotFound, "no such key: " + keys.front());
  spec::Json json = spec::Json::object();
  for (const auto& [key, value] : wanted) json[key] = value;
  if (session.json) {
    context.Answer(json);
    return {};
  }
  Table table({});
  for (const auto& [key, value] : wanted) table.Add({key, value});
  table.Print(context.out());
  return {};
}

}  // namespace

void AddConfig(CLI::App& app, Session& session) {
  CLI::App* config = AddCommand(app, session, "config", "Show or change the configuration.",
                                [](Context& context, Session& s) { return Print(context, s, {}); });
  config->add_flag_callback("-l,--list", [] {}, "Show all of it; the same as no option.");
  auto keys = std::make_shared<std::vector<std::string>>();
  CLI::App* get =
      AddCommand(*config, session, "get", "Show some of it.",
                 [keys](Context& context, Session& s) { return Print(context, s, *keys); });
  get->add_option("KEY", *keys, "What to show.")->required();

  auto changes = std::make_shared<std::map<std::string, std::string>>();
  CLI::App* set = AddCommand(*config, session, "set", "Write the configuration file.",
                             [changes](Context& context, Session&) -> Done {
                               PXL_TRY(WriteConfig(context.config(), *changes));
                               context.Say("Config was updated.", *changes);
                               return {};
                             });
  for (const char* key : {"store", "outputs", "logs", "user", "grace", "heartbeat", "log_rotate",
                          "log_limit", "engine", "gpu_foreign"}) {
    set->add_option_function<std::string>(
        std::string("--") + key,
        [changes, key](const std::string& value) { (*changes)[key] = value; },
        "Empty for the default.");
  }
  AddCommand(*config, session, "purge", "Remove the configuration file.",
             [](Context& context, Session&) -> Done {
               PXL_TRY(RemoveFile(context.config().file));
               context.Say("Config was removed.");
               return {};
             });
}

}  // namespace px::launcher
