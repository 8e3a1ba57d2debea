// A catalog.db that is damaged in more than a bit, made anew: what was on other pages is as it was.
#include "catalog/catalog_repair.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "catalog/catalog.h"
#include "catalog/database_image.h"
#include "tests/fuzz/random.h"

namespace px::catalog {
namespace {

namespace stdfs = std::filesystem;
using testing::Random;

constexpr size_t kPage = DatabaseImage::Page().size();
constexpr const char* kTables[] = {"users",      "projects",   "groups",  "experiments",
                                   "runs",       "statuses",   "metrics", "pinned_checkpoints",
                                   "gpu_leases", "gpu_history"};
// Rows that another may be about are put together again.
const std::set<std::string> kSubjects{"users", "projects", "groups", "experiments"};

using Rows = std::map<int64_t, std::string>;
using Dump = std::map<std::string, Rows>;

class CatalogRepairTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/px-repair-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    Fill();
    sound_ = directory_ + "/sound.db";
    stdfs::copy_file(Path(), sound_);
    before_ = DumpAll();
  }
  void TearDown() override { stdfs::remove_all(directory_); }

  std::string Path() const { return directory_ + "/catalog.db"; }
  Catalog Open() {
    auto opened = Catalog::Open(Path(), clock_);
    EXPECT_TRUE(opened) << opened.error().ToString();
    return std::move(*opened);
  }
  Database OpenDatabase() {
    return std::move(*Database::Open(Path(), SQLITE_OPEN_READWRITE, 1000, kCheckedVfs));
  }

  // Specifications of some bytes to some pages; every seventh experiment is deleted again.
  void Fill() {
    Catalog catalog = Open();
    for (const char* user : {"ann", "bob"}) {
      for (const char* name : {"vision", "speech"}) {
        const ProjectId project = catalog.CreateProject(user, name, "a project")->id;
        projects_.push_back(project);
        for (int i = 1; i <= 30; ++i) AddExperiment(catalog, project, user, i);
        NewGroup group;
        group.project = project;
        group.user = user;
        group.raw_spec = R"({"kind":"group"})";
        group.algorithm = "random";
        ASSERT_TRUE(
            catalog.CreateGroup(group, {Request(project, user, 3), Request(project, user, 9)}));
      }
    }
  }
  static NewExperiment Request(ProjectId project, const std::string& user, int i) {
    NewExperiment request;
    request.project = project;
    request.user = user;
    request.raw_spec = fmt::format(R"({{"n":{},"text":"{}"}})", i, std::string(i * i * 11, 'a'));
    request.rendered_spec = request.raw_spec;
    request.owner = {.host = "h", .boot_id = "b", .pid = 1, .start_ticks = 2};
    return request;
  }
  void AddExperiment(Catalog& catalog, ProjectId project, const std::string& user, int i) {
    const auto made = catalog.CreateExperiment(Request(project, user, i));
    ASSERT_TRUE(made) << made.error().ToString();
    std::vector<MetricPoint> points;
    for (int step = 0; step < 40; ++step) points.push_back({step, "loss", 1.0 / (step + 1)});
    ASSERT_TRUE(catalog.AddMetrics(made->id, points, 1));
    ASSERT_TRUE(catalog.Pin(made->id, fmt::format("model-{}.pt", i), true));
    ASSERT_TRUE(catalog.SetState(made->id, State::kFailed, std::string(i, 'm')));
    if (i % 7 == 0) {
      ASSERT_TRUE(catalog.DeleteExperiment(made->id));
    }
  }

  Dump DumpAll() {
    Dump dump;
    const Database database = OpenDatabase();
    for (const std::string table : kTables) {
      std::string columns;
      auto names = *database.Prepare("SELECT name FROM pragma_table_info('" + table + "')");
      while (*names.Step()) {
        columns +=
            (columns.empty() ? "quote(" : "||','||quote(") + std::string(names.Text(0)) + ")";
      }
      auto rows = *database.Prepare("SELECT rowid, " + columns + " FROM " + table);
      while (*rows.Step()) dump[table][rows.Int(0)] = rows.Text(1);
    }
    return dump;
  }
  void Restore() {
    stdfs::copy_file(sound_, Path(), stdfs::copy_options::overwrite_existing);
    for (const char* rest : {"-log", "-shm"}) stdfs::remove(Path() + rest);
  }
  uint64_t Pages() const { return stdfs::file_size(sound_) / kPage; }
  void Overwrite(uint64_t page, const std::string& with) const {
    std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>((page - 1) * kPage));
    file << with;
  }
  Status Check(bool repair) {
    findings_.clear();
    notes_.clear();
    return CheckCatalog(Path(), repair,
                        {.finding = [&](const std::string& text) { findings_.push_back(text); },
                         .note = [&](const std::string& text) { notes_.push_back(text); }});
  }

  // Nothing is there that was not, everything is as it was or was put together, and what goes on
  // works. The number of rows that are lost, or without their specification.
  size_t ExpectSameButLost(const std::string& what, size_t pages) {
    const auto repaired = DumpAll();
    size_t lost = 0;
    for (const auto& [table, rows] : before_) {
      const Rows& now = repaired.contains(table) ? repaired.at(table) : Rows();
      for (const auto& [id, row] : now) {
        EXPECT_TRUE(rows.contains(id)) << what << ": " << table << " " << row;
      }
      for (const auto& [id, row] : rows) {
        const auto found = now.find(id);
        if (found != now.end() && found->second == row) continue;
        ++lost;
        if (pages == 1 && kSubjects.contains(table)) {
          EXPECT_NE(found, now.end()) << what << ": " << table << " " << row.substr(0, 100);
        } else if (!kSubjects.contains(table)) {
          EXPECT_EQ(found, now.end()) << what << ": " << table << " has another row: " << row;
        }
      }
    }
    EXPECT_TRUE(Check(false)) << what;
    EXPECT_TRUE(findings_.empty()) << what << ": " << findings_.front();
    return lost;
  }
  void ExpectNamesAndNumbers(const std::string& what) {
    Catalog catalog = Open();
    for (const char* user : {"ann", "bob"}) {
      for (const char* name : {"vision", "speech"}) {
        const auto project = catalog.FindProject(user, name);
        ASSERT_TRUE(project) << what << ": " << user << "/" << name;
        ExperimentFilter filter;
        filter.project = project->id;
        const auto experiments = catalog.ListExperiments(filter);
        ASSERT_TRUE(experiments) << what << ": " << experiments.error().ToString();
        EXPECT_EQ(experiments->size(), 28) << what;
        for (const Experiment& experiment : *experiments) {
          EXPECT_NE(experiment.number % 7 == 0 && experiment.number <= 28, true) << what;
          EXPECT_EQ(experiment.user, user) << what;
          EXPECT_EQ(experiment.root_number, experiment.number) << what;
          EXPECT_EQ(experiment.group_number, experiment.number > 30 ? 1 : 0) << what;
        }
        EXPECT_EQ(catalog.CreateExperiment(Request(project->id, user, 1))->number, 33) << what;
      }
    }
  }

  std::string directory_, sound_;
  SystemClock clock_;
  std::vector<ProjectId> projects_;
  std::vector<std::string> findings_, notes_;
  Dump before_;
};

TEST_F(CatalogRepairTest, AnyOnePageCostsWhatWasOnItAndNoName) {
  Random random(7);
  const uint64_t step = std::max<uint64_t>(1, Pages() / 50);
  size_t most = 0, with_loss = 0;
  for (uint64_t page = 1; page <= Pages(); page += page < 24 ? 1 : step) {
    const std::string what = fmt::format("page {} of {}", page, Pages());
    Restore();
    std::string garbage(kPage, '\0');
    if (page % 2 == 0) {
      for (char& byte : garbage) byte = static_cast<char>(random.Below(256));
    }
    Overwrite(page, garbage);
    ASSERT_TRUE(Check(true)) << what;
    ASSERT_EQ(findings_.size(), 1) << what;
    const size_t lost = ExpectSameButLost(what, 1);
    ExpectNamesAndNumbers(what);
    most = std::max(most, lost);
    if (lost > 0) ++with_loss;
  }
  EXPECT_GT(with_loss, 20) << "the pages hold something";
  EXPECT_LT(most, 400) << "more than a page can hold";
}

TEST_F(CatalogRepairTest, SeveralPagesCostNoMoreThanThey) {
  Random random(8);
  for (int round = 0; round < 40; ++round) {
    const std::string what = fmt::format("round {}", round);
    Restore();
    const uint64_t pages = 2 + random.Below(6);
    std::set<uint64_t> damaged;
    while (damaged.size() < pages) damaged.insert(1 + random.Below(Pages()));
    for (const uint64_t page : damaged) Overwrite(page, std::string(kPage, 'x'));
    ASSERT_TRUE(Check(true)) << what;
    EXPECT_EQ(findings_.size(), pages) << what;
    ExpectSameButLost(what, pages);
    auto check = *OpenDatabase().Prepare("PRAGMA foreign_key_check");
    EXPECT_FALSE(*check.Step()) << what;
    // It can be worked with.
    Catalog catalog = Open();
    const auto projects = catalog.ListProjects("");
    for (const Project& project : *projects) {
      EXPECT_TRUE(catalog.CreateExperiment(Request(project.id, project.user, 2))) << what;
    }
  }
}

TEST_F(CatalogRepairTest, OneBitIsPutRightAndNothingElseTouched) {
  std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(5 * kPage + 100);
  const int byte = file.get();
  file.seekp(5 * kPage + 100);
  file.put(static_cast<char>(byte ^ 4));
  file.close();
  ASSERT_TRUE(Check(false));
  EXPECT_EQ(findings_.size(), 1);
  ASSERT_TRUE(Check(true));
  EXPECT_EQ(findings_.size(), 1);
  ASSERT_TRUE(Check(false));
  EXPECT_TRUE(findings_.empty());
  EXPECT_EQ(DumpAll(), before_);
  EXPECT_FALSE(stdfs::exists(Path() + ".damaged"));
}

TEST_F(CatalogRepairTest, WhatIsDamagedIsKeptAndOnlyLookedAtWithoutRepair) {
  Overwrite(3, std::string(kPage, 'x'));
  const auto damaged = stdfs::file_size(Path());
  ASSERT_TRUE(Check(false));
  EXPECT_EQ(findings_.size(), 1);
  EXPECT_FALSE(stdfs::exists(Path() + ".damaged"));
  EXPECT_EQ(VerifyCatalog(Path()).error().code(), EUCLEAN);
  ASSERT_TRUE(Check(true));
  EXPECT_EQ(stdfs::file_size(Path() + ".damaged"), damaged);
  EXPECT_TRUE(VerifyCatalog(Path()));
}

TEST_F(CatalogRepairTest, OneThatIsOpenIsLeftAlone) {
  Overwrite(Pages(), std::string(kPage, 'x'));
  const Catalog catalog = Open();
  // A process of its own: what it closes would end the locks of this one.
  const pid_t child = ::fork();
  if (child == 0) {
    const Status checked = Check(true);
    ::_exit(checked ? 0 : checked.error().code() == EBUSY ? 11 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 11);
}

TEST_F(CatalogRepairTest, ABrokenOffRepairIsFinishedByWhoeverOpens) {
  // The repaired one is there; the log of the damaged one, too, and what was copied is half of it.
  for (const bool half : {false, true}) {
    Restore();
    stdfs::copy_file(sound_, Path() + ".repaired");
    if (half) {
      Overwrite(2, std::string(20 * kPage, 'x'));
    } else {
      Overwrite(1, std::string(kPage, 'x'));
      std::ofstream(Path() + "-log") << std::string(10000, 'x');
    }
    Open();
    EXPECT_EQ(DumpAll(), before_);
    EXPECT_FALSE(stdfs::exists(Path() + ".repaired"));
  }
  // One that has not got so far is begun anew.
  Restore();
  std::ofstream(Path() + ".repairing") << "half of one";
  Overwrite(2, std::string(kPage, 'x'));
  ASSERT_TRUE(Check(true));
  ASSERT_TRUE(Check(false));
  EXPECT_TRUE(findings_.empty());
}

TEST_F(CatalogRepairTest, DamageInTheLogIsFoundAndWhatIsAroundItTakenOver) {
  {
    Catalog catalog = Open();
    for (int i = 0; i < 20; ++i) AddExperiment(catalog, projects_[0], "ann", 1);
    before_ = DumpAll();
    // As a kill leaves them.
    for (const char* file : {"", "-log"}) {
      stdfs::copy_file(Path() + file, directory_ + "/killed" + file);
    }
  }
  for (const char* file : {"", "-log"}) {
    stdfs::copy_file(directory_ + "/killed" + file, Path() + file,
                     stdfs::copy_options::overwrite_existing);
  }
  stdfs::remove(Path() + "-shm");
  const auto size = stdfs::file_size(Path() + "-log");
  std::fstream file(Path() + "-log", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(size / 2));
  file << std::string(600, 'x');
  file.close();
  ASSERT_TRUE(Check(true));
  ASSERT_FALSE(findings_.empty());
  EXPECT_TRUE(stdfs::exists(Path() + "-log.damaged"));
  ExpectSameButLost("the log", 1);
  ExperimentFilter filter;
  filter.project = projects_[0];
  EXPECT_EQ(Open().ListExperiments(filter)->size(), 48) << "those behind the damage, too";
}

TEST_F(CatalogRepairTest, OneOfWhichNothingIsLeftIsRefusedAndKept) {
  std::ofstream(Path()) << std::string(40 * kPage, 'x');
  const Status repaired = Check(true);
  ASSERT_FALSE(repaired);
  EXPECT_EQ(repaired.error().code(), EUCLEAN);
  EXPECT_EQ(stdfs::file_size(Path()), 40 * kPage);
  EXPECT_FALSE(IsRepairPending(Path()));
}

}  // namespace
}  // namespace px::catalog
