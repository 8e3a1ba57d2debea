// Files that were closed but may still be written through a shared mapping (passthrough only: the
// mapping holds the object file, not ours). Found out by asking for a read lease (fcntl(2),
// F_SETLEASE), which the kernel refuses while anybody has the file open for writing, mappings
// included.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

// The kernel ends a close that was a file's last a little after its release was sent.
constexpr auto kAskAgain = std::chrono::milliseconds(10);
constexpr size_t kAskAtOnce = 2;

}  // namespace

// Nobody but us has the file of our descriptor (open for writing) open or mapped. While it is
// asked, nobody may be opening it: an open that must not wait would fail.
bool Filesystem::IsOursAlone(int fd) {
  if (::fcntl(fd, F_SETLEASE, F_WRLCK) != 0) return false;
  ::fcntl(fd, F_SETLEASE, F_UNLCK);
  return true;
}

void Filesystem::AskMapped(OpenInode& open) {
  const bool was_mappable = std::exchange(open.was_mappable, false);
  if (!was_mappable) {
    // Most files are only written. What was mapped before may still be.
    const MutexLock lock(mapped_mutex_);
    if (!maybe_mapped_.contains(open.node.ToFuse())) return;
  }
  // With nobody on the way to open it, the answer is often to be had at once.
  const bool alone = open.opens == 0 && IsOursAlone(open.fd.get());
  const MutexLock lock(mapped_mutex_);
  const auto found = maybe_mapped_.find(open.node.ToFuse());
  if (alone) {
    if (found != maybe_mapped_.end()) EraseMaybeMapped(found);
    return;
  }
  AddMaybeMapped(open.node, open.object);
  ask_again_.emplace_back(std::chrono::steady_clock::now() + kAskAgain, open.node);
}

void Filesystem::AddMaybeMapped(NodeKey node, cow::ObjectId object) {
  MaybeMapped& noted = maybe_mapped_[node.ToFuse()];
  if (!noted.cell || noted.object != object) {
    ClearCell(noted.cell);
    noted.cell = NoteMapped(node, object);
  }
  noted.object = object;
  noted.note = ++mapped_notes_;
}

void Filesystem::EraseMaybeMapped(MaybeMappedTable::iterator one) {
  ClearCell(one->second.cell);
  maybe_mapped_.erase(one);
}

void Filesystem::AskMappedAgain() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<NodeKey> due;
  {
    const MutexLock lock(mapped_mutex_);
    while (due.size() < kAskAtOnce && !ask_again_.empty() && ask_again_.front().first <= now) {
      due.push_back(ask_again_.front().second);
      ask_again_.pop_front();
    }
  }
  for (const NodeKey node : due) StillMapped(node);
}

bool Filesystem::HasObject(NodeKey node, cow::ObjectId object) {
  bool has = false;
  const Status looked = store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    has = item.object == object.value;
    return {};
  });
  // What cannot be looked at may be mapped: the caller finds out.
  return looked ? has : looked.error().code() != ENOENT;
}

bool Filesystem::IsOpenForWriting(NodeKey node, cow::ObjectId object) {
  // It got another one since: who has the old one open is not writing to this file.
  if (!HasObject(node, object)) return false;
  // Our own descriptor of a parked file may be written through. A write lease is granted where it
  // is the only one; where it is not, it goes, so that the question below has a clear answer.
  bool alone = false;
  const bool parked = table_.WithParked(node, [&](OpenInode& open) {
    const ReaderLock io(open.io);
    alone = open.object == object && IsOursAlone(open.fd.get());
  });
  if (alone) return false;
  if (parked) table_.Doom(node);
  CloseDoomed();  // also what others doomed: their descriptors may be of this very file
  const auto fd = objects_->OpenObject(object, O_RDONLY);
  if (!fd) return false;  // removed meanwhile
  if (::fcntl(fd->get(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  ::fcntl(fd->get(), F_SETLEASE, F_UNLCK);
  return false;
}

bool Filesystem::StillMapped(NodeKey node) {
  MaybeMapped asked;
  {
    const MutexLock lock(mapped_mutex_);
    const auto found = maybe_mapped_.find(node.ToFuse());
    if (found == maybe_mapped_.end()) return false;
    asked = found->second;
  }
  if (IsOpenForWriting(node, asked.object)) return true;
  // Before the mutex, which is innermost, as the table's is. One that is opened from here on is
  // noted at its release.
  const bool open = table_.Find(node) != nullptr;
  const MutexLock lock(mapped_mutex_);
  const auto found = maybe_mapped_.find(node.ToFuse());
  // It may have been opened and mapped since the question was asked. One that is open still is
  // noted at its next release.
  if (found == maybe_mapped_.end() || found->second.note != asked.note) return false;
  if (!open) EraseMaybeMapped(found);
  return false;
}

void Filesystem::ForgetUnmapped() {
  std::vector<NodeKey> all;
  {
    const MutexLock lock(mapped_mutex_);
    for (const auto& [id, one] : maybe_mapped_) all.push_back(NodeKey::FromFuse(id));
    ask_again_.clear();
  }
  for (const NodeKey node : all) StillMapped(node);
}

Status Filesystem::CopyMapped(cow::VolumeId volume, std::vector<LiveCopy>* copies) {
  std::vector<std::pair<NodeKey, cow::ObjectId>> candidates;
  {
    const MutexLock lock(mapped_mutex_);
    for (const auto& [id, one] : maybe_mapped_) {
      const NodeKey node = NodeKey::FromFuse(id);
      if (node.volume == volume) candidates.emplace_back(node, one.object);
    }
  }
  for (const auto& [node, object] : candidates) {
    if (!StillMapped(node)) continue;
    const bool copied =
        std::any_of(copies->begin(), copies->end(),
                    [wanted = node](const LiveCopy& one) { return one.node == wanted; });
    if (copied) continue;
    LiveCopy copy;
    copy.node = node;
    PX_ASSIGN(const UniqueFd source, objects_->OpenObject(object, O_RDONLY));
    PX_ASSIGN(copy.temp, objects_->TempFile());
    if (::fstat(source.get(), &copy.attr) != 0) return FailErrno("stat of an object");
    PX_TRY(objects_->Copy(source.get(), copy.temp.get(), static_cast<uint64_t>(copy.attr.st_size)));
    copies->push_back(std::move(copy));
  }
  return {};
}

}  // namespace px::fs
