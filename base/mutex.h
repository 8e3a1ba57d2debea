// Mutex, SharedMutex and their guards, annotated for clang's thread-safety analysis (g++ sees plain
// wrappers). None is recursive. See the table of locks in docs/ARCHITECTURE.md for the order.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define PX_TSA(x) __attribute__((x))
#else
#define PX_TSA(x)
#endif

#define PX_CAPABILITY(name) PX_TSA(capability(name))
#define PX_SCOPED_CAPABILITY PX_TSA(scoped_lockable)
#define PX_GUARDED_BY(x) PX_TSA(guarded_by(x))
#define PX_PT_GUARDED_BY(x) PX_TSA(pt_guarded_by(x))
#define PX_REQUIRES(...) PX_TSA(requires_capability(__VA_ARGS__))
#define PX_REQUIRES_SHARED(...) PX_TSA(requires_shared_capability(__VA_ARGS__))
#define PX_ACQUIRE(...) PX_TSA(acquire_capability(__VA_ARGS__))
#define PX_ACQUIRE_SHARED(...) PX_TSA(acquire_shared_capability(__VA_ARGS__))
#define PX_RELEASE(...) PX_TSA(release_capability(__VA_ARGS__))
#define PX_RELEASE_GENERIC(...) PX_TSA(release_generic_capability(__VA_ARGS__))
#define PX_EXCLUDES(...) PX_TSA(locks_excluded(__VA_ARGS__))
#define PX_NO_TSA PX_TSA(no_thread_safety_analysis)

namespace px {

class PX_CAPABILITY("mutex") Mutex {
 public:
  void lock() PX_ACQUIRE() { mutex_.lock(); }
  void unlock() PX_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class PX_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) PX_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() PX_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// A waiting writer keeps new readers out, so that it is never starved (std::shared_mutex lets it
// be). So no thread may take it shared twice.
class PX_CAPABILITY("shared_mutex") SharedMutex {
 public:
  SharedMutex() {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock_, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }
  ~SharedMutex() { pthread_rwlock_destroy(&lock_); }
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() PX_ACQUIRE() { pthread_rwlock_wrlock(&lock_); }
  void unlock() PX_RELEASE() { pthread_rwlock_unlock(&lock_); }
  void lock_shared() PX_ACQUIRE_SHARED() { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() PX_RELEASE() { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

class PX_SCOPED_CAPABILITY WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) PX_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriterLock() PX_RELEASE() { mutex_.unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class PX_SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) PX_ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~ReaderLock() PX_RELEASE_GENERIC() { mutex_.unlock_shared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class CondVar {
 public:
  void Wait(Mutex& mutex) PX_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False if `timeout` passed first. Spurious wake-ups are possible: check the condition again.
  template <typename Duration>
  bool WaitFor(Mutex& mutex, Duration timeout) PX_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace px
