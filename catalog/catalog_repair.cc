#include "catalog/catalog_repair.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "catalog/catalog_salvage.h"
#include "catalog/checked_vfs.h"
#include "catalog/database_image.h"
#include "catalog/sqlite.h"

namespace px::catalog {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* kUnfinished = ".repairing";
constexpr const char* kFinished = ".repaired";
constexpr const char* kDamaged = ".damaged";
constexpr const char* kLog = "-log";

// Every connection to a database in WAL mode holds a shared lock on these bytes of it
// (sqlite.org/c3ref/file_control.html, os.h: PENDING_BYTE and what follows).
constexpr off_t kSqliteLocks = 0x40000000;
constexpr off_t kSqliteLocksSize = 512;

// As long as it is held no process has the catalog open. EBUSY: one has. ENOENT.
Result<UniqueFd> LockOut(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return FailErrno(path);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kSqliteLocks;
  lock.l_len = kSqliteLocksSize;
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return file;
  if (errno == EAGAIN || errno == EACCES) return Fail(EBUSY, path + " is in use");
  return FailErrno("lock " + path);
}

Status CopyOver(const std::string& from, int to) {
  const UniqueFd file(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return FailErrno(from);
  std::vector<std::byte> piece(size_t{1} << 20);
  uint64_t at = 0;
  while (true) {
    const ssize_t got = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(at));
    if (got < 0) return FailErrno(from);
    if (got == 0) break;
    const auto bytes = std::span<const std::byte>(piece).first(static_cast<size_t>(got));
    PX_TRY(WriteAllAt(to, bytes, at, "write the repaired catalog"));
    at += bytes.size();
  }
  if (::ftruncate(to, static_cast<off_t>(at)) != 0 || ::fsync(to) != 0) return FailErrno(from);
  return {};
}

Status KeepCopy(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return {};
  std::error_code error;
  stdfs::copy_file(path, path + kDamaged, stdfs::copy_options::overwrite_existing, error);
  if (error) return Fail(error.value(), "copy " + path);
  return SyncPath(path + kDamaged);
}

Status Remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return FailErrno("remove " + path);
  return {};
}

std::string DirectoryOf(const std::string& path) {
  return stdfs::absolute(path).parent_path().string();
}

// The catalog is locked.
Status PutInPlace(const std::string& path, int catalog) {
  if (!IsRepairPending(path)) return {};  // somebody else has done it
  // What is in the old log is not to come into the new catalog.
  PX_TRY(Remove(path + kLog));
  PX_TRY(SyncPath(DirectoryOf(path)));
  PX_TRY(CopyOver(path + kFinished, catalog));
  PX_TRY(Remove(path + kFinished));
  return SyncPath(DirectoryOf(path));
}

Status Repair(const std::string& path, DatabaseImage image, int catalog,
              const CatalogListener& listener) {
  const std::string unfinished = path + kUnfinished;
  for (const char* suffix : {"", kLog, "-shm"}) PX_TRY(Remove(unfinished + suffix));
  PX_ASSIGN(const CatalogSalvage salvaged,
            SalvageCatalog(std::move(image), unfinished, listener.note));
  // Its last connection has emptied and removed its log.
  PX_TRY(Remove(unfinished + "-shm"));
  for (const std::string& old : {path, path + kLog}) PX_TRY(KeepCopy(old));
  PX_TRY(SyncPath(unfinished));
  if (::rename(unfinished.c_str(), (path + kFinished).c_str()) != 0) return FailErrno(unfinished);
  PX_TRY(SyncPath(DirectoryOf(path)));
  listener.note(
      fmt::format("catalog.db: made anew from {} rows; {} were put together from indexes, {} were "
                  "about what is lost; the damaged one is kept as catalog.db.damaged",
                  salvaged.rows, salvaged.put_together, salvaged.without_subject));
  return PutInPlace(path, catalog);
}

}  // namespace

bool IsRepairPending(const std::string& path) {
  return ::access((path + kFinished).c_str(), F_OK) == 0;
}

Status FinishRepair(const std::string& path) {
  PX_ASSIGN(const UniqueFd catalog, LockOut(path));
  return PutInPlace(path, catalog.get());
}

Status CheckCatalog(const std::string& path, bool repair, const CatalogListener& listener) {
  const auto catalog = LockOut(path);
  if (!catalog && catalog.error().code() == ENOENT) return {};
  if (!catalog) return Forward(catalog.error());
  PX_TRY(PutInPlace(path, catalog->get()));
  auto image = DatabaseImage::Open(path, path + kLog);
  if (!image && image.error().code() == ENOTSUP) return {};
  if (!image) return Forward(image.error());
  bool rebuild = image->log().hidden > 0;
  if (rebuild) listener.finding("catalog.db-log: frames are damaged, before whole transactions");
  std::vector<uint32_t> wrong_bits;
  PX_TRY(image->FindDamaged(1, UINT32_MAX - 1, [&](uint32_t page, PageState state) {
    const bool one_bit = state == PageState::kCorrected;
    listener.finding(
        fmt::format("catalog.db: page {} is damaged{}", page, one_bit ? ", in one bit" : ""));
    if (one_bit) wrong_bits.push_back(page);
    rebuild |= !one_bit;
  }));
  if (!repair) return {};
  if (rebuild) return Repair(path, std::move(*image), catalog->get(), listener);
  for (const uint32_t page : wrong_bits) PX_TRY(PutRight(path, page));
  return {};
}

Status VerifyCatalog(const std::string& path) {
  constexpr int kBusyTimeoutMs = 1000;
  const auto database = Database::Open(path, SQLITE_OPEN_READWRITE, kBusyTimeoutMs, kCheckedVfs);
  if (!database && database.error().code() == ENOENT) return {};
  if (!database) return Forward(database.error());
  PX_ASSIGN(Statement check, database->Prepare("PRAGMA quick_check(1)"));
  PX_ASSIGN(const bool row, check.Step());
  if (!row || check.Text(0) == "ok") return {};
  const std::string_view text = check.Text(0);  // a headline, and what is wrong
  return Fail(EUCLEAN, fmt::format("{}: {}", path, text.substr(text.rfind('\n') + 1)));
}

}  // namespace px::catalog
