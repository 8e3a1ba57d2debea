// MemoryPageTable: the engine's page table without a disk, for tests. It can fail its next commits,
// lose power (back to the last Sync), and have its rows damaged. Thread safe as cow::PageTable
// demands.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <unordered_map>

#include "base/mutex.h"
#include "cow/page_table.h"

namespace px::testing {

class MemoryPageTable final : public cow::PageTable {
 public:
  using Page = std::array<std::byte, cow::kNodeSize>;
  struct Rows {
    std::unordered_map<uint64_t, Page> pages;
    std::map<uint64_t, uint64_t> node_refs, object_refs;
    std::map<uint32_t, cow::VolumeRow> volumes;
    std::map<uint64_t, cow::ReclaimRow> queue;
    std::map<cow::Counter, uint64_t> counters;
  };

  // The next `count` commits fail with `code` and change nothing.
  void FailCommits(int count, int code) {
    fail_commits_ = count;
    fail_code_ = code;
  }
  void FailSyncs(int count) { fail_syncs_ = count; }
  // After it, PowerCut goes back to the rows as of the last Sync.
  void RememberSyncs() {
    remember_ = true;
    durable_ = rows_;
  }
  void PowerCut() { rows_ = durable_; }
  Rows& rows() { return rows_; }
  int syncs() const { return syncs_; }
  uint64_t commits() const { return commits_; }
  uint64_t loads() const { return loads_; }

  Status Load(cow::NodeId id, std::span<std::byte> out) override {
    const MutexLock lock(mutex_);
    ++loads_;
    const auto page = rows_.pages.find(id.value);
    if (page == rows_.pages.end()) return Fail(ENOENT, "no such page");
    std::memcpy(out.data(), page->second.data(), cow::kNodeSize);
    return {};
  }
  Result<uint64_t> NodeRefs(cow::NodeId id) override { return RefsIn(rows_.node_refs, id.value); }
  Result<uint64_t> ObjectRefs(cow::ObjectId id) override {
    return RefsIn(rows_.object_refs, id.value);
  }
  Result<std::optional<cow::VolumeRow>> LoadVolume(cow::VolumeId id) override {
    const MutexLock lock(mutex_);
    const auto row = rows_.volumes.find(id.value);
    if (row == rows_.volumes.end()) return std::optional<cow::VolumeRow>();
    return std::optional<cow::VolumeRow>(row->second);
  }
  Status ScanVolumes(cow::VolumeId from,
                     const std::function<bool(const cow::VolumeRow&)>& visit) override {
    const MutexLock lock(mutex_);
    for (auto row = rows_.volumes.lower_bound(from.value); row != rows_.volumes.end(); ++row) {
      if (!visit(row->second)) break;
    }
    return {};
  }
  Result<std::vector<cow::ReclaimRow>> LoadQueue(cow::ReclaimRow::Kind kind, uint64_t max_seq,
                                                 size_t limit) override {
    const MutexLock lock(mutex_);
    std::vector<cow::ReclaimRow> found;
    for (auto row = rows_.queue.rbegin(); row != rows_.queue.rend() && found.size() < limit;
         ++row) {
      if (row->second.kind == kind && row->first <= max_seq) found.push_back(row->second);
    }
    return found;
  }
  Result<uint64_t> LoadCounter(cow::Counter counter) override {
    const MutexLock lock(mutex_);
    const auto row = rows_.counters.find(counter);
    return row == rows_.counters.end() ? 0 : row->second;
  }

  Status Commit(const cow::PageBatch& batch) override {
    const MutexLock lock(mutex_);
    if (fail_commits_ > 0) {
      --fail_commits_;
      return Fail(fail_code_, "a failure that the test asked for");
    }
    ++commits_;
    for (const auto& page : batch.pages) {
      std::memcpy(rows_.pages[page.id.value].data(), page.bytes.data(), cow::kNodeSize);
    }
    for (const cow::NodeId id : batch.erased_pages) rows_.pages.erase(id.value);
    for (const auto& count : batch.node_refs) SetRefs(&rows_.node_refs, count.id.value, count.refs);
    for (const auto& count : batch.object_refs) {
      SetRefs(&rows_.object_refs, count.id.value, count.refs);
    }
    for (const cow::VolumeRow& row : batch.volumes) rows_.volumes[row.id.value] = row;
    for (const cow::VolumeId id : batch.erased_volumes) rows_.volumes.erase(id.value);
    for (const cow::ReclaimRow& row : batch.queued) rows_.queue[row.seq] = row;
    for (const uint64_t seq : batch.unqueued) rows_.queue.erase(seq);
    for (const auto& [name, value] : batch.counters) rows_.counters[name] = value;
    return {};
  }
  Status Sync() override {
    const MutexLock lock(mutex_);
    if (fail_syncs_ > 0) {
      --fail_syncs_;
      return Fail(EIO, "a failure that the test asked for");
    }
    ++syncs_;
    if (remember_) durable_ = rows_;
    return {};
  }

  Status ScanPages(const std::function<bool(cow::NodeId)>& visit) override {
    const MutexLock lock(mutex_);
    for (const auto& [id, page] : rows_.pages) {
      if (!visit(cow::NodeId{id})) break;
    }
    return {};
  }
  Status ScanNodeRefs(const std::function<bool(cow::NodeId, uint64_t)>& visit) override {
    const MutexLock lock(mutex_);
    for (const auto& [id, refs] : rows_.node_refs) {
      if (!visit(cow::NodeId{id}, refs)) break;
    }
    return {};
  }
  Status ScanObjectRefs(const std::function<bool(cow::ObjectId, uint64_t)>& visit) override {
    const MutexLock lock(mutex_);
    for (const auto& [id, refs] : rows_.object_refs) {
      if (!visit(cow::ObjectId{id}, refs)) break;
    }
    return {};
  }

 private:
  Result<uint64_t> RefsIn(const std::map<uint64_t, uint64_t>& counts, uint64_t id) {
    const MutexLock lock(mutex_);
    const auto row = counts.find(id);
    return row == counts.end() ? 1 : row->second;
  }
  static void SetRefs(std::map<uint64_t, uint64_t>* counts, uint64_t id, uint64_t refs) {
    if (refs > 1) {
      (*counts)[id] = refs;
    } else {
      counts->erase(id);
    }
  }

  Mutex mutex_;
  Rows rows_, durable_;
  bool remember_ = false;
  int fail_commits_ = 0, fail_code_ = ENOSPC, fail_syncs_ = 0, syncs_ = 0;
  uint64_t commits_ = 0, loads_ = 0;
};

}  // namespace px::testing
