// What of an open filesystem outlives its daemon, and how the next one goes on with it, under jobs
// that notice nothing but a pause (docs/design/0003-keeper.md).
//
// Names, contents and sizes are in the tree and the objects. The live table adds what only memory
// knew: which inodes the kernel has open, how often, through which backing id. A request that was
// not answered comes again; whether it was done is in the tree too, by the mark in its transaction.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "base/log.h"
#include "fs/filesystem.h"
#include "fs/request.h"

namespace px::fs {
namespace {

// Backing ids are given out in ascending order. One that was registered and not noted when the
// daemon died is among the last so many.
constexpr int kUnknownBackings = 4096;

struct LiveSession {
  uint64_t takeovers = 0;
};

struct LiveToken {
  std::array<uint8_t, 16> bytes{};
  uint32_t volume = 0;
  uint32_t uid = 0;
  int64_t issued_sec = 0;
  int64_t issued_nsec = 0;
};

struct LiveMapped {
  uint64_t node = 0;
  uint64_t object = 0;
};

}  // namespace

// --- Noting ---

Status Filesystem::Note(OpenInode& open) {
  if (live_ == nullptr) return {};
  LiveInode now;
  now.node = open.node.ToFuse();
  now.backing_id = open.backing_id;
  now.file = open.file;
  now.next = open.next;
  if (open.temporary) now.flags |= LiveInode::kTemporary;
  if (open.replacing) now.flags |= LiveInode::kReplacing;
  if (open.completed) now.flags |= LiveInode::kCompleted;
  if (open.unclean) now.flags |= LiveInode::kUnclean;
  if (open.was_writable) now.flags |= LiveInode::kWasWritable;
  {
    const ReaderLock io(open.io);
    if (open.live) now.flags |= LiveInode::kLive;
    now.base_mtime_ns = open.base_mtime_ns;
    now.object = open.object.value;
  }
  if (open.cell && now == open.noted) return {};
  PX_ASSIGN(const LiveTable::Place place, live_->Put(LiveTable::Kind::kInode, now));
  if (open.cell) live_->Clear(*open.cell);
  open.cell = place.index;
  open.noted = now;
  return {};
}

void Filesystem::NoteOrLog(OpenInode& open) {
  if (const Status noted = Note(open); !noted) {
    LogWarn("inode {:x}: {}", open.node.ToFuse(), noted.error().ToString());
  }
}

void Filesystem::ForgetNote(OpenInode& open) {
  ClearCell(open.cell);
  open.cell.reset();
}

void Filesystem::ClearCell(const std::optional<uint32_t>& cell) {
  if (cell && live_ != nullptr) live_->Clear(*cell);
}

std::optional<uint32_t> Filesystem::NoteToken(const px_ioc_token& token, const Token& about) {
  if (live_ == nullptr) return {};
  LiveToken cell;
  std::copy(std::begin(token.bytes), std::end(token.bytes), cell.bytes.begin());
  cell.volume = about.volume.value;
  cell.uid = about.uid;
  cell.issued_sec = about.issued.tv_sec;
  cell.issued_nsec = about.issued.tv_nsec;
  const auto place = live_->Put(LiveTable::Kind::kToken, cell);
  return place ? std::optional(place->index) : std::nullopt;
}

std::optional<uint32_t> Filesystem::NoteMapped(NodeKey node, cow::ObjectId object) {
  if (live_ == nullptr) return {};
  const auto place = live_->Put(LiveTable::Kind::kMapped, LiveMapped{node.ToFuse(), object.value});
  return place ? std::optional(place->index) : std::nullopt;
}

// --- Exactly once ---

Status Filesystem::Once(const std::function<Status(cow::Txn&)>& body, const uint64_t* result) {
  const Request& request = CurrentRequest();
  if (live_ == nullptr || request.lane == Request::kNoLane) return store_->Update(body);
  return store_->Update([&](cow::Txn& txn) -> Status {
    PX_TRY(body(txn));
    txn.SetMark(request.lane, request.unique, result == nullptr ? 0 : *result);
    return {};
  });
}

std::optional<uint64_t> Filesystem::DoneBefore() const {
  const Request& request = CurrentRequest();
  if (!request.resent) return {};
  const auto found = done_before_.find(request.unique);
  return found == done_before_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Filesystem::TakenHandle> Filesystem::OpenedBefore() const {
  const Request& request = CurrentRequest();
  if (!request.resent) return {};
  const auto found = opened_before_.find(request.unique);
  return found == opened_before_.end() ? std::nullopt : std::optional(found->second);
}

Result<Opened> Filesystem::Reopened(const TakenHandle& taken) {
  Opened opened;
  PX_TRY(WithEntry(taken.node, [&](OpenInode& open) PX_NO_TSA -> Status {
    opened.backing_id = open.backing_id;
    opened.wants_flush = open.replacing;
    opened.handle = taken.handle;
    return {};
  }));
  return opened;
}

Result<Entry> Filesystem::EntryOf(NodeKey node) {
  Entry entry{node, {}};
  PX_ASSIGN(entry.attr, GetAttr(node));
  return entry;
}

Result<Filesystem::Created> Filesystem::CreatedBefore(NodeKey node, int flags) {
  Created result;
  result.entry.node = node;
  PX_ASSIGN(result.entry.attr, GetAttr(node));
  PX_ASSIGN(result.opened, Open(node, flags & ~(O_CREAT | O_EXCL | O_TRUNC), false));
  return result;
}

uint32_t Filesystem::replay_lane() const {
  return kReplayLane + static_cast<uint32_t>(takeovers_ % kReplayBanks) * kReplayLanes;
}

// --- Taking over ---

Status Filesystem::TakeOver(const std::vector<LiveTable::Cell>& cells,
                            const std::vector<OpenSlots::Entry>& left_over) {
  PX_TRY(TakeSession(cells));
  TakeSmallCells(cells);
  TakeInodes(cells);
  TakeHandles(cells);
  std::set<uint64_t> kept;
  for (const auto& open : table_.All()) {
    const MutexLock lock(open->mutex);
    // One inode that cannot be taken over must not take the others with it.
    if (const Status taken = TakeInode(*open, open->noted); !taken) {
      LogError("taking over inode {:x}: {}", open->node.ToFuse(), taken.error().ToString());
    }
    if (open->temporary) kept.insert(open->node.ToFuse());
  }
  objects_->DropKeptExcept(kept);
  TakeSizes(left_over);
  for (const auto& open : table_.All()) {
    const MutexLock lock(open->mutex);
    if (open->writers == 0) NoteUnasked(*open);
    if (open->opens == 0) {
      FinishClosed(*open);
    } else if (open->writers == 0 && !open->orphan && !options_.read_only) {
      const Status written = WriteBack(*open, /*end_live=*/true);
      if (!written) LogError("writing back: {}", written.error().ToString());
    }
  }
  LogInfo("took over {} open inodes, {} opens, {} requests that were done", table_.All().size(),
          opened_before_.size(), done_before_.size());
  return {};
}

void Filesystem::TakeInodes(const std::vector<LiveTable::Cell>& cells) {
  // Of two cells of one inode the later one counts: the older was about to be freed.
  std::unordered_map<uint64_t, std::pair<LiveInode, uint32_t>> inodes;
  for (const LiveTable::Cell& cell : cells) {
    if (cell.kind != LiveTable::Kind::kInode) continue;
    const auto noted = cell.As<LiveInode>();
    const auto [place, fresh] = inodes.try_emplace(noted.node, noted, cell.index);
    if (fresh) continue;
    live_->Clear(place->second.second);
    place->second = {noted, cell.index};
  }
  std::set<int> backings;
  for (const auto& [id, inode] : inodes) {
    if (inode.first.backing_id != 0) backings.insert(inode.first.backing_id);
    const auto open = table_.FindOrAdd(NodeKey::FromFuse(id));
    const MutexLock lock(open->mutex);
    open->cell = inode.second;
    open->noted = inode.first;
  }
  CloseUnknownBackings(backings);
}

void Filesystem::TakeHandles(const std::vector<LiveTable::Cell>& cells) {
  for (const LiveTable::Cell& cell : cells) {
    if (cell.kind != LiveTable::Kind::kHandle) continue;
    const auto handle = cell.As<LiveHandle>();
    const NodeKey node = NodeKey::FromFuse(handle.node);
    opened_before_[handle.request] = {node, LiveTable::HandleOf(cell.index, cell.seq)};
    const auto open = table_.FindOrAdd(node);
    const MutexLock lock(open->mutex);
    ++open->opens;
    if (handle.access != O_RDONLY) ++open->writers;
  }
}

// Of files that were open for writing and are no longer.
void Filesystem::TakeSizes(const std::vector<OpenSlots::Entry>& left_over) {
  for (const OpenSlots::Entry& entry : left_over) {
    const auto open = table_.Find(entry.node);
    if (open != nullptr && IsLive(*open)) continue;
    if (const Status recovered = RecoverSize(entry); !recovered) {
      LogError("recovering inode {:x}: {}", entry.node.ToFuse(), recovered.error().ToString());
    }
  }
  slots_->ForgetLeftOver();
}

Status Filesystem::TakeSession(const std::vector<LiveTable::Cell>& cells) {
  std::vector<uint32_t> old;
  for (const LiveTable::Cell& cell : cells) {
    if (cell.kind != LiveTable::Kind::kSession) continue;
    takeovers_ = cell.As<LiveSession>().takeovers;
    old.push_back(cell.index);
  }
  ++takeovers_;
  PX_TRY(live_->Put(LiveTable::Kind::kSession, LiveSession{takeovers_}));
  for (const uint32_t index : old) live_->Clear(index);
  PX_ASSIGN(const std::vector<cow::Mark> marks, store_->Marks());
  for (const cow::Mark& mark : marks) {
    if (mark.request != 0) done_before_[mark.request] = mark.result;
  }
  return {};
}

void Filesystem::TakeSmallCells(const std::vector<LiveTable::Cell>& cells) {
  for (const LiveTable::Cell& cell : cells) {
    if (cell.kind == LiveTable::Kind::kToken) {
      const auto token = cell.As<LiveToken>();
      const MutexLock lock(tokens_mutex_);
      tokens_[std::string(reinterpret_cast<const char*>(token.bytes.data()), token.bytes.size())] =
          Token{cow::VolumeId{token.volume},
                token.uid,
                {static_cast<time_t>(token.issued_sec), static_cast<long>(token.issued_nsec)},
                cell.index};
    } else if (cell.kind == LiveTable::Kind::kMapped) {
      const auto mapped = cell.As<LiveMapped>();
      const MutexLock lock(mapped_mutex_);
      MaybeMapped& noted = maybe_mapped_[mapped.node];
      ClearCell(noted.cell);
      noted = {cow::ObjectId{mapped.object}, ++mapped_notes_, cell.index};
    } else if (cell.kind == LiveTable::Kind::kGhost) {
      const auto ghost = cell.As<LiveGhost>();
      const MutexLock lock(ghosts_mutex_);
      ghosts_[ghost.node] = {ghost.ToItem(), cell.index};
      ghost_count_ = ghosts_.size();
    }
  }
}

// A file that is registered once more tells how far the ids have come.
void Filesystem::CloseUnknownBackings(const std::set<int>& known) {
  if (!passthrough_) return;
  const auto probe = objects_->TempFile();
  if (!probe) return;
  const auto next = kernel_->RegisterBacking(probe->get());
  if (!next) return;
  kernel_->UnregisterBacking(*next);
  for (int id = std::max(1, *next - kUnknownBackings); id < *next; ++id) {
    if (!known.contains(id)) kernel_->UnregisterIfKnown(id);
  }
}

Status Filesystem::TakeInode(OpenInode& open, const LiveInode& noted) {
  open.backing_id = noted.backing_id;
  open.passthrough = noted.backing_id != 0;
  open.file = noted.file;
  open.replacing = (noted.flags & LiveInode::kReplacing) != 0;
  open.completed = (noted.flags & LiveInode::kCompleted) != 0;
  open.unclean = (noted.flags & LiveInode::kUnclean) != 0;
  open.was_writable = (noted.flags & LiveInode::kWasWritable) != 0;
  open.was_mappable = true;  // nobody noted who had it open and closed it
  open.temporary = (noted.flags & LiveInode::kTemporary) != 0;
  cow::InodeItem item;
  const Status loaded = store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(item, LoadInode(reader, open.node));
    return {};
  });
  // Removed, and closed: only its backing file may be left.
  if (!loaded && loaded.error().code() == ENOENT && open.opens == 0) return {};
  PX_TRY(loaded);
  open.orphan = item.nlink == 0;
  PX_TRY(UndoExchange(noted, item));
  if (open.opens == 0 && (noted.flags & LiveInode::kLive) == 0) {
    const WriterLock io(open.io);  // parked: nothing of it is needed but to close it
    open.object = cow::ObjectId{item.object};
    return {};
  }
  return TakeContent(open, noted, item);
}

// ReplaceShared was under way. The file that the kernel holds goes by the name that the tree has
// for it, or by that of an object that never came to be.
Status Filesystem::UndoExchange(const LiveInode& noted, const cow::InodeItem& item) {
  if (noted.next == 0 || item.object == noted.next) return {};
  const cow::ObjectId next{noted.next};
  const cow::ObjectId object{item.object};
  if ((noted.flags & LiveInode::kTemporary) == 0) {
    PX_ASSIGN(const UniqueFd fd, objects_->OpenObject(object, O_RDONLY));
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return FailErrno("stat of an object");
    if (info.st_ino != noted.file) {
      PX_TRY(objects_->Exchange(object, next));
      PX_TRY(objects_->unsynced()->SyncNames());
    }
  }
  objects_->RemoveName(next);
  return {};
}

Status Filesystem::TakeContent(OpenInode& open, const LiveInode& noted,
                               const cow::InodeItem& item) {
  if (item.content == cow::ContentKind::kNone) return {};
  const cow::ObjectId object{item.object};
  const bool live = (noted.flags & LiveInode::kLive) != 0 && !options_.read_only;
  const bool write = live || (open.backing_id != 0 && !options_.read_only);
  PX_ASSIGN(UniqueFd fd, objects_->OpenObject(object, write ? O_RDWR : O_RDONLY));
  if (open.temporary) {
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return FailErrno("stat of an object");
    open.temporary = info.st_ino != noted.file;  // else it got its name in the tree
    if (open.temporary) {
      PX_ASSIGN(fd, objects_->OpenKept(open.node.ToFuse()));
    }
  }
  std::unique_ptr<SparseFile> sparse;
  if (item.content == cow::ContentKind::kSparse) {
    PX_ASSIGN(sparse, OpenSparse(open.node, fd.get(), cow::ObjectId{item.base}));
    if (live) PX_TRY(sparse->RecoverOwn());
  }
  if (live) {
    PX_ASSIGN(const uint32_t slot, slots_->Set({open.node, object, noted.base_mtime_ns}));
    open.slot = slot;
  }
  {
    const WriterLock io(open.io);
    open.fd = std::move(fd);
    open.object = object;
    open.sparse = std::move(sparse);
    open.base_mtime_ns = noted.base_mtime_ns;
    open.live = live;
  }
  // The daemon died between the end of its life as a written file and the release, or the answer
  // of an open that needs it to be one.
  if (open.writers > 0 && !live && !options_.read_only) PX_TRY(EnsureOwn(open));
  if (live) {
    // What was found of its map, before it can grow. What cannot be saved now is with the next.
    if (const Status saved = SaveRuns(open); !saved) {
      LogError("the map of inode {:x}: {}", open.node.ToFuse(), saved.error().ToString());
    }
  }
  return Note(open);
}

// Its last writer closed it, and the daemon died before it had asked whether it is mapped.
void Filesystem::NoteUnasked(OpenInode& open) {
  if (open.backing_id == 0 || open.orphan) return;
  const ReaderLock io(open.io);
  if (!open.object || open.temporary || !(open.live || open.was_writable)) return;
  const MutexLock lock(mapped_mutex_);
  AddMaybeMapped(open.node, open.object);
}

void Filesystem::FinishClosed(OpenInode& open) {
  if (IsLive(open) && !open.orphan) {
    if (const Status written = WriteBack(open, /*end_live=*/true); !written) {
      LogError("writing back inode {:x}: {}", open.node.ToFuse(), written.error().ToString());
      return;
    }
  }
  Close(open);
}

}  // namespace px::fs
