#include "launcher/group_clone.h"

#include <map>

#include "launcher/checkpoints.h"
#include "launcher/group_members.h"
#include "launcher/group_scheduler.h"
#include "launcher/process.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

using catalog::Experiment;
using catalog::Group;
using catalog::State;
using catalog::Strategy;

bool IsSearch(const spec::GroupSpec& group) {
  return group.algorithm == spec::Algorithm::kHyperband || group.algorithm == spec::Algorithm::kBo;
}

std::string What(const Group& group, Strategy strategy) {
  return "cannot " + std::string(catalog::StrategyName(strategy)) + " group " +
         std::to_string(group.number);
}

// The last of those that used a member's outputs: it, or the newest resume of it.
Outcome<Experiment> Newest(catalog::Catalog& catalog, const Experiment& member) {
  PXL_ASSIGN(const auto resumes, catalog.ResumesOf(member.root));
  if (resumes.empty() || resumes.back().number < member.number) return member;
  return resumes.back();
}

class GroupCloner {
 public:
  GroupCloner(Context& context, catalog::Catalog& catalog, const Group& source,
              const CloneOptions& options)
      : context_(context), catalog_(catalog), source_(source), options_(options) {}

  Outcome<GroupCloneResult> Make() {
    PXL_TRY(CheckEnded());
    PXL_TRY(Override());
    PXL_TRY(MakeCode());
    const bool anew = IsSearch(spec_) && options_.strategy != Strategy::kResume;
    if (anew && options_.strategy == Strategy::kCopy) {
      return Refuse(ExitCode::kUsage,
                    What(source_, options_.strategy) + ": a search tries other values each time",
                    "px-launch group -g " + std::to_string(source_.number) + " restart");
    }
    std::vector<catalog::NewExperiment> members;
    if (anew) {
      PXL_ASSIGN(members, Anew());
    } else {
      PXL_ASSIGN(members, FromMembers());
    }
    PXL_TRY(context_.Outputs());
    PXL_ASSIGN(result_.group, catalog_.CreateGroup(Request(), members));
    PXL_TRY(StartScheduler(context_, result_.group));
    return result_;
  }

 private:
  Done CheckEnded() const {
    if (catalog::IsDone(source_.state)) return {};
    return Refuse(
        ExitCode::kBusy,
        What(source_, options_.strategy) + ": it is still " + std::string(StateName(source_.state)),
        "px-launch group -g " + std::to_string(source_.number) + " stop");
  }

  Done Override() {
    PXL_ASSIGN(raw_, spec::ReadText(source_.raw_spec, "group.json"));
    if (!options_.files.empty()) {
      PXL_ASSIGN(override_, ReadSpecFiles(options_.files, marks_));
      const auto problems =
          spec::Validate(override_, {.marks = &marks_, .override_of = spec::Kind::kGroup});
      if (!problems.empty()) PXL_TRY(Status(Forward(spec::ToError(problems))));
      raw_ = spec::Merge(raw_, override_);
    }
    PXL_ASSIGN(spec_, spec::ParseGroup(raw_, {.marks = &marks_}));
    // What is left for the members.
    override_.erase("hptuning");
    override_.erase("kind");
    return {};
  }

  Done MakeCode() {
    code_ = source_.code_snapshot;
    if (!options_.upload) return {};
    PXL_ASSIGN(const catalog::Project project, catalog_.GetProject(source_.project));
    PXL_ASSIGN(code_, SnapshotWorkingDirectory(context_, project));
    return {};
  }

  Outcome<std::vector<catalog::NewExperiment>> Anew() {
    PXL_ASSIGN(const auto old, OwnMembers(catalog_, source_));
    const MemberDefaults defaults{.user = context_.config().user,
                                  .tags = source_.tags,
                                  .code_snapshot = code_,
                                  .ttl_s = old.empty() ? 0 : old.front().ttl_s};
    PXL_ASSIGN(auto members,
               MakeMembers(context_, spec_, raw_, marks_,
                           Propose(spec_, static_cast<uint64_t>(source_.seed), {}), defaults));
    result_.fresh = static_cast<int64_t>(members.size());
    return members;
  }

  Outcome<std::vector<catalog::NewExperiment>> FromMembers() {
    PXL_ASSIGN(const auto old, OwnMembers(catalog_, source_));
    std::vector<catalog::NewExperiment> members;
    for (const Experiment& member : old) {
      PXL_ASSIGN(const Experiment newest, Newest(catalog_, member));
      if (options_.strategy == Strategy::kResume && newest.state == State::kSucceeded) {
        ++result_.kept;
        continue;
      }
      PXL_ASSIGN(catalog::NewExperiment request, FromMember(newest));
      // A restarted or copied search has new places; here each keeps its own.
      request.plan =
          member.plan.empty() ? "{\"slot\":" + std::to_string(members.size()) + "}" : member.plan;
      members.push_back(std::move(request));
    }
    if (members.empty() && !IsSearch(spec_)) {
      return Refuse(ExitCode::kFailed,
                    What(source_, options_.strategy) + ": all of its " +
                        std::to_string(old.size()) + " experiments succeeded",
                    "px-launch group -g " + std::to_string(source_.number) + " restart");
    }
    return members;
  }

  Outcome<catalog::NewExperiment> FromMember(const Experiment& member) {
    CloneOptions options = options_;
    options.files.clear();
    PXL_ASSIGN(options.strategy, StrategyFor(member));
    if (options.strategy == Strategy::kResume) PXL_TRY(CheckNotInUse(catalog_, member));
    ++(options.strategy == Strategy::kResume ? result_.resumed
       : options.strategy == Strategy::kCopy ? result_.copied
                                             : result_.fresh);
    PXL_ASSIGN(catalog::NewExperiment request, MakeClone(context_, member, options, override_));
    request.code_snapshot = code_;
    return request;
  }

  // One that never began, or saved nothing, has nothing to go on from.
  Outcome<Strategy> StrategyFor(const Experiment& member) {
    if (options_.strategy == Strategy::kRestart) return Strategy::kRestart;
    PXL_ASSIGN(OutputsFs * outputs, context_.Outputs());
    const std::string path = context_.layout().Outputs(member);
    PXL_ASSIGN(const bool exists, outputs->Exists(path));
    if (!exists) return Strategy::kRestart;
    if (options_.strategy == Strategy::kCopy || options_.allow_fresh) return options_.strategy;
    PXL_ASSIGN(const auto found, FindCheckpoints(*outputs, path));
    for (const Checkpoint& checkpoint : found) {
      // MakeClone refuses it with the reason, or puts it back.
      if (checkpoint.restorable) return Strategy::kResume;
    }
    return NewestWhole(found) != nullptr ? Strategy::kResume : Strategy::kRestart;
  }

  catalog::NewGroup Request() const {
    catalog::NewGroup request;
    request.project = source_.project;
    request.user = context_.config().user;
    request.name = source_.name;
    request.description = source_.description;
    request.tags = source_.tags;
    request.raw_spec = Dump(raw_);
    request.algorithm = AlgorithmName(spec_.algorithm);
    request.concurrency = spec_.concurrency;
    request.code_snapshot = code_;
    request.strategy = options_.strategy;
    request.original_number = source_.number;
    request.seed = source_.seed;
    request.owner = Self();
    return request;
  }

  Context& context_;
  catalog::Catalog& catalog_;
  const Group& source_;
  const CloneOptions& options_;
  spec::Marks marks_;
  spec::Json raw_;
  spec::Json override_ = spec::Json::object();
  spec::GroupSpec spec_;
  std::string code_;
  GroupCloneResult result_;
};

}  // namespace

Outcome<GroupCloneResult> CloneGroup(Context& context, const Group& source,
                                     const CloneOptions& options) {
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  return GroupCloner(context, *catalog, source, options).Make();
}

}  // namespace px::launcher
