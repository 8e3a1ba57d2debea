#include "launcher/container.h"

#include <algorithm>
#include <cctype>

#include "base/log.h"
#include "launcher/files.h"

namespace px::launcher {
namespace {

constexpr std::string_view kDescription = "container by ";

bool IsDocker(const std::string& engine) { return NameOf("/" + engine).starts_with("docker"); }

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// As Polyaxon's: the code in /code, the steps after it.
std::string Dockerfile(const spec::BuildSpec& build) {
  std::string text = "FROM " + build.image + "\n";
  for (const auto& [name, value] : build.env_vars) {
    text += "ENV " + name + "=\"";
    for (const char c : value) text += (c == '"' || c == '\\' ? "\\" : "") + std::string(1, c);
    text += "\"\n";
  }
  text += "WORKDIR /code\nCOPY . /code\n";
  for (const std::string& step : build.build_steps) text += "RUN " + step + "\n";
  return text;
}

std::string GpuOptions(const ContainerRun& run) {
  if (run.gpus.empty()) return "";
  std::string text;
  if (!IsDocker(run.engine)) {
    for (const std::string& gpu : run.gpus) text += " --device nvidia.com/gpu=" + gpu;
    return text;
  }
  for (const std::string& gpu : run.gpus) text += (text.empty() ? "" : ",") + gpu;
  return " --gpus " + Quoted("\"device=" + text + "\"");
}

}  // namespace

bool WantsContainer(const spec::ExperimentSpec& spec) {
  return spec.build && (!spec.build->image.empty() || !spec.build->dockerfile.empty());
}

std::optional<std::string> FindEngine(const std::string& setting) {
  if (setting == "none") return {};
  const bool choose = setting.empty() || setting == "auto";
  for (const std::string& program :
       choose ? std::vector<std::string>{"podman", "docker"} : std::vector{setting}) {
    // A docker whose daemon does not run has a client that fails here.
    const auto version = RunProgram({program, "version"});
    if (version && version->exit_code == 0) return program;
  }
  return {};
}

std::string NoEngine(const std::string& setting) {
  if (setting == "none") return "containers are switched off (engine: none)";
  if (setting.empty() || setting == "auto") {
    return "this machine has no podman and no docker that answers";
  }
  return setting + " does not answer";
}

std::string ImageTag(const catalog::Experiment& experiment) {
  std::string name = experiment.project_user + "_" + experiment.project_name;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return "px/" + name + ":" + std::to_string(experiment.number);
}

ContainerRun MakeContainerRun(const std::string& engine, const catalog::Experiment& experiment,
                              const catalog::Run& run, const std::string& directory,
                              const std::vector<std::string>& gpus, const Layout& layout) {
  const std::string outputs = layout.Outputs(experiment);
  ContainerRun made{.engine = engine,
                    .name = run.GroupName(),
                    .tag = ImageTag(experiment),
                    .directory = directory,
                    .mounts = {outputs, ParentOf(layout.MetricsFile(experiment))},
                    .gpus = gpus};
  if (directory != outputs) made.mounts.push_back(directory);
  return made;
}

std::string InContainer(const spec::ExperimentSpec& spec, const ContainerRun& run,
                        const Environment& environment) {
  if (spec.kind == spec::Kind::kBuild) return BuildCommand(*spec.build, run);
  return RunCommand(spec, run, environment);
}

std::string BuildCommand(const spec::BuildSpec& build, const ContainerRun& run) {
  std::string text = run.engine + " build -t " + run.tag + (build.nocache ? " --no-cache" : "");
  const std::string context = Quoted(build.context.empty() ? "." : build.context);
  if (!build.dockerfile.empty()) return text + " -f " + Quoted(build.dockerfile) + " " + context;
  // A word that no line of the file is.
  const std::string end = "END-" + run.name;
  return text + " -f - " + context + " <<'" + end + "'\n" + Dockerfile(build) + end + "\n";
}

std::string RunCommand(const spec::ExperimentSpec& spec, const ContainerRun& run,
                       const Environment& environment) {
  const spec::BuildSpec& build = *spec.build;
  std::string text;
  std::string image = build.image;
  if (!build.dockerfile.empty() || !build.build_steps.empty()) {
    image = run.tag;
    text = "set -e\n" + BuildCommand(build, run) + "\n";
  }
  text += "exec " + run.engine + " run --rm --init --network host --name " + run.name;
  // The container's processes stay in the job's cgroup: its limits hold, and its end is theirs.
  if (!IsDocker(run.engine)) text += " --cgroups=disabled";
  for (const std::string& mount : run.mounts) text += " -v " + Quoted(mount + ":" + mount);
  text += " -w " + Quoted(run.directory) + GpuOptions(run);
  for (const auto& [name, value] : environment) text += " -e " + name;
  return text + " " + Quoted(image) + " /bin/bash -c " + Quoted(spec.cmd);
}

std::string DescribeContainer(const std::string& engine) {
  return std::string(kDescription) + engine + "; ";
}

void RemoveContainer(const catalog::Run& run) {
  if (!run.containment.starts_with(kDescription)) return;
  const size_t begin = kDescription.size();
  const std::string engine = run.containment.substr(begin, run.containment.find(';') - begin);
  const auto removed = RunProgram({engine, "rm", "-f", run.GroupName()});
  if (!removed) LogWarn("{}", removed.error().ToString());
}

}  // namespace px::launcher
