#include "fs/request_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace px::fs {
namespace {

// A queue of numbers behind a descriptor, as /dev/fuse is one of requests.
class Queue {
 public:
  explicit Queue(unsigned threads)
      : fd_(::eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE)), slots_(threads) {}

  RequestSource Source(std::function<void(int)> process) {
    return {.fd = fd_.get(),
            .receive = [this](unsigned slot) { return Receive(slot); },
            .process = [this, process](unsigned slot) { process(slots_[slot]); }};
  }
  void Put(int number) {
    {
      const std::lock_guard lock(mutex_);
      numbers_.push_back(number);
    }
    const uint64_t one = 1;
    ASSERT_EQ(::write(fd_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }

  static constexpr int kEnd = -1;
  static constexpr int kBreak = -2;

 private:
  int Receive(unsigned slot) {
    uint64_t one = 0;
    if (::read(fd_.get(), &one, sizeof one) < 0) return -errno;
    const std::lock_guard lock(mutex_);
    const int number = numbers_.front();
    numbers_.pop_front();
    if (number == kEnd) return 0;
    if (number == kBreak) return -EIO;
    slots_[slot] = number;
    return 1;
  }

  const UniqueFd fd_;
  std::mutex mutex_;
  std::deque<int> numbers_;
  std::vector<int> slots_;
};

// Something that one thread does and others wait for.
class Event {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

TEST(RequestLoopTest, ServesEachRequestOnce) {
  constexpr int kRequests = 20'000;
  Queue queue(4);
  std::mutex mutex;
  std::multiset<int> served;
  Event all;
  RequestLoop loop(queue.Source([&](int number) {
    const std::lock_guard lock(mutex);
    served.insert(number);
    if (served.size() == kRequests) all.Set();
  }),
                   4);
  Status status;
  std::thread runner([&] { status = loop.Run(); });
  for (int i = 0; i < kRequests; ++i) queue.Put(i);
  all.Wait();
  loop.Stop();
  runner.join();
  EXPECT_TRUE(status);
  ASSERT_EQ(served.size(), static_cast<size_t>(kRequests));
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(served.count(i), 1U);
}

// Three wait, in turn, for the fourth: whoever reads must not be among them for long.
TEST(RequestLoopTest, ARequestMayWaitForALaterOne) {
  for (const bool says_so : {false, true}) {
    Queue queue(4);
    Event last;
    RequestLoop loop(queue.Source([&](int number) {
      if (number == 3) return last.Set();
      if (says_so) RequestLoop::WillBlock();
      last.Wait();
    }),
                     4);
    std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
    for (int i = 0; i <= 3; ++i) queue.Put(i);
    last.Wait();
    loop.Stop();
    runner.join();
  }
}

TEST(RequestLoopTest, WhatCameBeforeCanBeWaitedFor) {
  Queue queue(3);
  RequestLoop* waiting = nullptr;
  std::atomic<bool> first_done = false, second_saw_it = false;
  Event second_began, all;
  std::thread waiter;
  RequestLoop loop(queue.Source([&](int number) {
    if (number == 1) {
      second_began.Wait();
      first_done = true;
      return;
    }
    waiter = std::thread([&, served = RequestLoop::Serving()] {
      second_began.Set();
      waiting->WaitForEarlier(served);
      second_saw_it = first_done.load();
      all.Set();
    });
  }),
                   3);
  waiting = &loop;
  std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
  queue.Put(1);
  queue.Put(2);
  all.Wait();
  EXPECT_TRUE(second_saw_it);
  EXPECT_EQ(RequestLoop::Serving(), 0U);
  loop.Stop();
  runner.join();
  waiter.join();
}

TEST(RequestLoopTest, WithAllThreadsTakenTheNextIsServedLater) {
  Queue queue(2);
  Event go_on, last;
  RequestLoop loop(queue.Source([&](int number) {
    if (number == 2) return last.Set();
    go_on.Wait();
  }),
                   2);
  std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
  for (int i = 0; i <= 2; ++i) queue.Put(i);
  go_on.Set();
  last.Wait();
  loop.Stop();
  runner.join();
}

TEST(RequestLoopTest, EndsWithItsSource) {
  for (const int number : {Queue::kEnd, Queue::kBreak}) {
    Queue queue(3);
    Event served;
    RequestLoop loop(queue.Source([&](int) { served.Set(); }), 3);
    Status status;
    std::thread runner([&] { status = loop.Run(); });
    queue.Put(1);
    served.Wait();
    queue.Put(number);
    runner.join();
    if (number == Queue::kEnd) {
      EXPECT_TRUE(status);
    } else {
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().code(), EIO);
    }
  }
}

// What a thread does when no request waits may take long: the next one is served all the same.
TEST(RequestLoopTest, IdleWorkDelaysNobody) {
  Queue queue(3);
  Event idle, served, go_on;
  std::atomic<int> idled = 0;
  RequestSource source = queue.Source([&](int number) {
    if (number == 2) served.Set();
  });
  source.idle = [&] {
    if (++idled > 1) return;
    idle.Set();
    go_on.Wait();
  };
  RequestLoop loop(std::move(source), 3);
  std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
  queue.Put(1);
  idle.Wait();
  queue.Put(2);
  served.Wait();
  go_on.Set();
  loop.Stop();
  runner.join();
  // Once for each time that requests were served, not each time that none was there.
  EXPECT_LE(idled, 2);
}

TEST(RequestLoopTest, RequestsAreWatched) {
  Queue queue(2);
  std::atomic<uint64_t> seen = 0;
  Event two;
  RequestSource source = queue.Source([](int) {});
  source.watch = [&](uint64_t requests) {
    seen = requests;
    if (requests == 2) two.Set();
  };
  RequestLoop loop(std::move(source), 2);
  std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
  queue.Put(1);
  queue.Put(2);
  two.Wait();
  EXPECT_EQ(loop.requests(), 2U);
  loop.Stop();
  runner.join();
}

TEST(RequestLoopTest, StopsWhileNothingComes) {
  Queue queue(2);
  RequestLoop loop(queue.Source([](int) {}), 2);
  std::thread runner([&] { EXPECT_TRUE(loop.Run()); });
  loop.Stop();
  runner.join();
}

}  // namespace
}  // namespace px::fs
