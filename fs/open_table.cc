#include "fs/open_table.h"

#include <algorithm>

namespace px::fs {

std::shared_ptr<OpenInode> OpenTable::Find(NodeKey node) const {
  const MutexLock lock(mutex_);
  const auto found = inodes_.find(node.ToFuse());
  return found == inodes_.end() ? nullptr : found->second;
}

std::shared_ptr<OpenInode> OpenTable::FindOrAdd(NodeKey node) {
  const MutexLock lock(mutex_);
  auto& slot = inodes_[node.ToFuse()];
  if (slot == nullptr) slot = std::make_shared<OpenInode>(node);
  return slot;
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

bool OpenTable::WaitUntilClosed(cow::VolumeId volume, std::chrono::milliseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const MutexLock lock(mutex_);
  ++waiters_;
  bool any = AnyOf(volume);
  while (any) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) break;
    closed_.WaitFor(mutex_, left);
    any = AnyOf(volume);
  }
  --waiters_;
  return !any;
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

std::vector<std::shared_ptr<OpenInode>> OpenTable::OfVolume(cow::VolumeId volume) const {
  std::vector<std::shared_ptr<OpenInode>> all = All();
  std::erase_if(all, [volume](const auto& inode) { return inode->node.volume != volume; });
  return all;
}

}  // namespace px::fs
