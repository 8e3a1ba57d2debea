// Child processes for tests: run one to its end, or start one that must not outlive the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace px::testing {

struct RunResult {
  int exit_code =
      -1;  // 128 + signal if it was killed, 124 if it ran past its time (and was killed)
  std::string output;  // standard output and error together
};

// Runs `argv` to its end. Standard input is /dev/null.
RunResult Execute(const std::vector<std::string>& argv,
                  std::chrono::milliseconds timeout = std::chrono::seconds(60));

// A program that runs beside the test. Killed (SIGKILL) and reaped by the destructor; it is also
// killed by the kernel if the thread that started it dies first.
class Background {
 public:
  Background() = default;
  // Output goes to `log_path` (appended). EIO if it could not be started.
  static Result<Background> Start(const std::vector<std::string>& argv,
                                  const std::string& log_path);
  Background(Background&& other) noexcept;
  Background& operator=(Background&& other) noexcept;
  ~Background();

  pid_t pid() const { return pid_; }
  bool running() const { return pid_ > 0; }
  // Readable once the process has ended.
  int pidfd() const { return pidfd_.get(); }
  // Waits for the end and reaps. False if `timeout` passed first: it still runs.
  bool Wait(std::chrono::milliseconds timeout);
  void Kill();

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
};

// Runs `body` in a forked child and gives its exit code (0-255); 128 + signal if it died. What the
// child may do is what a fork of a program with threads may do: system calls, no more.
int InChild(const std::function<int()>& body);

// The same, as the ordinary user `uid`:`gid` with only the supplementary groups `groups`.
int AsUser(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
           const std::function<int()>& body);

// Processes one of whose arguments contains `text`, this one left out.
std::vector<pid_t> ProcessesNaming(const std::string& text);

// SIGKILL for a process that may be nobody's child here, and waits for its end, 30 s at most.
void KillAndAwait(pid_t pid);

}  // namespace px::testing
