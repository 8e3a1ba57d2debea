#include "tests/fuzz/requests.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "fs/node.h"
#include "uapi/px_ioctl.h"

namespace px::testing {
namespace {

constexpr size_t kMostNodes = 300, kMostHandles = 60, kMostTokens = 10;
constexpr uint32_t kPassthroughFlag = 1U << 7;  // FOPEN_PASSTHROUGH
constexpr uint32_t kVolumes = 12;

// The more often an opcode is here, the more often it is asked for.
constexpr std::array kOpcodes = {
    FUSE_LOOKUP,    FUSE_LOOKUP,    FUSE_LOOKUP,   FUSE_FORGET,      FUSE_BATCH_FORGET,
    FUSE_GETATTR,   FUSE_SETATTR,   FUSE_SETATTR,  FUSE_READLINK,    FUSE_SYMLINK,
    FUSE_MKNOD,     FUSE_MKDIR,     FUSE_UNLINK,   FUSE_RMDIR,       FUSE_RENAME,
    FUSE_RENAME2,   FUSE_RENAME2,   FUSE_LINK,     FUSE_OPEN,        FUSE_OPEN,
    FUSE_OPEN,      FUSE_READ,      FUSE_READ,     FUSE_WRITE,       FUSE_WRITE,
    FUSE_WRITE,     FUSE_STATFS,    FUSE_RELEASE,  FUSE_RELEASE,     FUSE_FSYNC,
    FUSE_SETXATTR,  FUSE_SETXATTR,  FUSE_GETXATTR, FUSE_LISTXATTR,   FUSE_REMOVEXATTR,
    FUSE_FLUSH,     FUSE_OPENDIR,   FUSE_READDIR,  FUSE_READDIRPLUS, FUSE_RELEASEDIR,
    FUSE_FSYNCDIR,  FUSE_GETLK,     FUSE_SETLK,    FUSE_SETLKW,      FUSE_ACCESS,
    FUSE_CREATE,    FUSE_CREATE,    FUSE_CREATE,   FUSE_INTERRUPT,   FUSE_BMAP,
    FUSE_IOCTL,     FUSE_IOCTL,     FUSE_IOCTL,    FUSE_IOCTL,       FUSE_POLL,
    FUSE_FALLOCATE, FUSE_FALLOCATE, FUSE_LSEEK,    FUSE_TMPFILE,     FUSE_COPY_FILE_RANGE,
    FUSE_INIT,
};

constexpr std::array<uint64_t, 23> kCalls = {
    PX_IOC_INFO,     PX_IOC_TOKEN,         PX_IOC_CREATE,  PX_IOC_CLONE,    PX_IOC_DROP,
    PX_IOC_SNAPSHOT, PX_IOC_SNAPSHOT_DROP, PX_IOC_USAGE,   PX_IOC_DIFF,     PX_IOC_CHANGES,
    PX_IOC_STATUS,   PX_IOC_LIST,          PX_IOC_RESTORE, PX_IOC_VERSIONS, PX_IOC_TRASH,
    PX_IOC_UNDELETE, PX_IOC_TRASH_LIST,    PX_IOC_GC,      PX_IOC_SCRUB,    PX_IOC_SCRUB_STATUS,
    PX_IOC_ACCEPT,   PX_IOC_TOKEN,         PX_IOC_CLONE,
};
constexpr std::array<uint64_t, 8> kHarmlessCalls = {
    PX_IOC_INFO,    PX_IOC_TOKEN, PX_IOC_USAGE, PX_IOC_DIFF,
    PX_IOC_CHANGES, PX_IOC_LIST,  PX_IOC_TOKEN, PX_IOC_VERSIONS,
};

constexpr std::array kNames = {"a",    "b",     "dir",  "small", "large", "link",
                               "hard", "inner", "work", "other", "mine",  "s",
                               "t",    "plain", "new",  "f",     "x",     "gone",
                               ".",    "..",    "",     "a/b",   "/",     ".snapshots"};
constexpr std::array kXattrNames = {"user.note",
                                    "user.other",
                                    "user.px.volume",
                                    "user.px.exclusive_bytes",
                                    "user.px.",
                                    "user.",
                                    "trusted.x",
                                    "security.capability",
                                    "system.posix_acl_access",
                                    "system.posix_acl_default",
                                    "system.other",
                                    "bogus",
                                    ""};

// What the kernel never sends as a mode, too.
constexpr std::array<uint32_t, 10> kTypes = {0,       S_IFREG,  S_IFDIR, S_IFLNK, S_IFCHR,
                                             S_IFBLK, S_IFSOCK, S_IFIFO, S_IFMT,  0030000};

}  // namespace

bool RequestMaker::IsUntouched(uint64_t node) const {
  return untouched_.contains(fs::NodeKey::FromFuse(node).volume.value);
}

// For a node of an untouched volume. What writes by a handle is among them: those were opened for
// reading only.
bool RequestMaker::ChangesNothing(uint32_t opcode) {
  static constexpr std::array kHarmless = {
      FUSE_LOOKUP,  FUSE_FORGET,      FUSE_BATCH_FORGET, FUSE_GETATTR,   FUSE_READLINK,
      FUSE_OPEN,    FUSE_READ,        FUSE_WRITE,        FUSE_STATFS,    FUSE_RELEASE,
      FUSE_FSYNC,   FUSE_GETXATTR,    FUSE_LISTXATTR,    FUSE_FLUSH,     FUSE_OPENDIR,
      FUSE_READDIR, FUSE_READDIRPLUS, FUSE_RELEASEDIR,   FUSE_FSYNCDIR,  FUSE_GETLK,
      FUSE_SETLK,   FUSE_SETLKW,      FUSE_ACCESS,       FUSE_INTERRUPT, FUSE_BMAP,
      FUSE_IOCTL,   FUSE_POLL,        FUSE_FALLOCATE,    FUSE_LSEEK,     FUSE_COPY_FILE_RANGE,
      FUSE_INIT,
  };
  return std::find(kHarmless.begin(), kHarmless.end(), opcode) != kHarmless.end();
}

uint32_t RequestMaker::AnyOpcode() {
  // What there is no such operation for: to come, or none at all.
  if (random_->OneIn(60)) {
    const auto opcode =
        static_cast<uint32_t>(random_->OneIn(2) ? random_->Next() : 7 + random_->Below(60));
    const bool known = std::find(kOpcodes.begin(), kOpcodes.end(), opcode) != kOpcodes.end();
    if (!known && opcode != FUSE_DESTROY && opcode != FUSE_NOTIFY_REPLY) return opcode;
  }
  return kOpcodes[random_->Below(kOpcodes.size())];
}

uint64_t RequestMaker::AnyNode() {
  if (!random_->OneIn(6)) return nodes_[random_->Below(nodes_.size())];
  const uint64_t volume = random_->Below(kVolumes);
  const std::array<uint64_t, 11> forged = {
      0,
      1,
      ~uint64_t{0},
      uint64_t{1} << 63,
      random_->Next(),
      volume << 40,
      volume << 40 | 1,
      volume << 40 | 2,
      volume << 40 | random_->Below(200),
      fs::SnapshotIndexDir(cow::VolumeId{static_cast<uint32_t>(volume)}).value,
      fs::kTrashDir.value};
  return forged[random_->Below(forged.size())];
}

uint64_t RequestMaker::NodeToChange() {
  for (;;) {
    const uint64_t node = AnyNode();
    if (!IsUntouched(node)) return node;
  }
}

RequestMaker::Handle RequestMaker::AnyHandle() {
  if (!handles_.empty() && !random_->OneIn(8)) return handles_[random_->Below(handles_.size())];
  if (!released_.empty() && random_->OneIn(2)) return released_[random_->Below(released_.size())];
  Handle forged{AnyNode(), random_->OneIn(2) ? random_->Next() : random_->Below(100), OpenFlags(),
                0};
  if (!handles_.empty() && random_->OneIn(2)) {
    forged.handle = handles_[random_->Below(handles_.size())].handle;  // that of another node
  }
  return forged;
}

uint64_t RequestMaker::Offset() {
  switch (random_->Below(8)) {
    case 0:
      return 0;
    case 1: {
      static constexpr std::array<uint64_t, 10> kEdges = {
          INT64_MAX,         uint64_t{1} << 63, ~uint64_t{0},      ~uint64_t{4095},
          uint64_t{1} << 62, INT64_MAX - 4095,  uint64_t{1} << 40, uint64_t{1} << 44,
          uint64_t{1} << 32, INT32_MAX};
      return kEdges[random_->Below(kEdges.size())] - random_->Below(3);
    }
    case 2:
      return random_->Below(100) * 4096;
    case 3:
      return random_->Next();
    default:
      return random_->Below(400'000);
  }
}

uint32_t RequestMaker::Size() {
  switch (random_->Below(8)) {
    case 0:
      return 0;
    case 1:
      return static_cast<uint32_t>(random_->Next());
    case 2:
      return ~0U - static_cast<uint32_t>(random_->Below(2));
    case 3:
      return 1 << 20;
    default:
      return static_cast<uint32_t>(random_->Below(70'000));
  }
}

std::string RequestMaker::Text(size_t size) {
  std::string text(size, '\0');
  for (char& byte : text) byte = static_cast<char>(1 + random_->Below(255));
  return text;
}

std::string RequestMaker::Name() {
  std::string name;
  switch (random_->Below(12)) {
    case 0:
      name = Text(1 + random_->Below(12));
      break;
    case 1: {
      static constexpr std::array<size_t, 5> kSizes = {254, 255, 256, 1024, 4000};
      name.assign(kSizes[random_->Below(kSizes.size())], 'n');
      break;
    }
    default:
      name = kNames[random_->Below(kNames.size())];
  }
  return name + '\0';
}

std::string RequestMaker::XattrName() {
  std::string name = kXattrNames[random_->Below(kXattrNames.size())];
  if (random_->OneIn(8)) name += Text(random_->Below(20));
  if (random_->OneIn(12)) name = "user." + std::string(248 + random_->Below(6), 'n');
  if (random_->OneIn(40)) name = "user." + std::string(3000, 'n');
  return name + '\0';
}

std::string RequestMaker::XattrValue() {
  if (random_->OneIn(2)) {
    // A list as it should be, but for some bytes of it.
    std::string value = BytesOf(posix_acl_xattr_header{2});
    for (uint64_t i = random_->Below(7); i > 0; --i) {
      static constexpr std::array<uint16_t, 6> kTags = {1, 2, 4, 8, 16, 32};
      posix_acl_xattr_entry entry{};
      entry.e_tag = kTags[random_->Below(kTags.size())];
      entry.e_perm = static_cast<uint16_t>(random_->Below(8));
      entry.e_id = static_cast<uint32_t>(random_->OneIn(2) ? ~0U : random_->Below(3));
      value += BytesOf(entry);
    }
    if (random_->OneIn(3)) value[random_->Below(value.size())] = static_cast<char>(random_->Next());
    if (random_->OneIn(8)) value.resize(random_->Below(value.size()));
    return value;
  }
  static constexpr std::array<size_t, 7> kSizes = {0, 1, 100, 3000, 65535, 65536, 65537};
  return Text(kSizes[random_->Below(kSizes.size())]);
}

uint32_t RequestMaker::OpenFlags() {
  if (random_->OneIn(8)) return static_cast<uint32_t>(random_->Next());
  uint32_t flags = static_cast<uint32_t>(random_->Below(4));
  for (const uint32_t one : {O_TRUNC, O_CREAT, O_EXCL, O_APPEND, O_DIRECT, O_NOATIME}) {
    if (random_->OneIn(6)) flags |= one;
  }
  return flags;
}

std::string RequestMaker::SetAttr(const Handle& handle) {
  fuse_setattr_in in{};
  in.valid = static_cast<uint32_t>(random_->Next());
  // Most of them change few things; a size in particular is not always wanted.
  if (!random_->OneIn(4)) in.valid &= static_cast<uint32_t>(random_->Next() & random_->Next());
  if (random_->OneIn(3)) in.valid |= FATTR_SIZE;
  in.fh = handle.handle;
  in.size = Offset();
  in.atime = random_->OneIn(2) ? random_->Next() : 1'700'000'000;
  in.mtime = random_->OneIn(2) ? random_->Next() : 1'700'000'000;
  in.ctime = random_->Next();
  // As the kernel has it: a user can set any second, but not more of its parts than there are.
  in.atimensec = static_cast<uint32_t>(random_->Below(1'000'000'000));
  in.mtimensec = static_cast<uint32_t>(random_->Below(1'000'000'000));
  in.mode = static_cast<uint32_t>(random_->OneIn(2) ? random_->Next() : 0755);
  in.uid = static_cast<uint32_t>(random_->OneIn(2) ? random_->Next() : random_->Below(3));
  in.gid = static_cast<uint32_t>(random_->OneIn(2) ? random_->Next() : random_->Below(3));
  return BytesOf(in);
}

std::string RequestMaker::Rename(bool flags) {
  fuse_rename2_in in{};
  in.newdir = NodeToChange();
  in.flags = static_cast<uint32_t>(random_->OneIn(8) ? random_->Next() : random_->Below(4));
  // fuse_rename_in is its first member.
  std::string body = flags ? BytesOf(in) : BytesOf(fuse_rename_in{in.newdir});
  body += Name();
  return body + Name();
}

std::string RequestMaker::SetXattr() {
  const std::string value = XattrValue();
  fuse_setxattr_in in{};
  in.size = static_cast<uint32_t>(value.size());
  in.flags = static_cast<uint32_t>(random_->OneIn(2)   ? 0
                                   : random_->OneIn(4) ? random_->Next()
                                                       : random_->Below(4));
  return BytesOf(in).substr(0, FUSE_COMPAT_SETXATTR_IN_SIZE) + XattrName() + value;
}

std::string RequestMaker::ControlArgument(size_t size) {
  std::string bytes(size, '\0');
  if (random_->OneIn(3)) {
    for (char& byte : bytes) byte = static_cast<char>(random_->Next());
  }
  const auto put = [&bytes](size_t at, const std::string& text) {
    if (at + text.size() <= bytes.size()) bytes.replace(at, text.size(), text);
  };
  // Where the calls have their names, tokens, ids and flags.
  if (!random_->OneIn(4)) {
    static constexpr std::array<size_t, 5> kPlaces = {
        0, offsetof(px_ioc_clone, name), offsetof(px_ioc_restore, name),
        offsetof(px_ioc_undelete, name), offsetof(px_ioc_text, text)};
    put(kPlaces[random_->Below(kPlaces.size())], Name());
  }
  const bool token = size >= sizeof(px_ioc_clone) && !tokens_.empty() && !random_->OneIn(4);
  if (token) put(0, tokens_[random_->Below(tokens_.size())]);
  if (token && size == sizeof(px_ioc_clone)) {
    put(offsetof(px_ioc_clone, flags), BytesOf(static_cast<uint32_t>(random_->OneIn(8))));
    put(offsetof(px_ioc_clone, name), Name());
  }
  return bytes;
}

std::string RequestMaker::Ioctl(bool harmless) {
  fuse_ioctl_in in{};
  uint64_t call = harmless ? kHarmlessCalls[random_->Below(kHarmlessCalls.size())]
                           : kCalls[random_->Below(kCalls.size())];
  in.in_size = (_IOC_DIR(call) & _IOC_WRITE) != 0 ? static_cast<uint32_t>(_IOC_SIZE(call)) : 0;
  in.out_size = (_IOC_DIR(call) & _IOC_READ) != 0 ? static_cast<uint32_t>(_IOC_SIZE(call)) : 0;
  // A path in `other` of a large text is no matter; a whole one is what most calls need.
  if (random_->OneIn(6)) in.in_size = static_cast<uint32_t>(random_->Below(20'000));
  if (random_->OneIn(6)) in.out_size = static_cast<uint32_t>(random_->Below(20'000));
  if (!harmless && random_->OneIn(10)) call ^= uint64_t{1} << random_->Below(32);
  in.cmd = static_cast<uint32_t>(call);
  in.fh = random_->Next();
  in.arg = random_->Next();
  in.flags = static_cast<uint32_t>(random_->OneIn(8) ? random_->Next() : 0);
  return BytesOf(in) + ControlArgument(in.in_size);
}

std::string RequestMaker::DataBody(FuseRequest* request, const Handle& handle) {
  switch (request->opcode) {
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS: {
      fuse_read_in in{};
      in.fh = handle.handle;
      in.offset = Offset();
      in.size = Size();
      in.flags = handle.flags;
      return BytesOf(in);
    }
    case FUSE_WRITE: {
      const size_t size = random_->OneIn(30) ? size_t{1} << 20 : random_->Below(20'000);
      fuse_write_in in{};
      in.fh = handle.handle;
      in.offset = Offset();
      in.size = static_cast<uint32_t>(size);
      in.write_flags = static_cast<uint32_t>(random_->Below(8));
      in.flags = handle.flags;
      return BytesOf(in) + std::string(size, static_cast<char>(random_->Next()));
    }
    case FUSE_FALLOCATE: {
      fuse_fallocate_in in{};
      in.fh = handle.handle;
      in.offset = Offset();
      in.length = Offset();
      in.mode = static_cast<uint32_t>(random_->OneIn(8) ? random_->Next() : random_->Below(64));
      return BytesOf(in);
    }
    case FUSE_LSEEK: {
      fuse_lseek_in in{};
      in.fh = handle.handle;
      in.offset = Offset();
      in.whence = static_cast<uint32_t>(random_->OneIn(8) ? random_->Next() : random_->Below(6));
      return BytesOf(in);
    }
    default: {  // FUSE_COPY_FILE_RANGE
      const Handle to = AnyHandle();
      fuse_copy_file_range_in in{};
      in.fh_in = handle.handle;
      in.off_in = Offset();
      in.nodeid_out = to.node;
      in.fh_out = to.handle;
      in.off_out = Offset();
      in.len = Offset();
      in.flags = static_cast<uint32_t>(random_->Below(2));
      return BytesOf(in);
    }
  }
}

std::string RequestMaker::BodyOf(FuseRequest* request, const Handle& handle) {
  switch (request->opcode) {
    case FUSE_LOOKUP:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
      return Name();
    case FUSE_FORGET:
      return BytesOf(fuse_forget_in{random_->OneIn(2) ? random_->Next() : 1});
    case FUSE_BATCH_FORGET: {
      fuse_batch_forget_in in{};
      in.count = static_cast<uint32_t>(random_->Below(20));
      std::string body = BytesOf(in);
      for (uint32_t i = 0; i < in.count; ++i) {
        body += BytesOf(fuse_forget_one{AnyNode(), random_->Next()});
      }
      return body;
    }
    case FUSE_GETATTR:
      return BytesOf(fuse_getattr_in{static_cast<uint32_t>(random_->Below(2)), 0, handle.handle});
    case FUSE_SETATTR:
      return SetAttr(handle);
    case FUSE_SYMLINK:
      return Name() + Text(random_->OneIn(4) ? random_->Below(4096) : 1 + random_->Below(50)) +
             '\0';
    case FUSE_MKNOD:
      return BytesOf(fuse_mknod_in{kTypes[random_->Below(kTypes.size())] |
                                       static_cast<uint32_t>(random_->Below(010000)),
                                   static_cast<uint32_t>(random_->Next()),
                                   static_cast<uint32_t>(random_->Next()), 0}) +
             Name();
    case FUSE_MKDIR:
      return BytesOf(fuse_mkdir_in{static_cast<uint32_t>(random_->Next()), 0}) + Name();
    case FUSE_RENAME:
      return Rename(/*flags=*/false);
    case FUSE_RENAME2:
      return Rename(/*flags=*/true);
    case FUSE_LINK:
      return BytesOf(fuse_link_in{NodeToChange()}) + Name();
    case FUSE_OPEN:
      return BytesOf(fuse_open_in{IsUntouched(request->node) ? O_RDONLY : OpenFlags(),
                                  static_cast<uint32_t>(random_->Below(2))});
    case FUSE_CREATE:
    case FUSE_TMPFILE:
      return BytesOf(fuse_create_in{OpenFlags(), static_cast<uint32_t>(random_->Next()), 022, 0}) +
             Name();
    case FUSE_FLUSH:
      return BytesOf(fuse_flush_in{handle.handle, 0, 0, random_->Next()});
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      return Release(handle).body;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
      return BytesOf(fuse_fsync_in{handle.handle, static_cast<uint32_t>(random_->Below(4)), 0});
    case FUSE_SETXATTR:
      return SetXattr();
    case FUSE_GETXATTR:
      return BytesOf(fuse_getxattr_in{Size(), 0}) + XattrName();
    case FUSE_LISTXATTR:
      return BytesOf(fuse_getxattr_in{Size(), 0});
    case FUSE_REMOVEXATTR:
      return XattrName();
    case FUSE_IOCTL:
      return Ioctl(IsUntouched(request->node));
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW: {
      fuse_lk_in in{};
      in.fh = handle.handle;
      in.owner = random_->Next();
      in.lk = {Offset(), Offset(), static_cast<uint32_t>(random_->Below(4)), 1};
      in.lk_flags = static_cast<uint32_t>(random_->Below(2));
      return BytesOf(in);
    }
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_WRITE:
    case FUSE_FALLOCATE:
    case FUSE_LSEEK:
    case FUSE_COPY_FILE_RANGE:
      return DataBody(request, handle);
    case FUSE_INTERRUPT:
      return BytesOf(
          fuse_interrupt_in{random_->OneIn(2) ? random_->Next() : random_->Below(10'000)});
    case FUSE_READLINK:
    case FUSE_STATFS:
      return {};
    default:
      return Text(200);  // more than any of their structures has
  }
}

FuseRequest RequestMaker::Make() {
  FuseRequest request;
  const Handle handle = AnyHandle();
  for (;;) {
    request.opcode = AnyOpcode();
    // What goes by handle is mostly sent with the handle's node.
    const bool by_handle = request.opcode == FUSE_READ || request.opcode == FUSE_WRITE ||
                           request.opcode == FUSE_FALLOCATE || request.opcode == FUSE_LSEEK ||
                           request.opcode == FUSE_RELEASE || request.opcode == FUSE_FLUSH ||
                           request.opcode == FUSE_FSYNC || request.opcode == FUSE_COPY_FILE_RANGE;
    request.node = by_handle && !random_->OneIn(10) ? handle.node : AnyNode();
    if (!IsUntouched(request.node) || ChangesNothing(request.opcode)) break;
  }
  request.uid = request.gid = static_cast<uint32_t>(random_->OneIn(3) ? random_->Below(3) : 0);
  request.pid = static_cast<uint32_t>(random_->OneIn(2) ? ::getpid() : random_->Next());
  request.resent = random_->OneIn(20);
  request.body = BodyOf(&request, handle);
  return request;
}

FuseRequest RequestMaker::Release(const Handle& handle) {
  fuse_release_in in{};
  in.fh = handle.handle;
  in.flags = handle.flags;
  return {.opcode = FUSE_RELEASE, .node = handle.node, .body = BytesOf(in)};
}

void RequestMaker::LearnNode(uint64_t node) {
  if (node == 0) return;
  if (nodes_.size() < kMostNodes) {
    nodes_.push_back(node);
  } else {
    nodes_[random_->Below(nodes_.size())] = node;
  }
}

void RequestMaker::LearnOpen(const FuseRequest& request, uint64_t node, std::string_view reply) {
  const auto open = Load<fuse_open_out>(reply);
  const auto in = Load<fuse_open_in>(request.body);  // as fuse_create_in begins
  Handle handle{node, open.fh, in.flags, 0};
  // The backing id is where older headers have padding.
  if ((open.open_flags & kPassthroughFlag) != 0) handle.backing_id = static_cast<int>(open.padding);
  handles_.push_back(handle);
}

void RequestMaker::LearnRelease(const FuseRequest& request) {
  // It may have been forged: then the daemon takes one of these for closed, and nothing may be
  // written past it any more.
  for (Handle& one : handles_) {
    if (one.node == request.node) one.backing_id = 0;
  }
  const uint64_t released = Load<fuse_release_in>(request.body).fh;
  const auto handle = std::find_if(handles_.begin(), handles_.end(), [&](const Handle& one) {
    return one.node == request.node && one.handle == released;
  });
  if (handle == handles_.end()) return;
  released_.push_back(*handle);
  handles_.erase(handle);
  if (released_.size() > kMostHandles) released_.erase(released_.begin());
}

void RequestMaker::Learn(const FuseReply& reply) {
  const FuseRequest& request = reply.request;
  const std::string_view body = reply.body;
  if (reply.error != 0) return;
  switch (request.opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
      return LearnNode(Load<fuse_entry_out>(body).nodeid);
    case FUSE_CREATE:
    case FUSE_TMPFILE: {
      const uint64_t node = Load<fuse_entry_out>(body).nodeid;
      LearnNode(node);
      return LearnOpen(request, node, body.substr(sizeof(fuse_entry_out)));
    }
    case FUSE_OPEN:
      return LearnOpen(request, request.node, body);
    case FUSE_RELEASE:
      return LearnRelease(request);
    case FUSE_IOCTL:
      if (body.size() != sizeof(fuse_ioctl_out) + sizeof(px_ioc_token)) return;
      tokens_.emplace_back(body.substr(sizeof(fuse_ioctl_out)));
      if (tokens_.size() > kMostTokens) tokens_.erase(tokens_.begin());
      return;
    default:
      return;
  }
}

}  // namespace px::testing
