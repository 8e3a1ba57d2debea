// JournaledPageTable: a page table that takes batches over into another one in the background.
//
// Commit writes the batch to a journal and keeps it in memory, which costs a small part of what the
// table below needs. A thread hands what has gathered to the table below, many batches as one, and
// makes it durable there before the journal's space is used again. What a page changed in many
// batches of that time is written once.
//
// Durability: as PageTable says. After Commit the batch is in the journal (a kill cannot undo it),
// after Sync it is there durably. Open replays what the table below has not, in pieces. Sync has
// the caller's objects flushed first (BeforeSync) and then, if a batch is new, puts a sync point
// into the journal; after a power cut only what comes before the last one is replayed, so that
// everything the batches name is there.
//
// Threads: as PageTable says. Locks: its mutexes are above those of the table below.
//
// Errors: those of the table below; a background failure (ENOSPC, EIO) is tried again, and returned
// from Commit once the journal is full.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cow/journal.h"
#include "cow/layer.h"
#include "cow/page_table.h"

namespace px::cow {

class JournaledPageTable final : public PageTable {
 public:
  // `below` must have Counter::kJournal to itself, and flush by itself, before its sync points,
  // what its batches name. `boot` stands for the running kernel. EUCLEAN if the journal is damaged,
  // or what it changes: unless that is passed over. Then a page that changed a damaged one is one,
  // too.
  static Result<std::unique_ptr<JournaledPageTable>> Open(std::unique_ptr<PageTable> below,
                                                          const std::string& dir,
                                                          const std::string& boot,
                                                          Damage damage = Damage::kRefused);
  // `prepare` runs while no commit does, and says by the function it returns (none: nothing to do)
  // how to make everything durable that the commits so far name. That function runs beside commits.
  // Call it before other threads use the table.
  using PrepareFlush = std::function<std::function<Status()>()>;
  void BeforeSync(PrepareFlush prepare) PX_NO_TSA { prepare_flush_ = std::move(prepare); }
  // Hands everything over.
  ~JournaledPageTable() override;

  Status Load(NodeId id, std::span<std::byte> out) override;
  Result<uint64_t> NodeRefs(NodeId id) override;
  Result<uint64_t> ObjectRefs(ObjectId id) override;
  Result<std::optional<VolumeRow>> LoadVolume(VolumeId id) override;
  Status ScanVolumes(VolumeId from, const std::function<bool(const VolumeRow&)>& visit) override;
  Result<std::vector<ReclaimRow>> LoadQueue(ReclaimRow::Kind kind, uint64_t max_seq,
                                            size_t limit) override;
  Result<uint64_t> LoadCounter(Counter counter) override;
  Status Commit(const PageBatch& batch) override;
  Status Sync() override;
  Status ScanPages(const std::function<bool(NodeId)>& visit) override;
  Status ScanNodeRefs(const std::function<bool(NodeId, uint64_t)>& visit) override;
  Status ScanObjectRefs(const std::function<bool(ObjectId, uint64_t)>& visit) override;

  PageTable* below() { return below_.get(); }
  // The table below had no room (ENOSPC, EDQUOT) when it was last handed something, or its reserve
  // is not whole: until that has changed, the rest of the journal should be left to what makes
  // room. Any thread.
  bool OutOfSpace() const {
    return out_of_space_.load(std::memory_order_relaxed) || !below_->KeepReserve();
  }

  // What there was no room for is tried again now, and not in a second. Any thread.
  void RetryIfOutOfSpace() PX_EXCLUDES(mutex_);

  // Hands over what was committed before the call, durably.
  Status HandOver();

 private:
  // Counts read lately, direct-mapped by id. A count that is not 1 is rare, a question for each
  // open is not.
  struct CountCache {
    struct Slot {
      uint64_t id = 0, refs = 0;
    };
    std::vector<Slot> slots = std::vector<Slot>(size_t{1} << 14);
    Slot& Of(uint64_t id) { return slots[id % slots.size()]; }
  };
  using Counts = std::unordered_map<uint64_t, uint64_t>;

  explicit JournaledPageTable(std::unique_ptr<PageTable> below) : below_(std::move(below)) {}
  Status Recover(const std::string& dir, const std::string& boot, Damage damage);
  // What the newer of the two layers that has `key` in `part` has there; null: neither.
  template <typename Map>
  const typename Map::mapped_type* Newest(Map Layer::* part,
                                          const typename Map::key_type& key) const
      PX_REQUIRES(mutex_) {
    if (const auto found = (active_.*part).find(key); found != (active_.*part).end()) {
      return &found->second;
    }
    if (passing_ == nullptr) return nullptr;
    const Map& older = (*passing_).*part;
    const auto found = older.find(key);
    return found == older.end() ? nullptr : &found->second;
  }
  Result<uint64_t> CountOf(uint64_t id, Counts Layer::* counts, CountCache& cache,
                           const std::function<Result<uint64_t>()>& below);
  bool IsDue() const PX_REQUIRES(mutex_);
  void StartPassing() PX_REQUIRES(mutex_);
  Status MakeRoom(size_t size) PX_REQUIRES(mutex_);
  Status Append() PX_REQUIRES(mutex_);  // record_, as the next one
  Status CommitBelow(const PageBatch& batch) PX_REQUIRES(mutex_);
  // What the records up to `covered` name was flushed.
  Status SyncJournal(uint64_t covered) PX_REQUIRES(sync_mutex_);
  Status WaitHandedOver(uint64_t seq) PX_REQUIRES(mutex_);
  Status HandOverLayer(const Layer& layer, uint64_t seq);
  // If there is no room, once more after the table below has settled.
  Status HandOverSettled(const Layer& layer, uint64_t seq);
  // With what is kept in reserve, if need be; for who opens the table.
  Status HandOverOnFullDisk(const Layer& layer, uint64_t seq);
  void Loop();

  const std::unique_ptr<PageTable> below_;
  std::unique_ptr<Journal> journal_;

  Mutex sync_mutex_;  // one sync at a time; before mutex_
  PrepareFlush prepare_flush_ PX_GUARDED_BY(sync_mutex_);
  Mutex mutex_;
  CondVar wake_;     // the thread
  CondVar settled_;  // an attempt to hand over ended, well or not
  Layer active_ PX_GUARDED_BY(mutex_);
  std::unique_ptr<Layer> passing_ PX_GUARDED_BY(mutex_);  // being handed over; unchanged meanwhile
  uint64_t passing_seq_ PX_GUARDED_BY(mutex_) = 0;        // its last record
  std::chrono::steady_clock::time_point oldest_ PX_GUARDED_BY(mutex_);  // batch of active_
  uint64_t seq_ PX_GUARDED_BY(mutex_) = 0;                              // the last record
  uint64_t synced_ PX_GUARDED_BY(mutex_) = 0;       // up to that one survives power loss
  uint64_t wanted_ PX_GUARDED_BY(mutex_) = 0;       // hand over batches up to that one now
  uint64_t handed_over_ PX_GUARDED_BY(mutex_) = 0;  // up to that one
  bool sync_below_ PX_GUARDED_BY(mutex_) = false;   // it holds a batch that may not be durable
  uint64_t attempts_ PX_GUARDED_BY(mutex_) = 0;
  Status failed_ PX_GUARDED_BY(mutex_);  // of the last attempt
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  std::vector<std::byte> record_ PX_GUARDED_BY(mutex_);
  CountCache node_counts_ PX_GUARDED_BY(mutex_);
  CountCache object_counts_ PX_GUARDED_BY(mutex_);
  std::atomic<bool> out_of_space_ = false;
  std::thread thread_;
};

}  // namespace px::cow
