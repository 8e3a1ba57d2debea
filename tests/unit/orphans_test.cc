// Unlinked files that were open when the daemon died: removed by the next one that may write, and
// looked for only then.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::fs {
namespace {

class OrphansTest : public ::testing::Test {
 protected:
  OrphansTest() : dir_(::testing::TempDir() + "px-orphans-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~OrphansTest() override { std::filesystem::remove_all(dir_); }

  // A process that dies with an unlinked file open, which it only reads.
  void DieWithAnOrphan() {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto store = StoreDir::Open(dir_, /*create=*/true);
      auto parts = store->OpenParts();
      const auto fs = Filesystem::Open(std::move(*parts), {}, &kernel_, &clock_);
      const NodeKey root{cow::kRootVolume, cow::kRootIno};
      const auto made = (*fs)->Create(root, "file", 0644, O_RDWR, Caller{});
      (*fs)->Release(made->entry.node, O_RDWR, 0);
      const bool done =
          (*fs)->Open(made->entry.node, O_RDONLY, false) && (*fs)->Unlink(root, "file");
      ::_exit(done ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }

  // What the store says of its last use; then it is used, by one that may write or not.
  bool WasClosedInOrder(bool read_only) {
    auto store = StoreDir::Open(dir_, /*create=*/false);
    auto parts = store->OpenParts();
    const bool in_order = parts->closed_in_order;
    FilesystemOptions options;
    options.read_only = read_only;
    const auto fs = Filesystem::Open(std::move(*parts), options, &kernel_, &clock_);
    EXPECT_TRUE(fs);
    return in_order;
  }

  size_t CountOrphans() {
    const auto store = StoreDir::Open(dir_, /*create=*/false);
    const auto parts = store->OpenParts();
    size_t count = 0;
    EXPECT_TRUE(parts->store->View([&](cow::Reader& reader) {
      return reader.Scan(cow::kRootVolume, cow::ItemKey(cow::Ino{0}, cow::ItemType::kOrphan),
                         cow::ItemKeyEnd(cow::Ino{0}, cow::ItemType::kOrphan),
                         [&](std::string_view, std::string_view) { return ++count > 0; });
    }));
    return count;
  }

  std::string dir_;
  testing::NoKernel kernel_;
  SystemClock clock_;
};

TEST_F(OrphansTest, GoWithTheNextUseThatMayWrite) {
  DieWithAnOrphan();
  EXPECT_EQ(CountOrphans(), 1U);
  EXPECT_FALSE(WasClosedInOrder(/*read_only=*/false));
  EXPECT_EQ(CountOrphans(), 0U);
}

TEST_F(OrphansTest, AreNotForgottenByAUseThatOnlyReads) {
  DieWithAnOrphan();
  EXPECT_FALSE(WasClosedInOrder(/*read_only=*/true));
  EXPECT_EQ(CountOrphans(), 1U);
  EXPECT_FALSE(WasClosedInOrder(/*read_only=*/false));
  EXPECT_EQ(CountOrphans(), 0U);
}

TEST_F(OrphansTest, AreNotLookedForAfterAnOrderlyClose) {
  {
    EXPECT_TRUE(StoreDir::Open(dir_, /*create=*/true));
  }
  WasClosedInOrder(/*read_only=*/false);
  EXPECT_TRUE(WasClosedInOrder(/*read_only=*/false));
}

}  // namespace
}  // namespace px::fs
