#include "catalog/database_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/io.h"

namespace px::catalog {
namespace {

constexpr uint64_t kDamagedFrame = UINT64_MAX;
constexpr uint64_t kPage = kDatabasePage;
constexpr size_t kPagesAt = 28;  // of the header: how many pages the database has
constexpr uint32_t kLockPage = 0x40000000 / kPage + 1;  // SQLite never writes it

}  // namespace

Result<DatabaseImage> DatabaseImage::Open(const std::string& database, const std::string& log,
                                          uint64_t max_frames) {
  DatabaseImage image;
  image.file_.Reset(::open(database.c_str(), O_RDONLY | O_CLOEXEC));
  if (!image.file_) return FailErrno(database);
  struct stat info{};
  if (::fstat(image.file_.get(), &info) != 0) return FailErrno(database);
  image.pages_ = static_cast<uint32_t>((static_cast<uint64_t>(info.st_size) + kPage - 1) / kPage);
  image.with_log_ = !log.empty();
  image.log_.Reset(::open(log.c_str(), O_RDONLY | O_CLOEXEC));
  if (!image.log_ && errno != ENOENT) return FailErrno(log);
  if (image.log_) PX_TRY(image.ReadLog(max_frames));
  Page first;
  const ssize_t got = ::pread(image.file_.get(), first.data(), first.size(), 0);
  if (got < 0) return FailErrno(database);
  // A first page that is none of SQLite's is damaged.
  constexpr std::string_view kMagic = "SQLite format 3";
  if (got == ssize_t{kDatabasePage} && !HasSums(first) &&
      std::memcmp(first.data(), kMagic.data(), kMagic.size()) == 0) {
    return Fail(ENOTSUP, database + " has no checksums");
  }
  // A file that was cut has fewer than it should.
  PX_ASSIGN(const PageState state, image.Load(1, &first));
  if (state != PageState::kDamaged)
    image.pages_ = std::max(image.pages_, BigEndian32(first.data() + kPagesAt));
  return image;
}

Status DatabaseImage::ReadLog(uint64_t max_frames) {
  // Of the transaction that is being read, which may have no end.
  std::vector<std::pair<uint32_t, uint64_t>> pending;
  PX_ASSIGN(log_found_, LogFrames::Scan(log_.get(), [&](const LogFrames::Frame& frame) -> Status {
              if (frame.index >= max_frames) return {};
              pending.emplace_back(frame.page, frame.sound ? frame.index : kDamagedFrame);
              if (!frame.sound || frame.pages == 0) return {};
              for (const auto& [page, index] : std::exchange(pending, {})) newest_[page] = index;
              pages_ = frame.pages;
              return {};
            }));
  return {};
}

Result<PageState> DatabaseImage::Load(uint32_t number, Page* out) const {
  const auto newest = newest_.find(number);
  if (newest != newest_.end() && newest->second == kDamagedFrame) {
    return PageState::kDamaged;
  }
  const bool in_log = newest != newest_.end();
  const uint64_t offset =
      in_log ? LogFrames::kHeader + newest->second * LogFrames::kFrame + LogFrames::kFrameHeader
             : (number - 1) * kPage;
  const ssize_t got = ::pread(in_log ? log_.get() : file_.get(), out->data(), out->size(),
                              static_cast<off_t>(offset));
  if (got < 0) return FailErrno("read a database");
  if (static_cast<uint64_t>(got) != kPage) return PageState::kDamaged;
  return in_log ? PageState::kSound : Correct(*out, number);
}

Result<std::optional<std::unordered_set<uint32_t>>> DatabaseImage::FreePages() const {
  constexpr size_t kFirstTrunkAt = 32;
  std::unordered_set<uint32_t> free;
  Page page;
  PX_ASSIGN(PageState state, Load(1, &page));
  uint32_t trunk = state != PageState::kDamaged ? BigEndian32(page.data() + kFirstTrunkAt) : 0;
  while (state != PageState::kDamaged && trunk != 0 && free.insert(trunk).second) {
    PX_ASSIGN(state, Load(trunk, &page));
    const size_t leaves = BigEndian32(page.data() + 4);
    for (size_t i = 0; i < leaves && 8 + 4 * i + 4 <= kPage; ++i) {
      free.insert(BigEndian32(page.data() + 8 + 4 * i));
    }
    trunk = BigEndian32(page.data());
  }
  if (state == PageState::kDamaged) return std::nullopt;
  return free;
}

Status DatabaseImage::FindDamaged(uint32_t from, uint32_t count,
                                  const std::function<void(uint32_t, PageState)>& damaged) const {
  // Behind the last page that is in use something may be left.
  uint32_t in_use = 0;
  std::optional<std::unordered_set<uint32_t>> free;
  Page page;
  if (with_log_) {
    PX_ASSIGN(free, FreePages());
    PX_ASSIGN(const PageState first, Load(1, &page));
    if (first != PageState::kDamaged) in_use = BigEndian32(page.data() + kPagesAt);
  }
  const auto may_be_empty = [&](uint32_t number) {
    if (number == 1) return false;
    return !free || free->contains(number) || number > in_use || number == kLockPage;
  };
  const uint64_t end = std::min(uint64_t{from} + count, uint64_t{pages_} + 1);
  for (uint32_t number = from; number < end; ++number) {
    page.fill(std::byte{1});  // of one that is not there nothing is zero
    PX_ASSIGN(const PageState state, Load(number, &page));
    if (state == PageState::kSound) continue;
    const bool empty =
        std::all_of(page.begin(), page.end(), [](std::byte byte) { return byte == std::byte{0}; });
    if (!empty || !may_be_empty(number)) damaged(number, state);
  }
  return {};
}

Status PutRight(const std::string& database, uint32_t number) {
  const UniqueFd file(::open(database.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return FailErrno(database);
  const auto offset = static_cast<off_t>((number - 1) * kPage);
  DatabaseImage::Page page;
  if (::pread(file.get(), page.data(), page.size(), offset) != ssize_t{kDatabasePage} ||
      Correct(page, number) != PageState::kCorrected) {
    return {};
  }
  PX_TRY(WriteAllAt(file.get(), page, static_cast<uint64_t>(offset), "put a page right"));
  if (::fdatasync(file.get()) != 0) return FailErrno(database);
  return {};
}

}  // namespace px::catalog
