// Helpers of Filesystem on single inodes and dentries, inside a transaction or a view.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

timespec ToTimespec(const cow::Time& time) {
  return {static_cast<time_t>(time.sec), static_cast<long>(time.nsec)};
}

constexpr auto kDrain = std::chrono::seconds(1);
// Bytes of a file.
constexpr uint64_t kManyPages = uint64_t{256} << 10;
constexpr uint64_t kTooManyPages = uint64_t{64} << 20;

bool Later(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

}  // namespace

cow::Time Filesystem::Now() const {
  const timespec now = clock_->Now();
  return {now.tv_sec, static_cast<uint32_t>(now.tv_nsec)};
}

Result<std::shared_ptr<Filesystem::VolumeState>> Filesystem::StateOf(cow::VolumeId volume) {
  {
    const ReaderLock lock(volumes_mutex_);
    const auto found = volumes_.find(volume.value);
    if (found != volumes_.end()) {
      if (found->second->dropped) return Fail(ESTALE, "volume was dropped");
      return found->second;
    }
  }
  VolumeAttributes attributes;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::Volume row, reader.GetVolume(volume));
    if (volume == cow::kRootVolume && row.attributes.empty()) return {};
    PX_ASSIGN(attributes, VolumeAttributes::Parse(row.attributes));
    return {};
  }));
  if (attributes.trashed()) return Fail(ESTALE, "volume is in the trash");
  const WriterLock lock(volumes_mutex_);
  auto& state = volumes_[volume.value];
  if (state == nullptr) {
    state = std::make_shared<VolumeState>();
    state->readonly = attributes.readonly();
  }
  return state;
}

Status Filesystem::CheckRoom() const {
  return out_of_space_() ? Status(Fail(ENOSPC, "meta.db has no room to grow")) : Status{};
}

Result<Filesystem::Gate> Filesystem::Enter(cow::VolumeId volume) {
  PX_ASSIGN(auto state, StateOf(volume));
  Gate gate(std::move(state));
  if (gate.state().dropped) return Fail(ESTALE, "volume was dropped");
  return gate;
}

Result<Filesystem::Gate> Filesystem::EnterToWrite(cow::VolumeId volume) {
  if (options_.read_only) return Fail(EROFS);
  PX_ASSIGN(Gate gate, Enter(volume));
  if (gate.state().readonly) return Fail(EROFS);
  return gate;
}

bool Filesystem::DrainOpens(cow::VolumeId volume) { return table_.WaitUntilClosed(volume, kDrain); }

Result<cow::InodeItem> Filesystem::LoadInode(cow::Reader& reader, NodeKey node) {
  PX_ASSIGN(const std::string value,
            reader.Get(node.volume, cow::ItemKey(node.ino, cow::ItemType::kInode)));
  return cow::FromBytes<cow::InodeItem>(value);
}

Result<cow::InodeItem> Filesystem::LoadDirectory(cow::Reader& reader, NodeKey node) {
  auto item = LoadInode(reader, node);
  if (item && !S_ISDIR(item->mode)) return Fail(ENOTDIR);
  return item;
}

Status Filesystem::SaveInode(cow::Txn& txn, NodeKey node, const cow::InodeItem& item) {
  return txn.Put(node.volume, cow::ItemKey(node.ino, cow::ItemType::kInode), cow::AsBytes(item));
}

Result<cow::DentryItem> Filesystem::LoadDentry(cow::Reader& reader, NodeKey dir,
                                               std::string_view name) {
  if (name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG);
  PX_ASSIGN(const std::string value, reader.Get(dir.volume, cow::DentryKey(dir.ino, name)));
  return cow::FromBytes<cow::DentryItem>(value);
}

NodeKey Filesystem::Target(NodeKey dir, const cow::DentryItem& dentry) {
  if (dentry.volume != 0) return {cow::VolumeId{dentry.volume}, cow::Ino{dentry.ino}};
  return {dir.volume, cow::Ino{dentry.ino}};
}

struct stat Filesystem::Attr(NodeKey node, const cow::InodeItem& item) {
  struct stat attr{};
  attr.st_ino = node.ToFuse();
  attr.st_mode = item.mode;
  attr.st_nlink = item.nlink;
  attr.st_uid = item.uid;
  attr.st_gid = item.gid;
  attr.st_rdev = item.rdev;
  attr.st_size = static_cast<off_t>(item.size);
  attr.st_blocks = static_cast<blkcnt_t>(item.blocks);
  attr.st_blksize = 4096;
  attr.st_atim = ToTimespec(item.atime);
  attr.st_mtim = ToTimespec(item.mtime);
  attr.st_ctim = ToTimespec(item.ctime);
  if (S_ISDIR(item.mode)) {
    attr.st_size = 4096;
    attr.st_blocks = 8;
  }
  return attr;
}

uint64_t Filesystem::BlocksUpTo(uint64_t size) {
  constexpr uint64_t kBlock = 4096;
  return (size + kBlock - 1) / kBlock * (kBlock / 512);
}

uint64_t Filesystem::BlocksOf(const struct stat& attr) {
  return std::min(static_cast<uint64_t>(attr.st_blocks),
                  BlocksUpTo(static_cast<uint64_t>(attr.st_size)));
}

Result<struct stat> Filesystem::LiveAttr(NodeKey node, const cow::InodeItem& item,
                                         bool tells) const {
  struct stat attr = Attr(node, item);
  if (!S_ISREG(item.mode)) return attr;
  if (const auto open = table_.Find(node)) PX_TRY(MergeLive(*open, item, tells, &attr));
  return attr;
}

Status Filesystem::MergeLive(const OpenInode& open, const cow::InodeItem& item, bool tells,
                             struct stat* attr) {
  const ReaderLock lock(open.io);
  if (!open.live) return {};
  struct stat backing{};
  if (::fstat(open.fd.get(), &backing) != 0) return FailErrno("stat of an open object");
  attr->st_size = backing.st_size;
  if (tells) open.told_size = backing.st_size;
  // What a sparse file shows is about all there, in one object or the other.
  attr->st_blocks = (backing.st_size + 511) / 512;
  if (open.sparse == nullptr) {
    attr->st_blocks =
        open.beyond_end ? backing.st_blocks : static_cast<blkcnt_t>(BlocksOf(backing));
  }
  if (ToNanoseconds(backing.st_mtim) == open.base_mtime_ns) return {};
  attr->st_mtim = backing.st_mtim;
  if (Later(backing.st_ctim, ToTimespec(item.ctime))) attr->st_ctim = backing.st_ctim;
  return {};
}

Result<struct stat> Filesystem::SnapshotsDirAttr(cow::Reader& reader, cow::VolumeId volume) const {
  PX_ASSIGN(const cow::InodeItem root, LoadInode(reader, {volume, cow::kRootIno}));
  struct stat attr = Attr({volume, cow::kSnapshotsIno}, root);
  attr.st_mode = S_IFDIR | (root.mode & 0555);
  attr.st_nlink = 2;
  return attr;
}

Status Filesystem::EraseInode(cow::Txn& txn, NodeKey node, const cow::InodeItem& item) {
  const bool one_item =
      S_ISREG(item.mode) && item.flags == 0 && item.content != cow::ContentKind::kSparse;
  if (one_item) return txn.Erase(node.volume, cow::ItemKey(node.ino, cow::ItemType::kInode));
  std::vector<std::string> keys;
  PX_TRY(txn.Scan(node.volume, cow::ItemKey(node.ino, cow::ItemType{0}), cow::InodeKeyEnd(node.ino),
                  [&keys](std::string_view key, std::string_view) {
                    keys.emplace_back(key);
                    return true;
                  }));
  for (const std::string& key : keys) PX_TRY(txn.Erase(node.volume, key));
  return {};
}

Result<Filesystem::Dropped> Filesystem::DropLink(cow::Txn& txn, NodeKey node, cow::InodeItem item) {
  item.ctime = Now();
  if (item.nlink > 0) --item.nlink;
  if (item.nlink > 0) {
    PX_TRY(SaveInode(txn, node, item));
    return Dropped{};
  }
  if (S_ISREG(item.mode) && table_.MarkOrphan(node)) {
    PX_TRY(SaveInode(txn, node, item));
    PX_TRY(txn.Put(node.volume, cow::OrphanKey(node.ino), {}));
    return Dropped{};
  }
  table_.Doom(node);
  PX_TRY(EraseInode(txn, node, item));
  Dropped dropped{.inode = true};
  if (S_ISREG(item.mode) && item.content != cow::ContentKind::kNone) {
    PX_ASSIGN(const uint64_t refs, txn.ObjectRefs(cow::ObjectId{item.object}));
    dropped.object = refs == 0;
  }
  return dropped;
}

// Who saves over a checkpoint again and again would else use other memory each time, until reclaim
// comes to the old ones. What was not flushed the kernel would first begin to write, and what is
// very large would hold up the caller.
void Filesystem::ForgetPages(const cow::InodeItem& item) const {
  if (item.size < kManyPages || item.size > kTooManyPages) return;
  const cow::ObjectId object{item.object};
  if (!objects_->unsynced()->Has(object)) objects_->ForgetPages(object);
}

void Filesystem::AddGhost(NodeKey node, cow::InodeItem item) {
  CloseDoomed();  // its object must not be kept by a parked descriptor
  item.nlink = 0;
  item.ctime = Now();
  const MutexLock lock(ghosts_mutex_);
  Ghost& ghost = ghosts_[node.ToFuse()];
  ghost.item = item;
  NoteGhost(node, &ghost);
  ghost_count_ = ghosts_.size();
}

void Filesystem::NoteGhost(NodeKey node, Ghost* ghost) {
  if (live_ == nullptr) return;
  const auto place = live_->Put(LiveTable::Kind::kGhost, LiveGhost::Of(node.ToFuse(), ghost->item));
  ClearCell(ghost->cell);
  ghost->cell.reset();
  if (place) ghost->cell = place->index;
}

void Filesystem::Forget(NodeKey node) {
  if (ghost_count_ == 0) return;
  const MutexLock lock(ghosts_mutex_);
  const auto ghost = ghosts_.find(node.ToFuse());
  if (ghost == ghosts_.end()) return;
  ClearCell(ghost->second.cell);
  ghosts_.erase(ghost);
  ghost_count_ = ghosts_.size();
}

}  // namespace px::fs
