#include "catalog/catalog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "catalog/schema/migrations.h"

namespace px::catalog {
namespace {

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "px-catalog-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    project_ = Open().CreateProject("user", "demo", "")->id;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path() const { return directory_ + "/catalog.db"; }
  Catalog Open() { return std::move(*Catalog::Open(Path(), clock_)); }

  NewExperiment Request(Strategy strategy = Strategy::kNone, ExperimentId original = {}) const {
    NewExperiment request;
    request.project = project_;
    request.user = "user";
    request.strategy = strategy;
    request.original = original;
    request.raw_spec = "{}";
    request.rendered_spec = "{}";
    request.owner = {.host = "h", .boot_id = "b", .pid = 1, .start_ticks = 2};
    return request;
  }
  Experiment Make(Strategy strategy = Strategy::kNone, ExperimentId original = {}) {
    auto made = Open().CreateExperiment(Request(strategy, original));
    EXPECT_TRUE(made) << made.error().ToString();
    return *made;
  }
  void End(const Experiment& experiment, State state = State::kSucceeded) {
    EXPECT_TRUE(Open().SetState(experiment.id, state, ""));
  }

  std::string directory_;
  SystemClock clock_;
  ProjectId project_;
};

TEST_F(CatalogTest, NumbersCountPerProject) {
  const ProjectId other = Open().CreateProject("user", "other", "")->id;
  EXPECT_EQ(Make().number, 1);
  EXPECT_EQ(Make().number, 2);
  NewExperiment request = Request();
  request.project = other;
  EXPECT_EQ(Open().CreateExperiment(request)->number, 1);
}

TEST_F(CatalogTest, ADeletedNumberIsNeverGivenAgain) {
  const Experiment first = Make();
  End(first);
  EXPECT_TRUE(Open().DeleteExperiment(first.id));
  EXPECT_EQ(Make().number, 2);
}

TEST_F(CatalogTest, GroupMembersTakeNumbersOfTheProject) {
  Make();
  NewGroup request;
  request.project = project_;
  request.user = "user";
  request.raw_spec = "{}";
  request.algorithm = "grid";
  const auto group = Open().CreateGroup(request, {Request(), Request()});
  ASSERT_TRUE(group) << group.error().ToString();
  EXPECT_EQ(group->number, 1);
  EXPECT_EQ(Make().number, 4);
  const auto member = Open().FindExperiment(project_, 3);
  EXPECT_EQ(member->group_number, 1);
  EXPECT_EQ(member->UniqueName(), "user.demo.1.3");
}

TEST_F(CatalogTest, AResumeOfAResumePointsToTheRoot) {
  const Experiment root = Make();
  End(root);
  const Experiment second = Make(Strategy::kResume, root.id);
  End(second);
  const Experiment third = Make(Strategy::kResume, second.id);
  EXPECT_EQ(third.original, root.id);
  EXPECT_EQ(third.original_number, 1);
  EXPECT_EQ(third.root, root.id);
  End(third);
  const Experiment copy = Make(Strategy::kCopy, third.id);
  EXPECT_EQ(copy.original, third.id);
  EXPECT_EQ(copy.root, copy.id);
}

TEST_F(CatalogTest, OnlyOneUsesTheOutputsAtATime) {
  const Experiment root = Make();
  EXPECT_EQ(Open().CreateExperiment(Request(Strategy::kResume, root.id)).error().code(), EBUSY);
  End(root);
  // Several at once: one wins.
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      Catalog catalog = Open();
      made += catalog.CreateExperiment(Request(Strategy::kResume, root.id)) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
}

TEST_F(CatalogTest, ADoneStateIsFinal) {
  const Experiment experiment = Make();
  End(experiment, State::kFailed);
  for (const State state : {State::kStopped, State::kRunning, State::kSucceeded, State::kCreated}) {
    EXPECT_EQ(Open().SetState(experiment.id, state, "").error().code(), EINVAL);
  }
  EXPECT_EQ(Open().GetExperiment(experiment.id)->state, State::kFailed);
  EXPECT_EQ(Open().Statuses(experiment.id)->size(), 2U);
}

TEST_F(CatalogTest, OnlyOneProcessTakesOver) {
  const Experiment experiment = Make();
  const ProcessIdentity mine{.host = "h", .boot_id = "b", .pid = 7, .start_ticks = 8};
  EXPECT_TRUE(Open().TakeOver(experiment.id, experiment.owner, mine));
  EXPECT_EQ(Open().TakeOver(experiment.id, experiment.owner, mine).error().code(), EBUSY);
  EXPECT_EQ(Open().GetExperiment(experiment.id)->owner, mine);
}

TEST_F(CatalogTest, DeletingTheOriginalKeepsItsCopies) {
  const Experiment original = Make();
  End(original);
  const Experiment copy = Make(Strategy::kCopy, original.id);
  EXPECT_TRUE(Open().DeleteExperiment(original.id));
  const auto kept = Open().GetExperiment(copy.id);
  EXPECT_FALSE(kept->original);
  EXPECT_EQ(kept->original_number, 1);
}

TEST_F(CatalogTest, GpusAreLeasedOnceAndInOrder) {
  NewExperiment request = Request();
  request.gpus = 2;
  const std::vector<std::string> gpus{"GPU-a", "GPU-b", "GPU-c"};
  Catalog catalog = Open();
  const Experiment first = *catalog.CreateExperiment(request);
  const Experiment second = *catalog.CreateExperiment(request);
  request.gpus = 1;
  const Experiment third = *catalog.CreateExperiment(request);
  for (const auto& e : {first, second, third}) {
    ASSERT_TRUE(catalog.SetState(e.id, State::kScheduled, ""));
  }
  EXPECT_EQ(*catalog.LeaseGpus(first.id, gpus), (std::vector<std::string>{"GPU-a", "GPU-b"}));
  EXPECT_TRUE(catalog.LeaseGpus(second.id, gpus)->empty());
  // One is free, but the second has waited longer.
  EXPECT_TRUE(catalog.LeaseGpus(third.id, gpus)->empty());
  End(first);
  EXPECT_EQ(catalog.LeaseGpus(second.id, gpus)->size(), 2U);
  EXPECT_EQ(catalog.LeaseGpus(third.id, gpus)->size(), 1U);
  EXPECT_EQ(catalog.GpuLeases()->size(), 3U);
}

TEST_F(CatalogTest, SharesOfAGpuAreGivenUntilItIsFull) {
  NewExperiment request = Request();
  request.gpus = 1;
  request.gpu_share = 400;
  const std::vector<std::string> gpus{"GPU-a", "GPU-b"};
  Catalog catalog = Open();
  std::vector<std::string> given;
  for (int i = 0; i < 3; ++i) {
    const Experiment e = *catalog.CreateExperiment(request);
    ASSERT_TRUE(catalog.SetState(e.id, State::kScheduled, ""));
    given.push_back(catalog.LeaseGpus(e.id, gpus)->at(0));
  }
  EXPECT_EQ(given, (std::vector<std::string>{"GPU-a", "GPU-a", "GPU-b"}));
  request.gpu_share = kWholeGpu;
  const Experiment whole = *catalog.CreateExperiment(request);
  ASSERT_TRUE(catalog.SetState(whole.id, State::kScheduled, ""));
  EXPECT_TRUE(catalog.LeaseGpus(whole.id, gpus)->empty());
}

TEST_F(CatalogTest, AGpuThatOthersUseIsNotGiven) {
  NewExperiment request = Request();
  request.gpus = 1;
  Catalog catalog = Open();
  const Experiment e = *catalog.CreateExperiment(request);
  ASSERT_TRUE(catalog.SetState(e.id, State::kScheduled, ""));
  EXPECT_TRUE(catalog.LeaseGpus(e.id, {"GPU-a"}, {"GPU-a"})->empty());
  EXPECT_EQ(catalog.LeaseGpus(e.id, {"GPU-a", "GPU-b"}, {"GPU-a"})->at(0), "GPU-b");
}

// One that has a lease, made before there were kinds and shares.
TEST_F(CatalogTest, ACatalogOfVersion2IsBroughtUpToDate) {
  const std::string path = directory_ + "/old.db";
  {
    auto database = Database::Open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                   /*busy_timeout_ms=*/0, kPlainVfs);
    ASSERT_TRUE(database);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(database->Execute(std::string(Migrations()[static_cast<size_t>(i)])));
    }
    ASSERT_TRUE(database->Execute(
        "INSERT INTO users VALUES (1, 'user', 1);"
        "INSERT INTO projects (id, user_id, name, uuid, created_at, last_experiment) "
        "VALUES (1, 1, 'demo', 'p', 1, 1);"
        "INSERT INTO experiments (id, project_id, number, uuid, user, root_id, root_number, "
        "raw_spec, overrides, rendered_spec, gpus, state, created_at, updated_at) "
        "VALUES (1, 1, 1, 'e', 'user', 1, 1, '{}', '[]', '{}', 1, 'running', 1, 1);"
        "INSERT INTO gpu_leases VALUES ('GPU-a', 1, 7);"
        "PRAGMA application_id = 1886929729; PRAGMA user_version = 2;"));
  }
  auto catalog = Catalog::Open(path, clock_);
  ASSERT_TRUE(catalog) << catalog.error().ToString();
  const auto leases = catalog->GpuLeases();
  ASSERT_EQ(leases->size(), 1U);
  EXPECT_EQ(leases->front().gpu, "GPU-a");
  EXPECT_EQ(leases->front().share, kWholeGpu);
  EXPECT_EQ(leases->front().since, 7);
  const auto experiment = catalog->FindExperiment(ProjectId{1}, 1);
  ASSERT_TRUE(experiment);
  EXPECT_EQ(experiment->kind, Kind::kExperiment);
  EXPECT_EQ(experiment->gpu_share, kWholeGpu);
  ASSERT_TRUE(catalog->SetState(experiment->id, State::kSucceeded, ""));
  EXPECT_TRUE(catalog->GpuLeases()->empty());
}

// Whatever a program thinks that it may do.
TEST_F(CatalogTest, TheSchemaRefusesToGiveAGpuTwice) {
  NewExperiment request = Request();
  request.gpus = 1;
  Catalog catalog = Open();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(catalog.CreateExperiment(request));
  auto database = Database::Open(Path(), SQLITE_OPEN_READWRITE, 0, kCheckedVfs);
  ASSERT_TRUE(database);
  const std::string insert = "INSERT INTO gpu_leases (gpu, experiment_id, share, since) VALUES ";
  EXPECT_TRUE(database->Execute(insert + "('GPU-a', 1, 600, 0)"));
  EXPECT_FALSE(database->Execute(insert + "('GPU-a', 2, 600, 0)"));
  EXPECT_TRUE(database->Execute(insert + "('GPU-a', 2, 400, 0)"));
}

TEST_F(CatalogTest, ManyProcessesMayOpenANewOneAtOnce) {
  const std::string path = directory_ + "/fresh.db";
  std::atomic<int> opened = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { opened += Catalog::Open(path, clock_) ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(opened, 8);
}

TEST_F(CatalogTest, ANewerSchemaIsRefused) {
  {
    auto database = Database::Open(Path(), SQLITE_OPEN_READWRITE, 1000, kCheckedVfs);
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 99"));
  }
  const auto opened = Catalog::Open(Path(), clock_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), EPROTO);
}

TEST_F(CatalogTest, AForeignFileIsCorrupt) {
  const std::string path = directory_ + "/text";
  {
    std::ofstream(path) << "this is no database, whatever its name may say about it ......";
  }
  EXPECT_EQ(Catalog::Open(path, clock_).error().code(), EUCLEAN);
}

}  // namespace
}  // namespace px::catalog
