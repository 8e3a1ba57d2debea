// The polyaxonfile, version 1: reading, overriding, checking and rendering it.
//
// The way of a specification:
//   raw      = ReadFiles({...}), then Merge(raw, ParseParams(...)) for -P, or Merge(raw of the
//   source
//              experiment, ReadFiles(override files)) for restart, resume and copy;
//   problems = Validate(raw, ...);
//   Render(raw, ...) for one run, or ParseGroup(raw, ...) of group.h for a group.
// Keep `raw` with the experiment: overriding merges into the raw specification, never into a
// rendered one, so that a changed declaration changes the command line.
//
// Everything here is a pure function (ReadFiles and DefaultFile read the file system), may be
// called from any thread, and fails with EINVAL and the full text for people unless said otherwise.
// docs/POLYAXONFILE.md says what is accepted and where that differs from Polyaxon 0.x.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/spec/problem.h"

namespace px::spec {

enum class Kind { kExperiment, kGroup, kJob, kBuild, kNotebook, kTensorboard };

// "experiment", "group", ...
std::string KindName(Kind kind);
std::optional<Kind> ParseKind(std::string_view name);

// ---- Reading and merging ----

// Reads .yml, .yaml and .json files and merges them left to right. ENOENT and other errno values if
// a file cannot be read; EINVAL with "file:line:column: ..." for bad syntax, a key given twice, a
// file that is empty or no mapping, another extension. Adds the place of every value to `marks` if
// given; calling again with the same `marks` for an override is right, later files win there too.
Result<Json> ReadFiles(const std::vector<std::string>& paths, Marks* marks = nullptr);

// The same for text already in memory. `name` is the file name for messages; its extension decides
// between YAML and JSON.
Result<Json> ReadText(const std::string& text, const std::string& name, Marks* marks = nullptr);

// `override` merged into `base`: two mappings merge recursively, anything else (scalars, lists,
// null) replaces. Keys keep the base's order; new ones follow.
Json Merge(const Json& base, const Json& override);

// The override that `-P NAME=VALUE` options make: {"params": {...}} or {"declarations": {...}},
// whichever `base` uses ("params" if neither). Values stay text; Render turns them into numbers,
// lists and so on as it does with any declaration. No arguments make an empty mapping.
Result<Json> ParseParams(const std::vector<std::string>& arguments, const Json& base);

// The polyaxonfile that commands use without -f: the first of {polyaxon, polyaxonci, polyaxon-ci,
// polyaxon.ci, polyaxonfile} x {yaml, yml, json} in `dir`. ENOENT if there is none.
Result<std::string> DefaultFile(const std::string& dir);

// ---- Checking ----

struct ValidateOptions {
  const Marks* marks = nullptr;  // places for messages, if known
  // Set when `raw` is an override on its own: version and kind may then be missing, but a kind
  // other than this one is a problem, and so is hptuning if this is not a group.
  std::optional<Kind> override_of;
};

// All problems of a specification, in the order of the file. Empty means valid. Values that contain
// a template are checked for real by Render.
std::vector<Problem> Validate(const Json& raw, const ValidateOptions& options = {});

// ---- Rendering ----

// Amounts of one resource. Unset where the file says nothing.
struct Amount {
  std::optional<double> requests;
  std::optional<double> limits;
};

struct Resources {
  Amount cpu;     // cores
  Amount memory;  // MiB
  Amount gpu;     // whole devices, or a fraction of one
  Amount tpu;
};

// Extra processes of a distributed run; there is always one master besides.
struct Replicas {
  int n_workers = 0;
  int n_ps = 0;
  Json raw = Json::object();  // the section as written: default_worker, worker, ...
};

struct Environment {
  Resources resources;
  int max_restarts = 0;
  Replicas replicas;
  Json node_selector = Json::object();
  // References to outputs of other runs, each an id (integer) or a name (string), in order.
  std::vector<Json> outputs_experiments;
  std::vector<Json> outputs_jobs;
  // Names of data volumes, and the outputs volume ("" if not chosen).
  std::vector<std::string> persistence_data;
  std::string persistence_outputs;
};

struct BuildSpec {
  std::string image;
  std::string dockerfile;
  std::string context;
  std::vector<std::string> build_steps;
  std::vector<std::pair<std::string, std::string>> env_vars;
  bool nocache = false;
  std::string commit;
  std::string branch;
  std::string git;
};

// One run of any kind but group, with every template resolved.
struct ExperimentSpec {
  Kind kind = Kind::kExperiment;
  std::string name;
  std::string description;
  std::vector<std::string> tags;
  // Declarations (params) with their final types, matrix values included. Always an object.
  Json declarations = Json::object();
  // A command line for /bin/bash -c, spaces as written; a list in the file is joined with " && ".
  // Empty if the specification has none.
  std::string cmd;
  std::string framework;
  std::string backend;
  std::string logging_level = "INFO";
  Environment environment;
  std::optional<BuildSpec> build;
  // The whole specification after rendering, with hptuning removed.
  Json rendered = Json::object();
};

struct RenderOptions {
  const Marks* marks = nullptr;
  // One suggestion of a group: values by matrix name. They are declarations of the run.
  Json matrix = Json::object();
};

// Validates `raw` and resolves every template in it. Of a group it makes one member (kind
// experiment); without `matrix` values, names of the matrix are undefined then.
Result<ExperimentSpec> Render(const Json& raw, const RenderOptions& options = {});

}  // namespace px::spec
