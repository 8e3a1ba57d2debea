#include "fs/open_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace px::fs {

std::shared_ptr<OpenInode> OpenTable::Find(NodeKey node) const {
  const MutexLock lock(mutex_);
  const auto found = inodes_.find(node.ToFuse());
  return found == inodes_.end() ? nullptr : found->second;
}

std::shared_ptr<OpenInode> OpenTable::FindOrAdd(NodeKey node) {
  const MutexLock lock(mutex_);
  auto& slot = inodes_[node.ToFuse()];
  if (slot == nullptr) slot = Unpark(node.ToFuse());
  if (slot == nullptr) slot = std::make_shared<OpenInode>(node);
  return slot;
}

void OpenTable::set_capacity(size_t capacity) {
  const MutexLock lock(mutex_);
  capacity_ = capacity;
}

std::shared_ptr<OpenInode> OpenTable::Unpark(uint64_t node) {
  const auto found = parked_by_node_.find(node);
  if (found == parked_by_node_.end()) return nullptr;
  std::shared_ptr<OpenInode> open = std::move(*found->second);
  parked_.erase(found->second);
  parked_by_node_.erase(found);
  return open;
}

bool OpenTable::Park(const std::shared_ptr<OpenInode>& open) {
  const MutexLock lock(mutex_);
  // The caller's reference and the table's; whoever has another may be about to open it.
  if (capacity_ == 0 || open.use_count() != 2 || open->orphan) return false;
  const uint64_t node = open->node.ToFuse();
  inodes_.erase(node);
  parked_.push_front(open);
  parked_by_node_[node] = parked_.begin();
  if (parked_.size() > capacity_) {
    doomed_.push_back(Unpark(parked_.back()->node.ToFuse()));
  }
  if (waiters_ > 0) closed_.NotifyAll();
  return true;
}

void OpenTable::Doom(NodeKey node) {
  const MutexLock lock(mutex_);
  if (auto open = Unpark(node.ToFuse())) doomed_.push_back(std::move(open));
}

void OpenTable::Doom(cow::VolumeId volume) {
  const MutexLock lock(mutex_);
  std::vector<uint64_t> nodes;
  for (const auto& open : parked_) {
    if (open->node.volume == volume) nodes.push_back(open->node.ToFuse());
  }
  for (const uint64_t node : nodes) doomed_.push_back(Unpark(node));
}

std::vector<std::shared_ptr<OpenInode>> OpenTable::TakeDoomed(size_t limit) {
  const MutexLock lock(mutex_);
  const auto end = doomed_.begin() + static_cast<std::ptrdiff_t>(std::min(limit, doomed_.size()));
  std::vector<std::shared_ptr<OpenInode>> taken(std::move_iterator(doomed_.begin()),
                                                std::move_iterator(end));
  doomed_.erase(doomed_.begin(), end);
  return taken;
}

std::pair<size_t, size_t> OpenTable::DoomedAndCapacity() const {
  const MutexLock lock(mutex_);
  return {doomed_.size(), capacity_};
}

bool OpenTable::WithParked(NodeKey node, const std::function<void(OpenInode&)>& body) const {
  const MutexLock lock(mutex_);
  const auto found = parked_by_node_.find(node.ToFuse());
  if (found == parked_by_node_.end()) return false;
  body(**found->second);
  return true;
}

void OpenTable::Erase(NodeKey node) {
  const MutexLock lock(mutex_);
  inodes_.erase(node.ToFuse());
  if (waiters_ > 0) closed_.NotifyAll();
}

bool OpenTable::AnyOf(cow::VolumeId volume) const {
  return std::any_of(inodes_.begin(), inodes_.end(),
                     [volume](const auto& entry) { return entry.second->node.volume == volume; });
}

bool OpenTable::WaitWhile(const std::function<bool()>& any,
                          std::chrono::milliseconds timeout) const {
  if (!any()) return true;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  ++waiters_;
  bool waits = true;
  while (waits) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) break;
    closed_.WaitFor(mutex_, left);
    waits = any();
  }
  --waiters_;
  return !waits;
}

bool OpenTable::WaitUntilClosed(cow::VolumeId volume, std::chrono::milliseconds timeout) const {
  const MutexLock lock(mutex_);
  return WaitWhile([&]() PX_NO_TSA { return AnyOf(volume); }, timeout);
}

bool OpenTable::WaitUntilClosed(NodeKey node, std::chrono::milliseconds timeout) const {
  const MutexLock lock(mutex_);
  return WaitWhile([&]() PX_NO_TSA { return inodes_.contains(node.ToFuse()); }, timeout);
}

bool OpenTable::MarkOrphan(NodeKey node) {
  const MutexLock lock(mutex_);
  const auto found = inodes_.find(node.ToFuse());
  if (found == inodes_.end()) return false;
  found->second->orphan = true;
  return true;
}

std::vector<std::shared_ptr<OpenInode>> OpenTable::All() const {
  const MutexLock lock(mutex_);
  std::vector<std::shared_ptr<OpenInode>> all;
  all.reserve(inodes_.size());
  for (const auto& [id, inode] : inodes_) all.push_back(inode);
  return all;
}

std::vector<std::shared_ptr<OpenInode>> OpenTable::AllAndParked() const {
  std::vector<std::shared_ptr<OpenInode>> all = All();
  const MutexLock lock(mutex_);
  all.insert(all.end(), parked_.begin(), parked_.end());
  return all;
}

std::vector<std::shared_ptr<OpenInode>> OpenTable::OfVolume(cow::VolumeId volume) const {
  std::vector<std::shared_ptr<OpenInode>> all = All();
  std::erase_if(all, [volume](const auto& inode) { return inode->node.volume != volume; });
  return all;
}

}  // namespace px::fs
