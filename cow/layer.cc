#include "cow/layer.h"

#include <cstring>

namespace px::cow {

bool Layer::empty() const {
  return pages.empty() && volumes.empty() && node_refs.empty() && object_refs.empty() &&
         queued.empty() && unqueued.empty() && counters.empty();
}

void Layer::Apply(const PageBatch& batch) noexcept {
  for (const PageBatch::Page& page : batch.pages) {
    std::unique_ptr<Page>& copy = pages[page.id.value];
    if (copy == nullptr) copy = std::make_unique<Page>();
    std::memcpy(copy->data(), page.bytes.data(), kNodeSize);
  }
  for (const NodeId id : batch.erased_pages) pages[id.value] = nullptr;
  for (const auto& [id, refs] : batch.node_refs) node_refs[id.value] = refs;
  for (const auto& [id, refs] : batch.object_refs) object_refs[id.value] = refs;
  for (const VolumeRow& row : batch.volumes) volumes[row.id.value] = row;
  for (const VolumeId id : batch.erased_volumes) volumes[id.value] = std::nullopt;
  for (const ReclaimRow& row : batch.queued) queued[row.seq] = row;
  for (const uint64_t seq : batch.unqueued) {
    if (queued.erase(seq) == 0) unqueued.insert(seq);
  }
  for (const auto& [name, value] : batch.counters) counters[name] = value;
}

PageBatch Layer::ToBatch() const {
  PageBatch batch;
  for (const auto& [id, page] : pages) {
    if (page != nullptr) {
      batch.pages.push_back({NodeId{id}, *page});
    } else {
      batch.erased_pages.push_back(NodeId{id});
    }
  }
  for (const auto& [id, refs] : node_refs) batch.node_refs.push_back({NodeId{id}, refs});
  for (const auto& [id, refs] : object_refs) batch.object_refs.push_back({ObjectId{id}, refs});
  for (const auto& [id, row] : volumes) {
    if (row) {
      batch.volumes.push_back(*row);
    } else {
      batch.erased_volumes.push_back(VolumeId{id});
    }
  }
  for (const auto& [seq, row] : queued) batch.queued.push_back(row);
  batch.unqueued.assign(unqueued.begin(), unqueued.end());
  batch.counters.assign(counters.begin(), counters.end());
  return batch;
}

}  // namespace px::cow
