// FakeKernel: a store served over a socket pair instead of /dev/fuse, by the real session, loop and
// bridge: no mount, no root. The test sends what a kernel would, or would not.
//
// Every answer is checked: its length, that its request was waiting for one, its error, and the
// body as linux/fuse.h has it for that opcode. What is wrong is kept in complaint().
//
// One thread. Only one at a time in a process, since it stands in for the ioctls of backing files,
// too (the program is linked with --wrap=ioctl).
#pragma once

#include <linux/fuse.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fs/fuse_session.h"
#include "fs/notifier.h"
#include "fs/store_dir.h"

namespace px::testing {

struct FuseRequest {
  uint32_t opcode = 0;
  uint64_t node = 0;
  uint32_t uid = 0, gid = 0, pid = 0;
  bool resent = false;  // as requests are that an earlier daemon did not answer
  std::string body;
};

struct FuseReply {
  FuseRequest request;
  int error = 0;  // positive
  std::string body;
};

class FakeKernel {
 public:
  struct Options {
    fs::FilesystemOptions filesystem;
    bool live_table = false;  // as with a keeper
  };
  // Opens the store and negotiates the protocol.
  static Result<std::unique_ptr<FakeKernel>> Start(const std::string& store,
                                                   const Options& options);
  ~FakeKernel();

  // EMSGSIZE: it does not fit into the socket's buffer.
  Status Send(const FuseRequest& request);
  // The answers of everything that was sent. ETIMEDOUT: one does not come.
  Result<std::vector<FuseReply>> Receive();
  // Ends the session as a signal does, and closes the store.
  Status Stop();

  // Writes as the kernel does itself in passthrough; nothing where that is no backing id.
  static void WriteBacking(int backing_id, const std::string& bytes, uint64_t offset);

  std::string complaint() const;
  uint64_t notifications() const { return notifications_; }

 private:
  FakeKernel() = default;
  Status Negotiate();
  // One message of the daemon.
  void Take(std::string_view message, std::vector<FuseReply>* replies);
  void Complain(const std::string& what, const FuseRequest& request);

  SystemClock clock_;
  UniqueFd fd_;
  std::unique_ptr<fs::Notifier> notifier_;
  std::unique_ptr<fs::FuseSession> session_;
  std::thread thread_;
  Status ended_;
  uint64_t next_unique_ = 2;
  std::multimap<uint64_t, FuseRequest> waiting_;  // by unique
  uint64_t notifications_ = 0;
  std::string complaint_;
};

// Bodies of requests, and of answers.
template <typename T>
std::string BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
template <typename T>
T Load(std::string_view bytes, size_t at = 0) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace px::testing
