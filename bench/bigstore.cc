// bigstore STORE [--volumes=N] [--files=N] [--own=N]: makes a large store without a mount.
//
// N volumes at the root, named v0, v1, ...: the first has --files empty files, 1,000 in a
// directory; the others are clones of it, each with --own more files that only it has. So
// `--volumes=10000 --files=1000` is a store of 10^7 inodes that share their nodes, `--volumes=1
// --files=1000000` one of 10^6 inode items of their own. The files have no objects: what is
// measured is the tree.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/result.h"
#include "fs/store_dir.h"
#include "fs/volume_attributes.h"

namespace px::bench {
namespace {

constexpr uint64_t kPerDirectory = 1000;

struct Options {
  std::string store;
  uint64_t volumes = 10'000;
  uint64_t files = 1000;
  uint64_t own = 0;
};

class Generator {
 public:
  Generator(const Options& options, const fs::Filesystem::Parts& parts)
      : options_(options), parts_(parts), store_(*parts.store) {}

  Status Run() {
    PX_TRY(MakeRoot());
    for (uint64_t number = 0; number < options_.volumes; ++number) {
      PX_TRY(MakeVolume(number));
      PX_TRY(parts_.checkpoint());  // as a daemon does: the next mount reads what is in the log
    }
    return store_.Sync();
  }

 private:
  static Status PutInode(cow::Txn& txn, fs::NodeKey node, uint32_t mode, uint32_t nlink,
                         uint64_t entries, uint64_t parent) {
    cow::InodeItem item;
    item.mode = mode;
    item.nlink = nlink;
    item.entries = entries;
    item.parent = parent;
    item.atime = item.mtime = item.ctime = item.btime = {1'700'000'000, 0};
    return txn.Put(node.volume, cow::ItemKey(node.ino, cow::ItemType::kInode), cow::AsBytes(item));
  }

  static Status PutDentry(cow::Txn& txn, fs::NodeKey dir, const std::string& name, cow::Ino ino,
                          cow::VolumeId volume, uint8_t type) {
    cow::DentryItem dentry;
    dentry.ino = ino.value;
    dentry.volume = volume.value;
    dentry.type = type;
    return txn.Put(dir.volume, cow::DentryKey(dir.ino, name), cow::AsBytes(dentry));
  }

  Status MakeRoot() {
    return store_.Update([&](cow::Txn& txn) {
      return PutInode(txn, {cow::kRootVolume, cow::kRootIno}, S_IFDIR | 0755,
                      static_cast<uint32_t>(2 + options_.volumes), options_.volumes,
                      cow::kRootIno.value);
    });
  }

  Status MakeVolume(uint64_t number) {
    const std::string name = "v" + std::to_string(number);
    cow::VolumeId volume;
    PX_TRY(store_.Update([&](cow::Txn& txn) -> Status {
      fs::VolumeAttributes attributes;
      attributes.parent_dir = cow::kRootIno;
      attributes.name = name;
      if (number == 0) {
        PX_ASSIGN(volume, txn.CreateVolume(attributes.Serialize()));
        const uint64_t dirs = (options_.files + kPerDirectory - 1) / kPerDirectory;
        PX_TRY(PutInode(txn, {volume, cow::kRootIno}, S_IFDIR | 0755,
                        static_cast<uint32_t>(2 + dirs), dirs, cow::kRootIno.value));
      } else {
        PX_ASSIGN(volume, txn.CloneVolume(first_, attributes.Serialize()));
      }
      return PutDentry(txn, {cow::kRootVolume, cow::kRootIno}, name, cow::kRootIno, volume, DT_DIR);
    }));
    if (number == 0) first_ = volume;
    const uint64_t files = number == 0 ? options_.files : options_.own;
    for (uint64_t at = 0; at < files; at += kPerDirectory) {
      PX_TRY(MakeDirectory(volume, (number == 0 ? "d" : "own") + std::to_string(at),
                           std::min(kPerDirectory, files - at)));
    }
    return {};
  }

  Status MakeDirectory(cow::VolumeId volume, const std::string& name, uint64_t files) {
    return store_.Update([&](cow::Txn& txn) -> Status {
      PX_ASSIGN(const cow::Ino dir, txn.NewIno(volume));
      PX_TRY(PutInode(txn, {volume, dir}, S_IFDIR | 0755, 2, files, cow::kRootIno.value));
      PX_TRY(PutDentry(txn, {volume, cow::kRootIno}, name, dir, cow::VolumeId{}, DT_DIR));
      for (uint64_t i = 0; i < files; ++i) {
        PX_ASSIGN(const cow::Ino file, txn.NewIno(volume));
        PX_TRY(PutInode(txn, {volume, file}, S_IFREG | 0644, 1, 0, dir.value));
        PX_TRY(
            PutDentry(txn, {volume, dir}, "f" + std::to_string(i), file, cow::VolumeId{}, DT_REG));
      }
      return {};
    });
  }

  const Options& options_;
  const fs::Filesystem::Parts& parts_;
  cow::Store& store_;
  cow::VolumeId first_;
};

Status Make(const Options& options) {
  PX_ASSIGN(const fs::StoreDir dir, fs::StoreDir::Open(options.store, /*create=*/true));
  PX_ASSIGN(const fs::Filesystem::Parts parts, dir.OpenParts());
  return Generator(options, parts).Run();
}

int Main(int argc, char** argv) {
  Options options;
  const auto number = [](const char* text) { return std::strtoull(text, nullptr, 10); };
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--volumes=")) {
      options.volumes = number(argument.c_str() + 10);
    } else if (argument.starts_with("--files=")) {
      options.files = number(argument.c_str() + 8);
    } else if (argument.starts_with("--own=")) {
      options.own = number(argument.c_str() + 6);
    } else if (!argument.starts_with("-") && options.store.empty()) {
      options.store = argument;
    } else {
      options.store.clear();
      break;
    }
  }
  if (options.store.empty() || options.volumes < 1) {
    std::fprintf(stderr, "usage: bigstore STORE [--volumes=N] [--files=N] [--own=N]\n");
    return 2;
  }
  const Status made = Make(options);
  if (made) return 0;
  std::fprintf(stderr, "bigstore: %s\n", made.error().ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace px::bench

int main(int argc, char** argv) { return px::bench::Main(argc, argv); }
