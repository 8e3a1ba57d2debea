#include "fs/fsck.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <unordered_map>
#include <unordered_set>

#include "fs/node.h"
#include "fs/store_dir.h"

namespace px::fs {
namespace {

// What one pass over a volume finds out about an inode.
struct Seen {
  uint32_t links = 0;    // dentries that name it
  uint64_t entries = 0;  // dentries in it
  uint32_t subdirs = 0;
  bool has_item = false;
  bool is_orphan = false;
  cow::InodeItem item;
};

class VolumeCheck {
 public:
  VolumeCheck(cow::VolumeId volume, const std::function<void(const std::string&)>& line)
      : volume_(volume), line_(line) {}

  Status Run(cow::Reader& reader) {
    Status broken;
    PX_TRY(reader.Scan(volume_, {}, {}, [&](std::string_view key, std::string_view value) {
      Visit(key, value);
      return true;
    }));
    for (const auto& [ino, seen] : inodes_) Judge(ino, seen);
    return broken;
  }
  uint64_t findings() const { return findings_; }
  uint64_t inodes() const { return inodes_.size(); }

 private:
  template <typename... Args>
  void Find(fmt::format_string<Args...> format, Args&&... args) {
    ++findings_;
    line_(fmt::format("volume {}: ", volume_.value) +
          fmt::format(format, std::forward<Args>(args)...));
  }

  void Visit(std::string_view key, std::string_view value) {
    const auto parsed = cow::ParseKey(key);
    if (!parsed) return Find("a key of a wrong size");
    if (parsed->type == cow::ItemType::kOrphan) {
      if (parsed->rest.size() == 8)
        inodes_[cow::LoadBigEndian64(parsed->rest.data())].is_orphan = true;
    } else if (parsed->type == cow::ItemType::kInode) {
      const auto item = cow::FromBytes<cow::InodeItem>(value);
      if (!item) return Find("inode {}: an item of a wrong size", parsed->ino.value);
      inodes_[parsed->ino.value].item = *item;
      inodes_[parsed->ino.value].has_item = true;
    } else if (parsed->type == cow::ItemType::kDentry) {
      VisitDentry(*parsed, value);
    }
  }

  void VisitDentry(const cow::ParsedKey& key, std::string_view value) {
    const auto dentry = cow::FromBytes<cow::DentryItem>(value);
    if (!dentry || key.rest.size() < 9) return Find("directory {}: a broken entry", key.ino.value);
    // The index of snapshots is no directory of the volume.
    if (volume_ == cow::kRootVolume && key.ino >= SnapshotIndexDir(cow::VolumeId{0})) return;
    Seen& dir = inodes_[key.ino.value];
    ++dir.entries;
    if (dentry->type == DT_DIR) ++dir.subdirs;
    if (dentry->volume == 0) ++inodes_[dentry->ino].links;
    const std::string_view name = cow::DentryName(key.rest);
    if (cow::HashName(name) != cow::DentryHash(key.rest)) {
      Find("directory {}: entry '{}' stands under a wrong hash", key.ino.value, name);
    }
  }

  void Judge(uint64_t ino, const Seen& seen) {
    if (!seen.has_item) return Find("inode {} is named but does not exist", ino);
    const bool root = ino == cow::kRootIno.value;
    if (S_ISDIR(seen.item.mode)) {
      if (seen.item.entries != seen.entries) {
        Find("directory {}: counts {} entries, has {}", ino, seen.item.entries, seen.entries);
      }
      if (seen.item.nlink != 2 + seen.subdirs) {
        Find("directory {}: link count {}, should be {}", ino, seen.item.nlink, 2 + seen.subdirs);
      }
      if (!root && seen.links != 1) Find("directory {}: {} names", ino, seen.links);
      return;
    }
    if (seen.item.nlink != seen.links) {
      Find("inode {}: link count {}, has {} names", ino, seen.item.nlink, seen.links);
    }
    if (seen.links == 0 && !seen.is_orphan) Find("inode {} has no name", ino);
  }

  const cow::VolumeId volume_;
  const std::function<void(const std::string&)>& line_;
  std::unordered_map<uint64_t, Seen> inodes_;
  uint64_t findings_ = 0;
};

}  // namespace

Result<FsckReport> Fsck(const std::string& store, bool repair,
                        const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(const StoreDir dir, StoreDir::Open(store, /*create=*/false));
  PX_ASSIGN(const Filesystem::Parts parts, dir.OpenParts());
  FsckReport report;
  std::unordered_set<uint64_t> named, waiting;
  PX_ASSIGN(report.findings,
            parts.store->Check(repair, line, [&](cow::ObjectId object, bool waits) {
              (waits ? waiting : named).insert(object.value);
            }));
  if (repair) report.repaired = report.findings;
  PX_ASSIGN(const cow::ObjectId next, parts.store->PeekNextObject());
  std::vector<cow::ObjectId> lost;
  std::unordered_set<uint64_t> present;
  PX_TRY(parts.objects->Scan([&](cow::ObjectId object) {
    ++report.objects;
    present.insert(object.value);
    // From `next` on are the pool's files, which nothing names yet.
    const bool wanted = named.contains(object.value) || waiting.contains(object.value);
    if (!wanted && object < next) lost.push_back(object);
  }));
  for (const cow::ObjectId object : lost) {
    ++report.findings;
    line(fmt::format("object {:x}: no file or volume names it{}", object.value,
                     repair ? ": removed" : ""));
    if (!repair) continue;
    PX_TRY(parts.objects->Remove(object));
    ++report.repaired;
  }
  PX_TRY(parts.store->View([&](cow::Reader& reader) -> Status {
    std::vector<cow::VolumeId> volumes;
    PX_TRY(reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
      volumes.push_back(volume.id);
      return true;
    }));
    for (const cow::VolumeId volume : volumes) {
      VolumeCheck check(volume, line);
      if (const Status ran = check.Run(reader); !ran) {
        ++report.findings;
        line(fmt::format("volume {}: {}", volume.value, ran.error().ToString()));
      }
      report.findings += check.findings();
      report.inodes += check.inodes();
      ++report.volumes;
    }
    return {};
  }));
  for (const uint64_t object : named) {
    if (present.contains(object)) continue;
    ++report.findings;
    line(fmt::format("object {:x} is named but its file is missing", object));
  }
  return report;
}

}  // namespace px::fs
