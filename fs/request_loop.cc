#include "fs/request_loop.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "base/time_slice.h"

namespace px::fs {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Longer than it takes a caller to come with its next request, shorter than anybody minds.
constexpr auto kSpin = std::chrono::microseconds(100);
// So many requests that waited already show that one thread is not enough.
constexpr int kBurst = 4;
constexpr auto kTooLong = std::chrono::milliseconds(1);
constexpr int kQuiet = 100;  // of that, and nothing is watched until there is another request

constexpr auto kEarlier = std::chrono::seconds(1);

// The loop and the request that this thread serves.
thread_local RequestLoop* served_loop = nullptr;
thread_local uint64_t served_number = 0;
thread_local unsigned served_slot = 0;

}  // namespace

RequestLoop::RequestLoop(RequestSource source, unsigned threads)
    : source_(std::move(source)),
      threads_(threads),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      serving_(threads) {}

Status RequestLoop::Run() {
  if (!stop_) return FailErrno("make an eventfd");
  std::vector<std::thread> threads;
  threads.reserve(threads_ + 1);
  for (unsigned slot = 0; slot < threads_; ++slot) {
    threads.emplace_back([this, slot] { Work(slot); });
  }
  threads.emplace_back([this] { Watch(); });
  for (std::thread& thread : threads) thread.join();
  const MutexLock lock(mutex_);
  if (error_ != 0) return Fail(error_, "reading requests");
  return {};
}

void RequestLoop::Stop() {
  stopping_ = true;
  const uint64_t one = 1;
  // It can fail only where it was called 2^64 times.
  [[maybe_unused]] const ssize_t put = ::write(stop_.get(), &one, sizeof one);
}

void RequestLoop::Work(unsigned slot) {
  SetTimeSlice(kShortSlice);
  while (BecomeReader()) Read(slot);
}

bool RequestLoop::BecomeReader() {
  const MutexLock lock(mutex_);
  ++standing_by_;
  while (has_reader_ && !ended_) standby_.Wait(mutex_);
  --standing_by_;
  if (ended_) return false;
  has_reader_ = true;
  return true;
}

void RequestLoop::Read(unsigned slot) {
  SteadyClock::time_point spin_until{};
  int in_a_row = 0;
  uint64_t number = 0;
  bool served = false;
  while (!stopping_) {
    const int got = source_.receive(slot);
    if (got == -EINTR) continue;
    if (got == -EAGAIN) {
      in_a_row = 0;
      if (std::exchange(served, false) && source_.idle) {
        // As if it were still serving: if this takes long, somebody else reads.
        busy_ = number;
        source_.idle();
        if (!EndTurn(number)) return;
        continue;
      }
      WaitForRequest(spin_until);
      continue;
    }
    if (got <= 0) return End(-got);
    number = ++requests_;
    serving_[slot] = number;
    if (++in_a_row > kBurst && MoreWaiting() && HandOver()) return Serve(slot, number);
    busy_ = number;
    if (!watching_) {
      const MutexLock lock(mutex_);
      watching_ = true;
      watch_.NotifyOne();
    }
    Serve(slot, number);
    if (!EndTurn(number)) return;
    served = true;
    spin_until = SteadyClock::now() + kSpin;
  }
  End(0);
}

bool RequestLoop::EndTurn(uint64_t number) { return busy_.compare_exchange_strong(number, 0); }

void RequestLoop::Serve(unsigned slot, uint64_t number) {
  served_loop = this;
  served_number = number;
  served_slot = slot;
  source_.process(slot);
  served_loop = nullptr;
  served_number = 0;
  serving_[slot] = 0;
}

void RequestLoop::WaitForRequest(SteadyClock::time_point spin_until) const {
  if (SteadyClock::now() < spin_until) {
    ::sched_yield();
    return;
  }
  pollfd fds[] = {{source_.fd, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
}

bool RequestLoop::MoreWaiting() const {
  pollfd fd{source_.fd, POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN) != 0;
}

bool RequestLoop::HandOver() {
  const MutexLock lock(mutex_);
  if (standing_by_ == 0) return false;
  has_reader_ = false;
  standby_.NotifyOne();
  return true;
}

void RequestLoop::TakeOver(uint64_t number) {
  if (!busy_.compare_exchange_strong(number, 0)) return;
  const MutexLock lock(mutex_);
  has_reader_ = false;
  standby_.NotifyOne();
}

void RequestLoop::WillBlock() {
  if (served_loop == nullptr) return;
  served_loop->serving_[served_slot] = 0;
  served_loop->TakeOver(served_number);
}

uint64_t RequestLoop::Serving() { return served_number; }

void RequestLoop::WaitForEarlier(uint64_t number) const {
  const auto limit = SteadyClock::now() + kEarlier;
  const auto earlier = [number](const std::atomic<uint64_t>& served) {
    const uint64_t one = served;
    return one != 0 && one < number;
  };
  // Nobody is told when a request is done: that would cost every request.
  while (std::any_of(serving_.begin(), serving_.end(), earlier) && SteadyClock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void RequestLoop::Watch() {
  uint64_t seen = 0;
  int quiet = 0;
  for (;;) {
    const uint64_t before = busy_;
    {
      const MutexLock lock(mutex_);
      if (!ended_) watch_.WaitFor(mutex_, kTooLong);
      if (ended_) return;
    }
    if (before != 0 && busy_ == before) TakeOver(before);
    if (source_.watch) source_.watch(requests_);
    quiet = requests_ == seen ? quiet + 1 : 0;
    seen = requests_;
    if (quiet < kQuiet) continue;
    WatchWhileQuiet();
    quiet = 0;
  }
}

void RequestLoop::WatchWhileQuiet() {
  const MutexLock lock(mutex_);
  watching_ = false;
  // A reader that saw it true just before has set busy_ before it looked.
  if (busy_ != 0) watching_ = true;
  while (!watching_ && !ended_) watch_.Wait(mutex_);
}

void RequestLoop::End(int error) {
  const MutexLock lock(mutex_);
  ended_ = true;
  if (error_ == 0) error_ = error;
  standby_.NotifyAll();
  watch_.NotifyAll();
}

}  // namespace px::fs
