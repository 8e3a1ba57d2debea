#include "catalog/salvage.h"

#include <span>
#include <unordered_set>
#include <utility>

#include "catalog/database_image.h"
#include "catalog/page_table.h"
#include "catalog/row_reader.h"
#include "catalog/sqlite.h"

namespace px::catalog {
namespace {

using cow::NodeId;
using cow::VolumeId;

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

// Puts rows into the new table, many at a time.
class Copy {
 public:
  Copy(RowReader* reader, SqlitePageTable* to, const IsNode& is_node, Salvaged* salvaged)
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
    PX_TRY(reader_.ScanLost(/*free_ones_too=*/false, [&](const Row& row) { return AddNode(row); }));
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
    if (row.values.size() != 4 || !row.values[3].is_bytes() || row.rowid > UINT32_MAX) return {};
    const VolumeId id{static_cast<uint32_t>(row.rowid)};
    batch_.volumes.push_back(
        {id, NodeId{row.values[1].id()}, row.values[2].id(), std::string(row.values[3].text())});
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

  RowReader& reader_;
  SqlitePageTable& to_;
  const IsNode& is_node_;
  Salvaged& salvaged_;
  cow::PageBatch batch_;
  std::vector<std::vector<std::byte>> storage_;
  size_t rows_ = 0;
  std::unordered_set<uint64_t> nodes_;
};

// How the last user left it: by its row, of which there is one for a power cut, too.
Status ReadLastUse(RowReader* reader, Salvaged* salvaged, uint64_t* salts, uint64_t* frames) {
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
    RowReader reader(std::move(image));
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
  RowReader reader(std::move(image));
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
