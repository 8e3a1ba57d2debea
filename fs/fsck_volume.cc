#include "fs/fsck_volume.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "fs/filesystem.h"
#include "fs/rescue.h"
#include "fs/volume_attributes.h"

namespace px::fs {
namespace {

constexpr size_t kAtOnce = 256;  // changes of one transaction

}  // namespace

void VolumeCheck::Find(const std::string& text, bool repaired) {
  log_.Find(fmt::format("volume {}: {}", volume_.value, text), repaired && repair_);
}

Status VolumeCheck::Run() {
  const Status scanned = store_.View([&](cow::Reader& reader) -> Status {
    PX_TRY(reader.Scan(volume_, {}, {}, [&](std::string_view key, std::string_view value) {
      Visit(key, value);
      return true;
    }));
    PX_TRY(FindLostDirectories(reader));
    PX_TRY(FindTakenNames(reader));
    return FindNamesOfNothing(reader);
  });
  if (!scanned) {
    // What names what cannot be said.
    repair_ = false;
    Find(scanned.error().ToString());
  }
  for (auto& [ino, seen] : inodes_) Judge(ino, seen);
  std::sort(lost_.begin(), lost_.end());
  return repair_ ? Repair() : Status{};
}

void VolumeCheck::Visit(std::string_view key, std::string_view value) {
  const auto parsed = cow::ParseKey(key);
  if (!parsed) return Find("a key of a wrong size", false);
  if (parsed->type == cow::ItemType::kOrphan) {
    if (parsed->rest.size() == 8) {
      inodes_[cow::LoadBigEndian64(parsed->rest.data())].is_orphan = true;
    }
  } else if (parsed->type == cow::ItemType::kInode) {
    const auto item = cow::FromBytes<cow::InodeItem>(value);
    if (!item) {
      return Find(fmt::format("inode {}: an item of a wrong size", parsed->ino.value), false);
    }
    inodes_[parsed->ino.value].item = *item;
    inodes_[parsed->ino.value].has_item = true;
  } else if (parsed->type == cow::ItemType::kDentry) {
    VisitDentry(key, *parsed, value);
  }
}

uint32_t VolumeNamedBy(std::string_view key, std::string_view value) {
  const auto parsed = cow::ParseKey(key);
  if (!parsed || parsed->type != cow::ItemType::kDentry) return 0;
  const auto dentry = cow::FromBytes<cow::DentryItem>(value);
  return dentry ? dentry->volume : 0;
}

void VolumeCheck::VisitDentry(std::string_view whole, const cow::ParsedKey& key,
                              std::string_view value) {
  const auto dentry = cow::FromBytes<cow::DentryItem>(value);
  if (!dentry || key.rest.size() < 9) {
    return Find(fmt::format("directory {}: a broken entry", key.ino.value), false);
  }
  // The index of snapshots and the trash are no directories of the volume.
  if (volume_ == cow::kRootVolume && key.ino >= SnapshotIndexDir(cow::VolumeId{0})) return;
  Seen& dir = inodes_[key.ino.value];
  ++dir.entries;
  if (dentry->type == DT_DIR) ++dir.subdirs;
  if (dentry->volume == 0) {
    ++inodes_[dentry->ino].links;
    if (dentry->type == DT_DIR) inodes_[dentry->ino].named_in = key.ino.value;
  }
  const std::string_view name = cow::DentryName(key.rest);
  if (cow::HashName(name) != cow::DentryHash(key.rest)) {
    Find(fmt::format("directory {}: entry '{}' stands under a wrong hash", key.ino.value, name));
    misplaced_.push_back({std::string(whole), std::string(value), cow::DentryKey(key.ino, name)});
  }
}

// All of the volume could be read, and has no inode for what must be a directory: it is there, or
// has entries, or a name that says so.
Status VolumeCheck::FindLostDirectories(cow::Reader& reader) {
  // A store that was never mounted has nothing yet.
  const bool is_new = volume_ == cow::kRootVolume && inodes_.empty();
  Seen& root = inodes_[cow::kRootIno.value];
  for (auto& [ino, seen] : inodes_) {
    const bool is_root = &seen == &root;
    if (seen.has_item || seen.is_orphan) continue;
    if (!is_root && seen.entries == 0 && seen.named_in == 0) continue;
    if (!is_new) Find(fmt::format("directory {}: its inode is lost", ino));
    cow::Ino parent{seen.named_in};
    if (is_root) {
      parent = cow::kRootIno;
      PX_ASSIGN(const cow::Volume volume, reader.GetVolume(volume_));
      if (const auto attributes = VolumeAttributes::Parse(volume.attributes)) {
        parent = attributes->parent_dir;
      }
    }
    seen.item = LostDirectory(parent);
    // Below it everything has owners of its own.
    if (is_root && volume_ == cow::kRootVolume) seen.item.mode = S_IFDIR | 0755;
    seen.item.entries = seen.entries;
    seen.item.nlink = 2 + seen.subdirs;
    seen.has_item = true;
    changed_.push_back(ino);
  }
  return {};
}

// An entry that stands under a wrong hash is not moved over another one that has its name: what it
// names is one without a name, then.
Status VolumeCheck::FindTakenNames(cow::Reader& reader) {
  std::set<std::string> taken;
  for (Misplaced& one : misplaced_) {
    const auto other = reader.Get(volume_, one.right_key);
    if (!other && other.error().code() != ENOENT) return Forward(other.error());
    if (!other && taken.insert(one.right_key).second) continue;
    PX_ASSIGN(const cow::ParsedKey key, cow::ParseKey(one.key));
    PX_ASSIGN(const auto dentry, cow::FromBytes<cow::DentryItem>(one.value));
    // A volume keeps what name it has.
    const bool goes = dentry.volume == 0;
    Find(fmt::format("directory {}: there is another entry '{}'", key.ino.value,
                     cow::DentryName(key.rest)),
         goes);
    one.right_key.clear();
    one.stays = !goes;
    if (!repair_ || !goes) continue;
    Seen& dir = inodes_[key.ino.value];
    --dir.entries;
    if (dentry.type == DT_DIR) --dir.subdirs;
    --inodes_[dentry.ino].links;
  }
  std::erase_if(misplaced_, [](const Misplaced& one) { return one.stays; });
  return {};
}

// All of the volume could be read.
Status VolumeCheck::FindNamesOfNothing(cow::Reader& reader) {
  const auto is_nothing = [this](uint64_t ino) {
    const auto found = inodes_.find(ino);
    return found != inodes_.end() && found->second.links > 0 && !found->second.has_item;
  };
  const bool any = std::any_of(inodes_.begin(), inodes_.end(),
                               [&](const auto& one) { return is_nothing(one.first); });
  if (!any) return {};
  return reader.Scan(volume_, {}, {}, [&](std::string_view key, std::string_view value) {
    const auto parsed = cow::ParseKey(key);
    const auto dentry = cow::FromBytes<cow::DentryItem>(value);
    if (!parsed || parsed->type != cow::ItemType::kDentry || !dentry || parsed->rest.size() < 9 ||
        dentry->volume != 0 || !is_nothing(dentry->ino)) {
      return true;
    }
    if (volume_ == cow::kRootVolume && parsed->ino >= SnapshotIndexDir(cow::VolumeId{0})) {
      return true;
    }
    const uint64_t dir = parsed->ino.value, ino = dentry->ino;
    Find(fmt::format("directory {}: '{}' names inode {}, which does not exist", dir,
                     cow::DentryName(parsed->rest), ino));
    std::erase_if(misplaced_, [&](const Misplaced& one) { return one.key == key; });
    misplaced_.push_back({std::string(key), {}, {}});
    if (!repair_) return true;
    --inodes_[dir].entries;
    if (dentry->type == DT_DIR) --inodes_[dir].subdirs;
    return true;
  });
}

void VolumeCheck::Judge(uint64_t ino, Seen& seen) {
  if (!seen.has_item) {
    if (seen.is_orphan) {
      Find(fmt::format("inode {} waits to be removed, but does not exist", ino));
      stale_orphans_.push_back(ino);
    }
    return;
  }
  if (S_ISDIR(seen.item.mode)) return JudgeDirectory(ino, seen);
  JudgeSize(ino, seen);
  const bool lost = seen.links == 0 && !seen.is_orphan;
  if (lost) {
    Find(fmt::format("inode {} has no name", ino));
    lost_.push_back(ino);
  } else if (seen.item.nlink != seen.links) {
    const uint32_t nlink = seen.item.nlink;
    Find(fmt::format("inode {}: link count {}, has {} names", ino, nlink, seen.links));
    seen.item.nlink = seen.links;
    changed_.push_back(ino);
  }
}

void VolumeCheck::JudgeDirectory(uint64_t ino, Seen& seen) {
  const uint64_t entries = seen.item.entries;
  const uint32_t nlink = seen.item.nlink;
  if (entries != seen.entries) {
    Find(fmt::format("directory {}: counts {} entries, has {}", ino, entries, seen.entries));
    seen.item.entries = seen.entries;
  }
  if (nlink != 2 + seen.subdirs) {
    Find(fmt::format("directory {}: link count {}, should be {}", ino, nlink, 2 + seen.subdirs));
    seen.item.nlink = 2 + seen.subdirs;
  }
  if (entries != seen.item.entries || nlink != seen.item.nlink) changed_.push_back(ino);
  if (ino == cow::kRootIno.value) return;
  if (seen.links == 0) {
    Find(fmt::format("directory {}: no name", ino));
    lost_.push_back(ino);
  } else if (seen.links > 1) {
    Find(fmt::format("directory {}: {} names", ino, seen.links), false);
  }
}

void VolumeCheck::JudgeSize(uint64_t ino, Seen& seen) {
  if (objects_ == nullptr || !S_ISREG(seen.item.mode) || seen.item.object == 0) return;
  const auto size = objects_->SizeOf(cow::ObjectId{seen.item.object});
  if (!size || *size == seen.item.size) return;  // a missing one is another finding
  const uint64_t present = seen.item.size, object = seen.item.object;
  Find(fmt::format("inode {}: has {} bytes, its object {:x} {}", ino, present, object, *size));
  seen.item.size = *size;
  changed_.push_back(ino);
}

Status VolumeCheck::Repair() {
  PX_TRY(store_.Update([&](cow::Txn& txn) { return RepairDentries(txn); }));
  std::sort(changed_.begin(), changed_.end());
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  for (size_t done = 0; done < changed_.size(); done += kAtOnce) {
    const size_t end = std::min(changed_.size(), done + kAtOnce);
    PX_TRY(store_.Update([&](cow::Txn& txn) -> Status {
      for (size_t i = done; i < end; ++i) {
        const uint64_t ino = changed_[i];
        PX_TRY(Filesystem::SaveInode(txn, {volume_, cow::Ino{ino}}, inodes_[ino].item));
      }
      return {};
    }));
  }
  return lost_.empty() ? Status{} : RepairLost();
}

Status VolumeCheck::RepairDentries(cow::Txn& txn) {
  for (const Misplaced& one : misplaced_) {
    PX_TRY(txn.Erase(volume_, one.key));
    if (!one.right_key.empty()) PX_TRY(txn.Put(volume_, one.right_key, one.value));
  }
  for (const uint64_t ino : stale_orphans_) {
    PX_TRY(txn.Erase(volume_, cow::OrphanKey(cow::Ino{ino})));
  }
  return {};
}

Status VolumeCheck::RepairLost() {
  if (!inodes_[cow::kRootIno.value].has_item) return {};
  for (size_t done = 0; done < lost_.size(); done += kAtOnce) {
    const size_t end = std::min(lost_.size(), done + kAtOnce);
    PX_TRY(store_.Update([&](cow::Txn& txn) -> Status {
      PX_ASSIGN(const cow::Ino dir, LostAndFound(txn, volume_));
      for (size_t i = done; i < end; ++i) {
        cow::InodeItem& item = inodes_[lost_[i]].item;
        const bool is_dir = S_ISDIR(item.mode);
        cow::DentryItem dentry;
        dentry.ino = lost_[i];
        dentry.type = IFTODT(item.mode);
        item.parent = dir.value;
        if (!is_dir) item.nlink = 1;
        PX_TRY(Filesystem::SaveInode(txn, {volume_, cow::Ino{lost_[i]}}, item));
        PX_TRY(AddEntry(txn, volume_, dir, fmt::format("#{}", lost_[i]), dentry));
      }
      return {};
    }));
  }
  return {};
}

}  // namespace px::fs
