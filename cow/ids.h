// Strong types for the numbers of the store. None is ever reused in the life of a store.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace px::cow {

template <typename Tag, typename Rep>
struct Id {
  Rep value = 0;
  constexpr Id() = default;
  constexpr explicit Id(Rep v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
  // Zero names nothing.
  constexpr explicit operator bool() const { return value != 0; }
};

using NodeId = Id<struct NodeTag, uint64_t>;      // a node of a B+tree, a row of the page table
using ObjectId = Id<struct ObjectTag, uint64_t>;  // a data object, a file below objects/
using Ino = Id<struct InoTag, uint64_t>;          // an inode within its volume, 40 bits
// A volume, 23 bits. Volume 0 is the root volume and does exist, so operator bool is not for it.
using VolumeId = Id<struct VolumeTag, uint32_t>;

inline constexpr VolumeId kRootVolume{0};
inline constexpr Ino kRootIno{1};       // every volume's root directory
inline constexpr Ino kSnapshotsIno{2};  // the virtual directory .snapshots, in no tree
inline constexpr Ino kFirstIno{16};     // the first one given to a file
inline constexpr uint64_t kMaxIno = (uint64_t{1} << 40) - 1;
inline constexpr uint32_t kMaxVolume = (uint32_t{1} << 23) - 1;

}  // namespace px::cow

template <typename Tag, typename Rep>
struct std::hash<px::cow::Id<Tag, Rep>> {
  size_t operator()(const px::cow::Id<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
