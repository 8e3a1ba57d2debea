#include "fs/seals.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"

namespace px::fs {

Seal MakeSeal(const struct stat& file, const std::array<std::byte, 16>& digest, int64_t now_ns) {
  Seal seal;
  seal.size = static_cast<uint64_t>(file.st_size);
  seal.mtime_ns = ToNanoseconds(file.st_mtim);
  seal.ctime_ns = ToNanoseconds(file.st_ctim);
  seal.digest = digest;
  seal.verified_ns = now_ns;
  return seal;
}

Comparison Compare(const Seal& seal, const struct stat& file,
                   const std::array<std::byte, 16>& digest) {
  const auto size = static_cast<uint64_t>(file.st_size);
  if (size == seal.size && digest == seal.digest) return Comparison::kSame;
  const bool untouched = size == seal.size && ToNanoseconds(file.st_mtim) == seal.mtime_ns &&
                         ToNanoseconds(file.st_ctim) == seal.ctime_ns;
  if (seal.doubtful) return untouched ? Comparison::kDoubtful : Comparison::kReplaced;
  return untouched ? Comparison::kDamaged : Comparison::kChanged;
}

Seals::Watch::Watch(Seals* seals, cow::ObjectId object) : seals_(seals), object_(object) {
  const MutexLock lock(seals_->mutex_);
  seals_->watches_.push_back(this);
}

Seals::Watch::~Watch() {
  const MutexLock lock(seals_->mutex_);
  std::erase(seals_->watches_, this);
}

Seals::Seals(std::shared_ptr<catalog::SealTable> table)
    : table_(std::move(table)), enabled_(table_ != nullptr) {
  if (!enabled()) return;
  const MutexLock lock(mutex_);
  const auto end = table_->End();
  const auto damaged = table_->Damaged();
  if (!end || !damaged) {
    LogError("seals: {}", (end ? damaged.error() : end.error()).ToString());
    end_ = UINT64_MAX;
    return;
  }
  end_ = end->value;
  for (const cow::ObjectId object : *damaged) SetDamaged(object, true);
  if (!damaged->empty()) LogWarn("{} objects are known to be damaged", damaged->size());
}

void Seals::SetDamaged(cow::ObjectId object, bool damaged) {
  if (damaged) {
    damaged_.insert(object.value);
  } else {
    damaged_.erase(object.value);
  }
  any_damaged_.store(!damaged_.empty(), std::memory_order_release);
}

void Seals::Writing(cow::ObjectId object) {
  const MutexLock lock(mutex_);
  for (Watch* watch : watches_) {
    if (watch->object_ == object) watch->clean_ = false;
  }
  if (!enabled() || object.value >= end_) return;
  SetDamaged(object, false);
  const auto seal = table_->Find(object);
  if (seal && !*seal) return;
  const catalog::SealTable::Change change{object, std::nullopt};
  Erase({&change, 1});
}

void Seals::Erase(std::span<const catalog::SealTable::Change> changes) {
  const Status erased = table_->Apply(changes);
  if (erased) return;
  LogError("seals cannot be taken back, and go: {}", erased.error().ToString());
  if (const Status gone = table_->Abandon(); !gone) {
    LogError("seals: {}", gone.error().ToString());
  }
  enabled_.store(false, std::memory_order_release);
  damaged_.clear();
  any_damaged_.store(false, std::memory_order_release);
}

void Seals::Removed(std::span<const cow::ObjectId> objects) {
  if (!enabled()) return;
  const MutexLock lock(mutex_);
  std::vector<catalog::SealTable::Change> changes;
  for (const cow::ObjectId object : objects) {
    SetDamaged(object, false);
    if (object.value < end_) changes.push_back({object, std::nullopt});
  }
  Erase(changes);
}

bool Seals::IsDamaged(cow::ObjectId object) const {
  if (!AnyDamaged()) return false;
  const MutexLock lock(mutex_);
  return damaged_.contains(object.value);
}

std::optional<Seal> Seals::Find(cow::ObjectId object) {
  if (!enabled()) return std::nullopt;
  const auto seal = table_->Find(object);
  if (seal) return *seal;
  LogWarn("the seal of object {:x}: {}", object.value, seal.error().ToString());
  return std::nullopt;
}

Status Seals::PutAll(std::span<const Put> puts) {
  if (!enabled()) return Fail(EOPNOTSUPP, "this store has no seals");
  std::vector<catalog::SealTable::Change> changes;
  // Held over the transaction: who says Writing after it finds the row.
  const MutexLock lock(mutex_);
  for (const Put& put : puts) {
    if (put.watch->clean_) changes.push_back({put.watch->object_, put.seal});
  }
  PX_TRY(table_->Apply(changes));
  for (const auto& change : changes) {
    end_ = std::max(end_, change.object.value + 1);
    SetDamaged(change.object, change.seal->state == Seal::State::kDamaged);
  }
  return {};
}

}  // namespace px::fs
