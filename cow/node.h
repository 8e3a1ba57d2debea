// The bytes of a B+tree node: views over them, edits in place, and the check of bytes read from
// disk.
//
// A node is kNodeSize bytes and is never parsed: header, slots (ascending by key), free room, and
// cells from `heap` to the end. Integers are little endian. docs/FORMAT.md has the same tables.
//
//   header  0 checksum (8)  XXH3-64 of bytes 8..4048
//           8 id (8)        its own
//          16 magic (2)     0x6e70
//          18 level (1)     0 is a leaf
//          19 zero (1)
//          20 count (2)     slots
//          22 heap (2)      offset of the lowest cell
//          24 dead (2)      bytes between heap and the end that belong to no cell
//          26 zero (6)
//   slot    cell offset (2)
//   cell    key size (2) · value size (2) · key · value
//
// In an internal node a value is a child's id (8), and the key is a separator: at most the first
// key of that child, more than the last key of the child before. The first separator is empty.
//
// Nothing here locks, allocates or knows of reference counts. A NodeView may be used by many
// threads while nobody edits. Only bytes that ValidateNode accepted, or that Node made, may be
// given to a view.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cow/ids.h"
#include "cow/items.h"
#include "cow/page_table.h"

namespace px::cow {

inline constexpr uint16_t kNodeMagic = 0x6e70;
// 13 children at least in a split node: 12 levels hold more items than there are ids.
inline constexpr int kMaxLevel = 15;

struct NodeHeader {
  uint64_t checksum = 0;
  uint64_t id = 0;
  uint16_t magic = kNodeMagic;
  uint8_t level = 0;
  uint8_t zero1 = 0;
  uint16_t count = 0;
  uint16_t heap = kNodeSize;
  uint16_t dead = 0;
  uint8_t zero2[6] = {};
} __attribute__((packed));
static_assert(sizeof(NodeHeader) == 32);

inline constexpr size_t kSlotSize = 2;
inline constexpr size_t kCellHeader = 4;
// What slots and cells may take together.
inline constexpr size_t kNodeRoom = kNodeSize - sizeof(NodeHeader);
// What an item takes of it.
inline constexpr size_t CellRoom(size_t key_size, size_t value_size) {
  return kSlotSize + kCellHeader + key_size + value_size;
}
// A full node and one more item of any size can always be split into two.
static_assert((kNodeRoom + 2 * CellRoom(kMaxKey, kMaxValue)) / 2 <= kNodeRoom);

// Below it a node is merged with its neighbour, or takes from it.
inline constexpr size_t kUnderfull = kNodeRoom / 3;

class NodeView {
 public:
  explicit NodeView(const std::byte* bytes) : bytes_(bytes) {}

  NodeId id() const { return NodeId{header()->id}; }
  int level() const { return header()->level; }
  bool is_leaf() const { return header()->level == 0; }
  size_t count() const { return header()->count; }
  // Bytes of slots and live cells: at most kNodeRoom.
  size_t used() const {
    return kSlotSize * header()->count + (kNodeSize - header()->heap - header()->dead);
  }

  std::string_view Key(size_t i) const {
    const char* cell = Cell(i);
    return {cell + kCellHeader, Load16(cell)};
  }
  std::string_view Value(size_t i) const {
    const char* cell = Cell(i);
    return {cell + kCellHeader + Load16(cell), Load16(cell + 2)};
  }
  NodeId Child(size_t i) const {
    uint64_t id;
    std::memcpy(&id, Value(i).data(), sizeof id);
    return NodeId{id};
  }

  // The first item whose key is not below `key`; count() if there is none.
  size_t LowerBound(std::string_view key, bool* found) const;
  // Of an internal node: the child whose range holds `key`.
  size_t ChildIndex(std::string_view key) const;

  const std::byte* bytes() const { return bytes_; }

 protected:
  const NodeHeader* header() const { return reinterpret_cast<const NodeHeader*>(bytes_); }
  uint16_t SlotAt(size_t i) const {
    return Load16(reinterpret_cast<const char*>(bytes_) + sizeof(NodeHeader) + kSlotSize * i);
  }
  const char* Cell(size_t i) const { return reinterpret_cast<const char*>(bytes_) + SlotAt(i); }
  static uint16_t Load16(const char* at) {
    uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }

 private:
  const std::byte* bytes_;
};

class Node : public NodeView {
 public:
  explicit Node(std::byte* bytes) : NodeView(bytes), mutable_(bytes) {}

  // Makes it an empty node.
  void Init(NodeId id, int level);
  void SetId(NodeId id);
  // Puts an item before item i. False, and nothing changed, if there is no room.
  bool Insert(size_t i, std::string_view key, std::string_view value);
  // False, and nothing changed, if there is no room.
  bool ReplaceValue(size_t i, std::string_view value);
  void Erase(size_t i);
  void SetChild(size_t i, NodeId child);
  void UpdateChecksum();

 private:
  NodeHeader* mutable_header() { return reinterpret_cast<NodeHeader*>(mutable_); }
  char* chars() { return reinterpret_cast<char*>(mutable_); }
  void SetSlot(size_t i, uint16_t offset);
  // Room for a cell in one piece below the heap, after compacting if that helps; 0 if there is
  // none.
  uint16_t Allocate(size_t cell_size, size_t slots);
  void Compact();

  std::byte* mutable_;
};

// Where a split cuts.
enum class SplitAt {
  kMiddle,
  kEnd,  // the left one stays full, the right one gets the new item only: for ascending inserts
};

// Inserts an item before item i of the full node `left`, moving the upper part to the empty
// `right`. Returns the separator for `right`. `right` must have been made by Init with the level of
// `left`.
std::string SplitInsert(Node left, Node right, size_t i, std::string_view key,
                        std::string_view value, SplitAt where);

// Moves all of `right` into `left`; `separator` is the parent's for `right`. False, and nothing
// changed, if it does not fit.
bool MergeNodes(Node left, NodeView right, std::string_view separator);

// Moves items between the two neighbours until both are about equally full. Returns the new
// separator for `right`, at most `max_separator` bytes long; empty, and nothing changed, if there
// is none like that.
std::string BalanceNodes(Node left, Node right, std::string_view separator, size_t max_separator);

// Checks bytes that came from disk: EBADMSG for the checksum, EUCLEAN for anything else that is not
// as a node with that id must be, so that a NodeView of it touches no byte outside. Not checked:
// what only a parent knows.
Status ValidateNode(std::span<const std::byte> bytes, NodeId id);

// How messages name them.
inline std::string Name(NodeId id) { return "node " + std::to_string(id.value); }
inline std::string Name(ObjectId id) { return "object " + std::to_string(id.value); }
inline std::string Name(VolumeId id) { return "volume " + std::to_string(id.value); }

}  // namespace px::cow
