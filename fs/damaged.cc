// Objects that are damaged: whether one may be looked at, opens that are refused, what is named by
// it, and who takes it as it is.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/filesystem.h"
#include "fs/object_check.h"
#include "fs/scrub.h"

namespace px::fs {

bool Filesystem::NamesObject(const CheckTarget& target) {
  if (!target.version) return HasObject(target.node, target.object);
  bool names = false;
  const Status looked = store_->View([&](cow::Reader& reader) -> Status {
    return reader.Scan(
        target.node.volume, cow::ItemKey(target.node.ino, cow::ItemType{0}),
        cow::InodeKeyEnd(target.node.ino), [&](std::string_view key, std::string_view value) {
          cow::ForEachObject(
              key, value, [&](cow::ObjectId object) { names = names || object == target.object; });
          return !names;
        });
  });
  return looked ? names : looked.error().code() != ENOENT;
}

bool Filesystem::MayBeWritten(const CheckTarget& target) {
  for (const auto& open : table_.All()) {
    const ReaderLock io(open->io);
    if (open->live && open->object == target.object) return true;
  }
  if (!target.version) return IsOpenForWriting(target.node, target.object);
  const auto fd = objects_->OpenObject(target.object, O_RDONLY);
  if (!fd) return false;  // the caller finds out
  if (::fcntl(fd->get(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  ::fcntl(fd->get(), F_SETLEASE, F_UNLCK);
  return false;
}

Status Filesystem::RefuseDamaged(NodeKey node) {
  if (!seals_->AnyDamaged()) return {};
  cow::InodeItem item;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(item, LoadInode(reader, node));
    return {};
  }));
  for (const cow::ObjectId object : {cow::ObjectId{item.object}, cow::ObjectId{item.base}}) {
    if (object.value == 0 || !seals_->IsDamaged(object)) continue;
    LogError("inode {:x} is refused: its object {:x} is damaged", node.ToFuse(), object.value);
    return Fail(EIO, fmt::format("object {:x} is damaged", object.value));
  }
  return {};
}

Status Filesystem::NotMissing(NodeKey node, Status status) {
  if (status || status.error().code() != ENOENT) return status;
  const bool there = store_
                         ->View([&](cow::Reader& reader) -> Status {
                           PX_TRY(LoadInode(reader, node));
                           return {};
                         })
                         .has_value();
  if (!there) return status;
  LogError("inode {:x} is refused: {}", node.ToFuse(), status.error().ToString());
  return Fail(EIO, "the object of the file is missing");
}

Status Filesystem::CheckSizeOf(NodeKey node, const cow::InodeItem& item) const {
  if (options_.read_only || item.content == cow::ContentKind::kNone) return {};
  const auto check = [&](cow::ObjectId object, uint64_t size) -> Status {
    PX_ASSIGN(const uint64_t present, objects_->SizeOf(object));
    if (present >= size) return {};
    LogError("inode {:x} is refused: its object {:x} has {} bytes, not {}", node.ToFuse(),
             object.value, present, size);
    return Fail(EIO, "the object of the file is too short");
  };
  PX_TRY(check(cow::ObjectId{item.object}, item.size));
  if (item.base == 0) return {};
  // How large a shared one was that this file is over the tree does not say.
  const auto seal = seals_->Find(cow::ObjectId{item.base});
  return seal && !seal->doubtful ? check(cow::ObjectId{item.base}, seal->size) : Status{};
}

Status Filesystem::AcceptDamaged(NodeKey dir, const std::string& name, const Caller& caller) {
  if (options_.read_only) return Fail(EROFS);
  NodeKey node;
  cow::InodeItem item;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(node, OwnedFile(reader, dir, name, caller));
    PX_ASSIGN(item, LoadInode(reader, node));
    return {};
  }));
  for (const uint64_t id : {item.object, item.base}) {
    if (id == 0) continue;
    ObjectCheck check(this, {cow::ObjectId{id}, node, id == item.base},
                      ObjectCheck::What::kReplace);
    std::optional<Outcome> outcome;
    while (!outcome) outcome = check.Step(uint64_t{64} << 20);
    if (*outcome == Outcome::kBusy) return Fail(EBUSY, "the file is being written");
    if (*outcome != Outcome::kSealed) {
      return Fail(EIO, fmt::format("object {:x}: {} {}", id, NameOf(*outcome), check.why()));
    }
    const Seals::Put put{&check.watch(), *check.seal()};
    PX_TRY(seals_->PutAll({&put, 1}));
    LogWarn("object {:x} of inode {:x} is accepted as it is", id, node.ToFuse());
  }
  return seals_->enabled() ? seals_->table()->Sync() : Status{};
}

void Filesystem::CloseParked(cow::ObjectId object) {
  for (const auto& open : table_.AllAndParked()) {
    bool has = false;
    {
      const ReaderLock io(open->io);
      has = open->object == object;
    }
    if (has) table_.Doom(open->node);
  }
  CloseDoomed();
}

Status Filesystem::ScrubStep(px_ioc_text* text, const Caller& caller) {
  if (caller.uid != 0 && caller.uid != ::geteuid()) return Fail(EPERM);
  return scrub_->Step(text);
}

std::string Filesystem::ScrubStatusJson() { return scrub_->StatusJson(); }

Result<std::string> Filesystem::VolumePath(cow::Reader& reader, cow::VolumeId volume) {
  if (volume == cow::kRootVolume) return std::string();
  PX_ASSIGN(const cow::Volume row, reader.GetVolume(volume));
  PX_ASSIGN(const VolumeAttributes attributes, VolumeAttributes::Parse(row.attributes));
  if (attributes.snapshot()) {
    PX_ASSIGN(const std::string parent, VolumePath(reader, attributes.parent_volume));
    return fmt::format("{}/{}/{}", parent, kSnapshotsName, attributes.name);
  }
  PX_ASSIGN(const std::string dir, PathIn(reader, {cow::kRootVolume, attributes.parent_dir}));
  const std::string path = dir == "." ? attributes.name : dir + "/" + attributes.name;
  return attributes.trashed() ? "(in the trash) " + path : path;
}

Result<std::vector<std::string>> Filesystem::FullPathsOf(cow::Reader& reader, NodeKey node) {
  const auto volume = VolumePath(reader, node.volume);
  const std::string top = volume ? (volume->empty() ? "" : *volume + "/")
                                 : fmt::format("volume {}/", node.volume.value);
  const auto item = LoadInode(reader, node);
  std::vector<std::string> paths;
  const bool several = item && S_ISREG(item->mode) && item->nlink > 1;
  if (!several) {
    if (const auto path = PathIn(reader, node)) paths.push_back(*path);
  }
  if (paths.empty()) {
    if (auto all = AllPathsOf(reader, node)) paths = std::move(*all);
  }
  if (paths.empty()) paths.push_back(fmt::format("inode {}", node.ino.value));
  for (std::string& path : paths) path = top + path;
  return paths;
}

}  // namespace px::fs
