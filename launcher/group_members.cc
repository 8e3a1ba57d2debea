#include "launcher/group_members.h"

#include <set>

#include "launcher/checkpoints.h"
#include "launcher/submit.h"

namespace px::launcher {
namespace {

using catalog::Experiment;

Done SetStrategy(Context& context, const spec::GroupSpec& group, const Proposal& proposal,
                 catalog::NewExperiment& request) {
  if (!proposal.promoted) return {};
  request.original = proposal.promoted;
  request.strategy = catalog::Strategy::kRestart;
  if (!group.hyperband.resume) return {};
  PXL_ASSIGN(catalog::Catalog * catalog, context.Catalog());
  PXL_ASSIGN(OutputsFs * outputs, context.Outputs());
  PXL_ASSIGN(const Experiment source, catalog->GetExperiment(proposal.promoted));
  PXL_ASSIGN(const auto found, FindCheckpoints(*outputs, context.layout().Outputs(source)));
  if (NewestWhole(found) != nullptr) request.strategy = catalog::Strategy::kResume;
  return {};
}

// Written to its end in the metric's own time: the last value.
Outcome<std::optional<double>> LastValue(catalog::Catalog& catalog, catalog::ExperimentId id,
                                         const std::string& metric) {
  if (metric.empty()) return std::optional<double>();
  PXL_ASSIGN(const auto points, catalog.LastMetrics(id));
  for (const auto& point : points) {
    if (point.name == metric) return std::optional<double>(point.value);
  }
  return std::optional<double>();
}

}  // namespace

Outcome<std::vector<catalog::NewExperiment>> MakeMembers(
    Context& context, const spec::GroupSpec& group, const spec::Json& raw, const spec::Marks& marks,
    const std::vector<Proposal>& proposals, const MemberDefaults& defaults) {
  std::vector<catalog::NewExperiment> members;
  for (const Proposal& proposal : proposals) {
    const spec::Json member = spec::MemberSpec(raw, proposal.values);
    PXL_ASSIGN(const spec::ExperimentSpec rendered, CheckRunnable(member, marks));
    catalog::NewExperiment request;
    request.user = defaults.user;
    request.tags = defaults.tags;
    request.code_snapshot = defaults.code_snapshot;
    request.ttl_s = defaults.ttl_s;
    request.raw_spec = Dump(member);
    request.plan = Dump(proposal.plan);
    PXL_TRY(SetStrategy(context, group, proposal, request));
    ApplySpec(rendered, request);
    members.push_back(std::move(request));
  }
  return members;
}

Outcome<std::vector<Experiment>> OwnMembers(catalog::Catalog& catalog,
                                            const catalog::Group& group) {
  PXL_ASSIGN(std::vector<Experiment> members,
             catalog.ListExperiments(
                 {.project = group.project, .independent_only = false, .group = group.id}));
  // Groups of an older px have no plans; their members are no clones.
  std::erase_if(members,
                [](const Experiment& member) { return member.plan.empty() && member.is_clone(); });
  return std::vector<Experiment>(members.rbegin(), members.rend());
}

Outcome<std::vector<SearchMember>> SearchMembers(catalog::Catalog& catalog,
                                                 const catalog::Group& group,
                                                 const std::string& metric) {
  std::vector<SearchMember> found;
  std::set<std::string> places;
  catalog::Group from = group;
  while (true) {
    PXL_ASSIGN(const auto members, OwnMembers(catalog, from));
    for (const Experiment& member : members) {
      const spec::Json plan = spec::Json::parse(member.plan, nullptr, /*allow_exceptions=*/false);
      if (!plan.is_object() || !places.insert(PlaceOf(plan)).second) continue;
      PXL_ASSIGN(const auto value, LastValue(catalog, member.id, metric));
      found.push_back({.id = member.id, .state = member.state, .plan = plan, .metric = value});
    }
    if (from.strategy != catalog::Strategy::kResume) return found;
    auto original = catalog.FindGroup(from.project, from.original_number);
    if (!original) return found;  // deleted meanwhile
    from = std::move(*original);
  }
}

std::string AlgorithmName(spec::Algorithm algorithm) {
  switch (algorithm) {
    case spec::Algorithm::kGrid:
      return "grid";
    case spec::Algorithm::kRandom:
      return "random";
    case spec::Algorithm::kHyperband:
      return "hyperband";
    case spec::Algorithm::kBo:
      return "bo";
  }
  return "";
}

}  // namespace px::launcher
