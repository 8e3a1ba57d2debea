// Scrub: damage of a sealed object is found by name, refused for that file alone, and cleared by
// what replaces it; nothing that changed legally is ever called damaged.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/xattr.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "catalog/seal_table.h"
#include "tests/mount/volume_fixture.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kLarge = 3 << 20;

class ScrubTest : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Objects are found by their bytes: those of tests before this one have to be gone.
    ASSERT_EQ(TheMount().PxFs({"gc", "--all", TheMount().root()}).exit_code, 0);
    Create("v");
    Put("v/large", Pattern(kLarge));
    Put("v/small", "what is in it");
  }

  // What is damaged goes, whether or not the test failed, so that the next one finds a sound store.
  void TearDown() override {
    if (!IsSkipped()) {
      ASSERT_EQ(Try(::chdir(dir().c_str())), 0);  // a test may have left it
      for (const std::string& name : List(".")) {
        const int error = DropVolume(name);
        EXPECT_TRUE(error == 0 || error == ENOTDIR) << name << ": " << error;
      }
      EXPECT_EQ(TheMount().PxFs({"gc", "--all", TheMount().root()}).exit_code, 0);
    }
    VolumeTest::TearDown();
  }

  // Of the mount this test works in; `found` gets "KIND PATH" of each finding, below dir().
  int Scrub(std::vector<std::string>* found = nullptr, Json* all = nullptr) {
    const RunResult run = TheMount().PxFs({"scrub", "--json", "--rate", "0", TheMount().root()});
    const Json json = Json::parse(run.output, nullptr, false);
    EXPECT_TRUE(json.is_object()) << run.output;
    if (!json.is_object()) return -1;
    const std::string top = stdfs::path(dir()).lexically_relative(TheMount().root());
    for (const Json& line : json.value("lines", Json::array())) {
      for (const std::string path : line.value("paths", Json::array())) {
        if (found == nullptr || !path.starts_with(top + "/")) continue;
        found->push_back(line.value("kind", "?") + " " + path.substr(top.size() + 1));
      }
    }
    if (found != nullptr) std::sort(found->begin(), found->end());
    if (all != nullptr) *all = json;
    return run.exit_code;
  }

  // The files of the store whose bytes are `content`.
  static std::vector<std::string> ObjectsWith(std::string_view content) {
    std::vector<std::string> found;
    for (const auto& entry : stdfs::recursive_directory_iterator(TheMount().store() + "/objects")) {
      std::error_code gone;
      if (!entry.is_regular_file(gone) || entry.file_size(gone) != content.size()) continue;
      if (Get(entry.path()) == content) found.push_back(entry.path());
    }
    return found;
  }

  // Changes one bit of it behind everybody's back.
  static void Flip(const std::string& object, off_t at) {
    const UniqueFd fd = Open(object, O_RDWR);
    char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, at), 1);
    byte = static_cast<char>(byte ^ 4);
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, at), 1);
  }

  // As a disk changes it: with no trace in the times of the object's file. A test cannot leave
  // none, so it gives the seal the new ones, while no daemon has the store.
  void Rot(const std::string& object) {
    ASSERT_EQ(Try(::chdir("/")), 0);
    ASSERT_TRUE(TheMount().Unmount());
    ASSERT_NO_FATAL_FAILURE(RotOffline(object));
    ASSERT_TRUE(TheMount().Mount());
    ASSERT_EQ(Try(::chdir(dir().c_str())), 0);
  }
  static void RotOffline(const std::string& object) {
    const struct stat before = Stat(object);
    Flip(object, before.st_size / 2);
    const struct stat after = Stat(object);
    auto table = catalog::SealTable::Open(TheMount().store(), "of a test");
    ASSERT_TRUE(table) << table.error().ToString();
    const cow::ObjectId id{std::stoull(stdfs::path(object).filename(), nullptr, 16)};
    auto seal = (*table)->Find(id);
    ASSERT_TRUE(seal && *seal) << object << " has no seal";
    ASSERT_FALSE((*seal)->doubtful) << "the daemon did not end in order";
    ASSERT_EQ((*seal)->ctime_ns, Ns(before.st_ctim));
    (*seal)->mtime_ns = Ns(after.st_mtim);
    (*seal)->ctime_ns = Ns(after.st_ctim);
    const catalog::SealTable::Change change{id, *seal};
    ASSERT_TRUE((*table)->Apply({&change, 1}));
    ASSERT_TRUE((*table)->CloseInOrder());
  }

  // The only object with these bytes.
  static std::string ObjectWith(std::string_view content) {
    const auto objects = ObjectsWith(content);
    EXPECT_EQ(objects.size(), 1u);
    return objects.empty() ? "" : objects[0];
  }

  // What is replaced stays as a version until the new content is on disk, and is told until then.
  void ExpectCleanSoon() {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    std::vector<std::string> found;
    while (Scrub(&found) != 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit) << ::testing::PrintToString(found);
      found.clear();
    }
  }

  // Seals everything, then has the object of `content` rot, and finds that.
  void DamageAndFind(std::string_view content, const std::vector<std::string>& names) {
    ASSERT_EQ(Scrub(), 0);
    ASSERT_NO_FATAL_FAILURE(Rot(ObjectWith(content)));
    std::vector<std::string> found;
    ASSERT_EQ(Scrub(&found), 12);
    ASSERT_EQ(found, names);
  }
};

using Found = std::vector<std::string>;

TEST_F(ScrubTest, OfASoundStoreIsClean) {
  Json all;
  EXPECT_EQ(Scrub(nullptr, &all), 0) << all;
  EXPECT_GE(all.value("sealed", 0), 2) << all;
  EXPECT_EQ(Scrub(nullptr, &all), 0) << all;
  EXPECT_EQ(all.value("sealed", 1), 0) << all;
  EXPECT_GE(all.value("verified_bytes", uint64_t{0}), kLarge) << all;
  EXPECT_GT(all.value("nodes", 0), 0) << all;
}

TEST_F(ScrubTest, FindsAFlippedBitByNameAndRefusesThatFileAlone) {
  Clone("v", "shares");
  Clone("v", "own");
  WriteAt(Open("own/large", O_RDWR).get(), 0, "own");
  ASSERT_EQ(Try(::link("v/large", "v/second")), 0);
  // Where the store's filesystem cannot reflink, a clone's own blocks lie over the shared ones.
  const bool over = ObjectsWith(Pattern(kLarge)).size() == 1 && Stat("own/large").st_blocks > 0 &&
                    !TheMount().mode().xfs;
  Found names{"damaged shares/large", "damaged v/large", "damaged v/second"};
  if (over) names.insert(names.begin(), "damaged own/large");
  DamageAndFind(Pattern(kLarge), names);
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), EIO);
  EXPECT_EQ(OpenErrno("v/large", O_RDWR), EIO);
  EXPECT_EQ(OpenErrno("shares/large", O_RDONLY), EIO);
  EXPECT_EQ(Try(::truncate("v/large", 10)), EIO);
  EXPECT_EQ(OpenErrno("own/large", O_RDONLY), over ? EIO : 0);
  EXPECT_EQ(Get("v/small"), "what is in it");
  EXPECT_EQ(Stat("v/large").st_size, off_t{kLarge});
  // It stays so.
  Remount();
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), EIO);
  KillAndRemount();
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), EIO);
  EXPECT_EQ(Get("v/small"), "what is in it");
}

TEST_F(ScrubTest, WhatReplacesADamagedContentIsReadable) {
  ASSERT_NO_FATAL_FAILURE(DamageAndFind(Pattern(kLarge), {"damaged v/large"}));
  Put("v/large", "new");
  EXPECT_EQ(Get("v/large"), "new");
  ASSERT_NO_FATAL_FAILURE(ExpectCleanSoon());
  Put("v/other", Pattern(kLarge, 5));
  ASSERT_NO_FATAL_FAILURE(DamageAndFind(Pattern(kLarge, 5), {"damaged v/other"}));
  Put("v/temp", "renamed over");
  ASSERT_EQ(Try(::rename("v/temp", "v/other")), 0);
  EXPECT_EQ(Get("v/other"), "renamed over");
  ASSERT_NO_FATAL_FAILURE(ExpectCleanSoon());
}

TEST_F(ScrubTest, ARotCloneIsWrittenAnewAloneAndTheOthersStayRefused) {
  Clone("v", "w");
  ASSERT_NO_FATAL_FAILURE(DamageAndFind(Pattern(kLarge), {"damaged v/large", "damaged w/large"}));
  Put("w/large", Pattern(kLarge));
  EXPECT_EQ(Get("w/large"), Pattern(kLarge));
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), EIO);
}

TEST_F(ScrubTest, AcceptedOpensAgainAsItIs) {
  ASSERT_NO_FATAL_FAILURE(DamageAndFind(Pattern(kLarge), {"damaged v/large"}));
  const RunResult run = TheMount().PxFs({"scrub", "--accept", dir() + "/v/large"});
  EXPECT_EQ(run.exit_code, 0) << run.output;
  std::string expected = Pattern(kLarge);
  expected[kLarge / 2] = static_cast<char>(expected[kLarge / 2] ^ 4);
  EXPECT_EQ(Get("v/large"), expected);
  EXPECT_EQ(Scrub(), 0);
}

TEST_F(ScrubTest, AKeptVersionTakesThePlaceOfADamagedContent) {
  // A writer that is killed leaves the old content as a version.
  EXPECT_EQ(InChild([] {
              const int fd = ::open("v/large", O_WRONLY | O_TRUNC);
              if (::write(fd, "half", 4) != 4) return 1;
              return ::kill(::getpid(), SIGKILL);
            }),
            128 + SIGKILL);
  ASSERT_EQ(Scrub(), 0);
  ASSERT_NO_FATAL_FAILURE(Rot(ObjectWith("half")));
  Found found;
  EXPECT_EQ(Scrub(&found), 12);
  EXPECT_EQ(found, Found{"damaged v/large"});
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), EIO);
  EXPECT_EQ(RestoreFile("v/large"), 0);
  EXPECT_EQ(Get("v/large"), Pattern(kLarge));
}

TEST_F(ScrubTest, SendOfADamagedFileFails) {
  ASSERT_EQ(SnapshotVolume("v", "s"), 0);
  ASSERT_EQ(Scrub(), 0);
  ASSERT_NO_FATAL_FAILURE(Rot(ObjectWith(Pattern(kLarge))));
  EXPECT_EQ(Scrub(), 12);
  const RunResult run = TheMount().PxFs({"send", dir() + "/v/.snapshots/s"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.output.find("Input/output error"), std::string::npos);
}

TEST_F(ScrubTest, WhatWasChangedInTheStoresDirectoryIsToldButNotRefused) {
  ASSERT_EQ(Scrub(), 0);
  Flip(ObjectWith(Pattern(kLarge)), 5);
  Found found;
  EXPECT_EQ(Scrub(&found), 12);
  EXPECT_EQ(found, Found{"changed v/large"});
  EXPECT_EQ(OpenErrno("v/large", O_RDONLY), 0);
}

TEST_F(ScrubTest, MissingAndShortObjectsAreNamedAndRefused) {
  Put("v/third", Pattern(100'000, 3));
  ASSERT_EQ(Try(::unlink(ObjectWith("what is in it").c_str())), 0);
  ASSERT_EQ(Try(::truncate(ObjectWith(Pattern(100'000, 3)).c_str(), 50'000)), 0);
  Found found;
  EXPECT_EQ(Scrub(&found), 12);
  EXPECT_EQ(found, (Found{"missing v/small", "truncated v/third"}));
  Remount();  // what is open stays so
  EXPECT_EQ(OpenErrno("v/small", O_RDONLY), EIO);
  EXPECT_EQ(OpenErrno("v/third", O_RDONLY), EIO);
  EXPECT_EQ(OpenErrno("v/third", O_RDWR), EIO);
  EXPECT_EQ(Get("v/large"), Pattern(kLarge));
  ASSERT_EQ(Try(::unlink("v/small")), 0);
  Put("v/third", "anew");
  EXPECT_EQ(Get("v/third"), "anew");
  EXPECT_EQ(Scrub(), 0);
}

// Each way in which a file may change after it was sealed.
TEST_F(ScrubTest, LegalChangesAreNeverFindings) {
  Put("v/mapped", Pattern(kLarge, 2));
  Put("v/holes", Pattern(kLarge, 3));
  Put("v/touched", Pattern(kLarge, 4));
  ASSERT_EQ(Scrub(), 0);
  void* map = MAP_FAILED;
  {
    const UniqueFd fd = Open("v/mapped", O_RDWR);
    map = ::mmap(nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
  }
  std::memset(map, 1, 100);
  EXPECT_EQ(Scrub(), 0);
  std::memset(static_cast<char*>(map) + 1'000'000, 2, 100);
  EXPECT_EQ(Scrub(), 0);
  ASSERT_EQ(::munmap(map, kLarge), 0);
  EXPECT_EQ(Scrub(), 0);
  ASSERT_EQ(Try(::fallocate(Open("v/holes", O_RDWR).get(),
                            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 1 << 20)),
            0);
  EXPECT_EQ(Scrub(), 0);
  // The same size and the same times as before.
  const struct stat before = Stat("v/touched");
  WriteAt(Open("v/touched", O_RDWR).get(), 10, "changed");
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(Try(::utimensat(AT_FDCWD, "v/touched", times, 0)), 0);
  EXPECT_EQ(Scrub(), 0);
  // A writer of what a clone shares, while it is read.
  Clone("v", "w");
  const UniqueFd reader = Open("v/large", O_RDONLY);
  WriteAt(Open("v/large", O_RDWR).get(), 0, "of v");
  EXPECT_EQ(Scrub(), 0);
  WriteAt(Open("v/large", O_RDWR).get(), 0, "once more");
  KillAndRemount();
  EXPECT_EQ(Scrub(), 0);
  EXPECT_EQ(Get("w/large"), Pattern(kLarge));
}

TEST_F(ScrubTest, BesideWritersIsCleanAndEnds) {
  std::atomic<bool> stop = false;
  std::thread writer([&stop] {
    for (uint64_t i = 0; !stop; ++i) {
      Put("v/file" + std::to_string(i % 20), Pattern(50'000 + i % 7, i));
      WriteAt(Open("v/large", O_RDWR).get(), static_cast<off_t>(i % 1000), "in place");
      if (i % 10 == 0) Put("v/temp", Pattern(10'000, i)), ::rename("v/temp", "v/renamed");
      if (i % 25 == 0) CloneVolume("v", "clone" + std::to_string(i));
    }
  });
  for (int i = 0; i < 8; ++i) {
    Json all;
    EXPECT_EQ(Scrub(nullptr, &all), 0) << all;
  }
  stop = true;
  writer.join();
  EXPECT_EQ(Scrub(), 0);
}

// By cp -r, which gives everything new times, and by cp -a, as rsync -a does.
TEST_F(ScrubTest, ACopyOfTheClosedStoreHasEverything) {
  MakeTree("tree");
  Clone("tree", "clone");
  const std::string before = DescribeTree("tree");
  ASSERT_EQ(Scrub(), 0);
  const std::string inside = stdfs::path(dir()).lexically_relative(TheMount().root());
  ASSERT_EQ(Try(::chdir("/")), 0);
  const Status unmounted = TheMount().Unmount();
  ASSERT_TRUE(unmounted) << unmounted.error().ToString();
  for (const char* how : {"-r", "-a"}) {
    const std::string copy = TheMount().scratch() + "/copy", at = TheMount().scratch() + "/at";
    stdfs::remove_all(copy);
    stdfs::create_directory(at);
    ASSERT_EQ(Execute({"cp", how, TheMount().store(), copy}).exit_code, 0);
    const RunResult mounted = TheMount().PxFs({"mount", "--store", copy, at});
    ASSERT_EQ(mounted.exit_code, 0) << mounted.output;
    EXPECT_EQ(DescribeTree(at + "/" + inside + "/tree"), before) << how;
    const RunResult scrub = TheMount().PxFs({"scrub", "--json", "--rate", "0", at});
    EXPECT_EQ(scrub.exit_code, 0) << scrub.output;
    const Json json = Json::parse(scrub.output, nullptr, false);
    EXPECT_EQ(json.value("sealed", 1), 0) << "their seals hold: " << scrub.output;
    EXPECT_GE(json.value("verified_bytes", uint64_t{0}), kLarge);
    EXPECT_EQ(TheMount().PxFs({"umount", at}).exit_code, 0);
    EXPECT_EQ(TheMount().PxFs({"fsck", "--data", copy}).exit_code, 0);
  }
  ASSERT_TRUE(TheMount().Mount());
  ASSERT_EQ(Try(::chdir(dir().c_str())), 0);
}

class ScrubOwnerRootTest : public ScrubTest {};

TEST_F(ScrubOwnerRootTest, OthersMayNotScrubNorAccept) {
  const std::string px_fs = MountFixture::PxFsProgram();
  const auto run = [&](const std::vector<std::string>& args) {
    std::vector<const char*> argv{px_fs.c_str()};
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    argv.push_back(nullptr);
    return AsUser(kAlice, kAlice, {}, [&] {
      ::execv(px_fs.c_str(), const_cast<char**>(argv.data()));
      return 126;
    });
  };
  EXPECT_EQ(run({"scrub", dir()}), 1);
  EXPECT_EQ(run({"scrub", "--accept", dir() + "/v/large"}), 1);
}

}  // namespace
}  // namespace px::testing
