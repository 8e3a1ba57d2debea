// Sealer: the thread that seals what was written, once it has been quiet for a while.
//
// It reads at the lowest priority, no more than so many bytes and files a second, and forgets what
// it has no room to remember: px-fs scrub seals whatever has no seal.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "fs/object_check.h"

namespace px::fs {

class Filesystem;

class Sealer {
 public:
  // `quiet` is how long a file must have been closed.
  Sealer(Filesystem* fs, std::chrono::milliseconds quiet);
  // Stops.
  ~Sealer();

  // Its last writer closed it. Thread safe, a leaf.
  void Closed(NodeKey node, cow::ObjectId object) PX_EXCLUDES(mutex_);
  // Closes what it reads, to go on with it later: it may have been removed, and its space is held
  // until then. Waits for that, half a second at most.
  void LetGo() PX_EXCLUDES(mutex_);
  uint64_t sealed() const { return sealed_; }
  size_t waiting() const PX_EXCLUDES(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    NodeKey node;
    Clock::time_point due;
    int tries = 0;
  };
  struct Due {
    cow::ObjectId object;
    Waiting waiting;
  };

  void Loop();
  // False: stop.
  bool WaitForDue(std::vector<Due>* due) PX_EXCLUDES(mutex_);
  bool Pause(std::chrono::nanoseconds time) PX_EXCLUDES(mutex_);
  void SealSome(const std::vector<Due>& due);
  void BeginReading() PX_EXCLUDES(mutex_);
  void EndReading() PX_EXCLUDES(mutex_);
  // Nothing: it was stopped, or is to let go.
  std::optional<Outcome> SealOne(ObjectCheck* check);
  void Again(const Due& due) PX_EXCLUDES(mutex_);
  void Add(cow::ObjectId object, const Waiting& waiting) PX_REQUIRES(mutex_);

  Filesystem* const fs_;
  const std::chrono::milliseconds quiet_;
  mutable Mutex mutex_;
  CondVar wake_;
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  bool reading_ PX_GUARDED_BY(mutex_) = false;  // it may have files open
  bool let_go_ PX_GUARDED_BY(mutex_) = false;
  CondVar released_;
  std::unordered_map<uint64_t, Waiting> waiting_ PX_GUARDED_BY(mutex_);  // by object
  std::set<std::pair<Clock::time_point, uint64_t>> order_ PX_GUARDED_BY(mutex_);
  std::atomic<uint64_t> sealed_ = 0;
  std::thread thread_;
};

}  // namespace px::fs
