#include "fs/object_check.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

// The store's sync points flush what was closed; a large object is worth making sure.
constexpr off_t kMakeSure = off_t{1} << 20;

}  // namespace

std::string_view NameOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGood:
      return "good";
    case Outcome::kSealed:
      return "sealed";
    case Outcome::kUnsealed:
      return "unsealed";
    case Outcome::kBusy:
      return "busy";
    case Outcome::kGone:
      return "gone";
    case Outcome::kDamaged:
      return "damaged";
    case Outcome::kChanged:
      return "changed";
    case Outcome::kDoubtful:
      return "doubtful";
    case Outcome::kMissing:
      return "missing";
    case Outcome::kTruncated:
      return "truncated";
    case Outcome::kUnreadable:
      return "unreadable";
  }
  return "?";
}

ObjectCheck::ObjectCheck(Filesystem* fs, const CheckTarget& target, What what, bool background)
    : fs_(fs),
      target_(target),
      what_(what),
      background_(background),
      watch_(fs->seals_.get(), target.object) {}

ObjectCheck::~ObjectCheck() = default;

std::optional<Outcome> ObjectCheck::Step(uint64_t budget) {
  Result<std::optional<Outcome>> outcome = TryStep(budget);
  if (outcome) return *outcome;
  why_ = outcome.error().ToString();
  switch (outcome.error().code()) {
    case ENOENT:
      return StillNamed(Outcome::kMissing);
    case EIO:
      return watch_.clean() ? Outcome::kUnreadable : Outcome::kBusy;
    default:  // of memory, descriptors, the tree: nothing was found out
      LogWarn("checking object {:x}: {}", target_.object.value, why_);
      return Outcome::kBusy;
  }
}

Outcome ObjectCheck::StillNamed(Outcome outcome) {
  if (!watch_.clean()) return Outcome::kBusy;
  return fs_->NamesObject(target_) ? outcome : Outcome::kGone;
}

Result<std::optional<Outcome>> ObjectCheck::TryStep(uint64_t budget) {
  if (digest_ == nullptr) {
    PX_ASSIGN(const std::optional<Outcome> outcome, Begin());
    if (outcome) return outcome;
  }
  if (!watch_.clean()) return std::optional(Outcome::kBusy);
  const uint64_t before = digest_->bytes();
  Result<bool> done = false;
  {
    std::optional<BackgroundPriority> low;
    if (background_) low.emplace();
    done = digest_->Step(budget);
  }
  PX_TRY(done);
  bytes_ += digest_->bytes() - before;
  if (!*done) return std::optional<Outcome>();
  return End();
}

Result<std::optional<Outcome>> ObjectCheck::Begin() {
  const bool replace = what_ == What::kReplace;
  before_ = fs_->seals_->Find(target_.object);
  // Of a time before a power cut that it does not fit to: as none.
  const bool fits = before_ && (!before_->doubtful || before_->state == Seal::State::kDamaged);
  if (what_ == What::kSeal && fits) return std::optional(Outcome::kGood);
  if (fs_->MayBeWritten(target_)) return std::optional(Outcome::kBusy);
  PX_ASSIGN(const bool truncated, IsTruncated());
  if (truncated && !replace) return std::optional(StillNamed(Outcome::kTruncated));
  if (what_ == What::kVerify && !before_) return std::optional(Outcome::kUnsealed);
  const bool from_disk = before_.has_value() && !replace;
  PX_ASSIGN(digest_,
            ObjectDigest::Open(*fs_->objects_, target_.object,
                               from_disk ? ObjectDigest::From::kDisk : ObjectDigest::From::kCache));
  const bool flush =
      digest_->file().st_size >= kMakeSure || fs_->objects_->unsynced()->Has(target_.object);
  if (!from_disk && flush && ::fdatasync(digest_->fd()) != 0) return FailErrno("sync an object");
  return std::optional<Outcome>();
}

Result<std::optional<Outcome>> ObjectCheck::End() {
  // Nobody could write when the watch began, so that who did since has said so.
  PX_ASSIGN(const bool unchanged, digest_->Unchanged());
  if (!unchanged || !watch_.clean()) return std::optional(Outcome::kBusy);
  if (!before_ || what_ == What::kReplace) return std::optional(SealAs(Outcome::kSealed));
  const Comparison found = Compare(*before_, digest_->file(), digest_->Finish());
  if (found == Comparison::kSame) return std::optional(SealAs(Outcome::kGood));
  if (found == Comparison::kReplaced) {
    return std::optional(what_ == What::kVerify ? Outcome::kUnsealed : SealAs(Outcome::kSealed));
  }
  if (!second_) {
    // What a disk gives once it may not give twice: Step goes on with a second reading.
    second_ = true;
    PX_ASSIGN(digest_,
              ObjectDigest::Open(*fs_->objects_, target_.object, ObjectDigest::From::kDisk));
    return std::optional<Outcome>();
  }
  const bool known = before_->state == Seal::State::kDamaged;
  if (found == Comparison::kChanged) return std::optional(Outcome::kChanged);
  if (found == Comparison::kDoubtful && !known) return std::optional(Outcome::kDoubtful);
  seal_ = *before_;
  seal_->state = Seal::State::kDamaged;
  return std::optional(Outcome::kDamaged);
}

Outcome ObjectCheck::SealAs(Outcome outcome) {
  seal_ = MakeSeal(digest_->file(), digest_->Finish(), fs_->Now().Nanoseconds());
  return outcome;
}

// Nobody has the file open for writing.
Result<bool> ObjectCheck::IsTruncated() const {
  PX_ASSIGN(const uint64_t size, fs_->objects_->SizeOf(target_.object));
  if (target_.version) return false;
  cow::InodeItem item;
  const Status loaded = fs_->store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(item, Filesystem::LoadInode(reader, target_.node));
    return {};
  });
  if (!loaded || item.object != target_.object.value) return false;
  return size < item.size;
}

}  // namespace px::fs
