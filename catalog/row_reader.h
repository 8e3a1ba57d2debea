// RowReader: the rows of a damaged database, read past SQLite (sqlite.org/fileformat2.html,
// section 1.6): those of every sound page that a root leads to, and those on sound pages that no
// root leads to any more because a page between is damaged.
//
// Not thread safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "catalog/database_image.h"

namespace px::catalog {

struct Value {
  enum class Type : uint8_t { kNull, kInteger, kReal, kText, kBlob };
  Type type = Type::kNull;
  int64_t number = 0;                // an integer, or the bits of a double
  std::span<const std::byte> bytes;  // of text or a blob

  uint64_t id() const { return static_cast<uint64_t>(number); }
  double real() const { return std::bit_cast<double>(number); }
  bool is_bytes() const { return type == Type::kText || type == Type::kBlob; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

struct Row {
  uint64_t rowid = 0;  // 0 in an index, where the last value is the row's
  std::vector<Value> values;
};

class RowReader {
 public:
  explicit RowReader(DatabaseImage image) : image_(std::move(image)) {}

  const DatabaseImage& image() const { return image_; }

  using Visit = std::function<Status(const Row&)>;
  // Every row that the table's or index's root leads to on sound pages. The bytes of a row are
  // there during the call only. A row of which a page is damaged is not visited.
  Status Scan(uint32_t root, const Visit& visit) { return Walk(root, 0, visit); }
  // The rows of leaves of tables that no Scan before came to, and that are not free. None if it
  // cannot be known which pages are free, unless `free_ones_too`: what a free page holds is old.
  Status ScanLost(bool free_ones_too, const Visit& visit);

  // The pages that Scan came to and could not read. Each may have been one that leads to others.
  size_t unreadable() const { return unreadable_; }

 private:
  Status Walk(uint32_t number, int depth, const Visit& visit);
  Status VisitCells(const DatabaseImage::Page& page, uint32_t number, int depth,
                    const Visit& visit);
  Status VisitRow(std::span<const std::byte> cell, bool table, const Visit& visit);
  // Appends the `size` bytes with which a record goes on from page `number` on; false if one of the
  // pages cannot be read.
  Result<bool> Append(uint32_t number, uint64_t size, std::vector<std::byte>* record);

  DatabaseImage image_;
  std::unordered_set<uint32_t> visited_;
  size_t unreadable_ = 0;
};

}  // namespace px::catalog
