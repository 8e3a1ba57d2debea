#include "fs/sealer.h"

#include <pthread.h>

#include "base/log.h"
#include "base/time_slice.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

constexpr size_t kMostWaiting = 100'000;
constexpr size_t kBatch = 64;
constexpr uint64_t kBytesPerSecond = uint64_t{50} << 20;
constexpr uint64_t kPiece = uint64_t{1} << 20;
constexpr std::chrono::nanoseconds kEachFile = std::chrono::milliseconds(1);
constexpr int kTries = 8;
constexpr auto kLetGo = std::chrono::milliseconds(500);
constexpr auto kLook = std::chrono::milliseconds(500);

std::chrono::nanoseconds TimeFor(uint64_t bytes) {
  return std::chrono::nanoseconds(bytes * 1'000'000'000 / kBytesPerSecond);
}

}  // namespace

Sealer::Sealer(Filesystem* fs, std::chrono::milliseconds quiet) : fs_(fs), quiet_(quiet) {
  thread_ = std::thread([this] { Loop(); });
}

Sealer::~Sealer() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

void Sealer::Closed(NodeKey node, cow::ObjectId object) {
  const MutexLock lock(mutex_);
  if (waiting_.size() < kMostWaiting) Add(object, {node, Clock::now() + quiet_});
}

void Sealer::Add(cow::ObjectId object, const Waiting& waiting) {
  const auto [entry, fresh] = waiting_.try_emplace(object.value, waiting);
  if (!fresh) order_.erase({entry->second.due, object.value});
  entry->second = waiting;
  order_.emplace(waiting.due, object.value);
}

size_t Sealer::waiting() const {
  const MutexLock lock(mutex_);
  return waiting_.size();
}

bool Sealer::WaitForDue(std::vector<Due>* due) {
  const MutexLock lock(mutex_);
  while (!stopping_) {
    const auto now = Clock::now();
    while (!order_.empty() && order_.begin()->first <= now && due->size() < kBatch) {
      const auto one = waiting_.extract(order_.begin()->second);
      order_.erase(order_.begin());
      due->push_back({cow::ObjectId{one.key()}, one.mapped()});
    }
    if (!due->empty()) return true;
    // Nobody wakes it for what is closed: that would cost the one who closes.
    wake_.WaitFor(mutex_, kLook);
  }
  return false;
}

bool Sealer::Pause(std::chrono::nanoseconds time) {
  const MutexLock lock(mutex_);
  const auto until = Clock::now() + time;
  while (!stopping_ && !let_go_) {
    const auto left = until - Clock::now();
    if (left <= left.zero()) return true;
    wake_.WaitFor(mutex_, std::chrono::duration_cast<std::chrono::milliseconds>(left) +
                              std::chrono::milliseconds(1));
  }
  return false;
}

void Sealer::Again(const Due& due) {
  if (due.waiting.tries >= kTries) return;
  const MutexLock lock(mutex_);
  const auto later = Clock::now() + quiet_ * (2 << due.waiting.tries);
  if (waiting_.contains(due.object.value)) return;  // it was closed anew
  Add(due.object, {due.waiting.node, later, due.waiting.tries + 1});
}

std::optional<Outcome> Sealer::SealOne(ObjectCheck* check) {
  for (;;) {
    const uint64_t before = check->bytes();
    const std::optional<Outcome> outcome = check->Step(kPiece);
    if (!Pause(kEachFile + TimeFor(check->bytes() - before))) return std::nullopt;
    if (outcome) return outcome;
  }
}

void Sealer::LetGo() {
  const MutexLock lock(mutex_);
  let_go_ = true;
  wake_.NotifyAll();
  // It reads at the lowest priority, perhaps from a disk that hangs.
  const auto until = Clock::now() + kLetGo;
  while (reading_ && Clock::now() < until) released_.WaitFor(mutex_, kLetGo);
  let_go_ = false;
}

void Sealer::BeginReading() {
  const MutexLock lock(mutex_);
  reading_ = true;
}

void Sealer::EndReading() {
  const MutexLock lock(mutex_);
  reading_ = false;
  released_.NotifyAll();
}

void Sealer::SealSome(const std::vector<Due>& due) {
  std::vector<std::unique_ptr<ObjectCheck>> checks;  // their watches hold until the seals are put
  std::vector<Seals::Put> puts;
  for (const Due& one : due) {
    // What is not on disk yet is at the next sync of the store.
    if (fs_->objects_->unsynced()->Has(one.object)) {
      Again(one);
      continue;
    }
    auto check = std::make_unique<ObjectCheck>(fs_, CheckTarget{one.object, one.waiting.node},
                                               ObjectCheck::What::kSeal, /*background=*/true);
    const std::optional<Outcome> outcome = SealOne(check.get());
    if (!outcome) {
      // What was read is put down, what was not comes again.
      for (const Due* left = &one; left != due.data() + due.size(); ++left) Again(*left);
      break;
    }
    if (*outcome == Outcome::kBusy) Again(one);
    if (IsFinding(*outcome)) {
      LogError("object {:x} of inode {:x}: {} {}", one.object.value, one.waiting.node.ToFuse(),
               NameOf(*outcome), check->why());
    }
    if (!check->seal()) continue;
    puts.push_back({&check->watch(), *check->seal()});
    checks.push_back(std::move(check));
  }
  if (const Status put = fs_->seals_->PutAll(puts); !put) {
    LogWarn("sealing: {}", put.error().ToString());
  }
  sealed_ += puts.size();
}

void Sealer::Loop() {
  ::pthread_setname_np(::pthread_self(), "px-sealer");
  SetTimeSlice(kLongSlice);
  for (;;) {
    std::vector<Due> due;
    if (!WaitForDue(&due)) return;
    if (!fs_->seals_->enabled()) continue;
    BeginReading();
    SealSome(due);
    EndReading();
    if (const Status moved = fs_->seals_->table()->Checkpoint(); !moved) {
      LogWarn("seals.db: {}", moved.error().ToString());
    }
  }
}

}  // namespace px::fs
