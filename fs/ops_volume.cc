// Volumes: create, clone, drop, snapshots, and who may.
#include <dirent.h>
#include <sys/random.h>

#include <cstring>

#include "fs/filesystem.h"
#include "fs/posix_acl.h"

namespace px::fs {
namespace {

constexpr time_t kTokenSeconds = 30;
constexpr int kCopyAgain = 3;
constexpr uint64_t kCheapCopy = uint64_t{64} << 20;

Status CheckName(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Fail(EINVAL, "not a name for a volume");
  }
  if (name.size() > PX_NAME_MAX) return Fail(ENAMETOOLONG);
  return {};
}

// Before the gate of `parent` is entered, too: a volume that is cloned is frozen, and one that was
// to be cloned into itself would wait for its own gate.
Status CheckNesting(NodeKey parent) {
  return parent.volume == cow::kRootVolume ? Status{} : Status(Fail(EXDEV, "volumes do not nest"));
}

}  // namespace

Status Filesystem::CheckAccess(cow::Reader& reader, NodeKey dir, unsigned want,
                               const Caller& caller) {
  if (caller.uid == 0) return {};
  PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, dir));
  const auto in_group = [&caller](gid_t gid) { return caller.IsMember(gid); };
  if ((item.flags & cow::kInodeHasAccessAcl) != 0) {
    PX_ASSIGN(const std::string bytes, LoadXattr(reader, dir, kAccessAclName));
    PX_ASSIGN(const PosixAcl acl, PosixAcl::Parse(bytes));
    if (acl.Grants(caller.uid, in_group, item.uid, item.gid, want)) return {};
    return Fail(EACCES);
  }
  const unsigned shift = caller.uid == item.uid ? 6 : in_group(item.gid) ? 3 : 0;
  if (((item.mode >> shift) & want) == want) return {};
  return Fail(EACCES);
}

Status Filesystem::CheckOwner(cow::Reader& reader, cow::VolumeId volume, const Caller& caller) {
  PX_ASSIGN(const cow::InodeItem root, LoadInode(reader, {volume, cow::kRootIno}));
  if (caller.uid == 0 || caller.uid == root.uid) return {};
  return Fail(EPERM);
}

Result<px_ioc_info> Filesystem::Info(NodeKey node) {
  px_ioc_info info{};
  info.abi = 1;
  info.volume = node.volume.value;
  info.ino = node.ino.value;
  if (node.volume == cow::kRootVolume) return info;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::Volume volume, reader.GetVolume(node.volume));
    PX_ASSIGN(const VolumeAttributes attributes, VolumeAttributes::Parse(volume.attributes));
    info.flags = attributes.flags;
    info.parent_volume = attributes.parent_volume.value;
    info.created_ns = attributes.created_ns;
    return {};
  }));
  return info;
}

Result<px_ioc_token> Filesystem::IssueToken(NodeKey volume_root, const Caller& caller) {
  if (!volume_root.IsVolumeRoot() || volume_root.volume == cow::kRootVolume) {
    return Fail(EINVAL, "not the root of a volume");
  }
  PX_TRY(store_->View(
      [&](cow::Reader& reader) { return CheckOwner(reader, volume_root.volume, caller); }));
  px_ioc_token token{};
  if (::getrandom(token.bytes, sizeof token.bytes, 0) != static_cast<ssize_t>(sizeof token.bytes)) {
    return FailErrno("get random bytes");
  }
  const timespec now = clock_->Now();
  Token issued{volume_root.volume, caller.uid, now, {}};
  issued.cell = NoteToken(token, issued);
  const MutexLock lock(tokens_mutex_);
  std::erase_if(tokens_, [&](const auto& old) {
    const bool expired = old.second.issued.tv_sec + kTokenSeconds < now.tv_sec;
    if (expired) ClearCell(old.second.cell);
    return expired;
  });
  tokens_[std::string(reinterpret_cast<const char*>(token.bytes), sizeof token.bytes)] = issued;
  return token;
}

Result<cow::VolumeId> Filesystem::RedeemToken(const px_ioc_token& token, const Caller& caller) {
  const MutexLock lock(tokens_mutex_);
  const auto found =
      tokens_.find(std::string(reinterpret_cast<const char*>(token.bytes), sizeof token.bytes));
  if (found == tokens_.end() || found->second.uid != caller.uid ||
      found->second.issued.tv_sec + kTokenSeconds < clock_->Now().tv_sec) {
    return Fail(EACCES, "the token is unknown or has expired");
  }
  return found->second.volume;
}

Status Filesystem::AttachVolume(cow::Txn& txn, NodeKey parent, const std::string& name,
                                cow::VolumeId volume, const Caller& caller) {
  PX_TRY(CheckNesting(parent));
  PX_TRY(CheckAccess(txn, parent, 3, caller));
  PX_ASSIGN(cow::InodeItem parent_item, LoadInode(txn, parent));
  if (!S_ISDIR(parent_item.mode)) return Fail(ENOTDIR);
  PX_ASSIGN(const bool exists, Exists(txn, parent, name));
  if (exists) return Fail(EEXIST);
  PX_TRY(PutDentry(txn, parent, &parent_item, name, VolumeDentry(volume)));
  return SaveInode(txn, parent, parent_item);
}

Result<cow::VolumeId> Filesystem::CreateVolume(NodeKey parent, const std::string& name,
                                               const Caller& caller) {
  if (const auto done = DoneBefore()) {
    InvalidateName(parent, name);
    return cow::VolumeId{static_cast<uint32_t>(*done)};
  }
  PX_TRY(CheckName(name));
  PX_TRY(CheckNesting(parent));
  PX_TRY(CheckRoom());
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));
  VolumeAttributes attributes;
  attributes.parent_dir = parent.ino;
  attributes.name = name;
  const cow::Time now = Now();
  attributes.created_ns = now.Nanoseconds();
  cow::VolumeId volume;
  uint64_t made = 0;
  const auto create = [&](cow::Txn& txn) -> Status {
    PX_ASSIGN(volume, txn.CreateVolume(attributes.Serialize()));
    made = volume.value;
    PX_TRY(AttachVolume(txn, parent, name, volume, caller));
    PX_ASSIGN(const cow::InodeItem parent_item, LoadInode(txn, parent));
    const NodeKey root{volume, cow::kRootIno};
    cow::InodeItem item;
    item.mode = S_IFDIR | 0755;  // an ioctl carries no umask
    item.uid = caller.uid;
    item.gid = caller.gid;
    if ((parent_item.mode & S_ISGID) != 0) {
      item.gid = parent_item.gid;
      item.mode |= S_ISGID;
    }
    if ((parent_item.flags & cow::kInodeHasDefaultAcl) == 0) item.mode &= ~(caller.umask & 0777);
    item.nlink = 2;
    item.parent = parent.ino.value;
    item.atime = item.mtime = item.ctime = item.btime = now;
    PX_TRY(InheritAcl(txn, parent, parent_item, root, &item));
    return SaveInode(txn, root, item);
  };
  PX_TRY(Once(create, &made));
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(parent, name);
  return volume;
}

void Filesystem::InvalidateName(NodeKey parent, const std::string& name) {
  kernel_->InvalidateEntry(parent, name);
  kernel_->InvalidateData(parent);
}

// Stores through a shared mapping of a cached file are in the kernel's pages only: has them
// written. Before the gate is closed, since a request that waits at the gate may be what the kernel
// waits for.
void Filesystem::FlushMappings(cow::VolumeId volume) {
  for (const auto& open : table_.OfVolume(volume)) {
    bool cached = false;
    {
      const MutexLock lock(open->mutex);
      cached = !open->gone && open->writers > 0 && open->backing_id == 0;
    }
    if (cached) kernel_->InvalidateData(open->node);
  }
}

Result<std::vector<Filesystem::LiveCopy>> Filesystem::CopyLive(cow::VolumeId volume) {
  std::vector<LiveCopy> copies;
  for (const auto& open : table_.OfVolume(volume)) {
    {
      const MutexLock lock(open->mutex);
      const ReaderLock io(open->io);
      if (open->gone || open->orphan || !open->live) continue;
    }
    LiveCopy copy;
    copy.node = open->node;
    PX_ASSIGN(copy.temp, objects_->TempFile());
    const ReaderLock io(open->io);
    if (!open->live) continue;  // closed meanwhile: the tree has it all
    if (::fstat(open->fd.get(), &copy.attr) != 0) return FailErrno("stat of an object");
    const auto size = static_cast<uint64_t>(copy.attr.st_size);
    if (open->sparse != nullptr) {
      // The runs first: what becomes own after this is copied too, perhaps, but then nothing says
      // so.
      copy.base = open->sparse->base_object();
      copy.runs = open->sparse->Runs();
      copy.attr.st_blocks = (copy.attr.st_size + 511) / 512;
    }
    PX_TRY(objects_->Copy(open->fd.get(), copy.temp.get(), size));
    copy.base_mtime_ns = open->base_mtime_ns;
    copies.push_back(std::move(copy));
  }
  PX_TRY(CopyMapped(volume, &copies));
  return copies;
}

bool Filesystem::StillSame(const std::vector<LiveCopy>& copies) const {
  uint64_t bytes = 0;
  for (const LiveCopy& copy : copies) {
    bytes += static_cast<uint64_t>(copy.attr.st_size);
    const auto open = table_.Find(copy.node);
    if (open == nullptr) continue;
    const ReaderLock io(open->io);
    struct stat now{};
    if (!open->live || ::fstat(open->fd.get(), &now) != 0) continue;
    const bool same = now.st_size == copy.attr.st_size &&
                      now.st_ctim.tv_sec == copy.attr.st_ctim.tv_sec &&
                      now.st_ctim.tv_nsec == copy.attr.st_ctim.tv_nsec;
    if (!same) return !objects_->has_reflinks() && bytes > kCheapCopy;
  }
  return true;
}

Status Filesystem::PutLiveCopies(cow::Txn& txn, cow::VolumeId clone,
                                 std::vector<LiveCopy>* copies) {
  for (LiveCopy& copy : *copies) {
    const NodeKey node{clone, copy.node.ino};
    auto item = LoadInode(txn, node);
    if (!item && item.error().code() == ENOENT) continue;
    PX_TRY(item);
    PX_ASSIGN(const cow::ObjectId object, txn.NewObject());
    PX_TRY(objects_->Adopt(copy.temp.get(), object));
    item->object = object.value;
    item->base = copy.base.value;
    item->content = copy.base ? cow::ContentKind::kSparse : cow::ContentKind::kWhole;
    if (copy.base) {
      PX_TRY(EraseRuns(txn, node, 0, ~uint64_t{0}));
      PX_TRY(PutRuns(txn, node, copy.runs));
    }
    item->size = static_cast<uint64_t>(copy.attr.st_size);
    item->blocks = BlocksOf(copy.attr);
    const timespec& mtime = copy.attr.st_mtim;
    if (ToNanoseconds(mtime) != copy.base_mtime_ns) {
      item->mtime = {mtime.tv_sec, static_cast<uint32_t>(mtime.tv_nsec)};
    }
    PX_TRY(SaveInode(txn, node, *item));
  }
  // Files that are unlinked but open live on in the source only.
  PX_ASSIGN(const std::vector<NodeKey> orphans, OrphansOf(txn, clone));
  for (const NodeKey node : orphans) PX_TRY(EraseOrphan(txn, node));
  return {};
}

Result<cow::VolumeId> Filesystem::CloneInto(
    cow::VolumeId source, const VolumeAttributes& attributes,
    const std::function<Status(cow::Txn&, cow::VolumeId)>& attach) {
  PX_TRY(CheckRoom());
  PX_ASSIGN(const auto state, StateOf(source));
  FlushMappings(source);
  const WriterLock freeze(state->freeze);
  if (state->dropped) return Fail(ESTALE);
  PX_ASSIGN(std::vector<LiveCopy> copies, CopyLive(source));
  // Passthrough writes cannot be held off: if one came between two copies, take them again, as long
  // as that is cheap.
  for (int again = 0; again < kCopyAgain && copies.size() > 1 && !StillSame(copies); ++again) {
    PX_ASSIGN(copies, CopyLive(source));
  }
  cow::VolumeId clone;
  uint64_t made = 0;
  const auto put = [&](cow::Txn& txn) -> Status {
    PX_ASSIGN(clone, txn.CloneVolume(source, attributes.Serialize()));
    made = clone.value;
    PX_TRY(attach(txn, clone));
    return PutLiveCopies(txn, clone, &copies);
  };
  PX_TRY(Once(put, &made));
  return clone;
}

Result<cow::VolumeId> Filesystem::CloneVolume(NodeKey parent, const std::string& name,
                                              const px_ioc_token& source, uint32_t flags,
                                              const Caller& caller) {
  if (const auto done = DoneBefore()) {
    InvalidateName(parent, name);
    return cow::VolumeId{static_cast<uint32_t>(*done)};
  }
  if ((flags & ~PX_VOLUME_READONLY) != 0) return Fail(EINVAL);
  PX_TRY(CheckName(name));
  PX_TRY(CheckNesting(parent));
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));
  PX_ASSIGN(const cow::VolumeId source_volume, RedeemToken(source, caller));
  VolumeAttributes attributes;
  attributes.flags = flags;
  attributes.parent_dir = parent.ino;
  attributes.name = name;
  attributes.created_ns = ToNanoseconds(clock_->Now());
  PX_ASSIGN(
      const cow::VolumeId clone,
      CloneInto(source_volume, attributes, [&](cow::Txn& txn, cow::VolumeId volume) -> Status {
        PX_TRY(AttachVolume(txn, parent, name, volume, caller));
        const NodeKey root{volume, cow::kRootIno};
        PX_ASSIGN(cow::InodeItem item, LoadInode(txn, root));
        item.parent = parent.ino.value;
        return SaveInode(txn, root, item);
      }));
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(parent, name);
  return clone;
}

Result<std::vector<Filesystem::SnapshotName>> Filesystem::SnapshotsOf(cow::Reader& reader,
                                                                      cow::VolumeId volume) {
  std::vector<SnapshotName> snapshots;
  const cow::Ino index = SnapshotIndexDir(volume);
  PX_TRY(reader.Scan(cow::kRootVolume, cow::ItemKey(index, cow::ItemType::kDentry),
                     cow::ItemKeyEnd(index, cow::ItemType::kDentry),
                     [&](std::string_view key, std::string_view value) {
                       const auto dentry = cow::FromBytes<cow::DentryItem>(value);
                       if (!dentry) return true;
                       snapshots.push_back({std::string(cow::DentryName(key.substr(9))),
                                            cow::VolumeId{dentry->volume}});
                       return true;
                     }));
  return snapshots;
}

Status Filesystem::Snapshot(NodeKey volume_root, const std::string& name, const Caller& caller) {
  const NodeKey dir{volume_root.volume, cow::kSnapshotsIno};
  if (DoneBefore()) {
    InvalidateName(dir, name);
    return {};
  }
  if (!volume_root.IsVolumeRoot() || volume_root.volume == cow::kRootVolume) {
    return Fail(EINVAL, "not the root of a volume");
  }
  PX_TRY(CheckName(name));
  PX_ASSIGN(Gate gate, EnterToWrite(cow::kRootVolume));
  const NodeKey index{cow::kRootVolume, SnapshotIndexDir(volume_root.volume)};
  VolumeAttributes attributes;
  attributes.flags = PX_VOLUME_READONLY | PX_VOLUME_SNAPSHOT;
  attributes.parent_dir = index.ino;
  attributes.parent_volume = volume_root.volume;
  attributes.name = name;
  attributes.created_ns = ToNanoseconds(clock_->Now());
  PX_TRY(
      CloneInto(volume_root.volume, attributes, [&](cow::Txn& txn, cow::VolumeId volume) -> Status {
        PX_TRY(CheckOwner(txn, volume_root.volume, caller));
        PX_ASSIGN(const cow::Volume source, txn.GetVolume(volume_root.volume));
        PX_ASSIGN(const VolumeAttributes of_source, VolumeAttributes::Parse(source.attributes));
        if (of_source.snapshot()) return Fail(EINVAL, "a snapshot has no snapshots");
        PX_ASSIGN(const bool exists, Exists(txn, index, name));
        if (exists) return Fail(EEXIST);
        return txn.Put(index.volume, cow::DentryKey(index.ino, name),
                       cow::AsBytes(VolumeDentry(volume)));
      }));
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(dir, name);
  return {};
}

void Filesystem::MarkDropped(cow::VolumeId volume) {
  table_.Doom(volume);
  CloseDoomed();
  const WriterLock lock(volumes_mutex_);
  auto& state = volumes_[volume.value];
  if (state == nullptr) state = std::make_shared<VolumeState>();
  state->dropped = true;
}

Status Filesystem::DropSnapshot(NodeKey volume_root, const std::string& name,
                                const Caller& caller) {
  const NodeKey dir{volume_root.volume, cow::kSnapshotsIno};
  if (DoneBefore()) {
    InvalidateName(dir, name);
    return {};
  }
  if (!volume_root.IsVolumeRoot() || volume_root.volume == cow::kRootVolume) {
    return Fail(EINVAL, "not the root of a volume");
  }
  const NodeKey index{cow::kRootVolume, SnapshotIndexDir(volume_root.volume)};
  PX_ASSIGN(Gate gate, EnterToWrite(cow::kRootVolume));
  cow::VolumeId snapshot;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_TRY(CheckOwner(reader, volume_root.volume, caller));
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(reader, index, name));
    snapshot = cow::VolumeId{dentry.volume};
    return {};
  }));
  DrainOpens(snapshot);
  PX_TRY(Once([&](cow::Txn& txn) -> Status {
    PX_TRY(CheckOwner(txn, volume_root.volume, caller));
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(txn, index, name));
    snapshot = cow::VolumeId{dentry.volume};
    if (!table_.OfVolume(snapshot).empty()) return Fail(EBUSY, "a file of the snapshot is open");
    PX_TRY(txn.Erase(index.volume, cow::DentryKey(index.ino, name)));
    return txn.DropVolume(snapshot);
  }));
  MarkDropped(snapshot);
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(dir, name);
  WakeBackground();
  return {};
}

Status Filesystem::DropVolume(NodeKey parent, const std::string& name, bool trash,
                              const Caller& caller) {
  if (DoneBefore()) {
    InvalidateName(parent, name);
    return {};
  }
  PX_ASSIGN(Gate gate, EnterToWrite(parent.volume));
  cow::VolumeId volume;
  std::vector<SnapshotName> snapshots;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(reader, parent, name));
    if (dentry.volume == 0) return Fail(ENOTDIR, "not a volume");
    volume = cow::VolumeId{dentry.volume};
    PX_ASSIGN(snapshots, SnapshotsOf(reader, volume));
    return {};
  }));
  DrainOpens(volume);
  for (const SnapshotName& one : snapshots) DrainOpens(one.volume);
  {
    PX_ASSIGN(const auto state, StateOf(volume));
    const WriterLock freeze(state->freeze);
    PX_TRY(Once([&](cow::Txn& txn) -> Status {
      PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(txn, parent, name));
      if (dentry.volume != volume.value) return Fail(EBUSY, "the name changed hands");
      PX_TRY(CheckAccess(txn, parent, 3, caller));
      PX_TRY(CheckOwner(txn, volume, caller));
      PX_ASSIGN(snapshots, SnapshotsOf(txn, volume));
      snapshots.push_back({"", volume});
      for (const SnapshotName& one : snapshots) {
        if (!table_.OfVolume(one.volume).empty())
          return Fail(EBUSY, "a file of the volume is open");
        if (trash) continue;
        PX_TRY(txn.DropVolume(one.volume));
        if (one.name.empty()) continue;
        PX_TRY(txn.Erase(cow::kRootVolume, cow::DentryKey(SnapshotIndexDir(volume), one.name)));
      }
      if (trash) PX_TRY(PutIntoTrash(txn, volume));
      PX_ASSIGN(cow::InodeItem parent_item, LoadInode(txn, parent));
      PX_TRY(EraseDentry(txn, parent, &parent_item, name, true));
      return SaveInode(txn, parent, parent_item);
    }));
    state->dropped = true;
    for (const SnapshotName& one : snapshots) MarkDropped(one.volume);
  }
  gate = Gate();  // the kernel may wait for somebody who waits for a gate
  InvalidateName(parent, name);
  WakeBackground();
  return {};
}

}  // namespace px::fs
