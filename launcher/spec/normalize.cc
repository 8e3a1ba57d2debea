#include "launcher/spec/checker.h"

namespace px::spec {
namespace {

void MoveSettings(Json& spec) {
  const auto settings = spec.find("settings");
  if (settings == spec.end()) return;
  if (settings->is_object()) {
    const Json old = *settings;
    for (const auto& [key, value] : old.items()) {
      if (key == "logging") {
        if (!spec.contains("logging")) spec["logging"] = value;
      } else {
        Json& hptuning = spec["hptuning"];
        if (hptuning.is_null()) hptuning = Json::object();
        if (hptuning.is_object() && !hptuning.contains(key)) hptuning[key] = value;
      }
    }
  }
  spec.erase("settings");
}

void Rename(Json& section, const char* from, const char* to) {
  if (!section.contains(from)) return;
  if (!section.contains(to)) section[to] = section[from];
  section.erase(from);
}

}  // namespace

Json Normalize(const Json& raw) {
  Json spec = raw;
  if (!spec.is_object()) return spec;
  MoveSettings(spec);
  const auto environment = spec.find("environment");
  if (environment == spec.end() || !environment->is_object()) return spec;
  Rename(*environment, "node_selectors", "node_selector");
  Rename(*environment, "configmap_refs", "config_map_refs");
  for (const char* framework : {"tensorflow", "horovod", "mxnet", "pytorch", "mpi"}) {
    if (!environment->contains(framework)) continue;
    if (!spec.contains("framework")) spec["framework"] = framework;
    Rename(spec["environment"], framework, "replicas");
    break;
  }
  return spec;
}

std::string ParamsName(const Json& raw) {
  const bool declarations = raw.contains("declarations") && !raw["declarations"].is_null();
  return declarations ? "declarations" : "params";
}

}  // namespace px::spec
