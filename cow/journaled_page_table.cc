#include "cow/journaled_page_table.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/io.h"
#include "base/log.h"
#include "base/time_slice.h"
#include "cow/journal_record.h"

namespace px::cow {
namespace {

using SteadyClock = std::chrono::steady_clock;

// What is handed over is handed over as one batch, beside which the table below answers nobody: so
// many pages at most, or so old.
constexpr size_t kDuePages = 1024;
constexpr size_t kDueRows = 1024;
constexpr size_t kDueBytes = Journal::kCapacity / 2;
constexpr auto kDueAge = std::chrono::seconds(2);
constexpr auto kRetry = std::chrono::seconds(1);

// And no quota in the way: over quota btrfs takes no write, nor a file that gets shorter.
bool IsFull(const Status& status) { return !status && status.error().code() == ENOSPC; }

bool HadNoRoom(const Status& status) { return !status && IsNoRoom(status.error().code()); }

}  // namespace

// --- Opening and closing ---

Result<std::unique_ptr<JournaledPageTable>> JournaledPageTable::Open(
    std::unique_ptr<PageTable> below, const std::string& dir, const std::string& boot,
    Damage damage) {
  std::unique_ptr<JournaledPageTable> table(new JournaledPageTable(std::move(below)));
  PX_TRY(table->Recover(dir, boot, damage));
  table->thread_ = std::thread([raw = table.get()] { raw->Loop(); });
  return table;
}

Status JournaledPageTable::Recover(const std::string& dir, const std::string& boot, Damage damage) {
  PX_ASSIGN(const uint64_t taken_over, below_->LoadCounter(Counter::kJournal));
  Layer layer;
  uint64_t last = taken_over, handed_over = taken_over;
  const auto load = [&](NodeId id, std::span<std::byte> out) -> Status {
    const auto found = layer.pages.find(id.value);
    Status loaded;
    if (found == layer.pages.end()) {
      loaded = below_->Load(id, out);
    } else if (found->second == nullptr) {
      loaded = Fail(EUCLEAN, "journal: a page changed after its end");
    }
    if (!loaded && damage == Damage::kPassedOver) {
      std::fill(out.begin(), out.end(), std::byte{0});
      return {};
    }
    if (!loaded || found == layer.pages.end()) return loaded;
    std::memcpy(out.data(), found->second->data(), kNodeSize);
    return {};
  };
  const auto replay = [&](uint64_t seq, std::span<const std::byte> record) -> Status {
    PX_ASSIGN(const DecodedBatch decoded, DecodeRecord(record, load));
    layer.Apply(decoded.batch);
    last = seq;
    // Piece by piece, each of them a state that was: on a full disk the log below has room for one.
    if (layer.pages.size() < kDuePages / 2 && layer.unqueued.size() < kDueRows) return {};
    PX_TRY(HandOverOnFullDisk(layer, last));
    layer = Layer();
    handed_over = last;
    const Status settled = below_->Settle();
    return HadNoRoom(settled) ? Status{} : settled;  // the next piece finds out
  };
  PX_ASSIGN(journal_, Journal::Open(dir, boot, taken_over, damage, replay));
  if (last != handed_over) PX_TRY(HandOverOnFullDisk(layer, last));
  PX_TRY(journal_->Restart(last));
  if (!below_->KeepReserve()) LogWarn("{}: too little space: only what gives some back works", dir);
  const MutexLock lock(mutex_);
  seq_ = handed_over_ = synced_ = last;
  return {};
}

JournaledPageTable::~JournaledPageTable() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

// --- Reading ---

Status JournaledPageTable::Load(NodeId id, std::span<std::byte> out) {
  {
    const MutexLock lock(mutex_);
    if (const auto* page = Newest(&Layer::pages, id.value)) {
      if (*page == nullptr) return Fail(ENOENT, "no such page");
      if (out.size() != kNodeSize) return Fail(EUCLEAN, "page of a wrong size");
      std::memcpy(out.data(), (*page)->data(), kNodeSize);
      return {};
    }
  }
  // What is in neither layer now was there before, and stays there.
  return below_->Load(id, out);
}

Result<uint64_t> JournaledPageTable::CountOf(uint64_t id, Counts Layer::* counts, CountCache& cache,
                                             const std::function<Result<uint64_t>()>& below) {
  uint64_t seq = 0;
  {
    const MutexLock lock(mutex_);
    if (const uint64_t* refs = Newest(counts, id)) return std::max<uint64_t>(*refs, 1);
    const CountCache::Slot& slot = cache.Of(id);
    if (slot.id == id && slot.refs != 0) return slot.refs;
    seq = seq_;
  }
  PX_ASSIGN(const uint64_t refs, below());
  const MutexLock lock(mutex_);
  // What was committed meanwhile may have changed it.
  if (seq == seq_) cache.Of(id) = {id, refs};
  return refs;
}

Result<uint64_t> JournaledPageTable::NodeRefs(NodeId id) PX_NO_TSA {
  return CountOf(id.value, &Layer::node_refs, node_counts_, [&] { return below_->NodeRefs(id); });
}

Result<uint64_t> JournaledPageTable::ObjectRefs(ObjectId id) PX_NO_TSA {
  return CountOf(id.value, &Layer::object_refs, object_counts_,
                 [&] { return below_->ObjectRefs(id); });
}

Result<std::optional<VolumeRow>> JournaledPageTable::LoadVolume(VolumeId id) {
  {
    const MutexLock lock(mutex_);
    if (const auto* row = Newest(&Layer::volumes, id.value)) return *row;
  }
  return below_->LoadVolume(id);
}

Status JournaledPageTable::ScanVolumes(VolumeId from,
                                       const std::function<bool(const VolumeRow&)>& visit) {
  // Newer ones win: the layers are read before the table below, so that what passes from one to the
  // other meanwhile is seen twice rather than not at all.
  std::map<uint32_t, std::optional<VolumeRow>> rows;
  {
    const MutexLock lock(mutex_);
    rows.insert(active_.volumes.lower_bound(from.value), active_.volumes.end());
    if (passing_ != nullptr) {
      rows.insert(passing_->volumes.lower_bound(from.value), passing_->volumes.end());
    }
  }
  auto next = rows.begin();
  bool go_on = true;
  // Visits the rows of the layers below `end`.
  const auto visit_layers = [&](uint64_t end) {
    for (; go_on && next != rows.end() && next->first < end; ++next) {
      if (next->second) go_on = visit(*next->second);
    }
  };
  PX_TRY(below_->ScanVolumes(from, [&](const VolumeRow& row) {
    visit_layers(row.id.value);
    if (!go_on) return false;
    const bool newer = next != rows.end() && next->first == row.id.value;
    if (newer) {
      visit_layers(uint64_t{row.id.value} + 1);
    } else {
      go_on = visit(row);
    }
    return go_on;
  }));
  visit_layers(UINT64_MAX);
  return {};
}

Result<std::vector<ReclaimRow>> JournaledPageTable::LoadQueue(ReclaimRow::Kind kind,
                                                              uint64_t max_seq, size_t limit) {
  std::map<uint64_t, ReclaimRow, std::greater<>> rows;
  std::unordered_set<uint64_t> unqueued;
  {
    const MutexLock lock(mutex_);
    for (const Layer* layer :
         {static_cast<const Layer*>(&active_), static_cast<const Layer*>(passing_.get())}) {
      if (layer == nullptr) continue;
      size_t taken = 0;
      for (auto row = layer->queued.rbegin(); row != layer->queued.rend() && taken < limit; ++row) {
        if (row->second.kind != kind || row->first > max_seq || unqueued.contains(row->first)) {
          continue;
        }
        rows.insert(*row);
        ++taken;
      }
      for (const uint64_t seq : layer->unqueued) {
        if (seq <= max_seq) unqueued.insert(seq);
      }
    }
  }
  // As many more as may have to be left out.
  const size_t more = std::min(unqueued.size(), SIZE_MAX - limit);
  PX_ASSIGN(const std::vector<ReclaimRow> below, below_->LoadQueue(kind, max_seq, limit + more));
  for (const ReclaimRow& row : below) {
    if (!unqueued.contains(row.seq)) rows.emplace(row.seq, row);
  }
  std::vector<ReclaimRow> out;
  for (const auto& [seq, row] : rows) {
    if (out.size() == limit) break;
    out.push_back(row);
  }
  return out;
}

Result<uint64_t> JournaledPageTable::LoadCounter(Counter counter) {
  {
    const MutexLock lock(mutex_);
    if (const uint64_t* value = Newest(&Layer::counters, counter)) return *value;
  }
  return below_->LoadCounter(counter);
}

Status JournaledPageTable::ScanPages(const std::function<bool(NodeId)>& visit) {
  PX_TRY(HandOver());
  return below_->ScanPages(visit);
}

Status JournaledPageTable::ScanNodeRefs(const std::function<bool(NodeId, uint64_t)>& visit) {
  PX_TRY(HandOver());
  return below_->ScanNodeRefs(visit);
}

Status JournaledPageTable::ScanObjectRefs(const std::function<bool(ObjectId, uint64_t)>& visit) {
  PX_TRY(HandOver());
  return below_->ScanObjectRefs(visit);
}

// --- Committing ---

Status JournaledPageTable::Commit(const PageBatch& batch) {
  const MutexLock lock(mutex_);
  EncodeRecord(
      batch, journal_->epoch(), seq_ + 1,
      [this](NodeId id) PX_NO_TSA -> const std::byte* {
        const auto* page = Newest(&Layer::pages, id.value);
        return page == nullptr || *page == nullptr ? nullptr : (*page)->data();
      },
      &record_);
  if (record_.size() > Journal::kCapacity) {
    PX_TRY(CommitBelow(batch));
  } else {
    PX_TRY(Append());
    if (active_.empty()) {
      oldest_ = SteadyClock::now();
      wake_.NotifyOne();
    }
    active_.Apply(batch);
    if (passing_ == nullptr && IsDue()) wake_.NotifyOne();
  }
  const auto remember = [](CountCache& cache, uint64_t id, uint64_t refs) {
    CountCache::Slot& slot = cache.Of(id);
    if (slot.id == id) slot.refs = std::max<uint64_t>(refs, 1);
  };
  for (const auto& [id, refs] : batch.node_refs) remember(node_counts_, id.value, refs);
  for (const auto& [id, refs] : batch.object_refs) remember(object_counts_, id.value, refs);
  return {};
}

Status JournaledPageTable::Append() {
  if (!journal_->Fits(record_.size())) PX_TRY(MakeRoom(record_.size()));
  PX_TRY(journal_->Append(record_));
  ++seq_;
  return {};
}

// A batch that no journal file could hold.
Status JournaledPageTable::CommitBelow(const PageBatch& batch) {
  PX_TRY(WaitHandedOver(seq_));
  PageBatch counted = batch;
  counted.counters.emplace_back(Counter::kJournal, seq_ + 1);
  PX_TRY(below_->Commit(counted));
  ++seq_;
  handed_over_ = seq_;
  // In a file there is no gap.
  if (journal_->used() > 0) journal_->Switch();
  // The records that come after it count on it. It is committed, whether or not that works.
  if (const Status synced = below_->Sync(); !synced) {
    LogError("{}", synced.error().ToString());
    sync_below_ = true;
  }
  return {};
}

Status JournaledPageTable::MakeRoom(size_t size) {
  while (!journal_->Fits(size)) {
    if (passing_ == nullptr) {
      StartPassing();
      wake_.NotifyOne();
      continue;
    }
    const uint64_t attempt = attempts_;
    wake_.NotifyOne();
    while (attempts_ == attempt) settled_.Wait(mutex_);
    if (failed_ || (IsFull(failed_) && below_->GiveUpReserve(ReserveUse::kInUse))) continue;
    return failed_;
  }
  return {};
}

Status JournaledPageTable::Sync() {
  const MutexLock sync_lock(sync_mutex_);
  std::function<Status()> flush;
  uint64_t covered = 0;
  bool nothing_new = false;
  {
    const MutexLock lock(mutex_);
    if (sync_below_) PX_TRY(below_->Sync());
    sync_below_ = false;
    covered = seq_;
    nothing_new = covered == std::max(synced_, handed_over_);
    // An object may have been written without a change of the tree.
    if (prepare_flush_) flush = prepare_flush_();
  }
  if (flush) PX_TRY(flush());
  if (nothing_new) return {};
  const Status synced = SyncJournal(covered);
  if (synced) return {};
  LogError("{}", synced.error().ToString());
  // What the journal lost is still in memory.
  return HandOver();
}

Status JournaledPageTable::SyncJournal(uint64_t covered) {
  uint64_t durable = covered;
  {
    const MutexLock lock(mutex_);
    const bool quiet = seq_ == covered;
    EncodeSyncPoint(journal_->epoch(), seq_ + 1, covered, &record_);
    PX_TRY(Append());
    if (quiet) durable = seq_;  // the point itself names nothing
  }
  PX_TRY(journal_->Sync());
  const MutexLock lock(mutex_);
  synced_ = std::max(synced_, durable);
  return {};
}

// --- Handing over ---

bool JournaledPageTable::IsDue() const {
  return !active_.empty() &&
         (stopping_ || wanted_ > handed_over_ || journal_->used() > kDueBytes ||
          active_.pages.size() > kDuePages || active_.unqueued.size() > kDueRows ||
          SteadyClock::now() - oldest_ > kDueAge);
}

void JournaledPageTable::StartPassing() {
  PX_CHECK(passing_ == nullptr);
  passing_ = std::make_unique<Layer>(std::move(active_));
  passing_seq_ = seq_;
  active_ = Layer();
  journal_->Switch();
}

Status JournaledPageTable::HandOverOnFullDisk(const Layer& layer, uint64_t seq) {
  const Status done = HandOverSettled(layer, seq);
  if (!IsFull(done) || !below_->GiveUpReserve(ReserveUse::kOpening)) return done;
  return HandOverSettled(layer, seq);
}

Status JournaledPageTable::HandOverSettled(const Layer& layer, uint64_t seq) {
  const Status done = HandOverLayer(layer, seq);
  if (!IsFull(done) || !below_->Settle()) return done;
  return HandOverLayer(layer, seq);
}

Status JournaledPageTable::HandOverLayer(const Layer& layer, uint64_t seq) {
  PageBatch batch = layer.ToBatch();
  batch.counters.emplace_back(Counter::kJournal, seq);
  PX_TRY(below_->Commit(batch));
  return below_->Sync();
}

void JournaledPageTable::Loop() PX_NO_TSA {
  ::pthread_setname_np(::pthread_self(), "px-journal");
  SetTimeSlice(kLongSlice);
  bool complained = false;
  mutex_.lock();
  for (;;) {
    while (passing_ == nullptr && !IsDue() && !stopping_) {
      if (active_.empty()) {
        wake_.Wait(mutex_);
      } else {
        wake_.WaitFor(mutex_, kDueAge);
      }
    }
    if (passing_ == nullptr && active_.empty()) break;  // stopping
    if (passing_ == nullptr) StartPassing();
    Layer* const layer = passing_.get();
    const uint64_t seq = passing_seq_;
    mutex_.unlock();
    Status status = HandOverSettled(*layer, seq);
    mutex_.lock();
    ++attempts_;
    failed_ = status;
    out_of_space_ = HadNoRoom(status);
    std::unique_ptr<Layer> done;
    if (status) {
      handed_over_ = seq;
      done = std::move(passing_);
    }
    settled_.NotifyAll();
    if (!status && !std::exchange(complained, true)) {
      LogError("handing over the journal: {}", status.error().ToString());
    }
    if (status) {
      complained = false;
      mutex_.unlock();
      done.reset();  // thousands of pages: not with the mutex held
      // What space there is must not go into a log that grows.
      if (!below_->KeepReserve() && !below_->Settle()) LogDebug("the log stays as it is: no room");
      mutex_.lock();
      continue;
    }
    if (stopping_) break;  // the next Open replays it
    wake_.WaitFor(mutex_, kRetry);
  }
  mutex_.unlock();
}

Status JournaledPageTable::WaitHandedOver(uint64_t seq) {
  wanted_ = std::max(wanted_, seq);
  while (handed_over_ < seq) {
    const uint64_t attempt = attempts_;
    wake_.NotifyOne();
    while (attempts_ == attempt && handed_over_ < seq) settled_.Wait(mutex_);
    if (!failed_) return failed_;
  }
  return {};
}

void JournaledPageTable::RetryIfOutOfSpace() {
  if (!out_of_space_.load(std::memory_order_relaxed)) return;
  const MutexLock lock(mutex_);
  wake_.NotifyOne();
}

Status JournaledPageTable::HandOver() {
  const MutexLock lock(mutex_);
  return WaitHandedOver(seq_);
}

}  // namespace px::cow
