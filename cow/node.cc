#include "cow/node.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/log.h"

namespace px::cow {
namespace {

int Compare(std::string_view a, std::string_view b) {
  const size_t common = std::min(a.size(), b.size());
  const int order = common == 0 ? 0 : std::memcmp(a.data(), b.data(), common);
  if (order != 0) return order;
  return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
}

// The shortest key k with left < k <= right.
std::string_view ShortestSeparator(std::string_view left, std::string_view right) {
  const size_t common = static_cast<size_t>(
      std::mismatch(left.begin(), left.end(), right.begin(), right.end()).second - right.begin());
  return right.substr(0, common + 1);
}

struct Item {
  std::string_view key, value;
  size_t room() const { return CellRoom(key.size(), value.size()); }
};

// How many items go to the left: the cut that makes the fuller side least full.
size_t MiddleCut(const std::vector<Item>& items) {
  size_t total = 0;
  for (const Item& item : items) total += item.room();
  size_t best = 1, best_worst = SIZE_MAX, left = 0;
  for (size_t cut = 1; cut < items.size(); ++cut) {
    left += items[cut - 1].room();
    const size_t worst = std::max(left, total - left);
    if (worst < best_worst) {
      best_worst = worst;
      best = cut;
    }
  }
  return best;
}

std::string SeparatorAt(const std::vector<Item>& items, size_t cut, bool leaf) {
  if (!leaf) return std::string(items[cut].key);
  return std::string(ShortestSeparator(items[cut - 1].key, items[cut].key));
}

// Empties the node and fills it with items[from, to).
void Refill(Node node, const std::vector<Item>& items, size_t from, size_t to) {
  const bool leaf = node.is_leaf();
  node.Init(node.id(), node.level());
  for (size_t i = from; i < to; ++i) {
    // The first separator of an internal node moves up to its parent.
    const bool first_of_internal = !leaf && i == from;
    PX_CHECK(node.Insert(i - from, first_of_internal ? std::string_view{} : items[i].key,
                         items[i].value));
  }
}

std::vector<Item> ItemsOf(NodeView node, size_t reserve) {
  std::vector<Item> items;
  items.reserve(reserve);
  for (size_t i = 0; i < node.count(); ++i) items.push_back({node.Key(i), node.Value(i)});
  return items;
}

uint64_t Checksum(const std::byte* bytes) {
  return XXH3_64bits(bytes + sizeof(uint64_t), kNodeSize - sizeof(uint64_t));
}

}  // namespace

size_t NodeView::LowerBound(std::string_view key, bool* found) const {
  size_t low = 0, high = count();
  *found = false;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const int order = Compare(Key(middle), key);
    if (order == 0) {
      *found = true;
      return middle;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

size_t NodeView::ChildIndex(std::string_view key) const {
  bool found = false;
  const size_t i = LowerBound(key, &found);
  return found || i == 0 ? i : i - 1;
}

void Node::Init(NodeId id, int level) {
  std::memset(mutable_, 0, kNodeSize);
  NodeHeader fresh;
  fresh.id = id.value;
  fresh.level = static_cast<uint8_t>(level);
  std::memcpy(mutable_, &fresh, sizeof fresh);
}

void Node::SetId(NodeId id) { mutable_header()->id = id.value; }

void Node::SetSlot(size_t i, uint16_t offset) {
  std::memcpy(chars() + sizeof(NodeHeader) + kSlotSize * i, &offset, sizeof offset);
}

void Node::Compact() {
  std::array<std::byte, kNodeSize> copy;
  std::memcpy(copy.data(), bytes(), kNodeSize);
  const NodeView old(copy.data());
  size_t heap = kNodeSize;
  for (size_t i = 0; i < old.count(); ++i) {
    const std::string_view key = old.Key(i), value = old.Value(i);
    const size_t size = kCellHeader + key.size() + value.size();
    heap -= size;
    std::memcpy(chars() + heap, key.data() - kCellHeader, size);
    SetSlot(i, static_cast<uint16_t>(heap));
  }
  mutable_header()->heap = static_cast<uint16_t>(heap);
  mutable_header()->dead = 0;
  const size_t slots_end = sizeof(NodeHeader) + kSlotSize * count();
  std::memset(chars() + slots_end, 0, heap - slots_end);
}

uint16_t Node::Allocate(size_t cell_size, size_t slots) {
  const size_t slots_end = sizeof(NodeHeader) + kSlotSize * slots;
  if (slots_end + cell_size > header()->heap) {
    if (slots_end + cell_size > size_t{header()->heap} + header()->dead) return 0;
    Compact();
  }
  mutable_header()->heap = static_cast<uint16_t>(header()->heap - cell_size);
  return header()->heap;
}

bool Node::Insert(size_t i, std::string_view key, std::string_view value) {
  const uint16_t offset = Allocate(kCellHeader + key.size() + value.size(), count() + 1);
  if (offset == 0) return false;
  char* slot = chars() + sizeof(NodeHeader) + kSlotSize * i;
  std::memmove(slot + kSlotSize, slot, kSlotSize * (count() - i));
  SetSlot(i, offset);
  ++mutable_header()->count;
  const uint16_t sizes[2] = {static_cast<uint16_t>(key.size()),
                             static_cast<uint16_t>(value.size())};
  char* cell = chars() + offset;
  std::memcpy(cell, sizes, sizeof sizes);
  if (!key.empty()) std::memcpy(cell + kCellHeader, key.data(), key.size());
  if (!value.empty()) std::memcpy(cell + kCellHeader + key.size(), value.data(), value.size());
  return true;
}

bool Node::ReplaceValue(size_t i, std::string_view value) {
  const std::string_view old_key = Key(i), old_value = Value(i);
  if (old_value.size() == value.size()) {
    if (!value.empty()) {
      std::memcpy(mutable_ + (old_value.data() - reinterpret_cast<const char*>(bytes())),
                  value.data(), value.size());
    }
    return true;
  }
  if (used() - old_value.size() + value.size() > kNodeRoom) return false;
  const std::string key(old_key);
  Erase(i);
  PX_CHECK(Insert(i, key, value));
  return true;
}

void Node::Erase(size_t i) {
  const size_t size = kCellHeader + Key(i).size() + Value(i).size();
  char* slot = chars() + sizeof(NodeHeader) + kSlotSize * i;
  const bool lowest = SlotAt(i) == header()->heap;
  std::memmove(slot, slot + kSlotSize, kSlotSize * (count() - i - 1));
  --mutable_header()->count;
  if (lowest) {
    mutable_header()->heap = static_cast<uint16_t>(header()->heap + size);
  } else {
    mutable_header()->dead = static_cast<uint16_t>(header()->dead + size);
  }
  if (count() == 0) {
    mutable_header()->heap = kNodeSize;
    mutable_header()->dead = 0;
  }
}

void Node::SetChild(size_t i, NodeId child) {
  const size_t offset =
      static_cast<size_t>(Value(i).data() - reinterpret_cast<const char*>(bytes()));
  std::memcpy(mutable_ + offset, &child.value, sizeof child.value);
}

void Node::UpdateChecksum() { mutable_header()->checksum = Checksum(mutable_); }

std::string SplitInsert(Node left, Node right, size_t i, std::string_view key,
                        std::string_view value, SplitAt where) {
  std::array<std::byte, kNodeSize> copy;
  std::memcpy(copy.data(), left.bytes(), kNodeSize);
  std::vector<Item> items = ItemsOf(NodeView(copy.data()), left.count() + 1);
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(i), Item{key, value});
  const bool at_end = where == SplitAt::kEnd && i + 1 == items.size();
  const size_t cut = at_end ? items.size() - 1 : MiddleCut(items);
  std::string separator = SeparatorAt(items, cut, left.is_leaf());
  Refill(left, items, 0, cut);
  Refill(right, items, cut, items.size());
  return separator;
}

bool MergeNodes(Node left, NodeView right, std::string_view separator) {
  // The separator comes down as the key of the right one's first child.
  const size_t extra = left.is_leaf() || right.count() == 0 ? 0 : separator.size();
  if (left.used() + right.used() + extra > kNodeRoom) return false;
  for (size_t i = 0; i < right.count(); ++i) {
    const bool first_of_internal = !left.is_leaf() && i == 0;
    PX_CHECK(
        left.Insert(left.count(), first_of_internal ? separator : right.Key(i), right.Value(i)));
  }
  return true;
}

std::string BalanceNodes(Node left, Node right, std::string_view separator, size_t max_separator) {
  std::array<std::byte, kNodeSize> left_copy, right_copy;
  std::memcpy(left_copy.data(), left.bytes(), kNodeSize);
  std::memcpy(right_copy.data(), right.bytes(), kNodeSize);
  std::vector<Item> items = ItemsOf(NodeView(left_copy.data()), left.count() + right.count());
  const size_t boundary = items.size();
  for (const Item& item : ItemsOf(NodeView(right_copy.data()), right.count()))
    items.push_back(item);
  if (items.size() < 2) return {};
  const std::string kept(separator);  // it may lie in a node that the caller changes next
  if (!left.is_leaf() && boundary < items.size()) items[boundary].key = kept;
  const size_t cut = MiddleCut(items);
  std::string result = SeparatorAt(items, cut, left.is_leaf());
  if (cut == boundary || result.size() > max_separator) return {};
  Refill(left, items, 0, cut);
  Refill(right, items, cut, items.size());
  return result;
}

namespace {

// The cells of a node whose header is sound: within the heap, apart from each other, of allowed
// sizes.
Status ValidateCells(NodeView node, const NodeHeader& header) {
  struct Extent {
    uint16_t begin, end;
  };
  std::array<Extent, kNodeRoom / (kSlotSize + kCellHeader)> extents;
  const char* bytes = reinterpret_cast<const char*>(node.bytes());
  size_t live = 0;
  for (size_t i = 0; i < header.count; ++i) {
    uint16_t offset, sizes[2];
    std::memcpy(&offset, bytes + sizeof header + kSlotSize * i, sizeof offset);
    if (offset < header.heap || offset + kCellHeader > kNodeSize) {
      return Fail(EUCLEAN, Name(node.id()) + ": a slot points outside the heap");
    }
    std::memcpy(sizes, bytes + offset, sizeof sizes);
    const bool value_ok = node.is_leaf() ? sizes[1] <= kMaxValue : sizes[1] == sizeof(uint64_t);
    const size_t end = offset + kCellHeader + sizes[0] + sizes[1];
    if (sizes[0] > kMaxKey || !value_ok || end > kNodeSize) {
      return Fail(EUCLEAN, Name(node.id()) + ": a cell of a wrong size");
    }
    extents[i] = {offset, static_cast<uint16_t>(end)};
    live += end - offset;
  }
  if (live + header.dead != kNodeSize - header.heap) {
    return Fail(EUCLEAN, Name(node.id()) + ": its cells do not add up");
  }
  const auto last = extents.begin() + header.count;
  std::sort(extents.begin(), last, [](Extent a, Extent b) { return a.begin < b.begin; });
  const auto overlap =
      std::adjacent_find(extents.begin(), last, [](Extent a, Extent b) { return a.end > b.begin; });
  if (overlap != last) return Fail(EUCLEAN, Name(node.id()) + ": cells overlap");
  return {};
}

}  // namespace

Status ValidateNode(std::span<const std::byte> bytes, NodeId id) {
  if (bytes.size() != kNodeSize) return Fail(EUCLEAN, Name(id) + ": wrong size");
  NodeHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.checksum != Checksum(bytes.data()))
    return Fail(EBADMSG, Name(id) + ": wrong checksum");
  if (header.id != id.value) {
    return Fail(EUCLEAN, Name(id) + ": its bytes are those of " + Name(NodeId{header.id}));
  }
  if (header.magic != kNodeMagic || header.level > kMaxLevel) {
    return Fail(EUCLEAN, Name(id) + ": not a node");
  }
  const bool internal = header.level > 0;
  constexpr size_t kMaxCount = kNodeRoom / (kSlotSize + kCellHeader);
  if (header.count > kMaxCount || header.heap > kNodeSize || header.dead > kNodeSize ||
      sizeof header + kSlotSize * header.count > header.heap || (internal && header.count == 0)) {
    return Fail(EUCLEAN, Name(id) + ": broken header");
  }
  const NodeView node(bytes.data());
  PX_TRY(ValidateCells(node, header));
  for (size_t i = 0; i < node.count(); ++i) {
    if (i > 0 && Compare(node.Key(i - 1), node.Key(i)) >= 0) {
      return Fail(EUCLEAN, Name(id) + ": keys out of order");
    }
    if (internal && !node.Child(i)) return Fail(EUCLEAN, Name(id) + ": a child without an id");
  }
  if (internal && !node.Key(0).empty())
    return Fail(EUCLEAN, Name(id) + ": first separator not empty");
  return {};
}

}  // namespace px::cow
