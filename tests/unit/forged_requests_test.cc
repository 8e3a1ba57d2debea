// Requests that no kernel sends: the filesystem refuses them, and stays as it was.
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/mman.h>

#include <filesystem>

#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::fs {
namespace {

using testing::kRoot;
using testing::kTop;

int CodeOf(const Status& status) { return status ? 0 : status.error().code(); }
template <typename T>
int CodeOf(const Result<T>& result) {
  return result ? 0 : result.error().code();
}

class ForgedRequestsTest : public ::testing::TestWithParam<bool> {
 protected:
  ForgedRequestsTest() : dir_(::testing::TempDir() + "px-forged-XXXXXX") {
    if (::mkdtemp(dir_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    const auto store = StoreDir::Open(dir_, /*create=*/true);
    auto parts = store->OpenParts();
    if (GetParam()) {
      std::vector<LiveTable::Cell> none;
      parts->live = std::move(
          *LiveTable::Open(UniqueFd(::memfd_create("live", MFD_CLOEXEC)), /*keep=*/false, &none));
    }
    FilesystemOptions options;
    options.pool_objects = 4;
    fs_ = std::move(*Filesystem::Open(std::move(*parts), options, &kernel_, &clock_));
  }
  ~ForgedRequestsTest() override {
    fs_.reset();
    std::string findings;
    const auto report =
        Fsck(dir_, {.data = true}, [&](const std::string& line) { findings += line + "\n"; });
    EXPECT_TRUE(report && report->findings == 0) << findings;
    std::filesystem::remove_all(dir_);
  }

  NodeKey MakeDir(NodeKey parent, const std::string& name) {
    return fs_->MakeNode(parent, name, S_IFDIR | 0755, 0, kRoot)->node;
  }
  Filesystem::Created Create(const std::string& name) {
    return *fs_->Create(kTop, name, 0644, O_RDWR, kRoot);
  }
  mode_t ModeOf(NodeKey node) { return fs_->GetAttr(node)->st_mode; }

  std::string dir_;
  testing::NoKernel kernel_;
  SystemClock clock_;
  std::unique_ptr<Filesystem> fs_;
};

INSTANTIATE_TEST_SUITE_P(LiveTable, ForgedRequestsTest, ::testing::Bool());

TEST_P(ForgedRequestsTest, NamesThatNoDirectoryHasAreEinval) {
  const NodeKey file = Create("file").entry.node;
  for (const std::string name : {"", ".", "..", "a/b", "/"}) {
    EXPECT_EQ(CodeOf(fs_->MakeNode(kTop, name, S_IFDIR | 0755, 0, kRoot)), EINVAL) << name;
    EXPECT_EQ(CodeOf(fs_->MakeSymlink(kTop, name, "target", kRoot)), EINVAL) << name;
    EXPECT_EQ(CodeOf(fs_->Create(kTop, name, 0644, O_RDWR, kRoot)), EINVAL) << name;
    EXPECT_EQ(CodeOf(fs_->Link(file, kTop, name)), EINVAL) << name;
    EXPECT_EQ(CodeOf(fs_->Rename(kTop, "file", kTop, name, 0, kRoot)), EINVAL) << name;
  }
}

TEST_P(ForgedRequestsTest, WhatIsNoDirectoryHasNoEntries) {
  const NodeKey file = Create("file").entry.node;
  EXPECT_EQ(CodeOf(fs_->MakeNode(file, "new", S_IFDIR | 0755, 0, kRoot)), ENOTDIR);
  EXPECT_EQ(CodeOf(fs_->MakeSymlink(file, "new", "target", kRoot)), ENOTDIR);
  EXPECT_EQ(CodeOf(fs_->Create(file, "new", 0644, O_RDWR, kRoot)), ENOTDIR);
  EXPECT_EQ(CodeOf(fs_->TmpFile(file, 0644, O_RDWR, kRoot)), ENOTDIR);
  EXPECT_EQ(CodeOf(fs_->Link(file, file, "new")), ENOTDIR);
  EXPECT_EQ(CodeOf(fs_->Rename(kTop, "file", file, "new", 0, kRoot)), ENOTDIR);
}

TEST_P(ForgedRequestsTest, NodesOfNoKindAreEinval) {
  EXPECT_EQ(CodeOf(fs_->MakeNode(kTop, "new", S_IFLNK | 0777, 0, kRoot)), EINVAL);
  EXPECT_EQ(CodeOf(fs_->MakeNode(kTop, "new", S_IFMT | 0644, 0, kRoot)), EINVAL);
}

TEST_P(ForgedRequestsTest, AnAclWithUnknownPermissionsIsEinval) {
  const NodeKey file = Create("file").entry.node;
  const auto acl = [](uint16_t owner) {
    std::string bytes("\2\0\0\0", 4);
    for (const auto& [tag, perm] : {std::pair<uint16_t, uint16_t>{1, owner}, {4, 5}, {32, 5}}) {
      bytes.append(reinterpret_cast<const char*>(&tag), sizeof tag);
      bytes.append(reinterpret_cast<const char*>(&perm), sizeof perm);
      bytes.append("\377\377\377\377");
    }
    return bytes;
  };
  constexpr const char* kName = "system.posix_acl_access";
  // Shifted to where the owner's bits are it would be the type of the file.
  EXPECT_EQ(CodeOf(fs_->SetXattr(file, kName, acl(0300), 0, kRoot)), EINVAL);
  EXPECT_EQ(fs_->GetAttr(file)->st_mode & S_IFMT, unsigned{S_IFREG});
  EXPECT_EQ(CodeOf(fs_->SetXattr(file, kName, acl(7), 0, kRoot)), 0);
  EXPECT_EQ(fs_->GetAttr(file)->st_mode, unsigned{S_IFREG | 0755});
}

TEST_P(ForgedRequestsTest, ADirectoryDoesNotGoBelowItself) {
  const NodeKey a = MakeDir(kTop, "a");
  const NodeKey b = MakeDir(a, "b");
  MakeDir(b, "c");
  EXPECT_EQ(CodeOf(fs_->Rename(kTop, "a", a, "new", 0, kRoot)), EINVAL);
  EXPECT_EQ(CodeOf(fs_->Rename(kTop, "a", b, "new", 0, kRoot)), EINVAL);
  EXPECT_EQ(CodeOf(fs_->Rename(kTop, "a", b, "c", RENAME_EXCHANGE, kRoot)), EINVAL);
  EXPECT_EQ(CodeOf(fs_->Rename(b, "c", kTop, "a", RENAME_EXCHANGE, kRoot)), EINVAL);
  EXPECT_EQ(CodeOf(fs_->Rename(b, "c", kTop, "c", 0, kRoot)), 0);
}

TEST_P(ForgedRequestsTest, AVolumeIsNotClonedIntoItself) {
  ASSERT_TRUE(fs_->CreateVolume(kTop, "volume", kRoot));
  const NodeKey volume = fs_->Lookup(kTop, "volume")->node;
  const px_ioc_token token = *fs_->IssueToken(volume, kRoot);
  EXPECT_EQ(CodeOf(fs_->CloneVolume(volume, "clone", token, 0, kRoot)), EXDEV);
  EXPECT_EQ(CodeOf(fs_->CreateVolume(volume, "other", kRoot)), EXDEV);
}

TEST_P(ForgedRequestsTest, ASecondReleaseIsNone) {
  const auto file = Create("file");
  ASSERT_TRUE(fs_->Open(file.entry.node, O_RDONLY, false));
  for (int i = 0; i < 3; ++i) fs_->Release(file.entry.node, O_RDWR, file.opened.handle);
  // With a live table the handle is known to be gone, and the other one stays open.
  char byte = 0;
  EXPECT_EQ(CodeOf(fs_->Read(file.entry.node, {&byte, 1}, 0)), GetParam() ? 0 : EBADF);
}

TEST_P(ForgedRequestsTest, AReleaseWithOtherFlagsLosesNoSize) {
  const auto file = Create("file");
  ASSERT_EQ(*fs_->Write(file.entry.node, "some bytes", 0, false), 10U);
  fs_->Release(file.entry.node, O_RDONLY, file.opened.handle);
  EXPECT_EQ(fs_->GetAttr(file.entry.node)->st_size, 10);
}

TEST_P(ForgedRequestsTest, AHandleOfAnotherFileReleasesNoneOfThatFile) {
  const auto one = Create("one"), other = Create("other");
  fs_->Release(one.entry.node, O_RDWR, other.opened.handle);
  // Without a live table handles are not looked at.
  EXPECT_EQ(CodeOf(fs_->Write(one.entry.node, "x", 0, false)), GetParam() ? 0 : EBADF);
  EXPECT_EQ(CodeOf(fs_->Write(other.entry.node, "x", 0, false)), 0);
}

TEST_P(ForgedRequestsTest, AWriteToAFileThatIsOpenForReadingClearsNoModeBits) {
  const auto file = Create("file");
  fs_->Release(file.entry.node, O_RDWR, file.opened.handle);
  struct stat attr{};
  attr.st_mode = 06755;
  ASSERT_TRUE(fs_->SetAttr(file.entry.node, attr, FUSE_SET_ATTR_MODE, kRoot));
  ASSERT_TRUE(fs_->Open(file.entry.node, O_RDONLY, false));
  EXPECT_EQ(CodeOf(fs_->Write(file.entry.node, "x", 0, /*kill_suidgid=*/true)), EBADF);
  EXPECT_EQ(ModeOf(file.entry.node), S_IFREG | 06755U);
}

}  // namespace
}  // namespace px::fs
