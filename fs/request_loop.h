// RequestLoop: the threads that read requests from a device and serve them.
//
// One thread at a time is the reader. It serves what it reads itself and, before it sleeps, looks
// for the next request for a little while, so that a caller who sends one request after the other
// (most do) neither waits for a sleeping thread to wake up nor pays for waking it. The others stand
// by and do not wait on the device. One of them becomes the reader
//   - when the reader finds more requests waiting, several times in a row;
//   - when what the reader serves says that it will take long (WillBlock);
//   - when it takes long without saying so: a watching thread looks every millisecond while there
//     are requests. So a request that waits for another one, however directly, delays it, but never
//     stops it.
//
// With as many requests in service as there are threads, the next has to wait.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace px::fs {

// What a thread reads its requests into; the source makes it, and is asked to end it.
struct RequestSource {
  int fd = -1;  // readable where a request waits; must not block
  // > 0: a request was taken into `slot`. -EAGAIN: none is there; -EINTR: try again; 0: there will
  // be no more; another -errno: the source is broken.
  std::function<int(unsigned slot)> receive;
  std::function<void(unsigned slot)> process;
  // Called by a thread that served a request and finds that none waits, once. May be empty.
  std::function<void()> idle = {};
  // Called every millisecond or so while there are requests, and for 100 ms after the last, with
  // how many were read. By one thread. May be empty.
  std::function<void(uint64_t requests)> watch = {};
};

class RequestLoop {
 public:
  RequestLoop(RequestSource source, unsigned threads);

  // Serves until the source ends, or Stop. Once only. Errors: those of the source.
  Status Run();
  // Any thread, and signal handlers. Requests in service are finished.
  void Stop();

  // The request that the calling thread serves is going to wait for a disk, or for others. Does
  // nothing in a thread that is not the reader of some loop.
  static void WillBlock();

  uint64_t requests() const { return requests_; }  // read so far

  // The number of the request that the calling thread serves; 0 in other threads.
  static uint64_t Serving();
  // Waits until what was read before that request (0: nothing was) is served, but for what said
  // that it will block, and not for ever: an earlier one may wait for this one. What a caller did
  // before it came with a request (closed a file) is then done.
  void WaitForEarlier(uint64_t number) const;

 private:
  void Work(unsigned slot);
  bool BecomeReader() PX_EXCLUDES(mutex_);
  // Reads and serves until somebody else is the reader, or the end.
  void Read(unsigned slot);
  void WaitForRequest(std::chrono::steady_clock::time_point spin_until) const;
  bool MoreWaiting() const;
  void Serve(unsigned slot, uint64_t number);
  // Of the reader, after what it was busy with; false: somebody else is the reader.
  bool EndTurn(uint64_t number);
  bool HandOver() PX_EXCLUDES(mutex_);
  // Ends the turn of the reader that serves request `number`, if it still does.
  void TakeOver(uint64_t number) PX_EXCLUDES(mutex_);
  void Watch() PX_EXCLUDES(mutex_);
  void WatchWhileQuiet() PX_EXCLUDES(mutex_);
  void End(int error) PX_EXCLUDES(mutex_);

  const RequestSource source_;
  const unsigned threads_;
  UniqueFd stop_;  // an eventfd, readable from Stop on

  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> busy_ = 0;              // the number of the request that the reader serves
  std::atomic<uint64_t> requests_ = 0;          // read so far
  std::vector<std::atomic<uint64_t>> serving_;  // by slot: the number of its request, or 0
  std::atomic<bool> watching_ = false;

  Mutex mutex_;
  CondVar standby_;
  CondVar watch_;
  bool has_reader_ PX_GUARDED_BY(mutex_) = false;
  unsigned standing_by_ PX_GUARDED_BY(mutex_) = 0;
  bool ended_ PX_GUARDED_BY(mutex_) = false;
  int error_ PX_GUARDED_BY(mutex_) = 0;
};

}  // namespace px::fs
