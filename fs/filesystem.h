// Filesystem: what a px mount does, without FUSE: one method per request of the kernel and per
// control call.
//
// It is given paths, callers and bytes and gives back results or an Error whose errno the caller
// gets. The kernel has checked permissions (default_permissions) for everything but the control
// calls, which check them here. fuse_bridge turns FUSE requests into these calls; tests may make
// them directly.
//
// Threads: any method from any thread. Locks, outermost first: a volume's freeze, OpenInode::mutex,
// the store's own, OpenInode::io, then the leaf mutexes of tables. KernelSide is never called with
// the store's lock held.
//
// Durability: when a method that changes something returned, a kill of the process cannot undo it.
// Fsync and FsyncDir make everything that had returned before survive power loss.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cow/store.h"
#include "fs/live_table.h"
#include "fs/node.h"
#include "fs/object_store.h"
#include "fs/open_slots.h"
#include "fs/open_table.h"
#include "fs/volume_attributes.h"
#include "uapi/px_ioctl.h"

namespace px::catalog {
class SealTable;
}

namespace px::fs {

class ObjectCheck;
class Scrub;
class Sealer;
class Seals;
struct CheckTarget;

// Who asks.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t umask = 0;
  std::function<bool(gid_t)> in_group;  // the gid or a supplementary group

  bool IsMember(gid_t group) const { return group == gid || (in_group && in_group(group)); }
};

struct Entry {
  NodeKey node;
  struct stat attr{};
};

// What an open is answered with.
struct Opened {
  int backing_id = 0;  // not 0: passthrough
  bool keep_cache = false;
  bool wants_flush = false;  // tell us of closes: a replacement is being written
  uint64_t handle = 0;       // for Release
};

// A directory entry on its way out. `entry` has all attributes only if they were asked for and
// could be read.
struct DirEntry {
  std::string_view name;
  Entry entry;
  bool has_attr = false;
  off_t next;  // where a later call goes on
};

// What the filesystem asks of the kernel. Any thread.
class KernelSide {
 public:
  virtual ~KernelSide() = default;
  // A backing id for passthrough, or the errno why not (EPERM, EOPNOTSUPP, ELOOP, ENOSYS).
  virtual Result<int> RegisterBacking(int fd) = 0;
  virtual void UnregisterBacking(int backing_id) = 0;
  // The same for ids that may not be registered.
  virtual void UnregisterIfKnown(int /*backing_id*/) {}
  // Drops what the kernel remembers. A thing it does not know is fine. InvalidateData first writes
  // back dirty pages, by requests to this daemon, so it must not be called from a thread that
  // serves requests.
  virtual void InvalidateEntry(NodeKey parent, const std::string& name) = 0;
  virtual void InvalidateAttributes(NodeKey node) = 0;
  virtual void InvalidateData(NodeKey node) = 0;
  // Waits for requests that came before the one that this thread serves, though not for ever: one
  // of them may wait for it.
  virtual void WaitForEarlier() {}
  // So far. What works in the background asks whether there are any.
  virtual uint64_t RequestsRead() const { return 0; }
};

struct FilesystemOptions {
  bool passthrough = true;
  bool read_only = false;
  size_t pool_objects = 128;
  size_t parked_inodes = 4096;          // at most; fewer where few descriptors may be open
  std::chrono::milliseconds tick{500};  // of the background thread
  std::chrono::seconds trash_age{7 * 24 * 3600};
  bool seal = true;                              // what was written, once it is quiet
  std::chrono::milliseconds seal_after{10'000};  // that long closed
};

struct Usage {
  uint64_t inodes = 0, logical_bytes = 0, allocated_bytes = 0, exclusive_bytes = 0,
           shared_bytes = 0;
};

class Filesystem {
 public:
  // `store` and `objects` were opened on the store directory; `kernel` must outlive the filesystem.
  // Finishes what a crash left: sizes of files that were open for writing, unlinked open files.
  struct Parts {
    std::unique_ptr<cow::PageTable> pages;
    std::unique_ptr<cow::Store> store;  // over pages
    std::unique_ptr<ObjectStore> objects;
    std::unique_ptr<OpenSlots> slots;
    std::shared_ptr<catalog::SealTable> seals;  // null: none could be had
    std::vector<OpenSlots::Entry> left_over;
    // Where what must outlive this daemon goes; none: nothing need.
    std::unique_ptr<LiveTable> live;
    // The mount of a daemon that is gone is served on: what it left there.
    bool take_over = false;
    std::vector<LiveTable::Cell> live_cells;
    std::function<Status()> checkpoint;  // run now and then by the background thread
    // Checks some of the tree's own pages, from `from` (1 at first) on; where to go on, or 0 at the
    // end.
    std::function<Result<uint32_t>(uint32_t from, const std::function<void(const std::string&)>&)>
        check_pages = [](uint32_t, const auto&) { return Result<uint32_t>(0); };
    // The tree's own files could not grow: what makes it larger is refused, so that what makes it
    // smaller has room.
    std::function<bool()> out_of_space = [] { return false; };
    std::function<void()> space_is_back = [] {};  // some, perhaps
    // The last user ended what was open: no volume has to be searched for unlinked open files.
    bool closed_in_order = false;
    // Set if the last user was killed: called once what it left was dealt with.
    std::function<void()> settle_kill;
    // Called by one that hands the mount over: what is open stays so.
    std::function<void()> stay_open = [] {};
    // Set if the machine went down since the last use: called once files' sizes were checked.
    std::function<Status()> settle_power_cut;
  };
  // The process ignores SIGIO from then on.
  static Result<std::unique_ptr<Filesystem>> Open(Parts parts, FilesystemOptions options,
                                                  KernelSide* kernel, Clock* clock);
  // Writes back what is open, stops the background thread, syncs.
  ~Filesystem();
  // By a thread that serves requests, when it waits for the next one: a little of what would be
  // to be done at a later one. May take as long as the store's filesystem does.
  void Idle();
  // Another daemon will take this mount over: what is open stays so. Nothing but the destructor may
  // be called after it.
  void HandOver() { handing_over_ = true; }
  // While requests that were sent again are answered: the first lane of Request to use for that.
  uint32_t replay_lane() const;

  // Names and attributes (ops_lookup.cc, ops_attr.cc, ops_dir.cc).
  Result<Entry> Lookup(NodeKey parent, std::string_view name);
  void Forget(NodeKey node);
  Result<struct stat> GetAttr(NodeKey node);
  // None: it is not known.
  Result<std::optional<timespec>> BirthTime(NodeKey node);
  // `to_set` is of FUSE_SET_ATTR_* (fuse_lowlevel.h).
  Result<struct stat> SetAttr(NodeKey node, const struct stat& attr, int to_set,
                              const Caller& caller);
  Result<std::string> ReadLink(NodeKey node);
  // Entries from `offset` on until `visit` returns false (that entry was not taken).
  Status ReadDir(NodeKey node, off_t offset, bool with_attr,
                 const std::function<bool(const DirEntry&)>& visit);
  Result<struct statvfs> StatFs();

  // Making and removing names (ops_create.cc, ops_remove.cc, ops_rename.cc).
  Result<Entry> MakeNode(NodeKey parent, std::string_view name, mode_t mode, dev_t rdev,
                         const Caller& caller);
  Result<Entry> MakeSymlink(NodeKey parent, std::string_view name, std::string_view target,
                            const Caller& caller);
  Result<Entry> Link(NodeKey node, NodeKey parent, std::string_view name);
  Status Unlink(NodeKey parent, std::string_view name);
  Status Rmdir(NodeKey parent, std::string_view name);
  // `caller` owns what RENAME_WHITEOUT makes.
  Status Rename(NodeKey parent, std::string_view name, NodeKey new_parent,
                std::string_view new_name, unsigned flags, const Caller& caller);

  // Open files (open.cc, ops_io.cc).
  Result<Opened> Open(NodeKey node, int flags, bool kill_suidgid);
  struct Created {
    Entry entry;
    Opened opened;
  };
  Result<Created> Create(NodeKey parent, std::string_view name, mode_t mode, int flags,
                         const Caller& caller);
  Result<Created> TmpFile(NodeKey parent, mode_t mode, int flags, const Caller& caller);
  // `handle` is that of Opened; nothing looks at it where no daemon will take over.
  void Release(NodeKey node, int flags, uint64_t handle = 0);
  // A descriptor is being closed; `killed` if by a process that a signal is ending.
  void Flush(NodeKey node, bool killed);
  Result<size_t> Read(NodeKey node, std::span<char> buffer, off_t offset);
  Result<size_t> Write(NodeKey node, std::string_view data, off_t offset, bool kill_suidgid);
  Status Fsync(NodeKey node, bool data_only);
  Status FsyncDir(NodeKey node);
  Status Fallocate(NodeKey node, int mode, off_t offset, off_t length, const Caller& caller);
  Result<size_t> CopyRange(NodeKey from, off_t from_offset, NodeKey to, off_t to_offset,
                           size_t length, const Caller& caller);
  Result<off_t> Seek(NodeKey node, off_t offset, int whence);

  // Extended attributes (ops_xattr.cc). A size of 0 asks how large it is, as in the system calls.
  Status SetXattr(NodeKey node, std::string_view name, std::string_view value, int flags,
                  const Caller& caller);
  Result<std::string> GetXattr(NodeKey node, std::string_view name);
  Result<std::string> ListXattr(NodeKey node, const Caller& caller);
  Status RemoveXattr(NodeKey node, std::string_view name);

  // Volumes (ops_volume.cc, ops_report.cc). Not from a thread that serves requests: they
  // invalidate.
  Result<px_ioc_info> Info(NodeKey node);
  Result<px_ioc_token> IssueToken(NodeKey volume_root, const Caller& caller);
  Result<cow::VolumeId> CreateVolume(NodeKey parent, const std::string& name, const Caller& caller);
  Result<cow::VolumeId> CloneVolume(NodeKey parent, const std::string& name,
                                    const px_ioc_token& source, uint32_t flags,
                                    const Caller& caller);
  // Into the trash, or for good.
  Status DropVolume(NodeKey parent, const std::string& name, bool trash, const Caller& caller);
  Status Snapshot(NodeKey volume_root, const std::string& name, const Caller& caller);
  Status DropSnapshot(NodeKey volume_root, const std::string& name, const Caller& caller);
  Result<Usage> MeasureUsage(NodeKey volume_root, const Caller& caller);
  // Exact: with everything that differs, not only what people ask for.
  Status Diff(NodeKey volume_root, bool exact, px_ioc_text* text, const Caller& caller);
  Status ListVolumes(NodeKey dir, px_ioc_text* text, const Caller& caller);
  // The trash (trash.cc).
  Status Undelete(NodeKey parent, const std::string& name, cow::VolumeId volume,
                  const Caller& caller);
  Status ListTrash(px_ioc_text* text, const Caller& caller);
  Status CollectGarbage(px_ioc_gc* request, const Caller& caller);
  // Kept versions of files (versions.cc).
  Status ListVersions(NodeKey dir, px_ioc_text* text, const Caller& caller);
  Status RestoreVersion(NodeKey dir, const std::string& name, uint64_t version,
                        const Caller& caller);
  // Extra facts of the session go in as they are.
  std::string StatusJson(const std::vector<std::pair<std::string, std::string>>& more);
  // Scrub (scrub.cc, damaged.cc). By root, or who mounted; see scrub.h.
  Status ScrubStep(px_ioc_text* text, const Caller& caller);
  std::string ScrubStatusJson();
  // The file's bytes are taken as they are: it can be opened again. By its owner or root. EBUSY it
  // is open for writing.
  Status AcceptDamaged(NodeKey dir, const std::string& name, const Caller& caller);

  // For reports (damaged.cc). From the mount's root; empty for the root volume.
  static Result<std::string> VolumePath(cow::Reader& reader, cow::VolumeId volume);
  static Result<std::vector<std::string>> FullPathsOf(cow::Reader& reader, NodeKey node);

  // Of the tree (inode.cc), for checks too. ENOENT, EUCLEAN.
  static Result<cow::InodeItem> LoadInode(cow::Reader& reader, NodeKey node);
  static Status SaveInode(cow::Txn& txn, NodeKey node, const cow::InodeItem& item);

  // The kernel does not offer it: every file is served in cached mode.
  void DisablePassthrough() { passthrough_ = false; }

 private:
  struct VolumeState {
    SharedMutex freeze;  // see Gate
    std::atomic<bool> dropped = false;
    std::atomic<bool> readonly = false;
  };
  // Held by everything that changes a volume or opens a file in it, while it does. A clone takes
  // the volume's freeze alone instead: between its copies of the files that are open for writing
  // and its clone of the tree nothing else may be acknowledged, or the clone would have the later
  // but not the earlier of two changes.
  class Gate {
   public:
    Gate() = default;
    explicit Gate(std::shared_ptr<VolumeState> state) PX_NO_TSA : state_(std::move(state)) {
      state_->freeze.lock_shared();
    }
    Gate(Gate&&) = default;
    Gate& operator=(Gate&& other) noexcept {
      std::swap(state_, other.state_);
      return *this;
    }
    ~Gate() PX_NO_TSA {
      if (state_ != nullptr) state_->freeze.unlock_shared();
    }
    const VolumeState& state() const { return *state_; }

   private:
    std::shared_ptr<VolumeState> state_;
  };
  struct Token {
    cow::VolumeId volume;
    uid_t uid = 0;
    timespec issued{};
    std::optional<uint32_t> cell;
  };
  struct Ghost {
    cow::InodeItem item;
    std::optional<uint32_t> cell;
  };
  struct MaybeMapped {
    cow::ObjectId object;
    uint64_t note = 0;  // tells this noting from a later one of the same object
    std::optional<uint32_t> cell;
  };
  using MaybeMappedTable = std::unordered_map<uint64_t, MaybeMapped>;
  // An open that a daemon before this one answered, or was about to.
  struct TakenHandle {
    NodeKey node;
    uint64_t handle = 0;
  };
  // What a clone needs of one inode that is open for writing.
  struct LiveCopy {
    NodeKey node;
    UniqueFd temp;
    struct stat attr{};
    int64_t base_mtime_ns = 0;
    cow::ObjectId base;  // of a sparse file, with its own runs
    std::vector<SparseFile::Run> runs;
  };

  friend class ObjectCheck;
  friend class Scrub;
  friend class Sealer;
  Filesystem(Parts parts, FilesystemOptions options, KernelSide* kernel, Clock* clock);

  // damaged.cc
  // EIO if a content that is known to be damaged is all that could be opened.
  Status RefuseDamaged(NodeKey node);
  // ENOENT of a file that there is becomes EIO: its object is missing.
  Status NotMissing(NodeKey node, Status status);
  // EIO if the object of a file that is not open for writing is shorter than the file.
  Status CheckSizeOf(NodeKey node, const cow::InodeItem& item) const;
  // Whether somebody may be writing to the object now; who begins to says so (Seals::Writing).
  bool MayBeWritten(const CheckTarget& target);
  bool NamesObject(const CheckTarget& target);
  // No parked inode keeps it open.
  void CloseParked(cow::ObjectId object);
  // inode.cc
  Result<std::shared_ptr<VolumeState>> StateOf(cow::VolumeId volume);
  // ENOSPC if the tree may not grow.
  Status CheckRoom() const;
  // ESTALE if it was dropped. EnterToWrite: EROFS too.
  Result<Gate> Enter(cow::VolumeId volume);
  Result<Gate> EnterToWrite(cow::VolumeId volume);
  // Waits a little for the releases of files that were closed already: the kernel sends them when
  // it likes.
  bool DrainOpens(cow::VolumeId volume);
  // ENOTDIR if it is something else.
  static Result<cow::InodeItem> LoadDirectory(cow::Reader& reader, NodeKey node);
  static Result<cow::DentryItem> LoadDentry(cow::Reader& reader, NodeKey dir,
                                            std::string_view name);
  static NodeKey Target(NodeKey dir, const cow::DentryItem& dentry);
  Status LookupHandle(cow::Reader& reader, NodeKey node, bool above, Entry* found);
  // Of a directory.
  static NodeKey ParentOf(NodeKey node, const cow::InodeItem& item);
  // Of 512 bytes: what a file of that size may take, and what one takes of them. (XFS gives more to
  // one that grows, and takes it back some time after it was closed.)
  static uint64_t BlocksUpTo(uint64_t size);
  static uint64_t BlocksOf(const struct stat& attr);
  // As the tree has them.
  static struct stat Attr(NodeKey node, const cow::InodeItem& item);
  // As they are: of a file that is open for writing its object knows size and times. For the
  // kernel, unless `tells` is false.
  Result<struct stat> LiveAttr(NodeKey node, const cow::InodeItem& item, bool tells = true) const;
  static Status MergeLive(const OpenInode& open, const cow::InodeItem& item, bool tells,
                          struct stat* attr);
  Result<struct stat> SnapshotsDirAttr(cow::Reader& reader, cow::VolumeId volume) const;
  struct Dropped {
    bool inode = false;   // it is gone
    bool object = false;  // and nothing else names its content
  };
  // One link less. At none, removes the inode, or leaves it as an orphan if it is open.
  Result<Dropped> DropLink(cow::Txn& txn, NodeKey node, cow::InodeItem item);
  // After the transaction that dropped a file's object.
  void ForgetPages(const cow::InodeItem& item) const;
  static Status EraseInode(cow::Txn& txn, NodeKey node, const cow::InodeItem& item);
  void AddGhost(NodeKey node, cow::InodeItem item);
  // For a daemon that takes over.
  void NoteGhost(NodeKey node, Ghost* ghost) PX_REQUIRES(ghosts_mutex_);

  // ops_attr.cc: all but the size.
  Result<struct stat> SetAttrOfTree(NodeKey node, const struct stat& attr, int to_set);

  // ops_create.cc
  struct NewInode {
    NodeKey node;
    cow::InodeItem item;
  };
  // What stands for a removed name in an overlay (RENAME_WHITEOUT).
  Status PutWhiteout(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                     std::string_view name, const Caller& caller);
  Result<NewInode> PutNewInode(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                               mode_t mode, dev_t rdev, const Caller& caller);
  static Status InheritAcl(cow::Txn& txn, NodeKey parent, const cow::InodeItem& parent_item,
                           NodeKey node, cow::InodeItem* item);
  Status PutDentry(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                   std::string_view name, const cow::DentryItem& dentry);
  // Saves a new inode, under that name, and its parent.
  Status PutNamed(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item, std::string_view name,
                  const NewInode& created);
  Status EraseDentry(cow::Txn& txn, NodeKey parent, cow::InodeItem* parent_item,
                     std::string_view name, bool is_dir);
  // EINVAL it is none, EEXIST it is not in the tree but taken.
  static Status CheckNewName(NodeKey parent, std::string_view name);
  // For a name that is to be made; errors as CheckNewName.
  static Result<bool> Exists(cow::Reader& reader, NodeKey parent, std::string_view name);
  Status EraseDirectory(cow::Txn& txn, NodeKey node, const cow::InodeItem& item);
  Status MovedTo(cow::Txn& txn, NodeKey node, NodeKey parent, std::string_view name);
  // EINVAL if `dir` is `node` or below it.
  static Status CheckNotBelow(cow::Reader& reader, NodeKey dir, NodeKey node);

  // open.cc
  // What can fail when an inode becomes live. Asked for before the tree changes on its account, so
  // that an open that fails has changed nothing.
  class LiveStart {
   public:
    LiveStart() = default;
    LiveStart(OpenSlots* slots, uint32_t slot, int64_t base_mtime_ns, const struct stat& object)
        : slots_(slots),
          slot_(slot),
          base_mtime_ns_(base_mtime_ns),
          size_(object.st_size),
          ctime_ns_(ToNanoseconds(object.st_ctim)),
          file_(object.st_ino) {}
    LiveStart(LiveStart&& other) noexcept { *this = std::move(other); }
    LiveStart& operator=(LiveStart&& other) noexcept {
      std::swap(slots_, other.slots_);
      std::swap(slot_, other.slot_);
      std::swap(base_mtime_ns_, other.base_mtime_ns_);
      std::swap(size_, other.size_);
      std::swap(ctime_ns_, other.ctime_ns_);
      std::swap(file_, other.file_);
      return *this;
    }
    ~LiveStart() {
      if (slots_ != nullptr) slots_->Clear(slot_);
    }
    uint32_t TakeSlot() {
      slots_ = nullptr;
      return slot_;
    }
    int64_t base_mtime_ns() const { return base_mtime_ns_; }
    int64_t size() const { return size_; }
    int64_t ctime_ns() const { return ctime_ns_; }
    uint64_t file() const { return file_; }

   private:
    OpenSlots* slots_ = nullptr;  // null: nothing is held
    uint32_t slot_ = 0;
    int64_t base_mtime_ns_ = 0;
    int64_t size_ = 0;  // of the object
    int64_t ctime_ns_ = 0;
    uint64_t file_ = 0;  // its inode number
  };
  // Of a new inode: its object, empty, and what it takes to write it.
  struct Content {
    UniqueFd fd;
    cow::ObjectId object;
    LiveStart start;
  };
  Result<Content> NewContent(cow::Txn& txn, NewInode* created);
  Result<Opened> OpenNew(NodeKey node, Content content, int flags);
  // With OpenInode::mutex held:
  void AwaitRelease(NodeKey node);
  // At the end of an open with O_SYNC or O_DSYNC; one that fails leaves it closed.
  Status BeginSyncing(NodeKey node, int flags, const Opened& opened);
  // Runs `body` on the inode's entry in the table, with its mutex held. Where nobody has it open
  // after that, it is closed.
  Status WithEntry(NodeKey node, const std::function<Status(OpenInode& open)>& body);
  static bool IsLive(const OpenInode& open) {
    const ReaderLock io(open.io);
    return open.live;
  }
  Status CountOpen(OpenInode& open, int flags, uint64_t* handle) PX_REQUIRES(open.mutex);
  // Gives up what was kept of a parked inode: it is as any that is closed.
  void Unpark(OpenInode& open) PX_REQUIRES(open.mutex);
  // Closes what can no longer stay parked. Not with the store's lock held.
  void CloseDoomed() PX_EXCLUDES(closing_mutex_);
  // At most so many, and without waiting for what others close.
  void BeginClosing(size_t limit) PX_EXCLUDES(closing_mutex_);
  // Sees to it that no more descriptors wait to be closed than may be parked.
  void LimitDoomed() PX_EXCLUDES(closing_mutex_);
  Status PrepareOpen(OpenInode& open, int flags, bool kill_suidgid) PX_REQUIRES(open.mutex);
  Status OpenForReading(OpenInode& open, const cow::InodeItem& item, bool own)
      PX_REQUIRES(open.mutex);
  Status Truncate(OpenInode& open, bool kill_suidgid) PX_REQUIRES(open.mutex);
  Status EnsureOwn(OpenInode& open) PX_REQUIRES(open.mutex);
  Status MakeOwn(OpenInode& open) PX_REQUIRES(open.mutex);
  Status ReplaceShared(OpenInode& open, const cow::InodeItem& item) PX_REQUIRES(open.mutex);
  Status BecomeSparse(OpenInode& open, const cow::InodeItem& item) PX_REQUIRES(open.mutex);
  // `fd`: the object's file as it is now.
  Result<LiveStart> PrepareLive(NodeKey node, int fd, cow::ObjectId object);
  void BeginLive(OpenInode& open, LiveStart start, UniqueFd fd, cow::ObjectId object,
                 std::unique_ptr<SparseFile> sparse = nullptr) PX_REQUIRES(open.mutex);
  // The map of a sparse file as the tree has it, over `own`.
  Result<std::unique_ptr<SparseFile>> OpenSparse(NodeKey node, int own, cow::ObjectId base);
  static Result<std::vector<SparseFile::Run>> LoadRuns(cow::Reader& reader, NodeKey node);
  static Status EraseRuns(cow::Txn& txn, NodeKey node, uint64_t from, uint64_t end);
  static Status PutRuns(cow::Txn& txn, NodeKey node, std::span<const SparseFile::Run> runs);
  Status SaveRuns(OpenInode& open) PX_REQUIRES(open.mutex);
  bool EndsWhole(OpenInode& open) PX_REQUIRES(open.mutex);
  static Result<bool> MustSeeWrites(cow::Reader& reader, NodeKey node, const cow::InodeItem& item);
  Status EnterMode(OpenInode& open) PX_REQUIRES(open.mutex);
  Status WriteBack(OpenInode& open, bool end_live) PX_REQUIRES(open.mutex);
  // What its object is now; nothing where it cannot be told.
  static OpenInode::Flushed StateOfObject(const OpenInode& open) PX_REQUIRES_SHARED(open.io);
  static int64_t CtimeOfObject(const OpenInode& open) PX_EXCLUDES(open.io);
  Result<size_t> WriteObject(OpenInode& open, std::string_view data, off_t offset, bool* must_save);
  // The object's data and size, on disk; *flushed is what they were before.
  Status FlushObject(OpenInode& open, bool data_only, OpenInode::Flushed* flushed);
  void EndOpen(NodeKey node, int flags, uint64_t handle);
  void Close(OpenInode& open) PX_REQUIRES(open.mutex);
  void MoveSharers(const OpenInode& keeper, cow::ObjectId object);
  // After a change by one that has it not open itself: readers may go on.
  void EndWithoutWriter(OpenInode& open) PX_REQUIRES(open.mutex);
  // Runs `body` on an inode that owns its object, opening and closing it where it is not open.
  Status WithOwn(NodeKey node, const std::function<Status(OpenInode& open)>& body);
  Status TruncateTo(NodeKey node, uint64_t size);
  // Of a file that `writer` changes, or somebody that nothing is known of. setgid goes where the
  // group may execute it, as for every writer, or where `writer` is not of the group.
  Status KillPrivileges(NodeKey node, const Caller* writer = nullptr);
  Result<size_t> CopyThroughBuffer(NodeKey from, off_t from_offset, NodeKey to, off_t to_offset,
                                   size_t length);

  // takeover.cc: what outlives the daemon, and how the next one goes on with it.
  // Puts the inode's state into the live table, where it is not there yet.
  Status Note(OpenInode& open) PX_REQUIRES(open.mutex);
  void NoteOrLog(OpenInode& open) PX_REQUIRES(open.mutex);
  void ForgetNote(OpenInode& open) PX_REQUIRES(open.mutex);
  void ClearCell(const std::optional<uint32_t>& cell);
  std::optional<uint32_t> NoteToken(const px_ioc_token& token, const Token& about);
  std::optional<uint32_t> NoteMapped(NodeKey node, cow::ObjectId object);
  // Store::Update whose commit also says that the current request was done, with that result
  // (which `body` sets).
  Status Once(const std::function<Status(cow::Txn&)>& body, const uint64_t* result = nullptr);
  // The current request was sent again, and was done by a daemon before this one: its result.
  std::optional<uint64_t> DoneBefore() const;
  Result<Entry> EntryOf(NodeKey node);
  std::optional<TakenHandle> OpenedBefore() const;
  Result<Opened> Reopened(const TakenHandle& taken);
  Result<Created> CreatedBefore(NodeKey node, int flags);
  Status TakeOver(const std::vector<LiveTable::Cell>& cells,
                  const std::vector<OpenSlots::Entry>& left_over);
  Status TakeSession(const std::vector<LiveTable::Cell>& cells);
  void TakeInodes(const std::vector<LiveTable::Cell>& cells);
  void TakeHandles(const std::vector<LiveTable::Cell>& cells);
  void TakeSizes(const std::vector<OpenSlots::Entry>& left_over);
  void TakeSmallCells(const std::vector<LiveTable::Cell>& cells);
  Status TakeInode(OpenInode& open, const LiveInode& noted) PX_REQUIRES(open.mutex);
  Status TakeContent(OpenInode& open, const LiveInode& noted, const cow::InodeItem& item)
      PX_REQUIRES(open.mutex);
  Status UndoExchange(const LiveInode& noted, const cow::InodeItem& item);
  void CloseUnknownBackings(const std::set<int>& known);
  void NoteUnasked(OpenInode& open) PX_REQUIRES(open.mutex) PX_EXCLUDES(mapped_mutex_);
  // The last release came, but its work may not have been done.
  void FinishClosed(OpenInode& open) PX_REQUIRES(open.mutex);

  // versions.cc: a content that is replaced stays until the one after it is complete and durable.
  struct Replaced {
    NodeKey node;
    cow::ObjectId object;  // the complete new content
  };
  Status KeepVersion(cow::Txn& txn, NodeKey node, const cow::InodeItem& old, uint64_t at_least,
                     cow::InodeItem* item);
  static Status EraseVersions(cow::Txn& txn, NodeKey node, cow::InodeItem* item);
  void SettleLater(NodeKey node, cow::ObjectId object);
  void SettleLoop();
  Status Settle(const Replaced& replaced);
  Result<NodeKey> OwnedFile(cow::Reader& reader, NodeKey dir, std::string_view name,
                            const Caller& caller);

  // ops_xattr.cc
  static Result<std::string> LoadXattr(cow::Reader& reader, NodeKey node, std::string_view name);
  static Status StoreXattr(cow::Txn& txn, NodeKey node, std::string_view name,
                           std::string_view value);
  static Status EraseXattr(cow::Txn& txn, NodeKey node, std::string_view name);
  Status SetAcl(cow::Txn& txn, NodeKey node, cow::InodeItem* item, std::string_view name,
                std::string_view value, const Caller& caller);
  Result<std::string> VirtualXattr(NodeKey node, std::string_view name);

  // ops_volume.cc
  Status CheckAccess(cow::Reader& reader, NodeKey dir, unsigned want, const Caller& caller);
  Result<cow::VolumeId> RedeemToken(const px_ioc_token& token, const Caller& caller);
  void FlushMappings(cow::VolumeId volume);
  // Adds copies of files that are closed but may be written through a mapping.
  Status CopyMapped(cow::VolumeId volume, std::vector<LiveCopy>* copies);
  Result<std::vector<LiveCopy>> CopyLive(cow::VolumeId volume);
  // False if a copied file was written to since, and copying again is cheap.
  bool StillSame(const std::vector<LiveCopy>& copies) const;
  Status PutLiveCopies(cow::Txn& txn, cow::VolumeId clone, std::vector<LiveCopy>* copies);
  // Clones under the gate of `source`; `attach` gives the new volume its dentry in the same
  // transaction.
  Result<cow::VolumeId> CloneInto(cow::VolumeId source, const VolumeAttributes& attributes,
                                  const std::function<Status(cow::Txn&, cow::VolumeId)>& attach);
  Status AttachVolume(cow::Txn& txn, NodeKey parent, const std::string& name, cow::VolumeId volume,
                      const Caller& caller);
  // The caller owns the volume's root directory, or is root. EPERM.
  static Status CheckOwner(cow::Reader& reader, cow::VolumeId volume, const Caller& caller);
  struct SnapshotName {
    std::string name;
    cow::VolumeId volume;
  };
  static Result<std::vector<SnapshotName>> SnapshotsOf(cow::Reader& reader, cow::VolumeId volume);
  void MarkDropped(cow::VolumeId volume);
  // The kernel forgets what it knows of the name. Not with a gate.
  void InvalidateName(NodeKey parent, const std::string& name);

  // trash.cc
  struct Trashed {
    cow::VolumeId volume;
    int64_t dropped_ns = 0;
    std::string name;  // in the trash
  };
  // Oldest first.
  static Result<std::vector<Trashed>> LoadTrash(cow::Reader& reader);
  static Result<std::vector<cow::VolumeId>> WithSnapshots(cow::Reader& reader,
                                                          cow::VolumeId volume);
  Status PutIntoTrash(cow::Txn& txn, cow::VolumeId volume);
  Status DropTrashed(const Trashed& trashed);
  bool IsExpired(const Trashed& trashed) const;
  // What has expired; the oldest too while the store's filesystem is nearly full.
  Status ThinTrash();
  Result<px_ioc_gc> Measure(const std::vector<Trashed>& trash);
  // Takes one step of reclaim; *done if nothing was left.
  enum class Reclaim {
    kPaced,  // in the background: beside requests it leaves them the processor
    kAll,    // somebody waits for the end
    kSpace,  // somebody waits for space: no flush is put off until it is for more
  };
  Status ReclaimStep(bool* done, Reclaim how);

  // ops_report.cc
  static Result<std::string> NameIn(cow::Reader& reader, NodeKey dir, NodeKey child);
  // The path of an inode below its volume's root ("." for the root), by its parent hints.
  static Result<std::string> PathIn(cow::Reader& reader, NodeKey node);
  // Every path of it, by a search of its volume.
  static Result<std::vector<std::string>> AllPathsOf(cow::Reader& reader, NodeKey node);

  // mapped.cc: a shared mapping made in passthrough belongs to the object file alone; it outlives
  // the release of the file it was made through, and nobody is told of its end.
  static bool IsOursAlone(int fd);
  // At a release: notes the file if it may still be written through a mapping.
  void AskMapped(OpenInode& open) PX_REQUIRES(open.mutex) PX_REQUIRES_SHARED(open.io);
  // After a release, with no lock held: asks about a few that were noted a moment ago, so that a
  // clone has few left to ask about.
  void AskMappedAgain();
  void AddMaybeMapped(NodeKey node, cow::ObjectId object) PX_REQUIRES(mapped_mutex_);
  void EraseMaybeMapped(MaybeMappedTable::iterator one) PX_REQUIRES(mapped_mutex_);
  bool HasObject(NodeKey node, cow::ObjectId object);
  bool StillMapped(NodeKey node);
  bool IsOpenForWriting(NodeKey node, cow::ObjectId object);
  void ForgetUnmapped();

  // background.cc
  void BackgroundLoop();
  void Tick(int number);
  Status BackgroundStep();
  Status WriteBackAll();
  Status Recover(const std::vector<OpenSlots::Entry>& left_over, bool closed_in_order);
  Status RecoverSize(const OpenSlots::Entry& entry);
  Status RecoverAllSizes();
  static Result<std::vector<NodeKey>> OrphansOf(cow::Reader& reader, cow::VolumeId volume);
  static Status EraseOrphan(cow::Txn& txn, NodeKey node);
  // In all volumes: those that a crash left, but those in the table.
  Status RemoveOrphans();
  // There is something to reclaim, of about so many bytes.
  void WakeBackground(uint64_t bytes = 0);
  // Of the store's filesystem, in bytes. One without a limit: size 0, and any amount left.
  struct Space {
    uint64_t size = 0;
    uint64_t left = 0;
  };
  Result<Space> SpaceLeft() const;
  // Less is left than that and a reserve. False where nobody can say.
  bool HasNoRoomFor(uint64_t bytes) const;
  // For so many bytes and once more what was removed: it matters whether that is given back now. A
  // writer in passthrough cannot be helped once the kernel has refused him.
  bool IsSpaceShort(uint64_t bytes) const;
  // After so many bytes were removed or truncated, for reclaim to give back: where space is short,
  // has them given back before the caller hears that they were, since he may count on it; for a
  // second at most. With no lock or gate held. `wanted`: so many bytes are to be written now.
  void GiveBackIfShort(uint64_t removed, uint64_t wanted = 0);
  // `call`, which needs so many bytes, and if it ends with ENOSPC once more after what was removed
  // has been given back. A file that is removed just after its last close is so only when that
  // arrives, which no caller waits for.
  template <typename Call>
  auto WithRoom(uint64_t bytes, const Call& call) -> decltype(call()) {
    auto done = call();
    if (done || done.error().code() != ENOSPC || !IsSpaceShort(bytes)) return done;
    GiveBackIfShort(0, bytes);
    return call();
  }
  // Of the background thread, between two pieces of work: leaves the processor to those who send
  // requests and to who serves them, while there are any.
  void Pace();
  void WakePool();  // the pool lost one: wake the background thread if it runs low

  cow::Time Now() const;

  std::unique_ptr<cow::PageTable> pages_;
  std::unique_ptr<cow::Store> store_;
  std::unique_ptr<ObjectStore> objects_;
  std::unique_ptr<OpenSlots> slots_;
  const std::unique_ptr<Seals> seals_;
  std::unique_ptr<LiveTable> live_;  // none: nothing outlives this daemon
  bool handing_over_ = false;
  std::function<Status()> checkpoint_;
  const decltype(Parts::check_pages) check_pages_;
  std::function<bool()> out_of_space_;
  std::function<void()> space_is_back_;
  std::function<void()> stay_open_;
  const FilesystemOptions options_;
  KernelSide* const kernel_;
  Clock* const clock_;

  OpenTable table_;
  std::atomic<bool> orphans_left_ = false;  // one could not be removed at its last release
  // Of the daemons before this one, by request; unchanged once the mount was taken over.
  std::unordered_map<uint64_t, uint64_t> done_before_;
  std::unordered_map<uint64_t, TakenHandle> opened_before_;
  uint64_t takeovers_ = 0;
  std::atomic<bool>
      passthrough_;  // false once the kernel or the store's filesystem refused it for good
  std::atomic<uint64_t> exchanges_ = 0;  // of object files, see MoveSharers

  mutable SharedMutex volumes_mutex_;
  std::unordered_map<uint32_t, std::shared_ptr<VolumeState>> volumes_ PX_GUARDED_BY(volumes_mutex_);

  // Removed inodes that the kernel has not forgotten yet: their last attributes.
  mutable Mutex ghosts_mutex_;
  std::unordered_map<uint64_t, Ghost> ghosts_ PX_GUARDED_BY(ghosts_mutex_);
  std::atomic<size_t> ghost_count_ = 0;

  Mutex tokens_mutex_;
  std::unordered_map<std::string, Token> tokens_ PX_GUARDED_BY(tokens_mutex_);

  Mutex background_mutex_;
  CondVar background_wake_;
  bool stopping_ PX_GUARDED_BY(background_mutex_) = false;
  std::atomic<bool> reclaim_wanted_ = true;
  std::atomic<bool> reclaim_now_ = false;  // and not at the next tick
  // Bytes that were removed since reclaim last found nothing left to do, about.
  std::atomic<uint64_t> removed_ = 0;
  // So much space is left that it does not become short before the next tick.
  std::atomic<bool> plenty_ = false;
  Mutex reclaim_mutex_;  // one reclaims at a time; outermost
  std::thread background_;
  // Of that thread: how many requests there were, until when more are expected, since when it
  // works.
  uint64_t paced_at_ = 0;
  std::chrono::steady_clock::time_point busy_until_, reclaim_began_;
  uint64_t commits_at_tick_ = 0;
  // Of Idle, by any thread: the store's filesystem was slow.
  std::atomic<std::chrono::steady_clock::time_point> no_ahead_before_{
      std::chrono::steady_clock::time_point{}};

  // Of CloseDoomed, which returns when what was doomed before is closed, by whomever.
  Mutex closing_mutex_;
  CondVar closing_done_;
  int closing_ PX_GUARDED_BY(closing_mutex_) = 0;
  Mutex mapped_mutex_;
  MaybeMappedTable maybe_mapped_ PX_GUARDED_BY(mapped_mutex_);
  uint64_t mapped_notes_ PX_GUARDED_BY(mapped_mutex_) = 0;
  std::deque<std::pair<std::chrono::steady_clock::time_point, NodeKey>> ask_again_
      PX_GUARDED_BY(mapped_mutex_);

  Mutex settle_mutex_;
  CondVar settle_wake_;
  bool settle_stopping_ PX_GUARDED_BY(settle_mutex_) = false;
  std::deque<Replaced> settle_ PX_GUARDED_BY(settle_mutex_);
  std::thread settler_;

  std::unique_ptr<Scrub> scrub_;
  std::unique_ptr<Sealer> sealer_;  // null: nothing is sealed by itself
};

}  // namespace px::fs
