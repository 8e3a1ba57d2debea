// The items of a volume's tree: keys, and the values that have a fixed form.
//
// Key: ino (8 bytes, big endian) · type (1) · rest, so that all of an inode's items stand together
// and keys compare with memcmp. Integers in values are little endian.
//
//   type  rest                                    value
//   'D'   XXH3-64(name) (8, big endian) · name    DentryItem            in a directory
//   'E'   offset (8, big endian)                  ExtentItem            own ranges of a sparse file
//   'I'   -                                       InodeItem
//   'L'   chunk (2, big endian)                   symlink target, kMaxValue bytes a chunk
//   'O'   ino (8, big endian)                     empty                 under ino 0: unlinked,
//   still open 'V'   seq (8, big endian)                     VersionItem           an older content
//   of the file 'X'   XXH3-64(name) · name · 0 · chunk (2)    xattr; chunk 0 begins with the total
//   size (4)
//
// Only InodeItem and VersionItem name data objects (see ForEachObject).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "cow/ids.h"

namespace px::cow {

inline constexpr size_t kMaxKey = 288;
inline constexpr size_t kMaxValue = 960;

enum class ItemType : uint8_t {
  kDentry = 'D',
  kExtent = 'E',
  kInode = 'I',
  kSymlink = 'L',
  kOrphan = 'O',
  kVersion = 'V',
  kXattr = 'X',
};

struct Time {
  int64_t sec = 0;
  uint32_t nsec = 0;

  int64_t Nanoseconds() const { return ToNanoseconds({.tv_sec = sec, .tv_nsec = nsec}); }
} __attribute__((packed));

enum class ContentKind : uint8_t {
  kNone = 0,    // no data yet: reads as `size` zeros
  kWhole = 1,   // all of it is in `object`
  kSparse = 2,  // extent items say what is in `object`; the rest is `base`'s
};

// Bytes: 0 mode, 4 uid, 8 gid, 12 nlink, 16 rdev (8), 24 size (8), 32 atime (12), 44 mtime (12),
// 56 ctime (12), 68 btime (12), 80 parent (8), 88 object (8), 96 base (8), 104 entries (8), 112
// content, 113 zero (3), 116 flags (4), 120 blocks (8).
struct InodeItem {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  Time atime, mtime, ctime, btime;
  uint64_t parent = 0;  // a directory's parent; a file's last known one, a hint only
  uint64_t object = 0;
  uint64_t base = 0;
  uint64_t entries = 0;  // of a directory, without . and ..
  ContentKind content = ContentKind::kNone;
  uint8_t zero[3] = {};
  uint32_t flags = 0;   // kInode…
  uint64_t blocks = 0;  // of 512 bytes that a regular file's data takes, as of its last write-back
} __attribute__((packed));
static_assert(sizeof(InodeItem) == 128);

// Bits of InodeItem::flags that save a look-up where they are not set.
inline constexpr uint32_t kInodeHasXattrs = 1;
inline constexpr uint32_t kInodeHasAccessAcl = 2;
inline constexpr uint32_t kInodeHasDefaultAcl = 4;
inline constexpr uint32_t kInodeHasVersions = 8;
// With versions: the present content is complete all the same, and worth keeping when it is
// replaced.
inline constexpr uint32_t kInodeComplete = 16;

// Bytes: 0 ino (8), 8 volume (4), 12 type (DT_*), 13 zero (3). A child volume: type DT_DIR, volume
// not 0 and ino 1.
struct DentryItem {
  uint64_t ino = 0;
  uint32_t volume = 0;
  uint8_t type = 0;
  uint8_t zero[3] = {};
} __attribute__((packed));
static_assert(sizeof(DentryItem) == 16);

struct ExtentItem {
  uint64_t length = 0;
} __attribute__((packed));
static_assert(sizeof(ExtentItem) == 8);

// Bytes: 0 object, 8 base, 16 size, 24 mtime (12), 36 replaced (12), 48 content, 49 unclosed,
// 50 zero (2).
struct VersionItem {
  uint64_t object = 0;
  uint64_t base = 0;
  uint64_t size = 0;
  Time mtime, replaced;
  ContentKind content = ContentKind::kNone;
  uint8_t unclosed = 0;  // 1: its writer never closed it cleanly, and it may be torn
  uint8_t zero[2] = {};
} __attribute__((packed));
static_assert(sizeof(VersionItem) == 52);

template <typename T>
std::string_view AsBytes(const T& item) {
  return {reinterpret_cast<const char*>(&item), sizeof item};
}
// EUCLEAN if the value has another size.
template <typename T>
Result<T> FromBytes(std::string_view value) {
  if (value.size() != sizeof(T)) return Fail(EUCLEAN, "item of a wrong size");
  T item;
  std::memcpy(&item, value.data(), sizeof item);
  return item;
}

uint64_t HashName(std::string_view name);  // XXH3-64, no seed

std::string ItemKey(Ino ino, ItemType type, std::string_view rest = {});
std::string DentryKey(Ino dir, std::string_view name);
std::string DentryKeyFrom(Ino dir, uint64_t hash);  // before every dentry with that hash or above
std::string ExtentKey(Ino ino, uint64_t offset);
std::string SymlinkKey(Ino ino, uint16_t chunk);
std::string OrphanKey(Ino ino);
std::string VersionKey(Ino ino, uint64_t seq);
std::string XattrKey(Ino ino, std::string_view name, uint16_t chunk);
// The first key after all items of that type of the inode, and after all of the inode.
std::string ItemKeyEnd(Ino ino, ItemType type);
std::string InodeKeyEnd(Ino ino);

struct ParsedKey {
  Ino ino;
  ItemType type;
  std::string_view rest;
};
// EUCLEAN if it is too short.
Result<ParsedKey> ParseKey(std::string_view key);
inline uint64_t DentryHash(std::string_view rest);
inline std::string_view DentryName(std::string_view rest) { return rest.substr(8); }

// Calls `visit` with each object that the item holds a reference to (a sparse file holds two).
void ForEachObject(std::string_view key, std::string_view value,
                   const std::function<void(ObjectId)>& visit);

inline uint64_t LoadBigEndian64(const char* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return __builtin_bswap64(value);
}
inline uint64_t DentryHash(std::string_view rest) { return LoadBigEndian64(rest.data()); }

}  // namespace px::cow
