// ControlThreads: a few threads beside those that serve requests, for control calls: those
// invalidate, and an invalidation may wait for a lock that is held until some other request is
// answered.
//
// Thread safe.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fs/request.h"

namespace px::fs {

class ControlThreads {
 public:
  explicit ControlThreads(size_t count) {
    for (uint32_t i = 0; i < count; ++i) threads_.emplace_back([this, i] { Loop(i); });
  }
  ~ControlThreads() {
    {
      const MutexLock lock(mutex_);
      stopping_ = true;
      wake_.NotifyAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  void Add(std::function<void()> work) {
    const MutexLock lock(mutex_);
    // What is not begun is not answered: the daemon that takes over gets it again.
    if (closed_) return;
    queue_.push_back(std::move(work));
    wake_.NotifyOne();
  }
  // Begins nothing any more, and waits for what was begun, while requests are still served.
  void Close() {
    const MutexLock lock(mutex_);
    closed_ = true;
    queue_.clear();
    while (busy_ > 0) idle_.Wait(mutex_);
  }
  // Of those that run next. A thread's own number is added.
  void set_lane(uint32_t lane) { lane_ = lane; }

 private:
  void Loop(uint32_t number) {
    for (bool worked = false;; worked = true) {
      std::function<void()> work;
      {
        const MutexLock lock(mutex_);
        if (worked && --busy_ == 0) idle_.NotifyAll();
        while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
        ++busy_;
      }
      const RequestScope scope({0, lane_ + number, false});
      work();
    }
  }

  Mutex mutex_;
  CondVar wake_, idle_;
  int busy_ PX_GUARDED_BY(mutex_) = 0;
  bool closed_ PX_GUARDED_BY(mutex_) = false;
  std::atomic<uint32_t> lane_ = kControlLane;
  std::deque<std::function<void()>> queue_ PX_GUARDED_BY(mutex_);
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace px::fs
