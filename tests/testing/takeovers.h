// Takeovers: as long as it lives, a thread replaces the daemon of a mount again and again, by
// SIGKILL or by `px-fs restart`, at random moments. Whatever works in the mount meanwhile must not
// notice.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "base/mutex.h"
#include "tests/fuzz/random.h"
#include "tests/testing/mount_fixture.h"

namespace px::testing {

class Takeovers {
 public:
  // `pause` at most between two of them.
  Takeovers(const MountFixture& mount, uint64_t seed, std::chrono::milliseconds pause);
  ~Takeovers() { Stop(); }
  // Waits until the last one is over: the mount answers.
  void Stop();

  int kills() const { return kills_; }
  int restarts() const { return restarts_; }
  // Empty, or why one failed: then no more are tried.
  std::string failure() const;

 private:
  void Loop();
  bool Replace();
  bool Failed(const std::string& what);

  const MountFixture& mount_;
  Random random_;
  const std::chrono::milliseconds pause_;
  std::atomic<int> kills_ = 0, restarts_ = 0;
  mutable Mutex mutex_;
  CondVar stop_;
  bool stopping_ PX_GUARDED_BY(mutex_) = false;
  std::string failure_ PX_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace px::testing
