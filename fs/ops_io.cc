// read, write, fsync, fallocate, copy_file_range, lseek: what the kernel does not do itself in
// passthrough.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

constexpr size_t kCopyBuffer = size_t{1} << 20;
constexpr size_t kCopyStep = size_t{64} << 20;

}  // namespace

Result<size_t> Filesystem::Read(NodeKey node, std::span<char> buffer, off_t offset) {
  const auto open = table_.Find(node);
  if (open == nullptr) return Fail(EBADF);
  const ReaderLock io(open->io);
  if (!open->fd) {
    if (open->object) return Fail(EIO, "the object of an open file is gone");
    return 0;
  }
  if (open->sparse != nullptr) return open->sparse->Read(buffer, offset);
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got = ::pread(open->fd.get(), buffer.data() + done, buffer.size() - done,
                                offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("read an object");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Status Filesystem::KillPrivileges(NodeKey node, const Caller* writer) {
  const auto lost = [writer](const cow::InodeItem& item) -> uint32_t {
    const bool group =
        (item.mode & S_ISGID) != 0 &&
        ((item.mode & S_IXGRP) != 0 || (writer != nullptr && !writer->IsMember(item.gid)));
    return item.mode & (uint32_t{S_ISUID} | (group ? uint32_t{S_ISGID} : 0));
  };
  bool needed = false;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    needed = lost(item) != 0 || (item.flags & cow::kInodeHasXattrs) != 0;
    return {};
  }));
  if (!needed) return {};
  // No gate: a clone may be waiting, with the gate closed, for the very write that this is part of.
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem item, LoadInode(txn, node));
    item.mode &= ~lost(item);
    if ((item.flags & cow::kInodeHasXattrs) != 0) {
      const Status erased = EraseXattr(txn, node, "security.capability");
      if (!erased && erased.error().code() != ENODATA) return erased;
    }
    return SaveInode(txn, node, item);
  }));
  kernel_->InvalidateAttributes(node);
  return {};
}

Result<size_t> Filesystem::Write(NodeKey node, std::string_view data, off_t offset,
                                 bool kill_suidgid) {
  const auto open = table_.Find(node);
  if (open == nullptr) return Fail(EBADF);
  if (kill_suidgid && IsLive(*open)) PX_TRY(KillPrivileges(node));
  bool must_save = false;
  const auto put =
      WithRoom(data.size(), [&] { return WriteObject(*open, data, offset, &must_save); });
  if (!put || !must_save) return put;
  const MutexLock lock(open->mutex);
  if (!open->gone) PX_TRY(SaveRuns(*open));
  return put;
}

Result<size_t> Filesystem::WriteObject(OpenInode& open, std::string_view data, off_t offset,
                                       bool* must_save) {
  const ReaderLock io(open.io);
  if (!open.live) return Fail(EBADF);
  if (open.sparse != nullptr) return open.sparse->Write(data, offset, must_save);
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t put = ::pwrite(open.fd.get(), data.data() + done, data.size() - done,
                                 offset + static_cast<off_t>(done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (done > 0) break;
      return FailErrno("write an object");
    }
    done += static_cast<size_t>(put);
  }
  return done;
}

Status Filesystem::FlushObject(OpenInode& open, bool data_only, OpenInode::Flushed* flushed) {
  const uint64_t mark = objects_->unsynced()->Mark();
  const ReaderLock io(open.io);
  // Also where this descriptor only reads: others may have written, and closed, before.
  if (!open.fd) return {};
  if (open.live) *flushed = StateOfObject(open);
  const int result = data_only ? ::fdatasync(open.fd.get()) : ::fsync(open.fd.get());
  if (result != 0) return FailErrno("sync an object");
  if (open.sparse != nullptr) PX_TRY(open.sparse->SyncBase());
  // A nameless copy is not the object that the tree names.
  if (open.live) objects_->unsynced()->Flushed(open.object, mark);
  return {};
}

Status Filesystem::Fsync(NodeKey node, bool data_only) {
  if (const auto open = table_.Find(node)) {
    const auto write_back = [&]() -> Status {
      const MutexLock lock(open->mutex);
      return open->gone ? Status{} : WriteBack(*open, /*end_live=*/false);
    };
    // The tree is told what was flushed, and not before: then no sync point has to flush it again.
    // Of a sparse file nobody can say what was.
    bool sparse = false;
    {
      const ReaderLock io(open->io);
      sparse = open->sparse != nullptr;
    }
    if (sparse) PX_TRY(write_back());
    OpenInode::Flushed flushed;
    PX_TRY(FlushObject(*open, data_only, &flushed));
    if (flushed.object) {
      const MutexLock lock(open->mutex);
      open->flushed = flushed;
    }
    if (!sparse) PX_TRY(write_back());
  }
  return store_->Sync();
}

Status Filesystem::FsyncDir(NodeKey) { return store_->Sync(); }

Status Filesystem::Fallocate(NodeKey node, int mode, off_t offset, off_t length,
                             const Caller& caller) {
  // The others the kernel refuses for FUSE itself.
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~kKnown) != 0) return Fail(EOPNOTSUPP);
  const auto open = table_.Find(node);
  if (open == nullptr) return Fail(EBADF);
  if (caller.uid != 0 && IsLive(*open)) PX_TRY(KillPrivileges(node, &caller));
  if ((mode & FALLOC_FL_KEEP_SIZE) != 0 && (mode & FALLOC_FL_PUNCH_HOLE) == 0) {
    open->beyond_end = true;
  }
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    // Which blocks are its own a crash finds by the data in them, of which this takes away.
    const MutexLock lock(open->mutex);
    if (!open->gone) PX_TRY(SaveRuns(*open));
  }
  bool must_save = false;
  PX_TRY(WithRoom(static_cast<uint64_t>(length), [&]() -> Status {
    const ReaderLock io(open->io);
    if (!open->live) return Fail(EBADF);
    if (open->sparse != nullptr) {
      return open->sparse->Fallocate(mode, offset, length, &must_save);
    }
    if (::fallocate(open->fd.get(), mode, offset, length) != 0) {
      return FailErrno("fallocate an object");
    }
    return {};
  }));
  if (!must_save) return {};
  const MutexLock lock(open->mutex);
  return open->gone ? Status{} : WriteBack(*open, /*end_live=*/false);
}

Result<size_t> Filesystem::CopyRange(NodeKey from, off_t from_offset, NodeKey to, off_t to_offset,
                                     size_t length, const Caller& caller) {
  const auto source = table_.Find(from);
  const auto target = table_.Find(to);
  if (source == nullptr || target == nullptr) return Fail(EBADF);
  if (caller.uid != 0 && IsLive(*target)) PX_TRY(KillPrivileges(to, &caller));
  // Own descriptors, so that no two io locks are held at once.
  UniqueFd in, out;
  bool sparse = false;
  {
    const ReaderLock io(source->io);
    if (!source->fd) return 0;
    sparse = source->sparse != nullptr;
    in.Reset(::fcntl(source->fd.get(), F_DUPFD_CLOEXEC, 0));
  }
  {
    const ReaderLock io(target->io);
    if (!target->live) return Fail(EBADF);
    sparse = sparse || target->sparse != nullptr;
    out.Reset(::fcntl(target->fd.get(), F_DUPFD_CLOEXEC, 0));
  }
  if (!in || !out) return FailErrno("duplicate a descriptor");
  if (sparse) return CopyThroughBuffer(from, from_offset, to, to_offset, length);
  const ssize_t copied =
      ::copy_file_range(in.get(), &from_offset, out.get(), &to_offset, length, 0);
  if (copied < 0) return FailErrno("copy between objects");
  return static_cast<size_t>(copied);
}

// For a file whose bytes are in two objects.
Result<size_t> Filesystem::CopyThroughBuffer(NodeKey from, off_t from_offset, NodeKey to,
                                             off_t to_offset, size_t length) {
  std::vector<char> buffer(std::min<size_t>(length, kCopyBuffer));
  size_t done = 0;
  while (done < length) {
    const size_t want = std::min(buffer.size(), length - done);
    PX_ASSIGN(const size_t got,
              Read(from, {buffer.data(), want}, from_offset + static_cast<off_t>(done)));
    if (got == 0) break;
    const auto put = Write(to, {buffer.data(), got}, to_offset + static_cast<off_t>(done), false);
    if (!put && done == 0) return put;
    if (!put || *put == 0) break;
    done += *put;
    // The caller asks again: no request should take long.
    if (done >= kCopyStep) break;
  }
  return done;
}

Result<off_t> Filesystem::Seek(NodeKey node, off_t offset, int whence) {
  const auto open = table_.Find(node);
  if (open == nullptr) return Fail(EBADF);
  const ReaderLock io(open->io);
  if (!open->fd) return Fail(ENXIO);
  const bool cached_writer = open->live && !open->passthrough;
  if (open->sparse != nullptr || cached_writer) {
    // All data, as POSIX allows: the holes of a sparse file are spread over two objects, and what
    // was stored through a mapping of a cached one is not in the object yet.
    struct stat info{};
    if (::fstat(open->fd.get(), &info) != 0) return FailErrno("stat of an object");
    if (offset >= info.st_size) return Fail(ENXIO);
    return whence == SEEK_DATA ? offset : info.st_size;
  }
  const off_t found = ::lseek(open->fd.get(), offset, whence);
  if (found < 0) return FailErrno("seek in an object");
  return found;
}

}  // namespace px::fs
