#include "catalog/salvage.h"

#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "catalog/database_image.h"
#include "catalog/page_table.h"
#include "catalog/sqlite.h"

namespace px::catalog {
namespace {

using cow::NodeId;
using cow::VolumeId;

constexpr size_t kUsable = kDatabasePage - 8;  // of a page: behind it is the checksum
constexpr size_t kDatabaseHeader = 100;
constexpr int kMaxDepth = 20;

// The tables' roots: they were made in that order, and a VACUUM makes them in that order again.
enum Root : uint32_t {
  kPageRoot = 2,
  kNodeRefsRoot,
  kObjectRefsRoot,
  kVolumeRoot,
  kReclaimRoot,
  kCounterRoot,
  kSyncPointRoot,
  kVolumeCopyRoot,
};

enum class PageType : uint8_t {
  kIndexInner = 2,
  kTableInner = 5,
  kIndexLeaf = 10,
  kTableLeaf = 13,
};

// A column's value: an integer (NULL counts as 0), or bytes.
struct Value {
  int64_t number = 0;
  std::span<const std::byte> bytes;
  bool is_bytes = false;

  uint64_t id() const { return static_cast<uint64_t>(number); }
  std::string text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

struct Row {
  uint64_t rowid = 0;
  std::vector<Value> values;
};

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

int64_t SignedBigEndian(std::span<const std::byte> bytes) {
  uint64_t value = !bytes.empty() && (bytes[0] & std::byte{0x80}) != std::byte{0} ? UINT64_MAX : 0;
  for (const std::byte byte : bytes) value = value << 8 | static_cast<uint64_t>(byte);
  return static_cast<int64_t>(value);
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
    const auto body = bodies.Bytes(is_bytes ? (*type - 12) / 2 : *type < 10 ? kSizes[*type] : 0);
    if (!body) return std::nullopt;
    Value value{0, *body, is_bytes};
    if (!is_bytes) value.number = *type == 9 ? 1 : SignedBigEndian(*body);
    values.push_back(value);
  }
  return values;
}

class Reader {
 public:
  explicit Reader(DatabaseImage image) : image_(std::move(image)) {}

  const DatabaseImage& image() const { return image_; }

  using Visit = std::function<Status(const Row&)>;
  // Every row that the table's or index's root leads to on sound pages. The bytes of a row are
  // there during the call only.
  Status Scan(uint32_t root, const Visit& visit) { return Walk(root, 0, visit); }
  // The rows of leaves of tables that no Scan before came to, and that are not free.
  Status ScanLost(const Visit& visit);

 private:
  Status Walk(uint32_t number, int depth, const Visit& visit);
  Status VisitCells(const DatabaseImage::Page& page, uint32_t number, int depth,
                    const Visit& visit);
  Status VisitRow(Cursor cell, bool table, const Visit& visit);
  // The free pages join the visited ones; false if they cannot all be read.
  Result<bool> VisitFreePages();

  DatabaseImage image_;
  std::unordered_set<uint32_t> visited_;
};

uint16_t BigEndian16(const std::byte* at) {
  return static_cast<uint16_t>(static_cast<uint16_t>(at[0]) << 8 | static_cast<uint16_t>(at[1]));
}

Status Reader::Walk(uint32_t number, int depth, const Visit& visit) {
  if (depth > kMaxDepth || number == 0 || number > image_.pages()) return {};
  if (!visited_.insert(number).second) return {};
  DatabaseImage::Page page;
  PX_ASSIGN(const PageState state, image_.Load(number, &page));
  return state != PageState::kDamaged ? VisitCells(page, number, depth, visit) : Status{};
}

Status Reader::VisitCells(const DatabaseImage::Page& page, uint32_t number, int depth,
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
    Cursor cell(std::span<const std::byte>(page).first(kUsable).subspan(at));
    if (inner) {
      const auto child = cell.Bytes(4);
      if (!child) continue;
      PX_TRY(Walk(BigEndian32(child->data()), depth + 1, visit));
      if (table) continue;
    }
    PX_TRY(VisitRow(cell, table, visit));
  }
  return inner ? Walk(BigEndian32(page.data() + header + 8), depth + 1, visit) : Status{};
}

// No row is so large that a part of it is on other pages.
Status Reader::VisitRow(Cursor cell, bool table, const Visit& visit) {
  const auto size = cell.Varint();
  const auto rowid = table ? cell.Varint() : std::optional<uint64_t>(0);
  if (!size || !rowid) return {};
  const auto record = cell.Bytes(*size);
  if (!record) return {};
  auto values = ParseRecord(*record);
  return values ? visit({*rowid, std::move(*values)}) : Status{};
}

Result<bool> Reader::VisitFreePages() {
  DatabaseImage::Page page;
  PX_ASSIGN(PageState state, image_.Load(1, &page));
  constexpr size_t kFirstTrunkAt = 32;
  uint32_t trunk = state != PageState::kDamaged ? BigEndian32(page.data() + kFirstTrunkAt) : 0;
  while (state != PageState::kDamaged && trunk != 0 && visited_.insert(trunk).second) {
    PX_ASSIGN(state, image_.Load(trunk, &page));
    const size_t leaves = BigEndian32(page.data() + 4);
    for (size_t i = 0; i < leaves && 8 + 4 * i + 4 <= kUsable; ++i) {
      visited_.insert(BigEndian32(page.data() + 8 + 4 * i));
    }
    trunk = BigEndian32(page.data());
  }
  return state != PageState::kDamaged;
}

Status Reader::ScanLost(const Visit& visit) {
  visited_.insert(1);
  // What a free page holds is old.
  PX_ASSIGN(const bool known, VisitFreePages());
  if (!known) return {};
  DatabaseImage::Page page;
  for (uint32_t number = 1; number <= image_.pages(); ++number) {
    if (visited_.contains(number)) continue;
    PX_ASSIGN(const PageState state, image_.Load(number, &page));
    if (state == PageState::kDamaged || static_cast<PageType>(page[0]) != PageType::kTableLeaf)
      continue;
    PX_TRY(VisitCells(page, number, 0, visit));
  }
  return {};
}

// Puts rows into the new table, many at a time.
class Copy {
 public:
  Copy(Reader* reader, SqlitePageTable* to, const IsNode& is_node, Salvaged* salvaged)
      : reader_(*reader), to_(*to), is_node_(is_node), salvaged_(*salvaged) {}

  Status Run() {
    PX_TRY(reader_.Scan(kPageRoot, [&](const Row& row) { return AddNode(row); }));
    PX_TRY(reader_.Scan(kNodeRefsRoot,
                        [&](const Row& row) { return AddCount(row, &batch_.node_refs); }));
    PX_TRY(reader_.Scan(kObjectRefsRoot,
                        [&](const Row& row) { return AddCount(row, &batch_.object_refs); }));
    for (const Root root : {kVolumeCopyRoot, kVolumeRoot}) {
      PX_TRY(reader_.Scan(root, [&](const Row& row) { return AddVolume(row); }));
    }
    PX_TRY(reader_.Scan(kReclaimRoot, [&](const Row& row) { return AddQueued(row); }));
    PX_TRY(reader_.Scan(kCounterRoot, [&](const Row& row) { return AddCounter(row); }));
    PX_TRY(reader_.Scan(kSyncPointRoot, [](const Row&) { return Status{}; }));
    PX_TRY(reader_.ScanLost([&](const Row& row) { return AddNode(row); }));
    return Flush();
  }

 private:
  Status AddNode(const Row& row) {
    const NodeId id{row.rowid};
    if (row.values.size() != 2 || row.values[1].bytes.size() != cow::kNodeSize) return {};
    if (!is_node_(id, row.values[1].bytes)) return {};
    if (!nodes_.insert(id.value).second) return {};
    ++salvaged_.nodes;
    storage_.emplace_back(row.values[1].bytes.begin(), row.values[1].bytes.end());
    batch_.pages.push_back({id, storage_.back()});
    return Added();
  }

  template <typename IdType>
  Status AddCount(const Row& row, std::vector<cow::PageBatch::Count<IdType>>* counts) {
    if (row.values.size() != 2) return {};
    counts->push_back({IdType{row.rowid}, row.values[1].id()});
    return Added();
  }

  Status AddVolume(const Row& row) {
    if (row.values.size() != 4 || !row.values[3].is_bytes || row.rowid > UINT32_MAX) return {};
    const VolumeId id{static_cast<uint32_t>(row.rowid)};
    batch_.volumes.push_back(
        {id, NodeId{row.values[1].id()}, row.values[2].id(), row.values[3].text()});
    return Added();
  }

  Status AddQueued(const Row& row) {
    if (row.values.size() != 3) return {};
    const auto kind = static_cast<cow::ReclaimRow::Kind>(row.values[0].number);
    batch_.queued.push_back({row.values[1].id(), kind, row.values[2].id()});
    return Added();
  }

  Status AddCounter(const Row& row) {
    if (row.values.size() != 2) return {};
    const auto name = static_cast<cow::Counter>(row.rowid);
    if (name == cow::Counter::kJournal) salvaged_.has_journal_counter = true;
    batch_.counters.emplace_back(name, row.values[1].id());
    return Added();
  }

  Status Added() { return ++rows_ < kRows ? Status{} : Flush(); }

  Status Flush() {
    rows_ = 0;
    const cow::PageBatch batch = std::exchange(batch_, {});
    PX_TRY(to_.Commit(batch));
    storage_.clear();
    return to_.WalBytes() < kMostLog ? Status{} : to_.Checkpoint();
  }

  static constexpr size_t kRows = 1000;
  static constexpr uint64_t kMostLog = uint64_t{64} << 20;

  Reader& reader_;
  SqlitePageTable& to_;
  const IsNode& is_node_;
  Salvaged& salvaged_;
  cow::PageBatch batch_;
  std::vector<std::vector<std::byte>> storage_;
  size_t rows_ = 0;
  std::unordered_set<uint64_t> nodes_;
};

// How the last user left it: by its row, of which there is one for a power cut, too.
Status ReadLastUse(Reader* reader, Salvaged* salvaged, uint64_t* salts, uint64_t* frames) {
  return reader->Scan(kSyncPointRoot, [&](const Row& row) -> Status {
    if (row.values.size() != 4) return {};
    if (row.rowid == 2) salvaged->power_cut = true;
    if (row.rowid != 1) return {};
    salvaged->boot = row.values[1].text();
    *salts = row.values[2].id();
    *frames = row.values[3].id();
    return {};
  });
}

// The image as it counts: after a power cut no more of the log than was flushed.
Result<DatabaseImage> OpenImage(const std::string& dir, const std::string& boot,
                                Salvaged* salvaged) {
  const std::string path = dir + "/meta.db", log = dir + "/meta.db-wal";
  uint64_t salts = 0, frames = 0;
  {
    PX_ASSIGN(DatabaseImage image, DatabaseImage::Open(path, log));
    Reader reader(std::move(image));
    PX_TRY(ReadLastUse(&reader, salvaged, &salts, &frames));
    if (salts != reader.image().log().salts) frames = 0;
  }
  const bool cut = !salvaged->boot.empty() && salvaged->boot != boot;
  PX_ASSIGN(DatabaseImage image, DatabaseImage::Open(path, log, cut ? frames : UINT64_MAX));
  // After a power cut nobody can say.
  salvaged->log_damaged = !cut && image.log().damaged > 0;
  PX_TRY(image.FindDamaged(1, UINT32_MAX - 1, [&](uint32_t page, PageState state) {
    salvaged->damaged.emplace_back(page, state);
  }));
  return image;
}

}  // namespace

Result<Salvaged> FindDamage(const std::string& dir, const std::string& boot, bool put_right) {
  Salvaged salvaged;
  PX_TRY(OpenImage(dir, boot, &salvaged));
  for (const auto& [page, state] : salvaged.damaged) {
    if (put_right && state == PageState::kCorrected) PX_TRY(PutRight(dir + "/meta.db", page));
  }
  return salvaged;
}

Result<Salvaged> Salvage(const std::string& from, const std::string& to, const std::string& boot,
                         const IsNode& is_node) {
  Salvaged salvaged;
  PX_ASSIGN(DatabaseImage image, OpenImage(from, boot, &salvaged));
  Reader reader(std::move(image));
  PX_ASSIGN(const auto table, SqlitePageTable::Open(to, /*create=*/true, boot));
  PX_TRY(Copy(&reader, table.get(), is_node, &salvaged).Run());
  return salvaged;
}

Status SetLastUse(const std::string& dir, const Salvaged& as) {
  PX_ASSIGN(const Database database, Database::Open(dir + "/meta.db", SQLITE_OPEN_READWRITE,
                                                    /*busy_timeout_ms=*/0, kCheckedOneProcessVfs));
  PX_ASSIGN(Statement put, database.Prepare("REPLACE INTO sync_point VALUES(?, ?, 0, 0)"));
  PX_TRY(put.Bind(1, 1).BindText(2, as.boot).Run());
  if (as.power_cut) PX_TRY(put.Bind(1, 2).BindText(2, "power cut").Run());
  return {};
}

}  // namespace px::catalog
