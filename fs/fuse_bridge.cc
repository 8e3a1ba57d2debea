#include "fs/fuse_bridge.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/log.h"
#include "fs/fuse_control.h"
#include "fs/fuse_session.h"
#include "fs/request_loop.h"
#include "fs/session_buffers.h"

namespace px::fs {
namespace {

// This daemon is the only writer, and says so when it changes something behind the kernel's back:
// what the kernel knows stays true.
constexpr double kForever = 365.0 * 86400;
// Others need not wait while that much is copied.
constexpr size_t kLarge = size_t{64} << 10;
// More than the kernel asks for at once; who asks for more gets less.
constexpr size_t kMaxRead = kMaxWrite;

FuseSession& SessionOf(fuse_req_t req) {
  return *static_cast<FuseSession*>(fuse_req_userdata(req));
}
Filesystem& Fs(fuse_req_t req) { return SessionOf(req).filesystem(); }

void ReplyError(fuse_req_t req, const Error& error) {
  const int code = error.ToKernel();
  if (code == EIO || error.code() == EUCLEAN || error.code() == EBADMSG) {
    LogError("EIO: {}", error.ToString());
  }
  fuse_reply_err(req, code);
}

// The one guard around every request: what the body does not answer is answered here.
template <typename Body>
void Serve(fuse_req_t req, const Body& body) {
  try {
    const Status status = body();
    if (!status) ReplyError(req, status.error());
  } catch (const std::bad_alloc&) {
    fuse_reply_err(req, ENOMEM);
  } catch (const std::exception& error) {
    LogError("a request failed: {}", error.what());
    fuse_reply_err(req, EIO);
  }
}

void ReplyStatus(fuse_req_t req, const Status& status) {
  if (status) {
    fuse_reply_err(req, 0);
  } else {
    ReplyError(req, status.error());
  }
}

fuse_entry_param ToParam(const Entry& entry) {
  fuse_entry_param param{};
  param.ino = entry.node.ToFuse();
  param.attr = entry.attr;
  param.attr_timeout = kForever;
  param.entry_timeout = kForever;
  return param;
}

Status ReplyEntry(fuse_req_t req, const Result<Entry>& entry) {
  PX_TRY(entry);
  const fuse_entry_param param = ToParam(*entry);
  fuse_reply_entry(req, &param);
  return {};
}

void FillOpen(const Opened& opened, fuse_file_info* fi) {
  fi->backing_id = opened.backing_id;
  fi->fh = opened.handle;
  fi->keep_cache = opened.keep_cache;
  fi->noflush = !opened.wants_flush;
  fi->parallel_direct_writes = 1;
}

void Init(void* userdata, fuse_conn_info* conn) {
  auto* session = static_cast<FuseSession*>(userdata);
  for (const uint64_t off :
       {FUSE_CAP_SPLICE_READ, FUSE_CAP_SPLICE_WRITE, FUSE_CAP_SPLICE_MOVE, FUSE_CAP_AUTO_INVAL_DATA,
        FUSE_CAP_FLOCK_LOCKS, FUSE_CAP_POSIX_LOCKS, FUSE_CAP_WRITEBACK_CACHE,
        // Its end does not take the pages of what was written out of the cache.
        FUSE_CAP_ASYNC_DIO}) {
    fuse_unset_feature_flag(conn, off);
  }
  for (const uint64_t on :
       {FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_DONT_MASK, FUSE_CAP_IOCTL_DIR, FUSE_CAP_READDIRPLUS,
        FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_EXPORT_SUPPORT, FUSE_CAP_ASYNC_READ,
        FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_POSIX_ACL, FUSE_CAP_HANDLE_KILLPRIV_V2,
        FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_NO_OPENDIR_SUPPORT, FUSE_CAP_EXPLICIT_INVAL_DATA}) {
    fuse_set_feature_flag(conn, on);
  }
  if (session->options().filesystem.passthrough &&
      fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
    conn->max_backing_stack_depth = session->options().stacking;
  } else {
    session->RefusePassthrough();
  }
  session->set_uring(fuse_get_feature_flag(conn, FUSE_CAP_OVER_IO_URING));
  conn->max_write = static_cast<unsigned>(kMaxWrite);
  conn->max_readahead = static_cast<unsigned>(kMaxWrite);
  conn->max_background = 64;
  conn->congestion_threshold = 48;
  conn->time_gran = 1;
  conn->no_interrupt = 1;
  session->Answered();
}

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Serve(req, [&]() -> Status {
    const auto entry = Fs(req).Lookup(NodeKey::FromFuse(parent), name);
    if (!entry && entry.error().code() == ENOENT) {
      fuse_entry_param absent{};
      absent.entry_timeout = kForever;
      fuse_reply_entry(req, &absent);
      return {};
    }
    return ReplyEntry(req, entry);
  });
}

void Forget(fuse_req_t req, fuse_ino_t ino, uint64_t) {
  Fs(req).Forget(NodeKey::FromFuse(ino));
  fuse_reply_none(req);
}

void ForgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) Fs(req).Forget(NodeKey::FromFuse(forgets[i].ino));
  fuse_reply_none(req);
}

void GetAttr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const struct stat attr, Fs(req).GetAttr(NodeKey::FromFuse(ino)));
    fuse_reply_attr(req, &attr, kForever);
    return {};
  });
}

// The kernel asks so the first time that somebody wants to know when a file was made, and keeps the
// answer.
void Statx(fuse_req_t req, fuse_ino_t ino, int, int, fuse_file_info*) {
  Serve(req, [&]() -> Status {
    const NodeKey node = NodeKey::FromFuse(ino);
    PX_ASSIGN(const struct stat attr, Fs(req).GetAttr(node));
    PX_ASSIGN(const auto birth, Fs(req).BirthTime(node));
    const auto time = [](const timespec& from) {
      struct statx_timestamp to{};
      to.tv_sec = from.tv_sec;
      to.tv_nsec = static_cast<uint32_t>(from.tv_nsec);
      return to;
    };
    struct statx out{};
    out.stx_mask = STATX_BASIC_STATS | (birth ? STATX_BTIME : 0U);
    out.stx_blksize = static_cast<uint32_t>(attr.st_blksize);
    out.stx_nlink = static_cast<uint32_t>(attr.st_nlink);
    out.stx_uid = attr.st_uid;
    out.stx_gid = attr.st_gid;
    out.stx_mode = static_cast<uint16_t>(attr.st_mode);
    out.stx_ino = attr.st_ino;
    out.stx_size = static_cast<uint64_t>(attr.st_size);
    out.stx_blocks = static_cast<uint64_t>(attr.st_blocks);
    out.stx_atime = time(attr.st_atim);
    out.stx_mtime = time(attr.st_mtim);
    out.stx_ctime = time(attr.st_ctim);
    if (birth) out.stx_btime = time(*birth);
    out.stx_rdev_major = major(attr.st_rdev);
    out.stx_rdev_minor = minor(attr.st_rdev);
    fuse_reply_statx(req, 0, &out, kForever);
    return {};
  });
}

void SetAttr(fuse_req_t req, fuse_ino_t ino, struct stat* attr, int to_set, fuse_file_info*) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const struct stat result,
              Fs(req).SetAttr(NodeKey::FromFuse(ino), *attr, to_set, CallerOf(req)));
    fuse_reply_attr(req, &result, kForever);
    return {};
  });
}

void ReadLink(fuse_req_t req, fuse_ino_t ino) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const std::string target, Fs(req).ReadLink(NodeKey::FromFuse(ino)));
    fuse_reply_readlink(req, target.c_str());
    return {};
  });
}

void MakeNode(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  Serve(req, [&]() -> Status {
    if ((mode & S_IFMT) == 0) mode |= S_IFREG;
    return ReplyEntry(req,
                      Fs(req).MakeNode(NodeKey::FromFuse(parent), name, mode, rdev, CallerOf(req)));
  });
}

void MakeDir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  MakeNode(req, parent, name, (mode & 07777) | S_IFDIR, 0);
}

void MakeSymlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  Serve(req, [&] {
    return ReplyEntry(req,
                      Fs(req).MakeSymlink(NodeKey::FromFuse(parent), name, target, CallerOf(req)));
  });
}

void Link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  Serve(req, [&] {
    return ReplyEntry(req, Fs(req).Link(NodeKey::FromFuse(ino), NodeKey::FromFuse(parent), name));
  });
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).Unlink(NodeKey::FromFuse(parent), name));
    return {};
  });
}

void Rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).Rmdir(NodeKey::FromFuse(parent), name));
    return {};
  });
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).Rename(NodeKey::FromFuse(parent), name, NodeKey::FromFuse(new_parent),
                                    new_name, flags, CallerOf(req)));
    return {};
  });
}

void Open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  Serve(req, [&]() -> Status {
    const NodeKey node = NodeKey::FromFuse(ino);
    PX_ASSIGN(const Opened opened, Fs(req).Open(node, fi->flags, fi->kill_suidgid != 0));
    FillOpen(opened, fi);
    // An open that was interrupted gets no release.
    if (fuse_reply_open(req, fi) == -ENOENT) Fs(req).Release(node, fi->flags, opened.handle);
    return {};
  });
}

void ReplyCreated(fuse_req_t req, const Filesystem::Created& created, fuse_file_info* fi) {
  FillOpen(created.opened, fi);
  const fuse_entry_param param = ToParam(created.entry);
  if (fuse_reply_create(req, &param, fi) == -ENOENT) {
    Fs(req).Release(created.entry.node, fi->flags, created.opened.handle);
  }
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const Filesystem::Created created,
              Fs(req).Create(NodeKey::FromFuse(parent), name, mode, fi->flags, CallerOf(req)));
    ReplyCreated(req, created, fi);
    return {};
  });
}

void TmpFile(fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* fi) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const Filesystem::Created created,
              Fs(req).TmpFile(NodeKey::FromFuse(parent), mode, fi->flags, CallerOf(req)));
    ReplyCreated(req, created, fi);
    return {};
  });
}

// True if the thread is on its way out through a fatal signal: PF_SIGNALED (linux/sched.h) among
// the flags of /proc/TID/stat. Unknown threads (of another pid namespace) count as not killed.
bool IsBeingKilled(pid_t tid) {
  constexpr unsigned long kSignaled = 0x400;
  if (tid <= 0) return false;
  std::ifstream file("/proc/" + std::to_string(tid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return false;
  // "tid (name) state ppid pgrp session tty tpgid flags ...": the name may hold anything, so from
  // its last ')'.
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return false;
  std::istringstream fields(text.substr(end + 1));
  std::string state;
  long skipped = 0;
  unsigned long flags = 0;
  fields >> state >> skipped >> skipped >> skipped >> skipped >> skipped >> flags;
  return fields && (flags & kSignaled) != 0;
}

void Flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  Serve(req, [&]() -> Status {
    Fs(req).Flush(NodeKey::FromFuse(ino), IsBeingKilled(fuse_req_ctx(req)->pid));
    fuse_reply_err(req, 0);
    return {};
  });
}

void Release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  Serve(req, [&]() -> Status {
    Fs(req).Release(NodeKey::FromFuse(ino), fi->flags, fi->fh);
    fuse_reply_err(req, 0);
    return {};
  });
}

void Read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  if (size >= kLarge) RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    thread_local std::vector<char> buffer;
    const size_t want = std::min(size, kMaxRead);
    if (buffer.size() < want) buffer.resize(want);
    PX_ASSIGN(const size_t got,
              Fs(req).Read(NodeKey::FromFuse(ino), {buffer.data(), want}, offset));
    fuse_reply_buf(req, buffer.data(), got);
    return {};
  });
}

void Write(fuse_req_t req, fuse_ino_t ino, const char* data, size_t size, off_t offset,
           fuse_file_info* fi) {
  if (size >= kLarge) RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const size_t put,
              Fs(req).Write(NodeKey::FromFuse(ino), {data, size}, offset, fi->kill_suidgid != 0));
    fuse_reply_write(req, put);
    return {};
  });
}

void Fsync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info*) {
  RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).Fsync(NodeKey::FromFuse(ino), data_only != 0));
    return {};
  });
}

void FsyncDir(fuse_req_t req, fuse_ino_t ino, int, fuse_file_info*) {
  RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).FsyncDir(NodeKey::FromFuse(ino)));
    return {};
  });
}

// The kernel then opens directories by itself and caches what they list.
void OpenDir(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, ENOSYS); }

void ReadDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  Serve(req, [&]() -> Status {
    std::vector<char> buffer(std::min(size, kMaxRead));
    size_t used = 0;
    std::string name;
    PX_TRY(Fs(req).ReadDir(NodeKey::FromFuse(ino), offset, plus, [&](const DirEntry& entry) {
      name = entry.name;
      size_t need = 0;
      if (plus) {
        fuse_entry_param param = ToParam(entry.entry);
        if (!entry.has_attr) param.ino = 0;  // the kernel takes the name and type only
        need = fuse_add_direntry_plus(req, buffer.data() + used, buffer.size() - used, name.c_str(),
                                      &param, entry.next);
      } else {
        need = fuse_add_direntry(req, buffer.data() + used, buffer.size() - used, name.c_str(),
                                 &entry.entry.attr, entry.next);
      }
      if (need > buffer.size() - used) return false;
      used += need;
      return true;
    }));
    fuse_reply_buf(req, buffer.data(), used);
    return {};
  });
}

void ReadDir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  ReadDirectory(req, ino, size, offset, false);
}

void ReadDirPlus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  ReadDirectory(req, ino, size, offset, true);
}

void StatFs(fuse_req_t req, fuse_ino_t) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const struct statvfs result, Fs(req).StatFs());
    fuse_reply_statfs(req, &result);
    return {};
  });
}

void SetXattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size,
              int flags) {
  Serve(req, [&]() -> Status {
    ReplyStatus(
        req, Fs(req).SetXattr(NodeKey::FromFuse(ino), name, {value, size}, flags, CallerOf(req)));
    return {};
  });
}

Status ReplyXattr(fuse_req_t req, const Result<std::string>& value, size_t size) {
  PX_TRY(value);
  if (size == 0) {
    fuse_reply_xattr(req, value->size());
  } else if (value->size() > size) {
    return Fail(ERANGE);
  } else {
    fuse_reply_buf(req, value->data(), value->size());
  }
  return {};
}

void GetXattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  Serve(req, [&] { return ReplyXattr(req, Fs(req).GetXattr(NodeKey::FromFuse(ino), name), size); });
}

void ListXattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  Serve(req, [&] {
    return ReplyXattr(req, Fs(req).ListXattr(NodeKey::FromFuse(ino), CallerOf(req)), size);
  });
}

void RemoveXattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  Serve(req, [&]() -> Status {
    ReplyStatus(req, Fs(req).RemoveXattr(NodeKey::FromFuse(ino), name));
    return {};
  });
}

void Fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
               fuse_file_info*) {
  RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    ReplyStatus(req,
                Fs(req).Fallocate(NodeKey::FromFuse(ino), mode, offset, length, CallerOf(req)));
    return {};
  });
}

void CopyFileRange(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info*,
                   fuse_ino_t to, off_t to_offset, fuse_file_info*, size_t length, int) {
  RequestLoop::WillBlock();
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const size_t copied,
              Fs(req).CopyRange(NodeKey::FromFuse(from), from_offset, NodeKey::FromFuse(to),
                                to_offset, length, CallerOf(req)));
    fuse_reply_write(req, copied);
    return {};
  });
}

void Seek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info*) {
  Serve(req, [&]() -> Status {
    PX_ASSIGN(const off_t found, Fs(req).Seek(NodeKey::FromFuse(ino), offset, whence));
    fuse_reply_lseek(req, found);
    return {};
  });
}

void Ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void*, fuse_file_info*, unsigned flags,
           const void* in, size_t in_size, size_t out_size) {
  Serve(req, [&]() -> Status {
    if ((flags & FUSE_IOCTL_COMPAT) != 0 && _IOC_TYPE(command) != PX_IOC_MAGIC) return Fail(ENOTTY);
    const std::string_view argument(static_cast<const char*>(in), in_size);
    return ServeControl(req, SessionOf(req), NodeKey::FromFuse(ino), command, argument, out_size);
  });
}

}  // namespace

Caller CallerOf(fuse_req_t req) {
  const fuse_ctx* context = fuse_req_ctx(req);
  Caller caller;
  caller.uid = context->uid;
  caller.gid = context->gid;
  caller.umask = context->umask;
  caller.in_group = [req](gid_t gid) {
    if (fuse_req_ctx(req)->gid == gid) return true;
    std::vector<gid_t> groups(64);
    const int count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
    if (count < 0) return false;
    if (static_cast<size_t>(count) > groups.size()) {
      groups.resize(static_cast<size_t>(count));
      if (fuse_req_getgroups(req, count, groups.data()) < 0) return false;
    }
    const auto end =
        groups.begin() + std::min<ptrdiff_t>(count, static_cast<ptrdiff_t>(groups.size()));
    return std::find(groups.begin(), end, gid) != end;
  };
  return caller;
}

void ReplyFailure(fuse_req_t req, const Error& error) { ReplyError(req, error); }

fuse_lowlevel_ops BridgeOperations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = GetAttr;
  ops.statx = Statx;
  ops.setattr = SetAttr;
  ops.readlink = ReadLink;
  ops.mknod = MakeNode;
  ops.mkdir = MakeDir;
  ops.symlink = MakeSymlink;
  ops.link = Link;
  ops.unlink = Unlink;
  ops.rmdir = Rmdir;
  ops.rename = Rename;
  ops.open = Open;
  ops.create = Create;
  ops.tmpfile = TmpFile;
  ops.flush = Flush;
  ops.release = Release;
  ops.read = Read;
  ops.write = Write;
  ops.fsync = Fsync;
  ops.fsyncdir = FsyncDir;
  ops.opendir = OpenDir;
  ops.readdir = ReadDir;
  ops.readdirplus = ReadDirPlus;
  ops.statfs = StatFs;
  ops.setxattr = SetXattr;
  ops.getxattr = GetXattr;
  ops.listxattr = ListXattr;
  ops.removexattr = RemoveXattr;
  ops.fallocate = Fallocate;
  ops.copy_file_range = CopyFileRange;
  ops.lseek = Seek;
  ops.ioctl = Ioctl;
  return ops;
}

}  // namespace px::fs
