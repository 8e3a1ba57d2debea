#include "launcher/search.h"

#include <gtest/gtest.h>

#include "launcher/early_stopping.h"

namespace px::launcher {
namespace {

using spec::Json;

class EarlyStoppingTest : public ::testing::Test {
 protected:
  static spec::EarlyStopping Rule(const std::string& policy, int interval = 1, int percent = 0) {
    return {.metric = {.name = "acc", .maximize = true},
            .value = 0.9,
            .policy = policy,
            .evaluation_interval = interval,
            .percent = percent};
  }
  const std::vector<Curve> curves_{{{0.1, 0.1}, true}, {{0.5, 0.6}, true}, {{0.7, 0.8}, false}};
};

TEST_F(EarlyStoppingTest, GoalIsTheLastValue) {
  EXPECT_FALSE(HasReached(Rule("all"), {{0.95, 0.1}, true}));
  EXPECT_TRUE(HasReached(Rule("all"), {{0.1, 0.9}, true}));
  EXPECT_FALSE(HasReached(Rule("all"), {}));
}

TEST_F(EarlyStoppingTest, MedianAndAverageStopTheWorstRunningOnes) {
  EXPECT_EQ(WorstToStop(Rule("median"), curves_), (std::vector<size_t>{0}));
  EXPECT_EQ(WorstToStop(Rule("average"), curves_), (std::vector<size_t>{0}));
  EXPECT_EQ(WorstToStop(Rule("all"), curves_), std::vector<size_t>{});
}

TEST_F(EarlyStoppingTest, TruncationStopsAShare) {
  EXPECT_EQ(WorstToStop(Rule("truncation", 1, 34), curves_), (std::vector<size_t>{0}));
  EXPECT_EQ(WorstToStop(Rule("truncation", 1, 70), curves_), (std::vector<size_t>{0, 1}));
}

TEST_F(EarlyStoppingTest, NobodyIsJudgedBeforeTheIntervalOrAgainstOneAlone) {
  EXPECT_EQ(WorstToStop(Rule("median", 3), curves_), std::vector<size_t>{});
  EXPECT_EQ(WorstToStop(Rule("median"), {curves_[0], curves_[1]}), std::vector<size_t>{});
}

class SearchTest : public ::testing::Test {
 protected:
  static spec::GroupSpec Hyperband() {
    const auto raw = spec::ReadText(
        "version: 1\nkind: group\nhptuning:\n  hyperband: {max_iter: 9, eta: 3, resume: true, "
        "resource: {name: steps, type: int}, metric: {name: loss, optimization: minimize}}\n"
        "  matrix: {lr: {uniform: '0:1'}}\nrun: {cmd: 'train {{ lr }} {{ steps }}'}\n",
        "group.yml");
    return *spec::ParseGroup(*raw);
  }
  // What becomes of proposals that all succeed, with lr as their loss.
  static void Run(const std::vector<Proposal>& proposals, std::vector<SearchMember>& members) {
    for (const Proposal& proposal : proposals) {
      members.push_back({.id = {static_cast<int64_t>(members.size()) + 1},
                         .state = catalog::State::kSucceeded,
                         .plan = proposal.plan,
                         .metric = proposal.values["lr"].get<double>()});
    }
  }
};

TEST_F(SearchTest, HyperbandEndsAfterItsRungs) {
  const spec::GroupSpec group = Hyperband();
  std::vector<SearchMember> members;
  std::vector<size_t> sizes;
  for (auto next = Propose(group, 1, members); !next.empty(); next = Propose(group, 1, members)) {
    sizes.push_back(next.size());
    Run(next, members);
  }
  // Brackets (9, 3, 1), (5, 1) and (3), side by side.
  EXPECT_EQ(sizes, (std::vector<size_t>{9 + 5 + 3, 3 + 1, 1}));
}

TEST_F(SearchTest, TheSameIsProposedAgainByAnotherScheduler) {
  const spec::GroupSpec group = Hyperband();
  std::vector<SearchMember> members;
  Run(Propose(group, 1, {}), members);
  const auto once = Propose(group, 1, members);
  const auto twice = Propose(group, 1, members);
  ASSERT_EQ(once.size(), twice.size());
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].plan, twice[i].plan);
    EXPECT_EQ(once[i].promoted, twice[i].promoted);
  }
}

TEST_F(SearchTest, ARungWaitsForItsLastAndPassesOverTheFailed) {
  const spec::GroupSpec group = Hyperband();
  std::vector<SearchMember> members;
  Run(Propose(group, 1, {}), members);
  members[0].state = catalog::State::kRunning;
  for (const auto& proposal : Propose(group, 1, members)) EXPECT_EQ(proposal.plan["bracket"], 1);
  for (SearchMember& member : members) {
    if (member.plan["bracket"] == 0) member.state = catalog::State::kFailed;
  }
  for (const auto& proposal : Propose(group, 1, members)) EXPECT_EQ(proposal.plan["bracket"], 1);
}

}  // namespace
}  // namespace px::launcher
