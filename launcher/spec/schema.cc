#include "launcher/spec/schema.h"

#include <algorithm>

namespace px::spec {
namespace {

using enum FieldType;

const Fields& Logging() {
  static const Fields kFields = {
      {"level", kText, nullptr, "DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL"},
      {"formatter", kText},
  };
  return kFields;
}

const Fields& ResourceAmounts() {
  static const Fields kFields = {
      {"requests", kNumber, nullptr, {}, 0.0},
      {"limits", kNumber, nullptr, {}, 0.0},
  };
  return kFields;
}

const Fields& ResourcesFields() {
  static const Fields kFields = {
      {"cpu", kSection, ResourceAmounts},    {"memory", kSection, ResourceAmounts},
      {"gpu", kSection, ResourceAmounts},    {"tpu", kSection, ResourceAmounts},
      {"index", kInteger, nullptr, {}, 0.0},
  };
  return kFields;
}

const Fields& Persistence() {
  static const Fields kFields = {{"data", kTexts}, {"outputs", kText}};
  return kFields;
}

const Fields& OutputsReferences() {
  static const Fields kFields = {{"jobs", kReferences}, {"experiments", kReferences}};
  return kFields;
}

const Fields& PodFields() {
  static const Fields kFields = {
      {"index", kInteger, nullptr, {}, 0.0},
      {"resources", kSection, ResourcesFields},
      {"labels", kMapping},
      {"annotations", kMapping},
      {"node_selector", kMapping},
      {"node_selectors", kMapping},
      {"affinity", kMapping},
      {"tolerations", kMappings},
      {"service_account", kText},
      {"image_pull_secrets", kTexts},
      {"max_restarts", kInteger, nullptr, {}, 0.0},
      {"secret_refs", kTexts},
      {"config_map_refs", kTexts},
      {"configmap_refs", kTexts},
      {"data_refs", kTexts},
      {"artifact_refs", kTexts},
      {"outputs", kSection, OutputsReferences},
      {"persistence", kSection, Persistence},
      {"config", kMapping},
  };
  return kFields;
}

const Fields& ReplicasFields() {
  static const Fields kFields = {
      {"n_workers", kInteger, nullptr, {}, 0.0}, {"n_ps", kInteger, nullptr, {}, 0.0},
      {"default_worker", kSection, PodFields},   {"worker", kSections, PodFields},
      {"default_ps", kSection, PodFields},       {"ps", kSections, PodFields},
  };
  return kFields;
}

// environment.tensorflow, .horovod, .mxnet and .pytorch of the versions before `replicas`.
const Fields& FrameworkFields() {
  static const Fields kFields = [] {
    Fields fields = ReplicasFields();
    for (const char* name : {"default_worker_resources", "default_ps_resources"}) {
      fields.push_back({name, kSection, ResourcesFields});
    }
    for (const char* name : {"worker_resources", "ps_resources"}) {
      fields.push_back({name, kSections, ResourcesFields});
    }
    for (const char* name : {"default_worker_node_selectors", "default_ps_node_selectors",
                             "default_worker_config", "default_ps_config", "run_config"}) {
      fields.push_back({name, kMapping});
    }
    for (const char* name :
         {"worker_node_selectors", "ps_node_selectors", "worker_configs", "ps_configs"}) {
      fields.push_back({name, kMappings});
    }
    fields.push_back({"delay_workers_by_global_step", kBoolean});
    return fields;
  }();
  return kFields;
}

const Fields& EnvironmentFields() {
  static const Fields kFields = [] {
    Fields fields = PodFields();
    fields.push_back({"cluster_uuid", kText});
    fields.push_back({"replicas", kSection, ReplicasFields});
    for (const char* name : {"tensorflow", "horovod", "mxnet", "pytorch", "mpi"}) {
      fields.push_back({name, kSection, FrameworkFields});
    }
    return fields;
  }();
  return kFields;
}

const Fields& BuildFields() {
  static const Fields kFields = {
      {"image", kText},        {"dockerfile", kText},
      {"ref", kReference},     {"context", kText},
      {"build_steps", kTexts}, {"env_vars", kEnvVars},
      {"lang_env", kText},     {"git", kText},
      {"nocache", kBoolean},   {"commit", kText},
      {"branch", kText},       {"backend", kText, nullptr, "native|kaniko|other"},
  };
  return kFields;
}

const Fields& RunFields() {
  static const Fields kFields = {{"cmd", kCommand}};
  return kFields;
}

const Fields& InputOutputFields() {
  static const Fields kFields = {
      {"name", kText, nullptr, {}, {}, true},
      {"description", kText},
      {"type", kText},
      {"default", kAny},
      {"is_optional", kBoolean},
      {"is_list", kBoolean},
      {"is_flag", kBoolean},
      {"options", kAnyList},
  };
  return kFields;
}

const Fields& LimitFields() {
  static const Fields kFields = {{"n_experiments", kInteger, nullptr, {}, 1.0}};
  return kFields;
}

const Fields& MetricFields() {
  static const Fields kFields = {
      {"name", kText, nullptr, {}, {}, true},
      {"optimization", kText, nullptr, "maximize|minimize"},
  };
  return kFields;
}

const Fields& ResourceFields() {
  static const Fields kFields = {
      {"name", kText, nullptr, {}, {}, true},
      {"type", kText, nullptr, "int|float"},
  };
  return kFields;
}

const Fields& HyperbandFields() {
  static const Fields kFields = {
      {"max_iter", kInteger, nullptr, {}, 1.0, true},
      {"eta", kNumber, nullptr, {}, 0.0, true},
      {"resource", kSection, ResourceFields, {}, {}, true},
      {"metric", kSection, MetricFields, {}, {}, true},
      {"resume", kBoolean},
  };
  return kFields;
}

const Fields& GaussianProcessFields() {
  static const Fields kFields = {
      {"kernel", kText, nullptr, "matern|rbf"},
      {"length_scale", kNumber, nullptr, {}, 1e-6},
      {"nu", kNumber, nullptr, {}, 0.0},
      {"n_restarts_optimizer", kInteger, nullptr, {}, 0.0},
  };
  return kFields;
}

const Fields& UtilityFields() {
  static const Fields kFields = {
      {"acquisition_function", kText, nullptr, "ucb|ei|poi"},
      {"gaussian_process", kSection, GaussianProcessFields},
      {"kappa", kNumber},
      {"eps", kNumber},
      {"n_warmup", kInteger, nullptr, {}, 1.0},
      {"n_iter", kInteger, nullptr, {}, 0.0},
  };
  return kFields;
}

const Fields& BoFields() {
  static const Fields kFields = {
      {"n_initial_trials", kInteger, nullptr, {}, 1.0, true},
      {"n_iterations", kInteger, nullptr, {}, 0.0, true},
      {"utility_function", kSection, UtilityFields},
      {"metric", kSection, MetricFields, {}, {}, true},
  };
  return kFields;
}

const Fields& EarlyStoppingFields() {
  static const Fields kFields = {
      {"metric", kText, nullptr, {}, {}, true},
      {"value", kNumber},
      {"optimization", kText, nullptr, "maximize|minimize"},
      {"policy", kPolicy},
  };
  return kFields;
}

const Fields& HptuningFields() {
  static const Fields kFields = {
      {"seed", kInteger, nullptr, {}, 0.0},
      {"concurrency", kInteger, nullptr, {}, 1.0},
      {"matrix", kMatrix},
      {"grid_search", kSection, LimitFields},
      {"random_search", kSection, LimitFields},
      {"hyperband", kSection, HyperbandFields},
      {"bo", kSection, BoFields},
      {"early_stopping", kSections, EarlyStoppingFields},
  };
  return kFields;
}

const Fields& SettingsFields() {
  static const Fields kFields = [] {
    Fields fields = HptuningFields();
    fields.push_back({"logging", kSection, Logging});
    return fields;
  }();
  return kFields;
}

Fields MakeTopLevel(Kind kind) {
  Fields fields = {
      {"version", kInteger},
      {"kind", kText},
      {"name", kText},
      {"description", kText},
      {"tags", kTexts},
      {"logging", kSection, Logging},
      {"settings", kSection, SettingsFields},
      {"environment", kSection, EnvironmentFields},
      {"declarations", kMapping},
      {"params", kMapping},
      {"inputs", kSections, InputOutputFields},
      {"outputs", kSections, InputOutputFields},
      {"build", kSection, BuildFields},
      {"backend", kText},
  };
  const bool runs = kind == Kind::kExperiment || kind == Kind::kGroup || kind == Kind::kJob;
  if (runs) {
    fields.push_back({"run", kSection, RunFields});
    fields.push_back({"framework", kText});
  }
  if (kind == Kind::kGroup) fields.push_back({"hptuning", kSection, HptuningFields});
  if (kind == Kind::kBuild) {
    // Since 0.5 the fields of a build stand at the top; before, in a section.
    for (const Field& field : BuildFields()) {
      if (field.name != "backend") fields.push_back(field);
    }
  }
  return fields;
}

}  // namespace

const Fields& TopLevel(Kind kind) {
  static const std::vector<Fields> kKinds = [] {
    std::vector<Fields> all;
    for (int i = 0; i <= static_cast<int>(Kind::kTensorboard); ++i) {
      all.push_back(MakeTopLevel(static_cast<Kind>(i)));
    }
    return all;
  }();
  return kKinds[static_cast<size_t>(kind)];
}

std::vector<std::string> SplitChoices(std::string_view choices, char separator) {
  std::vector<std::string> list;
  while (!choices.empty()) {
    const size_t end = std::min(choices.find(separator), choices.size());
    list.emplace_back(choices.substr(0, end));
    choices.remove_prefix(std::min(end + 1, choices.size()));
  }
  return list;
}

}  // namespace px::spec
