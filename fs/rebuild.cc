#include "fs/rebuild.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/io.h"
#include "catalog/page_table.h"
#include "catalog/salvage.h"
#include "cow/journaled_page_table.h"
#include "cow/node.h"
#include "cow/store.h"
#include "fs/fsck_volume.h"

namespace px::fs {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* kDatabase = "/meta.db";
constexpr const char* kLog = "/meta.db-wal";
constexpr const char* kJournals[] = {"/meta.log.0", "/meta.log.1"};
// The new tree, and the same once it is whole.
constexpr const char* kUnfinished = "/rebuilding";
constexpr const char* kFinished = "/rebuilt";

bool Exists(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

Status Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return FailErrno("rename " + from);
  return {};
}

Status SetAside(const std::string& path) {
  return Exists(path) ? Rename(path, path + ".damaged") : Status{};
}

Status Copy(const std::string& from, const std::string& to) {
  std::error_code error;
  stdfs::copy_file(from, to, error);
  if (error) return Fail(error.value(), "copy " + from);
  return {};
}

// Has the journal's changes made, and everything counted.
Status Count(const std::string& dir, const std::string& boot,
             const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(auto table, catalog::SqlitePageTable::Open(dir, /*create=*/false, boot));
  PX_ASSIGN(const auto journaled,
            cow::JournaledPageTable::Open(std::move(table), dir, boot, cow::Damage::kPassedOver));
  PX_ASSIGN(const auto root, journaled->LoadVolume(cow::kRootVolume));
  if (!root) return Fail(EUCLEAN, "nothing says any more where the root volume begins");
  PX_ASSIGN(const auto store, cow::Store::Open(journaled.get(), {}));
  PX_TRY(store->Check(/*repair=*/true, line, {.volume_of = VolumeNamedBy}));
  return store->Sync();
}

// All of the journal that is there is replayed where nothing says how much of it was taken over:
// its last changes win.
Status SetJournalCounter(const std::string& dir, const std::string& boot) {
  PX_ASSIGN(const uint64_t before, cow::Journal::Beginning(dir));
  PX_ASSIGN(const auto table, catalog::SqlitePageTable::Open(dir, /*create=*/false, boot));
  cow::PageBatch batch;
  batch.counters.emplace_back(cow::Counter::kJournal, before);
  return table->Commit(batch);
}

}  // namespace

Result<bool> CheckPages(const std::string& store, const std::string& boot, bool repair,
                        const std::function<void(const std::string&)>& line) {
  const auto found = catalog::FindDamage(store, boot, repair);
  if (!found && (found.error().code() == ENOTSUP || found.error().code() == ENOENT)) {
    return false;
  }
  PX_TRY(found);
  bool rebuild = found->log_damaged;
  if (found->log_damaged) line("meta.db-wal: frames are damaged, before whole transactions");
  for (const auto& [page, state] : found->damaged) {
    const bool one_bit = state == catalog::PageState::kCorrected;
    line(fmt::format("meta.db: page {} is damaged{}", page, one_bit ? ", in one bit" : ""));
    if (!one_bit) rebuild = true;
  }
  return rebuild;
}

Status Rebuild(const std::string& store, const std::string& boot,
               const std::function<void(const std::string&)>& line) {
  const std::string dir = store + kUnfinished;
  std::error_code error;
  stdfs::remove_all(dir, error);
  if (::mkdir(dir.c_str(), 0700) != 0) return FailErrno("create " + dir);
  const auto is_node = [](cow::NodeId id, std::span<const std::byte> bytes) {
    return cow::ValidateNode(bytes, id).has_value();
  };
  PX_ASSIGN(const catalog::Salvaged salvaged, catalog::Salvage(store, dir, boot, is_node));
  for (const char* journal : kJournals) {
    if (Exists(store + journal)) PX_TRY(Copy(store + journal, dir + journal));
  }
  if (!salvaged.has_journal_counter) PX_TRY(SetJournalCounter(dir, boot));
  PX_TRY(Count(dir, boot, line));
  PX_TRY(catalog::SetLastUse(dir, salvaged));
  for (const char* file : {kDatabase, kJournals[0], kJournals[1]}) PX_TRY(SyncPath(dir + file));
  PX_TRY(SyncPath(dir));
  PX_TRY(Rename(dir, store + kFinished));
  PX_TRY(SyncPath(store));
  line(fmt::format("meta.db: made anew from {} nodes; the damaged one is kept as meta.db.damaged",
                   salvaged.nodes));
  return FinishRebuild(store);
}

Status FinishRebuild(const std::string& store) {
  const std::string dir = store + kFinished;
  if (!Exists(dir)) return {};
  if (Exists(dir + kDatabase)) {
    // What is in the old log is not to come into the new database.
    PX_TRY(SetAside(store + kLog));
    for (const char* file : {kJournals[0], kJournals[1], kDatabase}) {
      if (!Exists(dir + file)) continue;
      PX_TRY(SetAside(store + file));
      PX_TRY(Rename(dir + file, store + file));
    }
  }
  PX_TRY(SyncPath(store));
  std::error_code error;
  stdfs::remove_all(dir, error);
  if (error) return Fail(error.value(), "remove " + dir);
  return SyncPath(store);
}

}  // namespace px::fs
