// nullfs MOUNTPOINT: an empty FUSE daemon, the floor that the kernel sets for all of them.
//
// Names, attributes and sizes are kept in memory; what is written is forgotten, what is read is
// zeros. It answers at once: one thread that never sleeps, the longest timeouts the kernel knows,
// no flush, no directory handles. What a filesystem does on top of that is its own; what this one
// takes is not.
#define FUSE_USE_VERSION 318

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace px::bench {
namespace {

constexpr double kForever = 1e9;

struct Inode {
  struct stat attr{};
  std::map<std::string, fuse_ino_t> names;  // of a directory
};

// One thread serves all requests, so there is no lock.
std::unordered_map<fuse_ino_t, Inode> inodes;
fuse_ino_t last_ino = FUSE_ROOT_ID;

Inode* Find(fuse_req_t req, fuse_ino_t ino) {
  const auto found = inodes.find(ino);
  if (found != inodes.end()) return &found->second;
  fuse_reply_err(req, ENOENT);
  return nullptr;
}

fuse_entry_param EntryOf(fuse_ino_t ino) {
  fuse_entry_param entry{};
  entry.ino = ino;
  entry.attr_timeout = entry.entry_timeout = kForever;
  if (ino != 0) entry.attr = inodes[ino].attr;
  return entry;
}

void Add(fuse_ino_t ino, mode_t mode) {
  struct stat& attr = inodes[ino].attr;
  attr.st_ino = ino;
  attr.st_mode = mode;
  attr.st_nlink = S_ISDIR(mode) ? 2 : 1;
  attr.st_blksize = 4096;
  ::clock_gettime(CLOCK_REALTIME, &attr.st_mtim);
  attr.st_ctim = attr.st_atim = attr.st_mtim;
}

// A new name; 0, and answered, if it is there.
fuse_ino_t Make(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  Inode* dir = Find(req, parent);
  if (dir == nullptr) return 0;
  const auto [slot, fresh] = dir->names.try_emplace(name, last_ino + 1);
  if (!fresh) {
    fuse_reply_err(req, EEXIST);
    return 0;
  }
  Add(++last_ino, mode);
  return last_ino;
}

void Init(void*, fuse_conn_info* conn) {
  for (const uint64_t off : {FUSE_CAP_SPLICE_READ, FUSE_CAP_SPLICE_WRITE, FUSE_CAP_SPLICE_MOVE,
                             FUSE_CAP_AUTO_INVAL_DATA}) {
    fuse_unset_feature_flag(conn, off);
  }
  for (const uint64_t on :
       {FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO,
        FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_HANDLE_KILLPRIV_V2, FUSE_CAP_NO_OPENDIR_SUPPORT}) {
    fuse_set_feature_flag(conn, on);
  }
  conn->max_write = 1 << 20;
  conn->no_interrupt = 1;
}

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const Inode* dir = Find(req, parent);
  if (dir == nullptr) return;
  const auto found = dir->names.find(name);
  const fuse_entry_param entry = EntryOf(found == dir->names.end() ? 0 : found->second);
  fuse_reply_entry(req, &entry);
}

void Forget(fuse_req_t req, fuse_ino_t, uint64_t) { fuse_reply_none(req); }
void ForgetMulti(fuse_req_t req, size_t, fuse_forget_data*) { fuse_reply_none(req); }

void GetAttr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  const Inode* inode = Find(req, ino);
  if (inode != nullptr) fuse_reply_attr(req, &inode->attr, kForever);
}

void SetAttr(fuse_req_t req, fuse_ino_t ino, struct stat* to, int what, fuse_file_info*) {
  Inode* inode = Find(req, ino);
  if (inode == nullptr) return;
  struct stat& attr = inode->attr;
  if ((what & FUSE_SET_ATTR_MODE) != 0) {
    attr.st_mode = (attr.st_mode & S_IFMT) | (to->st_mode & 07777);
  }
  if ((what & FUSE_SET_ATTR_UID) != 0) attr.st_uid = to->st_uid;
  if ((what & FUSE_SET_ATTR_GID) != 0) attr.st_gid = to->st_gid;
  if ((what & FUSE_SET_ATTR_SIZE) != 0) attr.st_size = to->st_size;
  if ((what & FUSE_SET_ATTR_MTIME) != 0) attr.st_mtim = to->st_mtim;
  fuse_reply_attr(req, &attr, kForever);
}

void MakeDir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  const fuse_ino_t ino = Make(req, parent, name, (mode & 07777) | S_IFDIR);
  if (ino == 0) return;
  const fuse_entry_param entry = EntryOf(ino);
  fuse_reply_entry(req, &entry);
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Inode* dir = Find(req, parent);
  if (dir == nullptr) return;
  const auto found = dir->names.find(name);
  if (found != dir->names.end()) {
    inodes.erase(found->second);
    dir->names.erase(found);
  }
  fuse_reply_err(req, 0);
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned) {
  Inode* from = Find(req, parent);
  Inode* to = from == nullptr ? nullptr : Find(req, new_parent);
  if (to == nullptr) return;
  const auto found = from->names.find(name);
  if (found == from->names.end()) return (void)fuse_reply_err(req, ENOENT);
  const fuse_ino_t moved = found->second;
  from->names.erase(found);
  to->names[new_name] = moved;
  fuse_reply_err(req, 0);
}

void Fill(fuse_file_info* fi) {
  fi->keep_cache = 1;
  fi->noflush = 1;
  fi->parallel_direct_writes = 1;
}

void Open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  Inode* inode = Find(req, ino);
  if (inode == nullptr) return;
  if ((fi->flags & O_TRUNC) != 0) inode->attr.st_size = 0;
  Fill(fi);
  fuse_reply_open(req, fi);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  const fuse_ino_t ino = Make(req, parent, name, (mode & 07777) | S_IFREG);
  if (ino == 0) return;
  Fill(fi);
  const fuse_entry_param entry = EntryOf(ino);
  fuse_reply_create(req, &entry, fi);
}

void Done(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, 0); }
void DoneSync(fuse_req_t req, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(req, 0); }
void NoOpenDir(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, ENOSYS); }

void Read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  static const std::vector<char> zeros(1 << 20);
  const Inode* inode = Find(req, ino);
  if (inode == nullptr) return;
  const off_t left = std::max<off_t>(0, inode->attr.st_size - offset);
  fuse_reply_buf(req, zeros.data(), std::min({size, static_cast<size_t>(left), zeros.size()}));
}

void Write(fuse_req_t req, fuse_ino_t ino, const char*, size_t size, off_t offset,
           fuse_file_info*) {
  Inode* inode = Find(req, ino);
  if (inode == nullptr) return;
  struct stat& attr = inode->attr;
  attr.st_size = std::max(attr.st_size, offset + static_cast<off_t>(size));
  attr.st_blocks = (attr.st_size + 511) / 512;
  fuse_reply_write(req, size);
}

void List(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  const Inode* dir = Find(req, ino);
  if (dir == nullptr) return;
  std::vector<char> buffer(size);
  size_t used = 0;
  off_t at = 0;
  for (const auto& [name, child] : dir->names) {
    if (at++ < offset) continue;
    const fuse_entry_param entry = EntryOf(child);
    const size_t need = plus ? fuse_add_direntry_plus(req, buffer.data() + used, size - used,
                                                      name.c_str(), &entry, at)
                             : fuse_add_direntry(req, buffer.data() + used, size - used,
                                                 name.c_str(), &entry.attr, at);
    if (need > size - used) break;
    used += need;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

void ReadDir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  List(req, ino, size, offset, false);
}

void ReadDirPlus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  List(req, ino, size, offset, true);
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = GetAttr;
  ops.setattr = SetAttr;
  ops.mkdir = MakeDir;
  ops.unlink = Unlink;
  ops.rmdir = Unlink;
  ops.rename = Rename;
  ops.open = Open;
  ops.create = Create;
  ops.release = Done;
  ops.flush = Done;
  ops.read = Read;
  ops.write = Write;
  ops.fsync = DoneSync;
  ops.fsyncdir = DoneSync;
  ops.opendir = NoOpenDir;
  ops.readdir = ReadDir;
  ops.readdirplus = ReadDirPlus;
  return ops;
}

// Until the mount is taken away.
int Serve(fuse_session* session) {
  const int fd = fuse_session_fd(session);
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return 1;
  fuse_buf buffer{};
  while (fuse_session_exited(session) == 0) {
    const int got = fuse_session_receive_buf(session, &buffer);
    if (got == -EAGAIN) {
      ::sched_yield();
    } else if (got > 0) {
      fuse_session_process_buf(session, &buffer);
    } else if (got != -EINTR) {
      break;
    }
  }
  std::free(buffer.mem);
  return 0;
}

int Main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: nullfs MOUNTPOINT\n");
    return 2;
  }
  Add(FUSE_ROOT_ID, S_IFDIR | 0777);
  std::vector<std::string> words = {"nullfs", "-o",
                                    "default_permissions,allow_other,fsname=nullfs"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(arguments.size()), arguments.data());
  const fuse_lowlevel_ops operations = Operations();
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, nullptr);
  fuse_opt_free_args(&args);
  if (session == nullptr || fuse_session_mount(session, argv[1]) != 0) return 1;
  const int code = Serve(session);
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return code;
}

}  // namespace
}  // namespace px::bench

int main(int argc, char** argv) { return px::bench::Main(argc, argv); }
