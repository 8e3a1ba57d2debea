// Truncate-safe replace: torch.save, Keras .keras and .h5 truncate the good checkpoint and write
// over it without fsync; others rename a new file over it, without fsync too. A job killed in that
// window, or a power cut before the data is on disk, loses both versions elsewhere. Here the old
// content stays, as a version of the file, until the new one was closed by a process that was not
// being killed and is on disk. A content that was never closed may be whole all the same, if its
// writer was killed between its last write and its close: the last ones of these stay, too, marked
// as unclosed.
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/time_slice.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

struct KeptVersion {
  uint64_t seq = 0;
  cow::VersionItem item;
};

Result<std::vector<KeptVersion>> LoadVersions(cow::Reader& reader, NodeKey node) {
  std::vector<KeptVersion> versions;
  Status broken;
  PX_TRY(reader.Scan(node.volume, cow::ItemKey(node.ino, cow::ItemType::kVersion),
                     cow::ItemKeyEnd(node.ino, cow::ItemType::kVersion),
                     [&](std::string_view key, std::string_view value) {
                       const auto item = cow::FromBytes<cow::VersionItem>(value);
                       if (!item || key.size() != 17) {
                         broken = Fail(EUCLEAN, "broken version item");
                         return false;
                       }
                       versions.push_back({cow::LoadBigEndian64(key.data() + 9), *item});
                       return true;
                     }));
  PX_TRY(broken);
  return versions;
}

// Where a further version of the file goes: by the time, but behind those there are, which may be
// of the same tick of the clock or from before it was set back.
Result<std::string> NextVersionKey(cow::Reader& reader, NodeKey node, const cow::Time& now) {
  PX_ASSIGN(const std::vector<KeptVersion> versions, LoadVersions(reader, node));
  auto seq = static_cast<uint64_t>(now.Nanoseconds());
  if (!versions.empty()) seq = std::max(seq, versions.back().seq + 1);
  return cow::VersionKey(node.ino, seq);
}

// Of a file that is being overwritten again and again by jobs that are killed.
constexpr size_t kMostUnclosed = 2;

// Whether the file's content was never closed: there is an older one, and no mark.
bool IsUnclosed(const cow::InodeItem& item) {
  return (item.flags & cow::kInodeHasVersions) != 0 && (item.flags & cow::kInodeComplete) == 0;
}

// The one to restore if none is named: the newest that was closed, or the newest.
const KeptVersion* Best(const std::vector<KeptVersion>& versions) {
  const auto closed = std::find_if(versions.rbegin(), versions.rend(),
                                   [](const KeptVersion& one) { return one.item.unclosed == 0; });
  if (closed != versions.rend()) return &*closed;
  return versions.empty() ? nullptr : &versions.back();
}

// Room for one more that is unclosed.
Status EraseOldUnclosed(cow::Txn& txn, NodeKey node) {
  PX_ASSIGN(const std::vector<KeptVersion> versions, LoadVersions(txn, node));
  size_t unclosed = 0;
  for (auto one = versions.rbegin(); one != versions.rend(); ++one) {
    if (one->item.unclosed == 0 || ++unclosed < kMostUnclosed) continue;
    PX_TRY(txn.Erase(node.volume, cow::VersionKey(node.ino, one->seq)));
  }
  return {};
}

}  // namespace

// Inside the transaction that takes `old`'s content away from its file: makes it a version of
// `node`.
Status Filesystem::KeepVersion(cow::Txn& txn, NodeKey node, const cow::InodeItem& old,
                               uint64_t at_least, cow::InodeItem* item) {
  const bool unclosed = IsUnclosed(old);  // it may be `item`
  item->flags &= ~cow::kInodeComplete;
  if (old.content != cow::ContentKind::kWhole || old.size < at_least || old.object == 0) return {};
  // The new content is likely to be as large. Where there is no room for both, to keep the old one
  // would fail a save that succeeds elsewhere.
  if (HasNoRoomFor(old.size)) {
    LogWarn("inode {:x}: there is no room to keep its content until the next one is complete",
            node.ToFuse());
    return {};
  }
  cow::VersionItem version;
  version.object = old.object;
  version.size = old.size;
  version.mtime = old.mtime;
  version.replaced = Now();
  version.content = old.content;
  version.unclosed = unclosed ? 1 : 0;
  if (unclosed) PX_TRY(EraseOldUnclosed(txn, node));
  item->flags |= cow::kInodeHasVersions;
  PX_ASSIGN(const std::string key, NextVersionKey(txn, node, version.replaced));
  return txn.Put(node.volume, key, cow::AsBytes(version));
}

Status Filesystem::EraseVersions(cow::Txn& txn, NodeKey node, cow::InodeItem* item) {
  PX_ASSIGN(const std::vector<KeptVersion> versions, LoadVersions(txn, node));
  for (const KeptVersion& version : versions) {
    PX_TRY(txn.Erase(node.volume, cow::VersionKey(node.ino, version.seq)));
  }
  item->flags &= ~(cow::kInodeHasVersions | cow::kInodeComplete);
  return {};
}

void Filesystem::Flush(NodeKey node, bool killed) {
  const auto open = table_.Find(node);
  if (open == nullptr) return;
  const MutexLock lock(open->mutex);
  if (open->gone) return;
  if (killed) {
    open->unclean = true;
    return NoteOrLog(*open);
  }
  // close() returns after this. The release comes when the kernel likes, and the next truncation
  // may come before it: it must find that this content is complete.
  if (!open->replacing || open->unclean) return;
  open->completed = true;
  NoteOrLog(*open);
  if (const Status written = WriteBack(*open, /*end_live=*/false); !written) {
    LogError("writing back inode {:x}: {}", node.ToFuse(), written.error().ToString());
  }
}

void Filesystem::SettleLater(NodeKey node, cow::ObjectId object) {
  const MutexLock lock(settle_mutex_);
  settle_.push_back({node, object});
  settle_wake_.NotifyOne();
}

void Filesystem::SettleLoop() {
  ::pthread_setname_np(::pthread_self(), "px-settle");
  SetTimeSlice(kLongSlice);
  for (;;) {
    Replaced replaced;
    {
      const MutexLock lock(settle_mutex_);
      while (settle_.empty() && !settle_stopping_) settle_wake_.Wait(settle_mutex_);
      // What is left at an unmount keeps its version: it goes with the next complete replacement.
      if (settle_stopping_) return;
      replaced = settle_.front();
      settle_.pop_front();
    }
    if (const Status settled = Settle(replaced); !settled && settled.error().code() != ENOENT) {
      LogWarn("settling inode {:x}: {}", replaced.node.ToFuse(), settled.error().ToString());
    }
  }
}

// Drops the versions of a file whose content is complete, once it is on disk.
Status Filesystem::Settle(const Replaced& replaced) {
  // An object that is written on right now will come again when it is closed.
  PX_ASSIGN(const UniqueFd fd, objects_->OpenObject(replaced.object, O_RDONLY));
  if (::fdatasync(fd.get()) != 0) return FailErrno("sync an object");
  PX_TRY(store_->Sync());
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, replaced.node));
    if (item.object != replaced.object.value || (item.flags & cow::kInodeHasVersions) == 0)
      return {};
    PX_TRY(EraseVersions(txn, replaced.node, &item));
    return SaveInode(txn, replaced.node, item);
  }));
  WakeBackground();
  return {};
}

Result<NodeKey> Filesystem::OwnedFile(cow::Reader& reader, NodeKey dir, std::string_view name,
                                      const Caller& caller) {
  PX_TRY(CheckAccess(reader, dir, 1, caller));
  PX_ASSIGN(const cow::DentryItem dentry, LoadDentry(reader, dir, name));
  const NodeKey node = Target(dir, dentry);
  PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
  if (!S_ISREG(item.mode)) return Fail(EINVAL, "not a regular file");
  if (caller.uid != 0 && caller.uid != item.uid) return Fail(EPERM);
  return node;
}

Status Filesystem::ListVersions(NodeKey dir, px_ioc_text* text, const Caller& caller) {
  if (std::memchr(text->text, 0, PX_NAME_MAX + 1) == nullptr) return Fail(ENAMETOOLONG);
  const std::string name = text->text;
  std::memset(text->cursor, 0, sizeof text->cursor);
  text->length = 0;
  return store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const NodeKey node, OwnedFile(reader, dir, name, caller));
    PX_ASSIGN(const std::vector<KeptVersion> versions, LoadVersions(reader, node));
    for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
      const std::string line =
          nlohmann::ordered_json{{"version", version->seq},
                                 {"size", version->item.size},
                                 {"mtime_ns", version->item.mtime.Nanoseconds()},
                                 {"closed", version->item.unclosed == 0},
                                 {"replaced_ns", version->item.replaced.Nanoseconds()}}
              .dump() +
          "\n";
      if (text->length + line.size() > PX_TEXT_MAX) break;  // hundreds: the newest are what matters
      std::memcpy(text->text + text->length, line.data(), line.size());
      text->length += static_cast<uint32_t>(line.size());
    }
    return {};
  });
}

Status Filesystem::RestoreVersion(NodeKey dir, const std::string& name, uint64_t version,
                                  const Caller& caller) {
  if (const auto done = DoneBefore()) {
    kernel_->InvalidateData(NodeKey::FromFuse(*done));
    return {};
  }
  if (options_.read_only) return Fail(EROFS);
  PX_ASSIGN(const auto volume, StateOf(dir.volume));
  if (volume->readonly) return Fail(EROFS);
  DrainOpens(dir.volume);
  const WriterLock freeze(volume->freeze);  // nobody opens it meanwhile
  NodeKey node;
  uint64_t restored = 0;
  const auto exchange = [&](cow::Txn& txn) -> Status {
    PX_ASSIGN(node, OwnedFile(txn, dir, name, caller));
    restored = node.ToFuse();
    if (table_.Find(node) != nullptr) return Fail(EBUSY, "the file is open");
    table_.Doom(node);
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    PX_ASSIGN(const std::vector<KeptVersion> versions, LoadVersions(txn, node));
    const KeptVersion* wanted = version == 0 ? Best(versions) : nullptr;
    for (const KeptVersion& kept : versions) {
      if (kept.seq == version) wanted = &kept;
    }
    if (wanted == nullptr) return Fail(ENOENT, "no such version is kept");
    if (item.content == cow::ContentKind::kSparse)
      return Fail(EOPNOTSUPP, "the file is sparse over a shared one");
    cow::VersionItem present;
    present.object = item.object;
    present.size = item.size;
    present.mtime = item.mtime;
    present.replaced = Now();
    present.content = item.content;
    present.unclosed = IsUnclosed(item) ? 1 : 0;
    // The present content first: so no object is without a name for a moment.
    PX_ASSIGN(const std::string key, NextVersionKey(txn, node, present.replaced));
    PX_TRY(txn.Put(node.volume, key, cow::AsBytes(present)));
    item.object = wanted->item.object;
    item.size = wanted->item.size;
    item.mtime = wanted->item.mtime;
    item.content = wanted->item.content;
    item.flags |= cow::kInodeComplete;
    item.ctime = Now();
    PX_TRY(SaveInode(txn, node, item));
    return txn.Erase(node.volume, cow::VersionKey(node.ino, wanted->seq));
  };
  PX_TRY(Once(exchange, &restored));
  CloseDoomed();
  kernel_->InvalidateData(node);
  return {};
}

}  // namespace px::fs
