#include "catalog/checked_vfs.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/log.h"

namespace px::catalog {
namespace {

constexpr size_t kSum = 8;
constexpr size_t kPayload = kDatabasePage - kSum;
// Of the database's header: how many bytes at the end of each page are not SQLite's.
constexpr size_t kReservedAt = 20;
// And the versions that a program must know to write and to read it. Of a database with checksums
// they are ones that SQLite has none of, in the file: it would write pages without, even who only
// reads, when he closes.
constexpr size_t kVersionsAt = 18;
constexpr size_t kVersionsEnd = 20;
constexpr std::byte kLogVersion{2};
constexpr std::byte kSummedVersion{3};

void Replace(std::span<std::byte> first, std::byte version, std::byte by) {
  if (first.size() < kVersionsEnd) return;
  for (size_t at = kVersionsAt; at < kVersionsEnd; ++at) {
    if (first[at] == version) first[at] = by;
  }
}

uint64_t SumOf(DatabasePage page, uint32_t number) {
  return XXH3_64bits_withSeed(page.data(), kPayload, number);
}

uint64_t StoredSum(DatabasePage page) {
  uint64_t sum = 0;
  std::memcpy(&sum, page.data() + kPayload, kSum);
  return sum;
}

// An sqlite3_file_control of our own; its argument is an int.
constexpr int kAskForSums = 0x70780001;

using Page = std::array<std::byte, kDatabasePage>;

bool IsPage(int size, int64_t offset) {
  return size == int{kDatabasePage} && offset % int64_t{kDatabasePage} == 0;
}
uint32_t NumberAt(int64_t offset) {
  return static_cast<uint32_t>(offset / int64_t{kDatabasePage}) + 1;
}

// --- Files ---

// SQLite gives the memory, as much as szOsFile says; the file of the VFS below lies behind it.
struct CheckedFile {
  sqlite3_file base;
  struct State {
    bool database = false;
    CheckedFile* of_log = nullptr;  // of a log: its database
    std::string path;
    std::optional<bool> sums;    // of a database; asked when first needed
    bool checkpointing = false;  // of a database: its log is being moved into it
    std::set<int64_t> told;      // numbers of what was found to be damaged
  };
  State* state;

  static CheckedFile* Of(sqlite3_file* file) { return reinterpret_cast<CheckedFile*>(file); }
  sqlite3_file* below() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  const sqlite3_io_methods* calls() { return below()->pMethods; }

  bool HasSums();
  // Once for each.
  void Tell(const char* what, int64_t number, const char* how);
  int Damaged(const char* what, int64_t number);
  int CheckPage(std::span<std::byte, kDatabasePage> page, int64_t offset);
  int CheckFrame(std::span<const std::byte> page, int64_t offset);
};

bool CheckedFile::HasSums() {
  if (!state->sums) {
    Page first;
    const int code = calls()->xRead(below(), first.data(), static_cast<int>(first.size()), 0);
    // Of an empty one it is not known yet.
    if (code != SQLITE_OK) return false;
    state->sums = catalog::HasSums(first);
  }
  return *state->sums;
}

void CheckedFile::Tell(const char* what, int64_t number, const char* how) {
  if (!state->told.insert(number).second) return;
  LogError("{}: {} {} is damaged: {}", state->path, what, number, how);
}

int CheckedFile::Damaged(const char* what, int64_t number) {
  Tell(what, number, "its checksum is another");
  return SQLITE_IOERR_DATA;
}

int CheckedFile::CheckPage(std::span<std::byte, kDatabasePage> page, int64_t offset) {
  const uint32_t number = NumberAt(offset);
  const PageState found = Correct(page, number);
  if (found == PageState::kDamaged) return Damaged("page", number);
  if (found == PageState::kCorrected) {
    Tell("page", number, "one bit, which is put right as it is read");
  }
  return SQLITE_OK;
}

// The page of the frame whose page begins at `offset` of the log.
int CheckedFile::CheckFrame(std::span<const std::byte> page, int64_t offset) {
  const auto begin = static_cast<uint64_t>(offset) - LogFrames::kFrameHeader;
  const uint64_t index = (begin - LogFrames::kHeader) / LogFrames::kFrame;
  LogFrames::Header log{};
  LogFrames::FrameHeader before{}, frame{};
  const auto read = [&](std::span<std::byte> bytes, uint64_t at) {
    return calls()->xRead(below(), bytes.data(), static_cast<int>(bytes.size()),
                          static_cast<sqlite3_int64>(at));
  };
  if (const int code = read(log, 0); code != SQLITE_OK) return code;
  if (const int code = read(frame, begin); code != SQLITE_OK) return code;
  if (index > 0) {
    if (const int code = read(before, begin - LogFrames::kFrame); code != SQLITE_OK) return code;
  }
  const bool sound = LogFrames::IsSound(log, index == 0 ? nullptr : &before, frame, page);
  return sound ? SQLITE_OK : Damaged("frame", static_cast<int64_t>(index) + 1);
}

int Close(sqlite3_file* file) {
  CheckedFile* checked = CheckedFile::Of(file);
  const std::unique_ptr<CheckedFile::State> state(checked->state);
  return checked->calls()->xClose(checked->below());
}

int Read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
  CheckedFile* checked = CheckedFile::Of(file);
  const int code = checked->calls()->xRead(checked->below(), out, size, offset);
  if (code != SQLITE_OK) return code;
  const std::span bytes(static_cast<std::byte*>(out), static_cast<size_t>(size));
  if (checked->state->database) {
    const bool page = IsPage(size, offset);
    // Another connection may have moved a VACUUM, which brought them, into the database.
    if (page && offset == 0) checked->state->sums = catalog::HasSums(bytes.first<kDatabasePage>());
    const int sound = page && checked->HasSums()
                          ? checked->CheckPage(bytes.first<kDatabasePage>(), offset)
                          : code;
    if (offset == 0) Replace(bytes, kSummedVersion, kLogVersion);
    return sound;
  }
  if (bytes.size() != kDatabasePage) return code;
  const CheckedFile* of_log = checked->state->of_log;
  const bool moved = of_log != nullptr && of_log->state->checkpointing;
  return moved ? checked->CheckFrame(bytes, offset) : code;
}

int Write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  CheckedFile* checked = CheckedFile::Of(file);
  const auto* methods = checked->calls();
  const bool page = checked->state->database && IsPage(size, offset);
  if (page && offset == 0) {
    checked->state->sums = static_cast<const std::byte*>(bytes)[kReservedAt] == std::byte{kSum};
  }
  if (!page || !checked->HasSums()) return methods->xWrite(checked->below(), bytes, size, offset);
  Page copy;
  std::memcpy(copy.data(), bytes, kPayload);
  if (offset == 0) Replace(copy, kLogVersion, kSummedVersion);
  const uint64_t sum = SumOf(copy, NumberAt(offset));
  std::memcpy(copy.data() + kPayload, &sum, kSum);
  return methods->xWrite(checked->below(), copy.data(), size, offset);
}

int FileControl(sqlite3_file* file, int what, void* argument) {
  CheckedFile* checked = CheckedFile::Of(file);
  if (what == kAskForSums) {
    const bool has = checked->HasSums();
    *static_cast<int*>(argument) = checked->state->sums && !has ? 1 : 0;  // else it is empty
    return SQLITE_OK;
  }
  if (what == SQLITE_FCNTL_CKPT_START) {
    checked->state->checkpointing = true;
    checked->state->sums.reset();
  } else if (what == SQLITE_FCNTL_CKPT_DONE) {
    checked->state->checkpointing = false;
  }
  return checked->calls()->xFileControl(checked->below(), what, argument);
}

// A method that the file below has as it is.
template <auto kMethod, typename... Args>
int Below(sqlite3_file* file, Args... args) {
  CheckedFile* checked = CheckedFile::Of(file);
  return (checked->calls()->*kMethod)(checked->below(), args...);
}
void Barrier(sqlite3_file* file) {
  CheckedFile* checked = CheckedFile::Of(file);
  checked->calls()->xShmBarrier(checked->below());
}

// Version 2: without xFetch, which would read past xRead.
constexpr sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = Close,
    .xRead = Read,
    .xWrite = Write,
    .xTruncate = Below<&sqlite3_io_methods::xTruncate, sqlite3_int64>,
    .xSync = Below<&sqlite3_io_methods::xSync, int>,
    .xFileSize = Below<&sqlite3_io_methods::xFileSize, sqlite3_int64*>,
    .xLock = Below<&sqlite3_io_methods::xLock, int>,
    .xUnlock = Below<&sqlite3_io_methods::xUnlock, int>,
    .xCheckReservedLock = Below<&sqlite3_io_methods::xCheckReservedLock, int*>,
    .xFileControl = FileControl,
    .xSectorSize = Below<&sqlite3_io_methods::xSectorSize>,
    .xDeviceCharacteristics = Below<&sqlite3_io_methods::xDeviceCharacteristics>,
    .xShmMap = Below<&sqlite3_io_methods::xShmMap, int, int, int, void volatile**>,
    .xShmLock = Below<&sqlite3_io_methods::xShmLock, int, int, int>,
    .xShmBarrier = Barrier,
    .xShmUnmap = Below<&sqlite3_io_methods::xShmUnmap, int>,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

// --- The VFS ---

// One that lies over another. SQLite's own methods look at no VFS but in xOpen, so the rest is as
// it was.
class CheckedVfs {
 public:
  enum class Log { kSqlites, kOwn };
  CheckedVfs(const char* name, const char* below, Log log) : log_(log) {
    below_ = sqlite3_vfs_find(below);
    if (below_ == nullptr) return;
    vfs_ = *below_;
    vfs_.pNext = nullptr;
    vfs_.zName = name;
    vfs_.szOsFile = below_->szOsFile + static_cast<int>(sizeof(CheckedFile));
    vfs_.pAppData = this;
    vfs_.xOpen = Open;
    vfs_.xDelete = Delete;
    vfs_.xAccess = Access;
    registered_ = sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK;
  }
  bool registered() const { return registered_; }

 private:
  static CheckedVfs* Of(sqlite3_vfs* vfs) { return static_cast<CheckedVfs*>(vfs->pAppData); }
  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* flags_out);
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync) {
    const CheckedVfs* self = Of(vfs);
    return self->below_->xDelete(self->below_, self->NameBelow(name).c_str(), sync);
  }
  static int Access(sqlite3_vfs* vfs, const char* name, int what, int* answer) {
    const CheckedVfs* self = Of(vfs);
    return self->below_->xAccess(self->below_, self->NameBelow(name).c_str(), what, answer);
  }
  std::string NameBelow(const char* name) const {
    std::string below = name;
    if (log_ == Log::kOwn && below.ends_with(kLogSuffix)) {
      below.replace(below.size() - kLogSuffix.size(), kLogSuffix.size(), kOwnLogSuffix);
    }
    return below;
  }

  static constexpr std::string_view kLogSuffix = "-wal";
  static constexpr std::string_view kOwnLogSuffix = "-log";

  const Log log_;
  sqlite3_vfs* below_ = nullptr;
  sqlite3_vfs vfs_{};
  bool registered_ = false;
};

int CheckedVfs::Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                     int* flags_out) {
  const CheckedVfs* self = Of(vfs);
  CheckedFile* checked = CheckedFile::Of(file);
  checked->base.pMethods = nullptr;
  auto state = std::make_unique<CheckedFile::State>();
  state->database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
  const char* name_below = name;  // of a database: SQLite asks it for more than its characters
  if ((flags & SQLITE_OPEN_WAL) != 0) {
    state->of_log = CheckedFile::Of(sqlite3_database_file_object(name));
    state->path = self->NameBelow(name);
    name_below = state->path.c_str();
  } else if (name != nullptr) {
    state->path = name;
  }
  const int code =
      self->below_->xOpen(self->below_, name_below, checked->below(), flags, flags_out);
  if (code != SQLITE_OK) return code;
  checked->state = state.release();
  checked->base.pMethods = &kMethods;
  return SQLITE_OK;
}

}  // namespace

Status RegisterCheckedVfs() {
  static CheckedVfs one_process(kCheckedOneProcessVfs, kOneProcessVfs, CheckedVfs::Log::kSqlites);
  static CheckedVfs several(kCheckedVfs, nullptr, CheckedVfs::Log::kOwn);
  if (!one_process.registered() || !several.registered()) return Fail(ENOMEM, "SQLite's VFS");
  return {};
}

Status ReserveSums(const Database& database) {
  int bytes = int{kSum};
  const int code =
      sqlite3_file_control(database.handle(), nullptr, SQLITE_FCNTL_RESERVE_BYTES, &bytes);
  if (code != SQLITE_OK) return Forward(SqliteError(database.handle(), code));
  return {};
}

PageState Correct(std::span<std::byte, kDatabasePage> page, uint32_t number) {
  const uint64_t stored = StoredSum(page);
  const uint64_t wrong = SumOf(page, number) ^ stored;
  if (wrong == 0) return PageState::kSound;
  if (std::has_single_bit(wrong)) {  // of the checksum itself
    const uint64_t right = stored ^ wrong;
    std::memcpy(page.data() + kPayload, &right, kSum);
    return PageState::kCorrected;
  }
  // One that was never written: no page that is has so little on it.
  if (std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; })) {
    return PageState::kDamaged;
  }
  // That another page than the one that was written has this checksum, too, is as likely as that
  // a damaged one is not found.
  for (std::byte& byte : page.first<kPayload>()) {
    for (int bit = 0; bit < 8; ++bit) {
      byte ^= std::byte{1} << bit;
      if (SumOf(page, number) == stored) return PageState::kCorrected;
      byte ^= std::byte{1} << bit;
    }
  }
  return PageState::kDamaged;
}

bool HasSums(DatabasePage first) {
  // Whatever of it is damaged, the rest says so.
  return first[kReservedAt] == std::byte{kSum} || first[kVersionsAt] == kSummedVersion ||
         first[kVersionsEnd - 1] == kSummedVersion;
}

Result<bool> IsWithoutSums(const Database& database) {
  // Not by a descriptor of our own: closing that would drop the locks of this process.
  int without = 0;
  const int code = sqlite3_file_control(database.handle(), nullptr, kAskForSums, &without);
  if (code != SQLITE_OK) return Forward(SqliteError(database.handle(), code));
  return without != 0;
}

}  // namespace px::catalog
