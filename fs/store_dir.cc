#include "fs/store_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/io.h"
#include "base/log.h"
#include "catalog/catalog_repair.h"
#include "catalog/page_table.h"
#include "catalog/seal_table.h"
#include "cow/journaled_page_table.h"
#include "fs/mount_table.h"
#include "fs/rebuild.h"

namespace px::fs {
namespace {

constexpr long kOverlayMagic = 0x794c7630;
constexpr uint32_t kPagesAtOnce = 4096;
constexpr uint64_t kLeastCheckpointBytes = uint64_t{2} << 20;
constexpr uint64_t kMostCheckpointBytes = uint64_t{16} << 20;
constexpr std::chrono::seconds kClosing{5};  // for the daemon of a mount that is gone
constexpr std::chrono::milliseconds kLockAgain{10};

std::string ReadAll(int fd) {
  std::array<char, 512> buffer{};
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  std::string text(buffer.data(), got > 0 ? static_cast<size_t>(got) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool IsOurs(const std::string& name) {
  for (const char* known : {"format",
                            "format.tmp",
                            "lock",
                            "meta.db",
                            "meta.db-wal",
                            "meta.db-shm",
                            "meta.log.0",
                            "meta.log.1",
                            "meta.reserve",
                            "objects",
                            "open.slots",
                            "catalog.db",
                            "catalog.db-wal",
                            "catalog.db-log",
                            "catalog.db-shm",
                            "catalog.db.repairing",
                            "catalog.db.repairing-log",
                            "catalog.db.repairing-shm",
                            "catalog.db.repaired",
                            "catalog.db.damaged",
                            "catalog.db-log.damaged",
                            "seals.db",
                            "seals.db-wal",
                            "seals.db-shm",
                            "seals.db.damaged",
                            "px-fs.log",
                            "keeper",
                            "rebuilding",
                            "rebuilt",
                            "meta.db.damaged",
                            "meta.db-wal.damaged",
                            "meta.log.0.damaged",
                            "meta.log.1.damaged"}) {
    if (name == known) return true;
  }
  return false;
}

// How much may gather in the log of meta.db: on a small disk little.
uint64_t CheckpointBytes(const std::string& store) {
  struct statvfs space{};
  if (::statvfs(store.c_str(), &space) != 0) return kMostCheckpointBytes;
  return std::clamp(uint64_t{space.f_blocks} * space.f_frsize / 64, kLeastCheckpointBytes,
                    kMostCheckpointBytes);
}

bool IsMounted(const std::string& store) {
  std::error_code error;
  const std::string full = std::filesystem::canonical(store, error);
  const auto mounts = PxMounts();
  return std::any_of(mounts.begin(), mounts.end(),
                     [&](const PxMount& mount) { return mount.store == full; });
}

// unmount(2) returns before the daemon has closed the store.
Status Lock(int fd, const std::string& path) {
  const auto give_up = std::chrono::steady_clock::now() + kClosing;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FailErrno("lock " + path);
    if (IsMounted(path) || std::chrono::steady_clock::now() >= give_up) {
      const std::string holder = ReadAll(fd);
      return Fail(EBUSY, "store " + path + " is in use" + (holder.empty() ? "" : " by " + holder));
    }
    std::this_thread::sleep_for(kLockAgain);
  }
  return {};
}

}  // namespace

Result<StoreDir> StoreDir::Open(const std::string& path, bool create) {
  std::error_code error;
  if (create && !std::filesystem::exists(path, error)) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      return FailErrno("create store " + path);
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return FailErrno("store " + path);
  if (!S_ISDIR(info.st_mode)) return Fail(ENOTDIR, "store " + path);
  const bool has_format = ::access((path + "/format").c_str(), F_OK) == 0;
  if (!has_format && !create)
    return Fail(ENOENT, path + " is not a px store (it has no file 'format')");
  if (!has_format) {
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      if (!IsOurs(entry.path().filename())) {
        return Fail(ENOTEMPTY, path + " has other files in it (" +
                                   entry.path().filename().string() +
                                   "): name an empty directory for a new store");
      }
    }
  }
  UniqueFd lock(::open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return FailErrno("open " + path + "/lock");
  PX_TRY(Lock(lock.get(), path));
  // Names and sizes of everybody's files are in it.
  constexpr mode_t kOthers = 077;
  if (create && (info.st_mode & kOthers) != 0 && info.st_uid == ::geteuid()) {
    if (::chmod(path.c_str(), info.st_mode & 07700) != 0) return FailErrno("close " + path);
    if (has_format) LogWarn("{} was open to others: its mode is 0700 now", path);
  }
  StoreDir dir(path, std::move(lock));
  if (const Status said = dir.SayHolder(fmt::format("px-fs (pid {})\n", ::getpid())); !said) {
    LogDebug("{}", said.error().ToString());  // a damaged disk can still be checked
  }
  PX_TRY(dir.CheckFormat(create));
  return dir;
}

Result<StoreDir> StoreDir::TakeOver(const std::string& path, UniqueFd lock) {
  StoreDir dir(path, std::move(lock));
  PX_TRY(dir.CheckFormat(/*create=*/false));
  return dir;
}

Result<UniqueFd> StoreDir::OpenKeeperState() const {
  UniqueFd fd(::open((path_ + "/keeper").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return FailErrno("open " + path_ + "/keeper");
  return fd;
}

Status StoreDir::CheckFormat(bool create) const {
  std::ifstream file(path_ + "/format");
  if (!file) return create ? WriteFormat("") : Status(Fail(ENOENT, path_ + "/format"));
  std::string word;
  int version = 0;
  if (!(file >> word >> version) || word != "px-store" || version < 1) {
    return Fail(EUCLEAN, path_ + "/format is not a px store's");
  }
  if (version > kStoreVersion) {
    return Fail(EPROTONOSUPPORT,
                fmt::format("store {} has format {}, this px-fs knows up to {}: use a newer px-fs",
                            path_, version, kStoreVersion));
  }
  std::string uuid;
  if (version < kStoreVersion && file >> word >> uuid) return WriteFormat(uuid);
  return {};
}

Status StoreDir::WriteFormat(std::string uuid) const {
  if (uuid.empty()) {
    std::array<uint8_t, 16> random{};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
      return FailErrno("get random bytes");
    }
    for (const uint8_t byte : random) uuid += fmt::format("{:02x}", byte);
  }
  const std::string text = fmt::format("px-store {}\nuuid {}\n", kStoreVersion, uuid);
  const std::string temp = path_ + "/format.tmp";
  const UniqueFd fd(::open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd.get()) != 0) {
    return FailErrno("write " + temp);
  }
  if (::rename(temp.c_str(), (path_ + "/format").c_str()) != 0) return FailErrno("rename " + temp);
  return SyncPath(path_);
}

Status StoreDir::Announce(const std::string& mountpoint, pid_t holder) const {
  const std::string text = fmt::format("px-fs (pid {}, mounted on {})\n", holder, mountpoint);
  return SayHolder(text);
}

// Its block is kept, so that it can be said on a full disk.
Status StoreDir::SayHolder(const std::string& text) const {
  if (::pwrite(lock_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::ftruncate(lock_.get(), static_cast<off_t>(text.size())) != 0) {
    return FailErrno("write " + path_ + "/lock");
  }
  return {};
}

Result<std::unique_ptr<cow::JournaledPageTable>> StoreDir::OpenTable(
    const std::string& boot, const std::shared_ptr<Unsynced>& unsynced) const {
  PX_ASSIGN(auto pages, catalog::SqlitePageTable::Open(path_, /*create=*/true, boot));
  pages->BeforeSync([unsynced] { return unsynced->Prepare(); });
  if (pages->was_killed()) unsynced->AddEverything();
  const std::string this_boot = pages->boot();
  PX_ASSIGN(auto journaled, cow::JournaledPageTable::Open(std::move(pages), path_, this_boot));
  journaled->BeforeSync([unsynced] { return unsynced->Prepare(); });
  return journaled;
}

Result<Filesystem::Parts> StoreDir::OpenParts(const std::string& boot) const {
  Filesystem::Parts parts;
  if (::mkdir((path_ + "/objects").c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno("create " + path_ + "/objects");
  }
  PX_ASSIGN(parts.objects, ObjectStore::Open(path_ + "/objects"));
  PX_TRY(SyncPath(path_));
  PX_TRY(FinishRebuild(path_));
  if (::access((path_ + "/meta.db").c_str(), F_OK) != 0) {
    // An empty tree in its place would have everything forgotten.
    bool used = false;
    PX_TRY(parts.objects->Scan([&](cow::ObjectId) { used = true; }));
    if (used) return Fail(EUCLEAN, path_ + "/meta.db is missing, but there are objects");
  }
  auto journaled = OpenTable(boot, parts.objects->unsynced());
  if (!journaled && IsNoRoom(journaled.error().code()) && catalog::SealTable::Remove(path_)) {
    LogWarn("{}: the disk is full: seals.db makes room", path_);
    journaled = OpenTable(boot, parts.objects->unsynced());
  }
  if (!journaled) return Forward(journaled.error());
  auto* const pages = static_cast<catalog::SqlitePageTable*>((*journaled)->below());
  if (pages->was_killed()) parts.settle_kill = [table = pages] { table->ForgetKill(); };
  if (pages->last_use() == catalog::LastUse::kPowerCut) {
    parts.settle_power_cut = [table = pages] { return table->ForgetPowerCut(); };
  }
  parts.stay_open = [table = pages] { table->StayOpen(); };
  parts.closed_in_order = !pages->was_killed() && pages->last_use() == catalog::LastUse::kClosed;
  parts.checkpoint = [table = pages, due = CheckpointBytes(path_)]() -> Status {
    return table->WalBytes() < due ? Status{} : table->Checkpoint();
  };
  parts.check_pages = [table = pages, catalog = CatalogPath()](
                          uint32_t from, const auto& finding) -> Result<uint32_t> {
    if (from == 1) {
      const Status sound = catalog::VerifyCatalog(catalog);
      if (!sound && sound.error().code() != EBUSY) finding(sound.error().ToString());
    }
    return table->CheckPages(from, kPagesAtOnce, finding);
  };
  const std::string this_boot = pages->boot();
  parts.out_of_space = [table = journaled->get()] { return table->OutOfSpace(); };
  parts.space_is_back = [table = journaled->get()] { table->RetryIfOutOfSpace(); };
  parts.pages = std::move(*journaled);
  PX_ASSIGN(parts.store, cow::Store::Open(parts.pages.get(), {}));
  PX_ASSIGN(parts.slots, OpenSlots::Open(path_ + "/open.slots", &parts.left_over));
  // Derived data: a store mounts without it.
  auto seals = catalog::SealTable::Open(path_, this_boot);
  if (seals) {
    parts.seals = std::move(*seals);
  } else {
    LogWarn("nothing is sealed: {}", seals.error().ToString());
  }
  return parts;
}

bool StoreDir::IsStacked() const {
  struct statfs info{};
  return ::statfs(path_.c_str(), &info) == 0 && static_cast<long>(info.f_type) == kOverlayMagic;
}

}  // namespace px::fs
