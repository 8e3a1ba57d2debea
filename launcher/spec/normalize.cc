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

// default_worker_resources: {...} is default_worker: {resources: {...}} now.
void MoveDefault(Json& replicas, const std::string& role, const char* old, const char* field) {
  const std::string from = "default_" + role + "_" + old;
  if (!replicas.contains(from) || !replicas[from].is_object()) return;
  Json& target = replicas["default_" + role];
  if (!target.is_object()) target = Json::object();
  if (!target.contains(field)) target[field] = replicas[from];
  replicas.erase(from);
}

// worker_resources: [{index: 1, ...}] is worker: [{index: 1, resources: {...}}] now.
void MoveList(Json& replicas, const std::string& role, const char* old, const char* field) {
  const std::string from = role + "_" + old;
  if (!replicas.contains(from) || !replicas[from].is_array()) return;
  const Json list = replicas[from];
  replicas.erase(from);
  Json& target = replicas[role];
  if (!target.is_array()) target = Json::array();
  for (Json value : list) {
    if (!value.is_object()) continue;
    Json entry = Json::object();
    if (value.contains("index")) {
      entry["index"] = value["index"];
      value.erase("index");
    }
    entry[field] = std::move(value);
    target.push_back(std::move(entry));
  }
}

void MoveReplicas(Json& replicas) {
  if (!replicas.is_object()) return;
  for (const char* role : {"worker", "ps"}) {
    MoveDefault(replicas, role, "resources", "resources");
    MoveDefault(replicas, role, "node_selectors", "node_selector");
    MoveDefault(replicas, role, "config", "config");
    MoveList(replicas, role, "resources", "resources");
    MoveList(replicas, role, "node_selectors", "node_selector");
    MoveList(replicas, role, "configs", "config");
  }
  // Settings of polyaxon-lib's own training loop.
  replicas.erase("run_config");
  replicas.erase("delay_workers_by_global_step");
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
    MoveReplicas(spec["environment"]["replicas"]);
    break;
  }
  return spec;
}

std::string ParamsName(const Json& raw) {
  const bool declarations = raw.contains("declarations") && !raw["declarations"].is_null();
  return declarations ? "declarations" : "params";
}

}  // namespace px::spec
