#include "cow/store.h"

#include <algorithm>

#include "cow/store_impl.h"
#include "cow/txn.h"

namespace px::cow {
namespace {

// The Reader that View gives: reads what is committed.
class ViewReader final : public Reader {
 public:
  ViewReader(StoreImpl* store, PageTable* pages) : store_(*store), pages_(*pages) {}

  Result<std::string> Get(VolumeId volume, std::string_view key) override {
    return store_.Get(volume, key);
  }
  Status Scan(VolumeId volume, std::string_view from, std::string_view to,
              const Visitor& visit) override {
    return store_.Scan(volume, from, to, visit);
  }
  Result<Volume> GetVolume(VolumeId volume) override { return store_.GetVolume(volume); }
  Status ScanVolumes(VolumeId from, const std::function<bool(const Volume&)>& visit) override {
    return store_.ScanVolumes(from, visit);
  }
  Result<uint64_t> ObjectRefs(ObjectId object) override { return pages_.ObjectRefs(object); }
  Result<bool> IsPrivate(VolumeId volume, std::string_view key) override {
    return store_.IsPrivate(volume, key, [](const CachedNode& node) { return node.refs; });
  }

 private:
  StoreImpl& store_;
  PageTable& pages_;
};

}  // namespace

StoreImpl::StoreImpl(PageTable* pages, StoreOptions options)
    : pages_(pages), cache_(options.cache_bytes), txn_(std::make_unique<WriteTxn>(this)) {}

StoreImpl::~StoreImpl() = default;

Status StoreImpl::LoadCounters() {
  const auto load = [this](Counter name, uint64_t* counter) -> Status {
    PX_ASSIGN(const uint64_t value, pages_->LoadCounter(name));
    if (value != 0) *counter = value;
    return {};
  };
  PX_TRY(load(Counter::kNextNode, &ids_.next_node));
  PX_TRY(load(Counter::kNextObject, &ids_.next_object));
  PX_TRY(load(Counter::kNextVolume, &ids_.next_volume));
  // A row's number has to differ from those of the rows that are there, no more.
  for (const auto kind : {ReclaimRow::Kind::kNode, ReclaimRow::Kind::kObject}) {
    PX_ASSIGN(const std::vector<ReclaimRow> newest, pages_->LoadQueue(kind, UINT64_MAX >> 1, 1));
    if (!newest.empty()) ids_.next_seq = std::max(ids_.next_seq, newest[0].seq + 1);
  }
  committed_seq_ = ids_.next_seq;
  return {};
}

Status StoreImpl::Open() {
  PX_TRY(LoadCounters());
  PX_ASSIGN(const std::optional<VolumeRow> root, pages_->LoadVolume(kRootVolume));
  return root ? Status() : CreateRootVolume();
}

Status StoreImpl::CreateRootVolume() {
  return Write([](WriteTxn& txn) -> Status {
    PX_ASSIGN(const NodePtr root, txn.NewNode(0));
    txn.MakeVolume(kRootVolume, root->id, kFirstIno.value, kFirstIno.value, {});
    return {};
  });
}

Status StoreImpl::View(const std::function<Status(Reader&)>& body) {
  const FairReaderLock lock(lock_);
  ViewReader reader(this, pages_);
  return body(reader);
}

Status StoreImpl::Update(const std::function<Status(Txn&)>& body) {
  return Write([&](WriteTxn& txn) { return body(txn); });
}

Status StoreImpl::Write(const std::function<Status(WriteTxn&)>& body) {
  const FairWriterLock lock(lock_);
  txn_->Begin();
  // An exception (bad_alloc, or the body's own) leaves nothing behind either.
  struct Guard {
    WriteTxn* txn;
    ~Guard() {
      if (txn != nullptr) txn->Abort();
    }
  } guard{txn_.get()};
  Status status = txn_->Finish(body(*txn_));
  guard.txn = nullptr;
  return status;
}

Status StoreImpl::Sync() {
  const MutexLock lock(sync_mutex_);
  // A flush that is running may have begun before the caller's commits: the next one counts.
  const uint64_t wanted = syncs_started_ + 1;
  while (syncs_done_ < wanted) {
    if (sync_running_) {
      sync_done_.Wait(sync_mutex_);
      continue;
    }
    sync_running_ = true;
    const uint64_t number = ++syncs_started_;
    const uint64_t covered = committed_seq_.load(std::memory_order_acquire);
    const uint64_t commits = counters_.commits.load(std::memory_order_acquire);
    sync_mutex_.unlock();
    Status status = pages_->Sync();
    sync_mutex_.lock();
    sync_running_ = false;
    if (status) {
      syncs_done_ = number;
      durable_seq_.store(covered, std::memory_order_release);
      durable_commits_.store(commits, std::memory_order_release);
    }
    sync_done_.NotifyAll();
    // Whether a second try may succeed the page table knows.
    if (!status) return status;
  }
  return {};
}

Status StoreImpl::SyncReleases() {
  const bool durable = last_release_.load(std::memory_order_acquire) <=
                       durable_commits_.load(std::memory_order_acquire);
  return durable ? Status{} : Sync();
}

Result<std::vector<Mark>> StoreImpl::Marks() {
  const FairReaderLock lock(lock_);
  std::vector<Mark> marks(kLanes);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    PX_ASSIGN(marks[lane].request, pages_->LoadCounter(MarkRequest(lane)));
    PX_ASSIGN(marks[lane].result, pages_->LoadCounter(MarkResult(lane)));
  }
  return marks;
}

Status StoreImpl::ForgetMarks() {
  PX_ASSIGN(const std::vector<Mark> marks, Marks());
  return Write([&](WriteTxn& txn) -> Status {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (marks[lane].request != 0) txn.SetMark(lane, 0, 0);
    }
    return {};
  });
}

Result<ObjectId> StoreImpl::PeekNextObject() {
  const FairReaderLock lock(lock_);
  return ObjectId{ids_.next_object};
}

StoreCounters StoreImpl::Counters() const {
  StoreCounters counters;
  counters.commits = counters_.commits.load(std::memory_order_relaxed);
  counters.node_reads = counters_.node_reads.load(std::memory_order_relaxed);
  counters.node_writes = counters_.node_writes.load(std::memory_order_relaxed);
  counters.shadows = counters_.shadows.load(std::memory_order_relaxed);
  counters.reclaimed_nodes = counters_.reclaimed_nodes.load(std::memory_order_relaxed);
  counters.cache_bytes = cache_.bytes();
  return counters;
}

Store::Store(std::unique_ptr<StoreImpl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::Open(PageTable* pages, StoreOptions options) {
  auto impl = std::make_unique<StoreImpl>(pages, options);
  PX_TRY(impl->Open());
  return std::make_unique<Store>(std::move(impl));
}

Status Store::View(const std::function<Status(Reader&)>& body) { return impl_->View(body); }
Status Store::Update(const std::function<Status(Txn&)>& body) { return impl_->Update(body); }
Status Store::Sync() { return impl_->Sync(); }
Status Store::SyncReleases() { return impl_->SyncReleases(); }
Status Store::Diff(VolumeId before, VolumeId after, std::string_view from,
                   const DiffVisitor& visit) {
  return impl_->Diff(before, after, from, visit);
}
Result<size_t> Store::ReclaimStep(size_t max_nodes) { return impl_->ReclaimStep(max_nodes); }
Status Store::WouldFree(const std::vector<VolumeId>& volumes,
                        const std::function<void(ObjectId)>& visit) {
  return impl_->WouldFree(volumes, visit);
}
Result<std::vector<ObjectId>> Store::DurablyFreed(size_t limit, size_t sync_for) {
  return impl_->DurablyFreed(limit, sync_for);
}
Status Store::ForgetFreed(const std::vector<ObjectId>& objects) {
  return impl_->ForgetFreed(objects);
}
Result<std::vector<Mark>> Store::Marks() { return impl_->Marks(); }
Status Store::ForgetMarks() { return impl_->ForgetMarks(); }
Result<ObjectId> Store::PeekNextObject() { return impl_->PeekNextObject(); }
StoreCounters Store::Counters() const { return impl_->Counters(); }
Result<uint64_t> Store::Check(bool repair, const std::function<void(const std::string&)>& report,
                              const CheckVisitor& visit, bool* all_read) {
  return impl_->Check(repair, report, visit, all_read);
}
Result<uint64_t> Store::Regrow(const std::function<void(const std::string&)>& report,
                               const CheckVisitor& visit) {
  return impl_->Regrow(report, visit);
}

}  // namespace px::cow
