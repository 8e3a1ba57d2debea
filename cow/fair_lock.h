// FairSharedMutex: a shared mutex whose waiting writer is not overtaken by readers that come after
// it (std::shared_mutex of glibc lets them pass for ever). Not recursive, shared or not.
#pragma once

#include <atomic>

#include "base/mutex.h"

namespace px::cow {

class PX_CAPABILITY("shared_mutex") FairSharedMutex {
 public:
  void lock() PX_ACQUIRE() PX_NO_TSA {
    writers_waiting_.fetch_add(1, std::memory_order_relaxed);
    {
      const MutexLock gate(gate_);
      mutex_.lock();
    }
    writers_waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  void unlock() PX_RELEASE() PX_NO_TSA { mutex_.unlock(); }
  void lock_shared() PX_ACQUIRE_SHARED() PX_NO_TSA {
    if (writers_waiting_.load(std::memory_order_relaxed) > 0) const MutexLock gate(gate_);
    mutex_.lock_shared();
  }
  void unlock_shared() PX_RELEASE() PX_NO_TSA { mutex_.unlock_shared(); }

 private:
  SharedMutex mutex_;
  Mutex gate_;  // held by the writer that waits for `mutex_`
  std::atomic<int> writers_waiting_{0};
};

class PX_SCOPED_CAPABILITY FairWriterLock {
 public:
  explicit FairWriterLock(FairSharedMutex& mutex) PX_ACQUIRE(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~FairWriterLock() PX_RELEASE() { mutex_.unlock(); }
  FairWriterLock(const FairWriterLock&) = delete;
  FairWriterLock& operator=(const FairWriterLock&) = delete;

 private:
  FairSharedMutex& mutex_;
};

class PX_SCOPED_CAPABILITY FairReaderLock {
 public:
  explicit FairReaderLock(FairSharedMutex& mutex) PX_ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~FairReaderLock() PX_RELEASE_GENERIC() { mutex_.unlock_shared(); }
  FairReaderLock(const FairReaderLock&) = delete;
  FairReaderLock& operator=(const FairReaderLock&) = delete;

 private:
  FairSharedMutex& mutex_;
};

}  // namespace px::cow
