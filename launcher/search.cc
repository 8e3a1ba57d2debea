#include "launcher/search.h"

#include <algorithm>
#include <map>

namespace px::launcher {
namespace {

using catalog::State;
using spec::Json;

// A generator of its own for each part of a search, whatever the other parts have drawn.
spec::Rng RngFor(const spec::GroupSpec& group, uint64_t seed, uint64_t part) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
  return spec::Rng(group.seed.value_or(seed) + kGolden * part);
}

bool AllDone(const std::vector<const SearchMember*>& members) {
  return std::all_of(members.begin(), members.end(),
                     [](const SearchMember* member) { return catalog::IsDone(member->state); });
}

std::vector<Proposal> ProposeList(const std::vector<Json>& suggestions) {
  std::vector<Proposal> proposals;
  for (size_t i = 0; i < suggestions.size(); ++i) {
    proposals.push_back({.plan = {{"slot", i}, {"suggestion", suggestions[i]}},
                         .values = suggestions[i],
                         .promoted = {}});
  }
  return proposals;
}

// Those with a result, in the order of `members`; the trial's index is that of `from`.
struct Results {
  std::vector<spec::Trial> trials;
  std::vector<const SearchMember*> from;
};

Results ResultsOf(const std::vector<const SearchMember*>& members) {
  Results results;
  for (const SearchMember* member : members) {
    if (member->state == State::kFailed || !member->metric) continue;
    results.trials.push_back({member->plan.value("suggestion", Json::object()), *member->metric});
    results.from.push_back(member);
  }
  return results;
}

// ---- Hyperband ----

Proposal AtRung(const spec::GroupSpec& group, const spec::Rung& rung, size_t bracket, size_t level,
                size_t slot, const Json& suggestion) {
  Json values = suggestion;
  values[group.hyperband.resource_name] = spec::ResourceValue(group, rung);
  return {
      .plan = {{"bracket", bracket}, {"rung", level}, {"slot", slot}, {"suggestion", suggestion}},
      .values = std::move(values),
      .promoted = {}};
}

std::vector<Proposal> ProposeHyperband(const spec::GroupSpec& group, uint64_t seed,
                                       const std::vector<SearchMember>& members) {
  std::map<std::pair<size_t, size_t>, std::vector<const SearchMember*>> rungs;
  for (const SearchMember& member : members) {
    rungs[{member.plan.value("bracket", size_t{0}), member.plan.value("rung", size_t{0})}]
        .push_back(&member);
  }
  std::vector<Proposal> proposals;
  const auto brackets = spec::HyperbandBrackets(group.hyperband.max_iter, group.hyperband.eta);
  for (size_t b = 0; b < brackets.size(); ++b) {
    const auto& levels = brackets[b].rungs;
    if (levels.empty()) continue;
    if (!rungs.contains({b, 0})) {
      spec::Rng rng = RngFor(group, seed, b + 1);
      const auto suggestions = spec::RandomSample(group, levels[0].n_configs, rng);
      for (size_t i = 0; i < suggestions.size(); ++i) {
        proposals.push_back(AtRung(group, levels[0], b, 0, i, suggestions[i]));
      }
      continue;
    }
    for (size_t r = 0; r + 1 < levels.size(); ++r) {
      const auto here = rungs.find({b, r});
      if (here == rungs.end() || !AllDone(here->second)) break;
      if (rungs.contains({b, r + 1})) continue;
      const Results results = ResultsOf(here->second);
      const auto best = spec::BestTrials(results.trials, group.hyperband.metric.maximize,
                                         static_cast<size_t>(levels[r].n_keep));
      for (size_t i = 0; i < best.size(); ++i) {
        proposals.push_back(
            AtRung(group, levels[r + 1], b, r + 1, i, results.trials[best[i]].suggestion));
        proposals.back().promoted = results.from[best[i]]->id;
      }
      break;
    }
  }
  return proposals;
}

// ---- Bayesian optimization ----

Proposal AsTrial(size_t trial, const Json& suggestion) {
  return {
      .plan = {{"trial", trial}, {"suggestion", suggestion}}, .values = suggestion, .promoted = {}};
}

std::vector<Proposal> ProposeBo(const spec::GroupSpec& group, uint64_t seed,
                                const std::vector<SearchMember>& members) {
  std::vector<Proposal> proposals;
  if (members.empty()) {
    spec::Rng rng = RngFor(group, seed, 0);
    const auto initial = spec::RandomSearch(group, rng);
    for (size_t i = 0; i < initial.size(); ++i) proposals.push_back(AsTrial(i, initial[i]));
    return proposals;
  }
  std::vector<const SearchMember*> all;
  size_t next = 0;
  for (const SearchMember& member : members) {
    all.push_back(&member);
    next = std::max(next, member.plan.value("trial", size_t{0}) + 1);
  }
  const auto total = static_cast<size_t>(group.bo.n_initial_trials + group.bo.n_iterations);
  if (next >= total || !AllDone(all)) return proposals;
  spec::Rng rng = RngFor(group, seed, next);
  proposals.push_back(AsTrial(next, spec::SuggestBo(group, ResultsOf(all).trials, rng)));
  return proposals;
}

}  // namespace

std::vector<Proposal> Propose(const spec::GroupSpec& group, uint64_t seed,
                              const std::vector<SearchMember>& members) {
  switch (group.algorithm) {
    case spec::Algorithm::kGrid:
      return members.empty() ? ProposeList(spec::Grid(group)) : std::vector<Proposal>{};
    case spec::Algorithm::kRandom: {
      if (!members.empty()) return {};
      spec::Rng rng = spec::MakeRng(group, seed);
      return ProposeList(spec::RandomSearch(group, rng));
    }
    case spec::Algorithm::kHyperband:
      return ProposeHyperband(group, seed, members);
    case spec::Algorithm::kBo:
      return ProposeBo(group, seed, members);
  }
  return {};
}

std::string SearchMetric(const spec::GroupSpec& group) {
  if (group.algorithm == spec::Algorithm::kHyperband) return group.hyperband.metric.name;
  if (group.algorithm == spec::Algorithm::kBo) return group.bo.metric.name;
  return "";
}

std::string PlaceOf(const Json& plan) {
  Json place = plan;
  place.erase("suggestion");
  return place.dump();
}

}  // namespace px::launcher
