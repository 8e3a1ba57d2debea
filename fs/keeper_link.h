// KeeperLink: the daemon's end of the socket to its keeper (keeper.h), and the messages on it.
//
// Each message is one datagram (SOCK_SEQPACKET), descriptors beside it:
//
//   kStart    keeper → daemon, once: how it is to begin, the live table, and with take_over
//             /dev/fuse and the lock
//   kHold     daemon → keeper, by the first one: the descriptors to keep, and the first request
//   kReady    daemon → keeper: requests are answered
//   kRestart  keeper → daemon: end, another one takes over (exit code kHandOverExit)
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace px::fs {

inline constexpr int kHandOverExit = 75;  // of a daemon that another one is to replace

struct KeeperMessage {
  enum Type : uint32_t { kStart = 1, kHold = 2, kReady = 3, kRestart = 4 };
  static constexpr size_t kMaxFds = 3;

  uint32_t type = 0;
  uint32_t take_over = 0;
  int32_t keeper_pid = 0;
  int32_t last_signal = 0;  // that ended the daemon before; 0: none did
  uint64_t restarts = 0;
  uint64_t crashes = 0;
  uint32_t size = 0;        // of `bytes`
  uint32_t tell_ready = 0;  // kStart: descriptor kReadyFd is there
  std::array<char, 1024> bytes{};

  // Both without memory from the heap. Receive: 0 if the other end is gone, else the number of
  // descriptors, -1 with errno.
  bool Send(int socket, std::span<const int> fds) const;
  int Receive(int socket, std::span<int, kMaxFds> fds);
};

// Threads: one at a time, but alive() and start() from any.
class KeeperLink {
 public:
  // Takes the socket and waits for kStart.
  static Result<std::unique_ptr<KeeperLink>> Open(int socket);

  bool take_over() const { return start_.take_over != 0; }
  // What the keeper kept, each once.
  UniqueFd TakeLive() { return std::move(live_); }
  UniqueFd TakeFuse() { return std::move(fuse_); }
  UniqueFd TakeLock() { return std::move(lock_); }
  std::string init() const { return {start_.bytes.data(), start_.size}; }
  const KeeperMessage& start() const { return start_; }

  // Hands over what outlives this daemon. E2BIG: the first request is too large to be kept.
  Status Hold(int fuse, int lock, int state, const std::string& init);
  void Ready();
  // Readable when there is a message, or the keeper is gone.
  int fd() const { return socket_.get(); }
  // True: another daemon is to take over. Afterwards alive() may be false.
  bool WantsRestart();
  bool alive() const { return alive_; }

 private:
  KeeperLink() = default;

  UniqueFd socket_, live_, fuse_, lock_;
  std::atomic<bool> alive_ = true;
  KeeperMessage start_;
};

}  // namespace px::fs
