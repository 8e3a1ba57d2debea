// Files that were closed but may still be written through a shared mapping (passthrough only: the
// mapping holds the object file, not ours). Found out by asking for a read lease (fcntl(2),
// F_SETLEASE), which the kernel refuses while anybody has the file open for writing, mappings
// included.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/filesystem.h"

namespace px::fs {

// Nobody but us has the file of our descriptor (open for writing) open or mapped. While it is
// asked, nobody may be opening it: an open that must not wait would fail.
bool Filesystem::IsOursAlone(int fd) {
  if (::fcntl(fd, F_SETLEASE, F_WRLCK) != 0) return false;
  ::fcntl(fd, F_SETLEASE, F_UNLCK);
  return true;
}

void Filesystem::MayBeMapped(NodeKey node, cow::ObjectId object) {
  {
    const MutexLock lock(mapped_mutex_);
    const auto found = maybe_mapped_.find(node.ToFuse());
    if (found != maybe_mapped_.end() && found->second.object == object) return;
  }
  AddMaybeMapped(node, object, NoteMapped(node, object));
}

void Filesystem::AddMaybeMapped(NodeKey node, cow::ObjectId object, std::optional<uint32_t> cell) {
  const MutexLock lock(mapped_mutex_);
  const auto [found, fresh] = maybe_mapped_.try_emplace(node.ToFuse());
  if (!fresh) ClearCell(found->second.cell);
  found->second = {object, cell};
}

bool Filesystem::IsOpenForWriting(NodeKey node, cow::ObjectId object) {
  // Our own descriptor of a parked file may be written through. A write lease is granted where it
  // is the only one; where it is not, it goes, so that the question below has a clear answer.
  bool alone = false;
  const bool parked = table_.WithParked(node, [&](OpenInode& open) {
    const ReaderLock io(open.io);
    alone = open.object == object && IsOursAlone(open.fd.get());
  });
  if (alone) return false;
  if (parked) {
    table_.Doom(node);
    CloseDoomed();
  }
  const auto fd = objects_->OpenObject(object, O_RDONLY);
  if (!fd) return false;  // removed meanwhile
  if (::fcntl(fd->get(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  ::fcntl(fd->get(), F_SETLEASE, F_UNLCK);
  return false;
}

bool Filesystem::StillMapped(NodeKey node) {
  cow::ObjectId object;
  {
    const MutexLock lock(mapped_mutex_);
    const auto found = maybe_mapped_.find(node.ToFuse());
    if (found == maybe_mapped_.end()) return false;
    object = found->second.object;
  }
  return IsOpenForWriting(node, object);
}

void Filesystem::ForgetUnmapped() {
  std::vector<std::pair<uint64_t, cow::ObjectId>> all;
  {
    const MutexLock lock(mapped_mutex_);
    for (const auto& [node, mapped] : maybe_mapped_) all.emplace_back(node, mapped.object);
  }
  for (const auto& [node, object] : all) {
    // One that is open again comes back at its next release.
    if (IsOpenForWriting(NodeKey::FromFuse(node), object)) continue;
    const MutexLock lock(mapped_mutex_);
    const auto found = maybe_mapped_.find(node);
    if (found == maybe_mapped_.end() || found->second.object != object) continue;
    // It may have been opened, mapped and closed since the question was asked: ask again next time.
    if (table_.Find(NodeKey::FromFuse(node)) != nullptr) continue;
    ClearCell(found->second.cell);
    maybe_mapped_.erase(found);
  }
}

Status Filesystem::CopyMapped(cow::VolumeId volume, std::vector<LiveCopy>* copies) {
  std::vector<std::pair<NodeKey, cow::ObjectId>> candidates;
  {
    const MutexLock lock(mapped_mutex_);
    for (const auto& [id, mapped] : maybe_mapped_) {
      const NodeKey node = NodeKey::FromFuse(id);
      if (node.volume == volume) candidates.emplace_back(node, mapped.object);
    }
  }
  for (const auto& [node, object] : candidates) {
    if (!IsOpenForWriting(node, object)) continue;
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
