#include "catalog/catalog_types.h"

#include <array>
#include <utility>

namespace px::catalog {
namespace {

constexpr std::array<std::pair<State, std::string_view>, 13> kStates{{
    {State::kCreated, "created"},
    {State::kResuming, "resuming"},
    {State::kBuilding, "building"},
    {State::kScheduled, "scheduled"},
    {State::kUnschedulable, "unschedulable"},
    {State::kStarting, "starting"},
    {State::kRunning, "running"},
    {State::kWarning, "warning"},
    {State::kUnknown, "unknown"},
    {State::kSucceeded, "succeeded"},
    {State::kFailed, "failed"},
    {State::kStopped, "stopped"},
    {State::kSkipped, "skipped"},
}};

constexpr std::array<std::pair<Strategy, std::string_view>, 4> kStrategies{{
    {Strategy::kNone, ""},
    {Strategy::kResume, "resume"},
    {Strategy::kRestart, "restart"},
    {Strategy::kCopy, "copy"},
}};

}  // namespace

std::string_view StateName(State state) {
  for (const auto& [value, name] : kStates) {
    if (value == state) return name;
  }
  return "unknown";
}

Result<State> ParseState(std::string_view name) {
  for (const auto& [value, text] : kStates) {
    if (text == name) return value;
  }
  return Fail(EUCLEAN, "unknown status '" + std::string(name) + "'");
}

bool IsDone(State state) {
  return state == State::kSucceeded || state == State::kFailed || state == State::kStopped ||
         state == State::kSkipped;
}

bool MayBecome(State from, State to) {
  if (IsDone(from)) return false;
  switch (to) {
    case State::kCreated:
      return false;
    case State::kResuming:
      return from == State::kCreated || from == State::kWarning;
    case State::kBuilding:
      return from == State::kCreated || from == State::kResuming || from == State::kWarning ||
             from == State::kUnknown;
    case State::kScheduled:
    case State::kUnschedulable:
      return from != State::kStarting && from != State::kRunning && from != to;
    case State::kStarting:
      return from != State::kRunning && from != State::kStarting;
    case State::kRunning:
      return from != State::kRunning;
    case State::kWarning:
    case State::kUnknown:
    case State::kSucceeded:
    case State::kFailed:
    case State::kStopped:
    case State::kSkipped:
      return true;
  }
  return false;
}

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kExperiment:
      return "experiment";
    case Kind::kJob:
      return "job";
    case Kind::kBuild:
      return "build";
  }
  return "";
}

Result<Kind> ParseKind(std::string_view name) {
  for (const Kind kind : {Kind::kExperiment, Kind::kJob, Kind::kBuild}) {
    if (KindName(kind) == name) return kind;
  }
  return Fail(EUCLEAN, "unknown kind '" + std::string(name) + "'");
}

std::string_view StrategyName(Strategy strategy) {
  for (const auto& [value, name] : kStrategies) {
    if (value == strategy) return name;
  }
  return "";
}

Result<Strategy> ParseStrategy(std::string_view name) {
  for (const auto& [value, text] : kStrategies) {
    if (text == name) return value;
  }
  return Fail(EUCLEAN, "unknown cloning strategy '" + std::string(name) + "'");
}

std::string Experiment::UniqueName() const {
  std::string unique = project_user + "." + project_name + ".";
  if (kind != Kind::kExperiment) unique += std::string(KindName(kind)) + "s.";
  if (group_number != 0) unique += std::to_string(group_number) + ".";
  return unique + std::to_string(number);
}

}  // namespace px::catalog
