// Opening and closing the filesystem, what a crash left, and the background thread: pool,
// write-back, reclaim.
#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "base/log.h"
#include "fs/filesystem.h"
#include "fs/scrub.h"
#include "fs/sealer.h"
#include "fs/seals.h"

namespace px::fs {
namespace {

constexpr int kWriteBackTicks = 20;  // sizes of files open for writing go into the tree that often
// A power cut takes what is younger than that, at most, and than a tick or two without changes.
constexpr int kSyncTicks = 10;
// Of reclaim, after each object while there are requests: several times what removing one takes.
constexpr auto kPause = std::chrono::milliseconds(2);
// That gets shorter, so that what is removed all the time does not pile up: half of it after so
// long, a third after twice that.
constexpr auto kPatience = std::chrono::seconds(20);
// One request is followed by others that soon.
constexpr auto kBusy = std::chrono::milliseconds(10);
// Where the store's filesystem is busy, a request that comes meanwhile would wait too long.
constexpr auto kLongForOne = std::chrono::microseconds(150);
constexpr auto kNoAhead = std::chrono::milliseconds(50);
constexpr size_t kReclaimNodes = 1;  // a transaction of the background holds everybody else off
constexpr size_t kFreedBatch = 64;
constexpr size_t kFreedSync = 1024;  // so many are worth a flush, while there are nodes to free
// Space is short where less than that part of the store's filesystem is left, and less than that.
constexpr uint64_t kReserveParts = 16;
constexpr uint64_t kReserve = uint64_t{1} << 30;
constexpr uint64_t kPlenty = uint64_t{4} << 30;  // more than anybody writes between two ticks
constexpr auto kGiveBack = std::chrono::seconds(1);

}  // namespace

Filesystem::Filesystem(Parts parts, FilesystemOptions options, KernelSide* kernel, Clock* clock)
    : pages_(std::move(parts.pages)),
      store_(std::move(parts.store)),
      objects_(std::move(parts.objects)),
      slots_(std::move(parts.slots)),
      seals_(std::make_unique<Seals>(std::move(parts.seals))),
      live_(std::move(parts.live)),
      checkpoint_(std::move(parts.checkpoint)),
      check_pages_(std::move(parts.check_pages)),
      out_of_space_(std::move(parts.out_of_space)),
      space_is_back_(std::move(parts.space_is_back)),
      stay_open_(std::move(parts.stay_open)),
      options_(options),
      kernel_(kernel),
      clock_(clock),
      passthrough_(options.passthrough),
      scrub_(std::make_unique<Scrub>(this)) {}

Result<std::unique_ptr<Filesystem>> Filesystem::Open(Parts parts, FilesystemOptions options,
                                                     KernelSide* kernel, Clock* clock) {
  ::signal(SIGIO, SIG_IGN);  // of the leases of mapped.cc
  const std::vector<OpenSlots::Entry> left_over = std::move(parts.left_over);
  const std::vector<LiveTable::Cell> live_cells = std::move(parts.live_cells);
  const bool take_over = parts.take_over;
  const std::function<Status()> settle_power_cut = std::move(parts.settle_power_cut);
  const std::function<void()> settle_kill = std::move(parts.settle_kill);
  const bool closed_in_order = parts.closed_in_order;
  std::unique_ptr<Filesystem> fs(new Filesystem(std::move(parts), options, kernel, clock));
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return FailErrno("ask for limits");
  fs->table_.set_capacity(std::min<size_t>(options.parked_inodes, limit.rlim_cur / 4));
  if (take_over) {
    PX_TRY(fs->TakeOver(live_cells, left_over));
    if (!options.read_only) PX_TRY(fs->RemoveOrphans());
  } else {
    PX_TRY(fs->Recover(left_over, closed_in_order));
  }
  if (settle_kill && !options.read_only) settle_kill();
  if (settle_power_cut && !options.read_only) {
    PX_TRY(fs->RecoverAllSizes());
    PX_TRY(settle_power_cut());
  }
  if (!options.read_only) {
    PX_ASSIGN(const cow::ObjectId next, fs->store_->PeekNextObject());
    if (const Status filled = fs->objects_->Fill(next, options.pool_objects); !filled) {
      LogWarn("filling the pool of objects: {}", filled.error().ToString());  // a full disk
    }
  }
  if (options.seal && !options.read_only && fs->seals_->enabled()) {
    fs->sealer_ = std::make_unique<Sealer>(fs.get(), options.seal_after);
  }
  fs->background_ = std::thread([raw = fs.get()] { raw->BackgroundLoop(); });
  fs->settler_ = std::thread([raw = fs.get()] { raw->SettleLoop(); });
  return fs;
}

Filesystem::~Filesystem() {
  {
    const MutexLock lock(background_mutex_);
    stopping_ = true;
    background_wake_.NotifyAll();
  }
  {
    const MutexLock lock(settle_mutex_);
    settle_stopping_ = true;
    settle_wake_.NotifyAll();
  }
  if (background_.joinable()) background_.join();
  if (settler_.joinable()) settler_.join();
  sealer_.reset();  // the threads above may give it work
  if (options_.read_only || store_ == nullptr) return;
  if (handing_over_) {
    stay_open_();
    if (const Status written = WriteBackAll(); !written) {
      LogWarn("write-back: {}", written.error().ToString());
    }
    if (const Status synced = store_->Sync(); !synced) {
      LogError("syncing the store: {}", synced.error().ToString());
    }
    return;
  }
  // The kernel sends no releases at an unmount by force: end here what is still open.
  for (const auto& open : table_.All()) {
    const MutexLock lock(open->mutex);
    // Who has it open in passthrough may go on writing: its slot stays, and the next mount reads
    // the true size back.
    const bool goes_on = open->writers > 0 && open->passthrough;
    if (const Status written = WriteBack(*open, !open->orphan && !goes_on); !written) {
      LogError("writing back inode {:x}: {}", open->node.ToFuse(), written.error().ToString());
    }
    open->backing_id = 0;  // the session is gone, and its backing files with it
    if (goes_on) open->slot.reset();
    if (!open->gone) Close(*open);
  }
  if (orphans_left_) {
    // The next mount will not look for them.
    if (const Status removed = RemoveOrphans(); !removed) {
      LogError("unlinked files are left: {}", removed.error().ToString());
    }
  }
  if (const Status synced = store_->Sync(); !synced) {
    LogError("syncing the store: {}", synced.error().ToString());
  } else if (seals_->enabled()) {
    if (const Status closed = seals_->table()->CloseInOrder(); !closed) {
      LogWarn("closing seals.db: {}", closed.error().ToString());
    }
  }
}

Status Filesystem::Recover(const std::vector<OpenSlots::Entry>& left_over, bool closed_in_order) {
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    const NodeKey root{cow::kRootVolume, cow::kRootIno};
    const auto item = LoadInode(txn, root);
    if (item || item.error().code() != ENOENT)
      return item ? Status{} : Status(Forward(item.error()));
    // A new store: the mount's root directory.
    cow::InodeItem fresh;
    fresh.mode = S_IFDIR | 0755;
    fresh.uid = ::getuid();
    fresh.gid = ::getgid();
    fresh.nlink = 2;
    fresh.parent = cow::kRootIno.value;
    fresh.atime = fresh.mtime = fresh.ctime = fresh.btime = Now();
    return SaveInode(txn, root, fresh);
  }));
  if (options_.read_only) return {};
  for (const OpenSlots::Entry& entry : left_over) {
    if (const Status recovered = RecoverSize(entry); !recovered) {
      LogError("recovering inode {:x}: {}", entry.node.ToFuse(), recovered.error().ToString());
    }
  }
  slots_->ForgetLeftOver();
  objects_->DropKeptExcept({});
  PX_TRY(store_->ForgetMarks());
  // A mount must not take longer the more volumes there are.
  return closed_in_order ? Status{} : RemoveOrphans();
}

Status Filesystem::RecoverSize(const OpenSlots::Entry& entry) {
  auto fd = objects_->OpenObject(entry.object, O_RDONLY);
  if (!fd && fd.error().code() == ENOENT) return {};  // the file was removed before the crash
  if (!fd) return Forward(fd.error());
  struct stat backing{};
  if (::fstat(fd->get(), &backing) != 0) return FailErrno("stat of an object");
  std::vector<SparseFile::Run> runs;
  cow::InodeItem before;
  const Status loaded = store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(before, LoadInode(reader, entry.node));
    return {};
  });
  if (!loaded && loaded.error().code() == ENOENT) return {};
  PX_TRY(loaded);
  if (before.content == cow::ContentKind::kSparse && before.object == entry.object.value) {
    PX_ASSIGN(const auto sparse, OpenSparse(entry.node, fd->get(), cow::ObjectId{before.base}));
    PX_TRY(sparse->RecoverOwn());
    runs = sparse->Runs();
  }
  return store_->Update([&](cow::Txn& txn) -> Status {
    auto item = LoadInode(txn, entry.node);
    if (!item && item.error().code() == ENOENT) return {};
    PX_TRY(item);
    // After a power cut the slot may be older than the tree: only the object it names decides.
    if (item->object != entry.object.value) return {};
    const int64_t mtime_ns = ToNanoseconds(backing.st_mtim);
    const auto size = static_cast<uint64_t>(backing.st_size);
    const bool sparse = item->content == cow::ContentKind::kSparse;
    // The times may have been set back: of a sparse file they do not say that it is unchanged.
    if (!sparse && mtime_ns == entry.base_mtime_ns && size == item->size) return {};
    item->size = size;
    item->blocks = BlocksOf(backing);
    if (sparse) {
      item->blocks = (size + 511) / 512;
      PX_TRY(EraseRuns(txn, entry.node, 0, ~uint64_t{0}));
      PX_TRY(PutRuns(txn, entry.node, runs));
    }
    item->mtime = {backing.st_mtim.tv_sec, static_cast<uint32_t>(backing.st_mtim.tv_nsec)};
    item->ctime = {backing.st_ctim.tv_sec, static_cast<uint32_t>(backing.st_ctim.tv_nsec)};
    return SaveInode(txn, entry.node, *item);
  });
}

// After a power cut the tree is as of its last sync point, but a file may have been written in
// place since: where its object has another size, the object's is true.
Status Filesystem::RecoverAllSizes() {
  std::vector<cow::VolumeId> volumes;
  std::vector<OpenSlots::Entry> wrong;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_TRY(reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
      volumes.push_back(volume.id);
      return true;
    }));
    for (const cow::VolumeId volume : volumes) {
      const Status scanned =
          reader.Scan(volume, {}, {}, [&](std::string_view key, std::string_view value) {
            if (key.size() != 9 || key[8] != static_cast<char>(cow::ItemType::kInode)) return true;
            const auto item = cow::FromBytes<cow::InodeItem>(value);
            if (!item || item->object == 0 || !S_ISREG(item->mode)) return true;
            const auto size = objects_->SizeOf(cow::ObjectId{item->object});
            if (size && *size != item->size) {
              wrong.push_back({{volume, cow::Ino{cow::LoadBigEndian64(key.data())}},
                               cow::ObjectId{item->object},
                               -1});
            }
            return true;
          });
      // A damaged volume must not keep the others from being mounted.
      if (!scanned) LogError("volume {}: {}", volume.value, scanned.error().ToString());
    }
    return {};
  }));
  for (const OpenSlots::Entry& entry : wrong) PX_TRY(RecoverSize(entry));
  if (!wrong.empty()) LogWarn("after a power cut {} files have another size", wrong.size());
  return {};
}

Result<std::vector<NodeKey>> Filesystem::OrphansOf(cow::Reader& reader, cow::VolumeId volume) {
  std::vector<NodeKey> orphans;
  PX_TRY(reader.Scan(volume, cow::ItemKey(cow::Ino{0}, cow::ItemType::kOrphan),
                     cow::ItemKeyEnd(cow::Ino{0}, cow::ItemType::kOrphan),
                     [&](std::string_view key, std::string_view) {
                       if (key.size() == 17) {
                         orphans.push_back(
                             {volume, cow::Ino{cow::LoadBigEndian64(key.data() + 9)}});
                       }
                       return true;
                     }));
  return orphans;
}

Status Filesystem::EraseOrphan(cow::Txn& txn, NodeKey node) {
  PX_TRY(txn.Erase(node.volume, cow::OrphanKey(node.ino)));
  const auto item = LoadInode(txn, node);
  if (!item) return item.error().code() == ENOENT ? Status{} : Status(Forward(item.error()));
  return item->nlink == 0 ? EraseInode(txn, node, *item) : Status{};
}

Status Filesystem::RemoveOrphans() {
  std::vector<NodeKey> orphans;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    return reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
      const auto of_one = OrphansOf(reader, volume.id);
      // A damaged volume must not keep the others from being mounted.
      if (!of_one) LogError("volume {}: {}", volume.id.value, of_one.error().ToString());
      if (of_one) orphans.insert(orphans.end(), of_one->begin(), of_one->end());
      return true;
    });
  }));
  for (const NodeKey node : orphans) {
    if (table_.Find(node) != nullptr) continue;
    const Status removed =
        store_->Update([&](cow::Txn& txn) -> Status { return EraseOrphan(txn, node); });
    if (!removed) LogError("orphan {:x}: {}", node.ToFuse(), removed.error().ToString());
  }
  return {};
}

void Filesystem::WakeBackground(uint64_t bytes) {
  removed_ += bytes;
  reclaim_wanted_ = true;
  if (!IsSpaceShort(bytes)) return;
  reclaim_now_ = true;
  background_wake_.NotifyOne();
}

bool Filesystem::IsSpaceShort(uint64_t bytes) const {
  return !plenty_ && !options_.read_only && HasNoRoomFor(bytes + removed_);
}

bool Filesystem::HasNoRoomFor(uint64_t bytes) const {
  const auto space = SpaceLeft();
  return space && space->left < bytes + std::min(space->size / kReserveParts, kReserve);
}

Result<Filesystem::Space> Filesystem::SpaceLeft() const {
  PX_ASSIGN(const struct statvfs info, objects_->StatFs());
  const uint64_t size = uint64_t{info.f_blocks} * info.f_frsize;
  return Space{size, size == 0 ? UINT64_MAX : uint64_t{info.f_bavail} * info.f_frsize};
}

void Filesystem::GiveBackIfShort(uint64_t removed, uint64_t wanted) {
  removed_ += removed;
  reclaim_wanted_ = true;
  const auto until = std::chrono::steady_clock::now() + kGiveBack;
  for (bool done = false; !done && IsSpaceShort(std::max(removed, wanted)) &&
                          std::chrono::steady_clock::now() < until;) {
    // What cannot be given back now the background thread will, and complains if it cannot.
    if (!ReclaimStep(&done, Reclaim::kSpace)) return;
    if (done && sealer_ != nullptr) sealer_->LetGo();
  }
}

void Filesystem::WakePool() {
  if (objects_->PoolSize() > options_.pool_objects / 2) return;
  background_wake_.NotifyOne();
}

// A thread that works for milliseconds takes the processor of a caller or of the reader for as
// long, where there are two. One that is woken for some microseconds takes one that idles.
void Filesystem::Pace() {
  const uint64_t requests = kernel_->RequestsRead();
  const auto now = std::chrono::steady_clock::now();
  if (std::exchange(paced_at_, requests) != requests) busy_until_ = now + kBusy;
  if (now < busy_until_)
    std::this_thread::sleep_for(kPause / (1 + (now - reclaim_began_) / kPatience));
}

void Filesystem::Idle() {
  if (options_.read_only || objects_->PoolSize() >= options_.pool_objects) return;
  const auto begin = std::chrono::steady_clock::now();
  if (begin < no_ahead_before_.load()) return;
  // Whoever watches the daemon sees that no request is served now.
  char name[16] = "";
  ::prctl(PR_GET_NAME, name);
  ::prctl(PR_SET_NAME, "px-ahead");
  // Where it cannot be made now, who needs it is told.
  (void)objects_->FillOne(options_.pool_objects);
  ::prctl(PR_SET_NAME, name);
  const auto end = std::chrono::steady_clock::now();
  if (end - begin > kLongForOne) no_ahead_before_ = end + kNoAhead;
}

void Filesystem::BackgroundLoop() {
  ::pthread_setname_np(::pthread_self(), "px-background");
  // Sleeps as long as it says, and not 50 µs more. Where it cannot be had it sleeps longer.
  (void)::prctl(PR_SET_TIMERSLACK, 1000UL);
  int ticks = 0;
  int complained = 0;  // of which errno
  for (;;) {
    bool tick = false;
    {
      const MutexLock lock(background_mutex_);
      if (stopping_) return;
      tick = !background_wake_.WaitFor(background_mutex_, options_.tick);
      if (stopping_) return;
    }
    if (options_.read_only) continue;
    if (const auto next = store_->PeekNextObject(); next) {
      const Status filled = objects_->Fill(*next, options_.pool_objects);
      const int code = filled ? 0 : filled.error().code();
      if (code != 0 && code != complained) {
        LogWarn("filling the pool of objects: {}", filled.error().ToString());
      }
      complained = code;
    }
    CloseDoomed();
    if (tick) Tick(++ticks);
    if (!tick && !reclaim_now_.exchange(false)) continue;
    if (const Status done = BackgroundStep(); !done) {
      LogWarn("reclaim: {}", done.error().ToString());
    }
  }
}

void Filesystem::Tick(int number) {
  const auto space = SpaceLeft();
  plenty_ = space && space->left > kPlenty;
  ForgetUnmapped();
  if (number % kWriteBackTicks == 0) {
    if (const Status written = WriteBackAll(); !written) {
      LogWarn("write-back: {}", written.error().ToString());
    }
  }
  // `sync` and `syncfs` do not tell a FUSE filesystem: who uses them waits a moment and is done.
  const uint64_t commits = store_->Counters().commits;
  const bool quiet = std::exchange(commits_at_tick_, commits) == commits;
  if (quiet || number % kSyncTicks == 0) {
    if (const Status synced = store_->Sync(); !synced) {
      LogWarn("sync: {}", synced.error().ToString());
    }
  }
  if (const Status thinned = ThinTrash(); !thinned) {
    LogWarn("trash: {}", thinned.error().ToString());
  }
}

Status Filesystem::BackgroundStep() {
  PX_TRY(checkpoint_());
  if (!reclaim_wanted_.exchange(false)) return {};
  reclaim_began_ = std::chrono::steady_clock::now();
  for (bool done = false; !done;) {
    {
      const MutexLock lock(background_mutex_);
      if (stopping_) return {};
    }
    PX_TRY(ReclaimStep(&done, Reclaim::kPaced));
    PX_TRY(checkpoint_());
  }
  return {};
}

Status Filesystem::ReclaimStep(bool* done, Reclaim how) {
  const MutexLock lock(reclaim_mutex_);
  const uint64_t removed = removed_;
  if (how == Reclaim::kPaced && IsSpaceShort(0)) how = Reclaim::kSpace;
  PX_ASSIGN(const size_t rows, store_->ReclaimStep(kReclaimNodes));
  const size_t sync_for = rows == 0 || how == Reclaim::kSpace ? 1 : kFreedSync;
  PX_ASSIGN(const std::vector<cow::ObjectId> freed, store_->DurablyFreed(kFreedBatch, sync_for));
  for (const cow::ObjectId object : freed) {
    PX_TRY(objects_->Remove(object));
    if (how == Reclaim::kPaced) Pace();
  }
  seals_->Removed(freed);
  if (!freed.empty()) {
    // Gone from the disk before the queue forgets them. That a sync point of somebody else sees to
    // it costs the least work, and him the time: only who is in a hurry leaves it to others.
    if (how == Reclaim::kPaced) {
      PX_TRY(objects_->unsynced()->SyncRemoved(freed));
    } else {
      for (const cow::ObjectId object : freed) objects_->unsynced()->AddName(object);
    }
    PX_TRY(store_->ForgetFreed(freed));
    space_is_back_();
  }
  *done = rows == 0 && freed.empty();
  if (*done) removed_ -= removed;
  return {};
}

Status Filesystem::WriteBackAll() {
  Status first;
  for (const auto& open : table_.All()) {
    const MutexLock lock(open->mutex);
    if (open->gone || open->orphan) continue;
    // One whose last release could not write back ends here.
    const bool end = open->writers == 0;
    const Status written = WriteBack(*open, end);
    if (!written && first) first = written;
    if (written && open->opens == 0) Close(*open);
  }
  return first;
}

}  // namespace px::fs
