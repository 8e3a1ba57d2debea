#include "catalog/row_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace px::catalog {
namespace {

constexpr size_t kUsable = kDatabasePage - 8;  // of a page: behind it is the checksum
constexpr size_t kDatabaseHeader = 100;
constexpr int kMaxDepth = 20;
constexpr size_t kOverflowPart = kUsable - 4;        // of a record, in a page that it goes on in
constexpr uint64_t kMostRecord = uint64_t{1} << 30;  // SQLite's own limit is about that

enum class PageType : uint8_t {
  kIndexInner = 2,
  kTableInner = 5,
  kIndexLeaf = 10,
  kTableLeaf = 13,
};

uint16_t BigEndian16(const std::byte* at) {
  return static_cast<uint16_t>(static_cast<uint16_t>(at[0]) << 8 | static_cast<uint16_t>(at[1]));
}

int64_t SignedBigEndian(std::span<const std::byte> bytes) {
  uint64_t value = !bytes.empty() && (bytes[0] & std::byte{0x80}) != std::byte{0} ? UINT64_MAX : 0;
  for (const std::byte byte : bytes) value = value << 8 | static_cast<uint64_t>(byte);
  return static_cast<int64_t>(value);
}

// How much of a record of that size is in its cell.
size_t LocalSize(uint64_t size, bool table) {
  constexpr size_t kLeast = (kUsable - 12) * 32 / 255 - 23;
  const size_t most = table ? kUsable - 35 : (kUsable - 12) * 64 / 255 - 23;
  if (size <= most) return size;
  const size_t fitting = kLeast + (size - kLeast) % kOverflowPart;
  return fitting <= most ? fitting : kLeast;
}

// Reads on from a place in a page; past its end it gives nothing any more.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : left_(bytes) {}

  std::optional<uint64_t> Varint() {
    uint64_t value = 0;
    for (int i = 0; i < 9; ++i) {
      const auto byte = Bytes(1);
      if (!byte) return std::nullopt;
      const auto bits = static_cast<uint64_t>((*byte)[0]);
      if (i == 8) return value << 8 | bits;
      value = value << 7 | (bits & 0x7f);
      if (bits < 0x80) break;
    }
    return value;
  }
  std::optional<std::span<const std::byte>> Bytes(uint64_t size) {
    if (size > left_.size()) return std::nullopt;
    const auto bytes = left_.first(size);
    left_ = left_.subspan(size);
    return bytes;
  }
  bool done() const { return left_.empty(); }

 private:
  std::span<const std::byte> left_;
};

Value::Type TypeOf(uint64_t serial_type) {
  if (serial_type == 0) return Value::Type::kNull;
  if (serial_type == 7) return Value::Type::kReal;
  if (serial_type < 12) return Value::Type::kInteger;
  return serial_type % 2 == 0 ? Value::Type::kBlob : Value::Type::kText;
}

// The columns of a record; nothing if it is not one.
std::optional<std::vector<Value>> ParseRecord(std::span<const std::byte> record) {
  Cursor whole(record);
  const auto header_size = whole.Varint();
  if (!header_size || *header_size > record.size()) return std::nullopt;
  Cursor types(record.first(*header_size));
  Cursor bodies(record.subspan(*header_size));
  std::vector<Value> values;
  for (types.Varint(); !types.done();) {
    const auto type = types.Varint();
    if (!type) return std::nullopt;
    constexpr uint64_t kSizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    const bool is_bytes = *type >= 12;
    if (*type == 10 || *type == 11) return std::nullopt;
    const auto body = bodies.Bytes(is_bytes ? (*type - 12) / 2 : *type < 10 ? kSizes[*type] : 0);
    if (!body) return std::nullopt;
    Value value{TypeOf(*type), 0, *body};
    if (!is_bytes) value.number = *type == 9 ? 1 : SignedBigEndian(*body);
    values.push_back(value);
  }
  return values;
}

}  // namespace

Status RowReader::Walk(uint32_t number, int depth, const Visit& visit) {
  if (depth > kMaxDepth || number == 0 || number > image_.pages()) return {};
  if (!visited_.insert(number).second) return {};
  DatabaseImage::Page page;
  PX_ASSIGN(const PageState state, image_.Load(number, &page));
  if (state != PageState::kDamaged) return VisitCells(page, number, depth, visit);
  ++unreadable_;
  return {};
}

Status RowReader::VisitCells(const DatabaseImage::Page& page, uint32_t number, int depth,
                             const Visit& visit) {
  const size_t header = number == 1 ? kDatabaseHeader : 0;
  const auto type = static_cast<PageType>(page[header]);
  const bool inner = type == PageType::kIndexInner || type == PageType::kTableInner;
  const bool table = type == PageType::kTableInner || type == PageType::kTableLeaf;
  if (!inner && type != PageType::kIndexLeaf && type != PageType::kTableLeaf) return {};
  const size_t cells = BigEndian16(page.data() + header + 3);
  const size_t slots = header + (inner ? 12 : 8);
  for (size_t i = 0; i < cells && slots + 2 * i + 2 <= kUsable; ++i) {
    const size_t at = BigEndian16(page.data() + slots + 2 * i);
    if (at >= kUsable) continue;
    auto cell = std::span<const std::byte>(page).first(kUsable).subspan(at);
    if (inner) {
      if (cell.size() < 4) continue;
      PX_TRY(Walk(BigEndian32(cell.data()), depth + 1, visit));
      if (table) continue;
      cell = cell.subspan(4);
    }
    PX_TRY(VisitRow(cell, table, visit));
  }
  return inner ? Walk(BigEndian32(page.data() + header + 8), depth + 1, visit) : Status{};
}

Status RowReader::VisitRow(std::span<const std::byte> cell, bool table, const Visit& visit) {
  Cursor cursor(cell);
  const auto size = cursor.Varint();
  const auto rowid = table ? cursor.Varint() : std::optional<uint64_t>(0);
  if (!size || !rowid || *size > kMostRecord) return {};
  const size_t local = LocalSize(*size, table);
  auto record = cursor.Bytes(local);
  if (!record) return {};
  std::vector<std::byte> whole;
  if (local < *size) {
    const auto next = cursor.Bytes(4);
    if (!next) return {};
    whole.assign(record->begin(), record->end());
    PX_ASSIGN(const bool complete, Append(BigEndian32(next->data()), *size - local, &whole));
    if (!complete) return {};
    record = whole;
  }
  auto values = ParseRecord(*record);
  return values ? visit({*rowid, std::move(*values)}) : Status{};
}

Result<bool> RowReader::Append(uint32_t number, uint64_t size, std::vector<std::byte>* record) {
  DatabaseImage::Page page;
  while (size > 0) {
    if (number == 0 || number > image_.pages()) return false;
    visited_.insert(number);
    PX_ASSIGN(const PageState state, image_.Load(number, &page));
    if (state == PageState::kDamaged) return false;
    const auto part = std::span<const std::byte>(page).subspan(4, std::min(size, kOverflowPart));
    record->insert(record->end(), part.begin(), part.end());
    size -= part.size();
    number = BigEndian32(page.data());
  }
  return true;
}

Status RowReader::ScanLost(bool free_ones_too, const Visit& visit) {
  visited_.insert(1);
  PX_ASSIGN(const auto free, image_.FreePages());
  if (!free && !free_ones_too) return {};
  DatabaseImage::Page page;
  for (uint32_t number = 1; number <= image_.pages(); ++number) {
    if (visited_.contains(number) || (free && free->contains(number))) continue;
    PX_ASSIGN(const PageState state, image_.Load(number, &page));
    if (state == PageState::kDamaged || static_cast<PageType>(page[0]) != PageType::kTableLeaf)
      continue;
    PX_TRY(VisitCells(page, number, 0, visit));
  }
  return {};
}

}  // namespace px::catalog
