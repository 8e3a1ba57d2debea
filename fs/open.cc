// Opening and closing: the I/O mode of an inode and who owns its object (see open_table.h).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/filesystem.h"
#include "fs/request.h"
#include "fs/sealer.h"
#include "fs/seals.h"

namespace px::fs {
namespace {

// A shared file of at least that size is worth a reflinked copy of its own, so that it can be read
// in passthrough.
constexpr uint64_t kReflinkOnRead = uint64_t{1} << 20;
// Without reflinks a smaller file is copied whole at its first write; a larger one becomes sparse
// over its base.
constexpr uint64_t kSparseFrom = uint64_t{256} << 10;
// A truncated content of at least that size is kept until the one after it is complete.
constexpr uint64_t kKeepTruncated = 4096;
// For the release of a file that somebody may have closed, or somebody did.
constexpr auto kReleasePerhaps = std::chrono::milliseconds(100);
constexpr auto kReleaseOnItsWay = std::chrono::seconds(5);
// What one release closes of what others left open, where they are many.
constexpr size_t kClosedAtOnce = 64;

bool MayWrite(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

}  // namespace

// The kernel leaves clearing setuid, setgid and file capabilities at a write to us.
Result<bool> Filesystem::MustSeeWrites(cow::Reader& reader, NodeKey node,
                                       const cow::InodeItem& item) {
  if ((item.mode & (S_ISUID | S_ISGID)) != 0) return true;
  if ((item.flags & cow::kInodeHasXattrs) == 0) return false;
  const auto capability = LoadXattr(reader, node, "security.capability");
  if (!capability && capability.error().code() != ENODATA) return Forward(capability.error());
  return capability.has_value();
}

Result<Opened> Filesystem::Open(NodeKey node, int flags, bool kill_suidgid) {
  if (const auto taken = OpenedBefore()) return Reopened(*taken);
  if ((flags & O_TRUNC) != 0) AwaitRelease(node);
  Gate gate;
  if (MayWrite(flags)) {
    PX_ASSIGN(gate, EnterToWrite(node.volume));
  } else {
    PX_ASSIGN(gate, Enter(node.volume));
  }
  if ((flags & O_TRUNC) == 0) PX_TRY(RefuseDamaged(node));
  Opened opened;
  uint64_t truncated = 0;
  Status done = WithEntry(node, [&](OpenInode& open) PX_NO_TSA -> Status {
    // The kernel's pages of a file that was only read since it got them are true. Of one that was
    // written they may not be: what a mapping stored behind the end shows up when the file grows.
    const bool known =
        open.opens > 0 || (open.parked && open.backing_id == 0 && !open.was_writable);
    if (!known) open.was_writable = false;
    PX_TRY(PrepareOpen(open, flags, kill_suidgid));
    if ((flags & O_ACCMODE) != O_RDONLY) open.was_writable = true;
    PX_TRY(CountOpen(open, flags, &opened.handle));
    opened.backing_id = open.backing_id;
    opened.keep_cache = known && open.backing_id == 0 && (flags & O_TRUNC) == 0;
    opened.wants_flush = open.replacing;
    truncated = open.truncated;
    return {};
  });
  PX_TRY(NotMissing(node, std::move(done)));
  if ((flags & O_TRUNC) != 0) {
    gate = Gate();
    GiveBackIfShort(truncated);
  }
  PX_TRY(BeginSyncing(node, flags, opened));
  return opened;
}

// What is written to such a descriptor in passthrough the kernel flushes by itself, and nobody is
// told: what leads to the object has to be on disk before.
Status Filesystem::BeginSyncing(NodeKey node, int flags, const Opened& opened) {
  if (!MayWrite(flags) || (flags & O_DSYNC) == 0) return {};  // O_SYNC is O_DSYNC and more
  Status synced = store_->Sync();
  if (!synced) EndOpen(node, flags, opened.handle);
  return synced;
}

// The release of a file that was closed may still be on its way. While it is not here, a content in
// passthrough can only be truncated in place, and would not be kept.
void Filesystem::AwaitRelease(NodeKey node) {
  const auto open = table_.Find(node);
  if (open == nullptr) return;
  kernel_->WaitForEarlier();
  bool closed = false;
  {
    const MutexLock lock(open->mutex);
    closed = open->completed && open->opens == 1;
  }
  table_.WaitUntilClosed(node,
                         closed ? std::chrono::milliseconds(kReleaseOnItsWay) : kReleasePerhaps);
}

Status Filesystem::WithEntry(NodeKey node, const std::function<Status(OpenInode& open)>& body) {
  for (;;) {
    const std::shared_ptr<OpenInode> open = table_.FindOrAdd(node);
    const MutexLock lock(open->mutex);
    if (open->gone) continue;
    Status status = body(*open);
    if (open->opens > 0) return status;
    // What an open truncated that failed after all is not what the caller wanted to have.
    if (!status && open->replacing) open->unclean = true;
    if (!open->orphan) {
      if (const Status written = WriteBack(*open, /*end_live=*/true); !written) {
        // As after a last release: it stays in the table, live, and the background thread tries
        // again.
        LogError("writing back inode {:x}: {}", node.ToFuse(), written.error().ToString());
        return status;
      }
    }
    Close(*open);
    return status;
  }
}

Status Filesystem::CountOpen(OpenInode& open, int flags, uint64_t* handle) {
  const bool writer = (flags & O_ACCMODE) != O_RDONLY;
  // An O_RDONLY open that truncated or created leaves no writer to end what it began. Where it
  // cannot be ended now its release does it.
  if (!writer && open.writers == 0 && !open.orphan) {
    if (const Status written = WriteBack(open, /*end_live=*/true); !written) {
      LogWarn("writing back inode {:x}: {}", open.node.ToFuse(), written.error().ToString());
    }
  }
  if (live_ != nullptr) {
    PX_TRY(Note(open));
    const LiveHandle taken{open.node.ToFuse(), CurrentRequest().unique,
                           static_cast<uint32_t>(flags & O_ACCMODE), 0};
    PX_ASSIGN(const LiveTable::Place place, live_->Put(LiveTable::Kind::kHandle, taken));
    *handle = place.handle();
  }
  ++open.opens;
  if (writer) ++open.writers;
  if (writer && (flags & O_ACCMODE) != O_WRONLY) open.was_mappable = true;
  return {};
}

Result<Opened> Filesystem::OpenNew(NodeKey node, Content content, int flags) {
  Opened opened;
  PX_TRY(WithEntry(node, [&](OpenInode& open) PX_NO_TSA -> Status {
    if (open.opens == 0) {
      BeginLive(open, std::move(content.start), std::move(content.fd), content.object);
      PX_TRY(EnterMode(open));
    } else if (MayWrite(flags)) {
      PX_TRY(EnsureOwn(open));  // somebody found the name and opened it first
    }
    PX_TRY(CountOpen(open, flags, &opened.handle));
    opened.backing_id = open.backing_id;
    return {};
  }));
  return opened;
}

void Filesystem::Unpark(OpenInode& open) {
  if (!open.parked) return;
  open.parked = false;
  if (open.backing_id != 0) kernel_->UnregisterBacking(open.backing_id);
  open.backing_id = 0;
  open.passthrough = false;
  if (open.temporary) objects_->DropKept(open.node.ToFuse());
  open.temporary = false;
  ForgetNote(open);
  const WriterLock io(open.io);
  open.fd.Reset();
  open.object = {};
}

void Filesystem::CloseDoomed() {
  BeginClosing(SIZE_MAX);
  const MutexLock lock(closing_mutex_);
  while (closing_ > 0) closing_done_.Wait(closing_mutex_);
}

void Filesystem::BeginClosing(size_t limit) {
  std::vector<std::shared_ptr<OpenInode>> doomed;
  {
    const MutexLock lock(closing_mutex_);
    doomed = table_.TakeDoomed(limit);
    ++closing_;
  }
  for (const auto& open : doomed) {
    const MutexLock lock(open->mutex);
    Unpark(*open);
    open->gone = true;
  }
  const MutexLock lock(closing_mutex_);
  if (--closing_ == 0) closing_done_.NotifyAll();
}

void Filesystem::LimitDoomed() {
  const auto [doomed, capacity] = table_.DoomedAndCapacity();
  if (doomed <= capacity / 4) return;
  background_wake_.NotifyOne();
  // It does not keep up: who makes more of them closes more than one.
  if (doomed > capacity) BeginClosing(kClosedAtOnce);
}

Status Filesystem::PrepareOpen(OpenInode& open, int flags, bool kill_suidgid) {
  const bool write = MayWrite(flags);
  // One that could not be written back is as if it were open still.
  if (open.opens > 0 || IsLive(open)) {
    if ((flags & O_TRUNC) != 0) return Truncate(open, kill_suidgid);
    return write ? EnsureOwn(open) : Status{};
  }
  if (open.parked && !write) {
    open.parked = false;
    return {};
  }
  cow::InodeItem item;
  bool own = false, served = false;  // all writes by us
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(item, LoadInode(reader, open.node));
    if (!S_ISREG(item.mode)) return Fail(S_ISDIR(item.mode) ? EISDIR : ENXIO);
    if (write) {
      PX_ASSIGN(served, MustSeeWrites(reader, open.node, item));
    }
    if (item.content != cow::ContentKind::kWhole) return {};
    PX_ASSIGN(
        const bool is_private,
        reader.IsPrivate(open.node.volume, cow::ItemKey(open.node.ino, cow::ItemType::kInode)));
    if (!is_private) return {};
    PX_ASSIGN(const uint64_t refs, reader.ObjectRefs(cow::ObjectId{item.object}));
    own = refs == 1;
    return {};
  }));
  if (item.nlink == 0) open.orphan = true;
  const bool goes_on = open.parked && own && (flags & O_TRUNC) == 0 && !served &&
                       open.backing_id != 0 && !open.temporary;
  if (goes_on) {
    open.parked = false;
    return EnsureOwn(open);
  }
  Unpark(open);
  if ((flags & O_TRUNC) != 0) {
    PX_TRY(Truncate(open, kill_suidgid));
    return served ? Status{} : EnterMode(open);
  }
  PX_TRY(CheckSizeOf(open.node, item));
  if (write) {
    PX_TRY(EnsureOwn(open));
    return served ? Status{} : EnterMode(open);
  }
  return OpenForReading(open, item, own);
}

Status Filesystem::OpenForReading(OpenInode& open, const cow::InodeItem& item, bool own) {
  if (item.content == cow::ContentKind::kNone) return {};
  const cow::ObjectId object{item.object};
  if (item.content == cow::ContentKind::kSparse) {
    uint64_t exchanges = 0;
    do {
      exchanges = exchanges_;
      PX_ASSIGN(UniqueFd fd, objects_->OpenObject(object, O_RDONLY));
      PX_ASSIGN(auto sparse, OpenSparse(open.node, fd.get(), cow::ObjectId{item.base}));
      const WriterLock io(open.io);
      open.fd = std::move(fd);
      open.object = object;
      open.sparse = std::move(sparse);
    } while (exchanges != exchanges_);
    return {};
  }
  // MoveSharers may exchange the file under that name between our open and the moment it can see
  // us.
  uint64_t before = 0;
  do {
    before = exchanges_;
    const bool writable = own && !options_.read_only;
    auto opened = objects_->OpenObject(object, writable ? O_RDWR : O_RDONLY);
    // A filesystem that turned read-only by itself can still be read.
    if (!opened && opened.error().code() == EROFS) opened = objects_->OpenObject(object, O_RDONLY);
    PX_ASSIGN(UniqueFd fd, std::move(opened));
    const WriterLock io(open.io);
    open.fd = std::move(fd);
    open.object = object;
  } while (before != exchanges_);
  if (own) return EnterMode(open);
  if (!passthrough_ || options_.read_only || !objects_->has_reflinks() ||
      item.size < kReflinkOnRead)
    return {};
  // Shared and large: a nameless reflinked copy of it can be read at the disk's speed, whatever the
  // sharers do.
  auto temp = objects_->TempFile();
  if (!temp) return {};
  {
    const ReaderLock io(open.io);
    if (const Status copied = objects_->Copy(open.fd.get(), temp->get(), item.size); !copied) {
      LogDebug("no reflinked copy of object {:x}: {}", object.value, copied.error().ToString());
      return {};
    }
  }
  struct stat copy{};
  if (::fstat(temp->get(), &copy) != 0) return {};
  if (live_ != nullptr && !objects_->Keep(temp->get(), open.node.ToFuse())) return {};
  auto backing = kernel_->RegisterBacking(temp->get());
  if (!backing) return {};
  open.backing_id = *backing;
  open.file = copy.st_ino;
  open.passthrough = true;
  open.temporary = true;
  const WriterLock io(open.io);
  open.fd = std::move(*temp);
  return {};
}

// Passthrough, where it can be had, for an inode that was closed, and has an object of its own.
Status Filesystem::EnterMode(OpenInode& open) {
  if (!passthrough_) return {};
  int fd = -1;
  bool live = false;  // BeginLive noted its file
  {
    const ReaderLock io(open.io);
    if (open.sparse != nullptr) return {};
    fd = open.fd.get();  // stays: only holders of open.mutex exchange it while it is owned
    live = open.live;
  }
  if (fd < 0) return {};
  // The tree knows of the open already, so it must not fail here: what cannot be passed through is
  // served.
  if (!live) {
    struct stat backing_file{};
    if (::fstat(fd, &backing_file) != 0) {
      LogWarn("stat of an object: {}", std::generic_category().message(errno));
      return {};
    }
    open.file = backing_file.st_ino;
  }
  auto backing = kernel_->RegisterBacking(fd);
  if (backing) {
    open.backing_id = *backing;
    open.passthrough = true;
    return {};
  }
  const int code = backing.error().code();
  if (code == EPERM || code == EOPNOTSUPP || code == ELOOP || code == ENOSYS || code == EINVAL) {
    LogWarn("passthrough is off: {}", backing.error().ToString());
    passthrough_ = false;
  }
  return {};
}

Result<Filesystem::LiveStart> Filesystem::PrepareLive(NodeKey node, int fd, cow::ObjectId object) {
  struct stat backing{};
  if (::fstat(fd, &backing) != 0) return FailErrno("stat of an object");
  const int64_t mtime_ns = ToNanoseconds(backing.st_mtim);
  PX_ASSIGN(const uint32_t slot, slots_->Set({node, object, mtime_ns}));
  return LiveStart(slots_.get(), slot, mtime_ns, backing);
}

void Filesystem::BeginLive(OpenInode& open, LiveStart start, UniqueFd fd, cow::ObjectId object,
                           std::unique_ptr<SparseFile> sparse) {
  if (open.slot) slots_->Clear(*open.slot);
  open.slot = start.TakeSlot();
  open.file = start.file();
  open.begun_ctime_ns = open.told_ctime_ns = start.ctime_ns();
  {
    const WriterLock io(open.io);
    open.sparse = std::move(sparse);
    open.fd = std::move(fd);
    open.object = object;
    open.base_mtime_ns = start.base_mtime_ns();
    open.told_size = start.size();
    open.live = true;
  }
  seals_->Writing(object);
  NoteOrLog(open);
}

Status Filesystem::EnsureOwn(OpenInode& open) {
  {
    const ReaderLock io(open.io);
    if (open.live) return {};
  }
  const uint64_t before = exchanges_;
  PX_TRY(MakeOwn(open));
  if (before == exchanges_) return {};
  // The base's file may have been exchanged before MoveSharers could see this inode.
  const WriterLock io(open.io);
  if (open.sparse == nullptr) return {};
  PX_ASSIGN(UniqueFd base, objects_->OpenObject(open.sparse->base_object(), O_RDONLY));
  open.sparse->ReplaceBase(std::move(base));
  return {};
}

Status Filesystem::MakeOwn(OpenInode& open) {
  cow::InodeItem item;
  bool own = false;
  UniqueFd fresh;
  cow::ObjectId object;
  LiveStart start;
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(item, LoadInode(txn, open.node));
    if (!S_ISREG(item.mode)) return Fail(EINVAL);
    open.beyond_end = item.blocks > BlocksUpTo(item.size);
    if (item.content == cow::ContentKind::kNone) {
      PX_ASSIGN(object, txn.NewObject());
      PX_ASSIGN(fresh, objects_->Take(object));
      if (::ftruncate(fresh.get(), static_cast<off_t>(item.size)) != 0)
        return FailErrno("size an object");
      PX_ASSIGN(start, PrepareLive(open.node, fresh.get(), object));
      if (item.size != 0) objects_->unsynced()->Add(object);
      item.object = object.value;
      item.content = cow::ContentKind::kWhole;
      own = true;
      return SaveInode(txn, open.node, item);
    }
    PX_TRY(txn.MakePrivate(open.node.volume, cow::ItemKey(open.node.ino, cow::ItemType::kInode)));
    object = cow::ObjectId{item.object};
    PX_ASSIGN(const uint64_t refs, txn.ObjectRefs(object));
    own = refs == 1;
    return {};
  }));
  if (fresh) {
    BeginLive(open, std::move(start), std::move(fresh), object);
    return {};
  }
  // Written in place next: no power cut may bring back another owner of it.
  if (own) PX_TRY(store_->SyncReleases());
  const bool whole = item.content == cow::ContentKind::kWhole;
  if (!own && whole && open.backing_id == 0 && !objects_->has_reflinks() &&
      item.size >= kSparseFrom) {
    return BecomeSparse(open, item);
  }
  if (!own || open.temporary) return ReplaceShared(open, item);
  if (!whole) {
    PX_ASSIGN(UniqueFd own_fd, objects_->OpenObject(object, O_RDWR));
    PX_ASSIGN(auto sparse, OpenSparse(open.node, own_fd.get(), cow::ObjectId{item.base}));
    PX_ASSIGN(start, PrepareLive(open.node, own_fd.get(), object));
    BeginLive(open, std::move(start), std::move(own_fd), object, std::move(sparse));
    return {};
  }
  // In passthrough the descriptor that the backing id stands for must stay; else one that can be
  // written is needed.
  UniqueFd fd;
  if (open.backing_id != 0) {
    const WriterLock io(open.io);
    PX_ASSIGN(start, PrepareLive(open.node, open.fd.get(), object));
    fd = std::move(open.fd);
  } else {
    PX_ASSIGN(fd, objects_->OpenObject(object, O_RDWR));
    PX_ASSIGN(start, PrepareLive(open.node, fd.get(), object));
  }
  BeginLive(open, std::move(start), std::move(fd), object);
  return {};
}

// The object is shared with other files or volumes: gives this inode one of its own with the same
// bytes.
Status Filesystem::ReplaceShared(OpenInode& open, const cow::InodeItem& item) {
  const cow::ObjectId old{item.object};
  const bool exchange = open.backing_id != 0 && !open.temporary;
  UniqueFd temp;
  if (open.temporary) {
    // What the kernel reads already is such a copy; it only needs a name.
    const WriterLock io(open.io);
    temp.Reset(::fcntl(open.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!temp) return FailErrno("duplicate a descriptor");
  } else {
    PX_ASSIGN(const UniqueFd source, objects_->OpenObject(old, O_RDONLY));
    PX_ASSIGN(temp, objects_->TempFile());
    PX_TRY(objects_->Copy(source.get(), temp.get(), item.size));
    // With an exchange the others will depend on the copy: it must be as durable as what they had.
    if (exchange && ::fdatasync(temp.get()) != 0) return FailErrno("sync a copy of an object");
  }
  std::unique_ptr<SparseFile> sparse;
  if (item.content == cow::ContentKind::kSparse) {
    PX_ASSIGN(sparse, OpenSparse(open.node, temp.get(), cow::ObjectId{item.base}));
  }
  cow::ObjectId object;
  LiveStart start;
  bool exchanged = false;
  const Status status = store_->Update([&](cow::Txn& txn) PX_NO_TSA -> Status {
    PX_ASSIGN(cow::InodeItem now, LoadInode(txn, open.node));
    PX_ASSIGN(object, txn.NewObject());
    open.next = object.value;
    PX_TRY(Note(open));  // what the kernel holds gets that name, or loses it again
    PX_TRY(objects_->Adopt(temp.get(), object));
    now.object = object.value;  // over the same base, where there is one
    PX_TRY(SaveInode(txn, open.node, now));
    {
      const ReaderLock io(open.io);
      PX_ASSIGN(start, PrepareLive(open.node, exchange ? open.fd.get() : temp.get(), object));
    }
    if (exchange) {
      // The kernel holds the physical file `old` for this inode: it stays with us, under the new
      // id; the copy takes the old id for everybody else. Both have the same bytes now, so a crash
      // before the commit is harmless.
      PX_TRY(objects_->Exchange(old, object));
      exchanged = true;
      PX_TRY(objects_->unsynced()->SyncNames());
    }
    return {};
  });
  open.next = 0;
  if (!status) {
    const Status undone = exchanged ? objects_->Exchange(old, object) : Status{};
    if (!undone) {
      LogError("object {:x}: {}", old.value, undone.error().ToString());
      // `old` names the copy now, and what the kernel reads is a copy of it.
      open.temporary = true;
    }
    return status;
  }
  if (exchange) {
    ++exchanges_;
    seals_->Writing(old);  // another file now
    MoveSharers(open, old);
    const WriterLock io(open.io);
    temp = std::move(open.fd);
  }
  const bool kept = std::exchange(open.temporary, false);
  WakeBackground();
  BeginLive(open, std::move(start), std::move(temp), object, std::move(sparse));
  if (kept) objects_->DropKept(open.node.ToFuse());
  return {};
}

void Filesystem::MoveSharers(const OpenInode& keeper, cow::ObjectId object) {
  for (const auto& other : table_.AllAndParked()) {
    if (other.get() == &keeper) continue;
    const WriterLock io(other->io);
    if (other->sparse != nullptr && other->sparse->base_object() == object) {
      auto base = objects_->OpenObject(object, O_RDONLY);
      if (!base) LogError("object {:x}: {}", object.value, base.error().ToString());
      // A failed one leaves the base closed: better no bytes than foreign ones.
      other->sparse->ReplaceBase(base ? std::move(*base) : UniqueFd());
    }
    if (other->object != object || !other->fd || other->live) continue;
    auto fd = objects_->OpenObject(object, O_RDONLY);
    if (fd) {
      other->fd = std::move(*fd);
    } else {
      // Better no bytes than foreign ones.
      LogError("object {:x}: {}", object.value, fd.error().ToString());
      other->fd.Reset();
    }
  }
}

// O_TRUNC.
Status Filesystem::Truncate(OpenInode& open, bool kill_suidgid) {
  const bool in_place = open.backing_id != 0 || StillMapped(open.node);
  if (in_place) PX_TRY(EnsureOwn(open));
  UniqueFd fresh;
  cow::ObjectId object;
  LiveStart start;
  bool replacing = false;
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, open.node));
    if (!S_ISREG(item.mode)) return Fail(EINVAL);
    if (!in_place) {
      if (item.content == cow::ContentKind::kSparse)
        PX_TRY(EraseRuns(txn, open.node, 0, ~uint64_t{0}));
      PX_TRY(KeepVersion(txn, open.node, item, kKeepTruncated, &item));
      replacing = (item.flags & cow::kInodeHasVersions) != 0;
      PX_ASSIGN(object, txn.NewObject());
      PX_ASSIGN(fresh, objects_->Take(object));
      PX_ASSIGN(start, PrepareLive(open.node, fresh.get(), object));
      item.object = object.value;
      item.base = 0;
      item.content = cow::ContentKind::kWhole;
    }
    item.flags &= ~cow::kInodeComplete;
    open.truncated = in_place ? 0 : item.size;
    item.size = 0;
    item.blocks = 0;
    item.mtime = item.ctime = Now();
    if (kill_suidgid) {
      item.mode &= ~uint32_t{S_ISUID};
      if ((item.mode & S_IXGRP) != 0) item.mode &= ~uint32_t{S_ISGID};
    }
    return SaveInode(txn, open.node, item);
  }));
  if (!in_place) {
    reclaim_wanted_ = true;
    WakePool();
    open.replacing = replacing;
    open.completed = false;
    open.unclean = false;
    BeginLive(open, std::move(start), std::move(fresh), object);
    return {};
  }
  const ReaderLock io(open.io);
  if (::ftruncate(open.fd.get(), 0) != 0) return FailErrno("truncate an object");
  return {};
}

OpenInode::Flushed Filesystem::StateOfObject(const OpenInode& open) {
  struct stat backing{};
  if (open.sparse != nullptr || ::fstat(open.fd.get(), &backing) != 0) return {};
  return {open.object, backing.st_size, ToNanoseconds(backing.st_ctim)};
}

int64_t Filesystem::CtimeOfObject(const OpenInode& open) {
  const ReaderLock io(open.io);
  struct stat backing{};
  return open.fd && ::fstat(open.fd.get(), &backing) == 0 ? ToNanoseconds(backing.st_ctim) : 0;
}

// Puts the true size and times of a live inode into the tree.
Status Filesystem::WriteBack(OpenInode& open, bool end_live) {
  bool changed = false;
  bool kernel_may_err = false;
  int64_t told_ctime_ns = 0;
  {
    const ReaderLock io(open.io);
    if (!open.live) return {};
  }
  PX_TRY(SaveRuns(open));  // adds it to the unsynced
  const bool ends_whole = end_live && EndsWhole(open);
  bool completes = (end_live || open.completed) && open.replacing && !open.unclean;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, open.node));
    PX_ASSIGN(const struct stat attr, LiveAttr(open.node, item, /*tells=*/false));
    changed = static_cast<uint64_t>(attr.st_size) != item.size ||
              static_cast<uint64_t>(attr.st_blocks) != item.blocks ||
              attr.st_mtim.tv_sec != item.mtime.sec || attr.st_mtim.tv_nsec != item.mtime.nsec ||
              CtimeOfObject(open) != (end_live ? open.begun_ctime_ns : open.told_ctime_ns);
    // Only where the tree does not say so yet, or there would be a transaction at every tick.
    completes = completes && (item.flags & cow::kInodeHasVersions) != 0 &&
                (item.flags & cow::kInodeComplete) == 0;
    return {};
  }));
  if (changed || ends_whole || completes) {
    PX_TRY(store_->Update([&](cow::Txn& txn) PX_NO_TSA -> Status {
      PX_ASSIGN(cow::InodeItem item, LoadInode(txn, open.node));
      // Before the attributes are read: what comes between is told again.
      if (!end_live) told_ctime_ns = CtimeOfObject(open);
      PX_ASSIGN(const struct stat attr, LiveAttr(open.node, item, /*tells=*/false));
      {
        // After the attributes were read: what is the same now was the same then.
        const ReaderLock io(open.io);
        if (!open.flushed.object || StateOfObject(open) != open.flushed) {
          objects_->unsynced()->Add(open.object);
        }
      }
      const int64_t told_size = open.told_size;
      kernel_may_err = told_size < 0 || told_size == attr.st_size;
      if (completes && (item.flags & cow::kInodeHasVersions) != 0) {
        item.flags |= cow::kInodeComplete;
      }
      if (ends_whole) {
        PX_TRY(EraseRuns(txn, open.node, 0, ~uint64_t{0}));
        item.content = cow::ContentKind::kWhole;
        item.base = 0;
      }
      item.size = static_cast<uint64_t>(attr.st_size);
      item.blocks = static_cast<uint64_t>(attr.st_blocks);
      item.mtime = {attr.st_mtim.tv_sec, static_cast<uint32_t>(attr.st_mtim.tv_nsec)};
      item.ctime = {attr.st_ctim.tv_sec, static_cast<uint32_t>(attr.st_ctim.tv_nsec)};
      return SaveInode(txn, open.node, item);
    }));
    open.told_ctime_ns = told_ctime_ns;
    // Stores through a shared mapping change the times behind the kernel's attribute cache, but no
    // size. A call that does has the kernel ask for all that it changes.
    if (kernel_may_err) kernel_->InvalidateAttributes(open.node);
  }
  if (!end_live) return {};
  cow::ObjectId object;
  {
    const WriterLock io(open.io);
    open.live = false;
    if (ends_whole) open.sparse.reset();
    object = open.object;
  }
  if (ends_whole) WakeBackground();  // the base may have been nobody else's
  if (open.slot) slots_->Clear(*open.slot);
  open.slot.reset();
  if (sealer_ != nullptr && !open.orphan) sealer_->Closed(open.node, object);
  if (open.replacing && !open.unclean) SettleLater(open.node, object);
  open.replacing = false;
  NoteOrLog(open);
  return {};
}

// After the last release, or after a first open that failed.
void Filesystem::Close(OpenInode& open) {
  if (open.backing_id != 0) kernel_->UnregisterBacking(open.backing_id);
  open.backing_id = 0;
  if (open.temporary) objects_->DropKept(open.node.ToFuse());
  open.gone = true;
  table_.Erase(open.node);
  if (open.slot) slots_->Clear(*open.slot);
  open.slot.reset();
  {
    const WriterLock io(open.io);
    open.live = false;
    open.sparse.reset();
    open.fd.Reset();
  }
  if (!open.orphan) return ForgetNote(open);
  cow::InodeItem item;
  const Status removed = store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(item, LoadInode(txn, open.node));
    if (item.nlink > 0) return {};
    PX_TRY(txn.Erase(open.node.volume, cow::OrphanKey(open.node.ino)));
    return EraseInode(txn, open.node, item);
  });
  ForgetNote(open);
  if (!removed) {
    LogError("removing the unlinked inode {:x}: {}", open.node.ToFuse(),
             removed.error().ToString());
    orphans_left_ = true;
    return;
  }
  if (item.nlink == 0) AddGhost(open.node, item);
  WakeBackground(item.size);
}

void Filesystem::Release(NodeKey node, int flags, uint64_t handle) {
  EndOpen(node, flags, handle);
  AskMappedAgain();
  LimitDoomed();
}

void Filesystem::EndOpen(NodeKey node, int flags, uint64_t handle) {
  const std::shared_ptr<OpenInode> open = table_.Find(node);
  if (open == nullptr) return;
  const MutexLock lock(open->mutex);
  // From here on it was released, whatever comes in between. One that was sent again may have been
  // before.
  if (live_ != nullptr && !live_->ClearHandle(handle, node.ToFuse())) return;
  // A kernel releases every open once, with the flags it had. If one did not, the counts must still
  // fit each other, or the file's size would not get into the tree.
  if (open->opens == 0) return;
  --open->opens;
  if ((flags & O_ACCMODE) != O_RDONLY && open->writers > 0) --open->writers;
  open->writers = std::min(open->writers, open->opens);
  if (open->writers == 0 && open->backing_id != 0 && !open->orphan) {
    const ReaderLock io(open->io);
    if (open->live) AskMapped(*open);
  }
  if (open->writers == 0 && !open->orphan) {
    if (const Status written = WriteBack(*open, /*end_live=*/true); !written) {
      // It stays in the table, live: the background thread tries again, and a crash finds its slot.
      LogError("writing back inode {:x}: {}", node.ToFuse(), written.error().ToString());
      return;
    }
  }
  if (open->opens > 0) return;
  bool keep = !open->orphan && !open->replacing;
  {
    const ReaderLock io(open->io);
    keep = keep && open->fd && !open->live && open->sparse == nullptr;
  }
  open->parked = keep;
  if (keep && table_.Park(open)) return;
  open->parked = false;
  Close(*open);
}

void Filesystem::EndWithoutWriter(OpenInode& open) {
  // With nobody at all WithEntry ends it.
  if (open.opens == 0 || open.writers > 0 || open.orphan) return;
  if (const Status written = WriteBack(open, /*end_live=*/true); !written) {
    LogWarn("writing back inode {:x}: {}", open.node.ToFuse(), written.error().ToString());
  }
}

Status Filesystem::WithOwn(NodeKey node, const std::function<Status(OpenInode& open)>& body) {
  PX_ASSIGN(const Gate gate, EnterToWrite(node.volume));
  PX_TRY(RefuseDamaged(node));
  return WithEntry(node, [&](OpenInode& open) PX_NO_TSA -> Status {
    Unpark(open);
    PX_TRY(EnsureOwn(open));
    PX_TRY(body(open));
    EndWithoutWriter(open);
    return {};
  });
}

Status Filesystem::TruncateTo(NodeKey node, uint64_t size) {
  if (size == 0) {
    // Nothing of the old content is wanted: no copy of it either.
    PX_ASSIGN(Gate gate, EnterToWrite(node.volume));
    uint64_t truncated = 0;
    PX_TRY(WithEntry(node, [&](OpenInode& open) PX_NO_TSA -> Status {
      Unpark(open);
      PX_TRY(Truncate(open, false));
      truncated = open.truncated;
      EndWithoutWriter(open);
      return {};
    }));
    gate = Gate();
    GiveBackIfShort(truncated);
    return {};
  }
  return WithOwn(node, [this, size](OpenInode& open) PX_NO_TSA -> Status {
    bool must_save = false;
    {
      const ReaderLock io(open.io);
      if (open.sparse != nullptr) {
        PX_TRY(open.sparse->Truncate(size, &must_save));
      } else if (::ftruncate(open.fd.get(), static_cast<off_t>(size)) != 0) {
        return FailErrno("truncate an object");
      }
    }
    return must_save ? WriteBack(open, /*end_live=*/false) : Status{};
  });
}

}  // namespace px::fs
