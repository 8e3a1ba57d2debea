// FsckTest: a small store that is spoilt in some way, checked and repaired.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "tests/testing/no_kernel.h"

namespace px::testing {

using fs::Filesystem;
using fs::NodeKey;

class FsckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/px-fsck.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    With([](Filesystem& fs) {
      ASSERT_TRUE(fs.CreateVolume(kTop, "v", kRoot));
      const NodeKey v = fs.Lookup(kTop, "v")->node;
      Write(fs, v, "f", "content of f");
      Write(fs, v, "g", "content of g");
      const auto dir = fs.MakeNode(v, "dir", S_IFDIR | 0755, 0, kRoot);
      ASSERT_TRUE(dir);
      Write(fs, dir->node, "inner", "inner");
    });
    With([this](Filesystem& fs) {
      v_ = fs.Lookup(kTop, "v")->node;
      f_ = fs.Lookup(v_, "f")->node;
      sub_ = fs.Lookup(v_, "dir")->node;
    });
    ASSERT_EQ(Fsck(), "");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static void Write(Filesystem& fs, NodeKey dir, const std::string& name,
                    const std::string& bytes) {
    const auto created = fs.Create(dir, name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot);
    ASSERT_TRUE(created);
    ASSERT_TRUE(fs.Write(created->entry.node, bytes, 0, false));
    fs.Release(created->entry.node, O_WRONLY);
  }
  static std::string Read(Filesystem& fs, NodeKey dir, const std::string& name) {
    const auto found = fs.Lookup(dir, name);
    if (!found) return "!lookup " + found.error().ToString();
    const auto opened = fs.Open(found->node, O_RDONLY, false);
    if (!opened) return "!open " + opened.error().ToString();
    std::string bytes(1000, '\0');
    const auto got = fs.Read(found->node, bytes, 0);
    fs.Release(found->node, O_RDONLY);
    bytes.resize(got ? *got : 0);
    return bytes;
  }
  void With(const std::function<void(Filesystem&)>& body) {
    NoKernel kernel;
    SystemClock clock;
    auto store = fs::StoreDir::Open(dir_, /*create=*/true);
    ASSERT_TRUE(store);
    auto parts = store->OpenParts();
    ASSERT_TRUE(parts);
    fs::FilesystemOptions options;
    options.pool_objects = 2;
    auto opened = Filesystem::Open(std::move(*parts), options, &kernel, &clock);
    ASSERT_TRUE(opened) << opened.error().ToString();
    body(**opened);
  }
  // Changes the tree behind the filesystem's back.
  void Spoil(const std::function<Status(cow::Txn&)>& body) {
    const auto store = fs::StoreDir::Open(dir_, /*create=*/false);
    ASSERT_TRUE(store);
    const auto parts = store->OpenParts();
    ASSERT_TRUE(parts);
    const Status done = parts->store->Update(body);
    ASSERT_TRUE(done) << done.error().ToString();
  }
  void SpoilInode(NodeKey node, const std::function<void(cow::InodeItem*)>& change) {
    Spoil([&](cow::Txn& txn) -> Status {
      const std::string key = cow::ItemKey(node.ino, cow::ItemType::kInode);
      PX_ASSIGN(const std::string bytes, txn.Get(node.volume, key));
      PX_ASSIGN(cow::InodeItem item, cow::FromBytes<cow::InodeItem>(bytes));
      change(&item);
      return txn.Put(node.volume, key, cow::AsBytes(item));
    });
  }
  // All lines.
  std::string Fsck(bool repair = false) {
    std::string lines;
    const auto report = fs::Fsck(dir_, {.repair = repair, .data = true},
                                 [&](const std::string& line) { lines += line + "\n"; });
    EXPECT_TRUE(report) << report.error().ToString();
    if (report && repair) all_repaired_ = report->repaired == report->findings;
    return lines;
  }
  // Finds `text`, repairs it, and finds nothing more.
  void ExpectRepaired(const std::string& text) {
    EXPECT_NE(Fsck().find(text), std::string::npos) << Fsck();
    EXPECT_NE(Fsck(/*repair=*/true).find(text), std::string::npos);
    EXPECT_TRUE(all_repaired_);
    EXPECT_EQ(Fsck(), "");
  }

  std::string dir_;
  NodeKey v_, f_, sub_;
  bool all_repaired_ = false;
};

}  // namespace px::testing
