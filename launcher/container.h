// Containers: an experiment with a build section runs in its image where podman or docker is at
// hand, and a `kind: build` makes the image. Without an engine experiments run on the machine
// itself.
//
// The engine is a client that the job's shell becomes: its processes, and with podman those of the
// container too, are the job's. What docker's daemon started is removed by name afterwards.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog_types.h"
#include "launcher/paths.h"
#include "launcher/process.h"
#include "launcher/spec/spec.h"

namespace px::launcher {

// True if the specification names an image or a Dockerfile.
bool WantsContainer(const spec::ExperimentSpec& spec);

// The engine's program, if there is one that answers. `setting` is auto, none, podman, docker, or a
// program's path.
std::optional<std::string> FindEngine(const std::string& setting);
// "this machine has no podman and no docker that answers", or that it was switched off.
std::string NoEngine(const std::string& setting);

struct ContainerRun {
  std::string engine;
  std::string name;                 // of the container
  std::string tag;                  // of the image, if one is built
  std::string directory;            // to run in
  std::vector<std::string> mounts;  // directories, seen under their own names
  std::vector<std::string> gpus;    // UUIDs
};

// For one attempt in `directory`: its outputs, its metrics file's directory and `directory` bound.
ContainerRun MakeContainerRun(const std::string& engine, const catalog::Experiment& experiment,
                              const catalog::Run& run, const std::string& directory,
                              const std::vector<std::string>& gpus, const Layout& layout);
// PROJECT's image for that experiment or build: "px/user_project:7".
std::string ImageTag(const catalog::Experiment& experiment);
// The command line for bash that does what the specification says: for a build BuildCommand, else
// RunCommand.
std::string InContainer(const spec::ExperimentSpec& spec, const ContainerRun& run,
                        const Environment& environment);
// The command line for bash that builds the image.
std::string BuildCommand(const spec::BuildSpec& build, const ContainerRun& run);
// The one that builds it if there is anything to build, and becomes the container that runs
// `spec.cmd`. Of `environment` the names are passed on.
std::string RunCommand(const spec::ExperimentSpec& spec, const ContainerRun& run,
                       const Environment& environment);

// How a run's row says that it is in a container, and what was said.
std::string DescribeContainer(const std::string& engine);
// Removes the container of a run that was described so; nothing for other runs. Best effort.
void RemoveContainer(const catalog::Run& run);

}  // namespace px::launcher
