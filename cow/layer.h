// Layer: changes of a page table that are not in it yet, newest values only.
//
// Not thread safe.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "cow/page_table.h"

namespace px::cow {

struct Layer {
  using Page = std::array<std::byte, kNodeSize>;

  // An empty one: the page was erased, the volume dropped.
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
  std::map<uint32_t, std::optional<VolumeRow>> volumes;
  // Also counts of 1, which say that the table's row goes.
  std::unordered_map<uint64_t, uint64_t> node_refs, object_refs;
  std::map<uint64_t, ReclaimRow> queued;  // by seq
  std::unordered_set<uint64_t> unqueued;  // seqs of rows that are not in `queued`
  std::map<Counter, uint64_t> counters;

  bool empty() const;
  // Takes the batch's changes over those that are there. Ends the process if memory runs out.
  void Apply(const PageBatch& batch) noexcept;
  // Everything as one batch. Its views are valid while the layer does not change.
  PageBatch ToBatch() const;
};

}  // namespace px::cow
