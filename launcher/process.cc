#include "launcher/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "launcher/files.h"

namespace px::launcher {
namespace {

struct Stat {
  char state = '?';
  pid_t parent = 0;
  int64_t start_ticks = 0;
};

// Of /proc/PID/stat. The command name may hold spaces and brackets: fields count from its last ')'.
std::optional<Stat> ReadStat(pid_t pid) {
  const auto text = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  const size_t end = text->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::vector<std::string> fields;
  size_t at = end + 2;
  while (at < text->size()) {
    const size_t space = std::min(text->find(' ', at), text->size());
    fields.push_back(text->substr(at, space - at));
    at = space + 1;
  }
  constexpr size_t kStartTime = 22 - 3;
  if (fields.size() <= kStartTime || fields[0].empty()) return std::nullopt;
  return Stat{.state = fields[0][0],
              .parent = static_cast<pid_t>(std::strtol(fields[1].c_str(), nullptr, 10)),
              .start_ticks = std::strtoll(fields[kStartTime].c_str(), nullptr, 10)};
}

std::string ReadBootId() {
  auto text = ReadFile("/proc/sys/kernel/random/boot_id").value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

const std::string& BootId() {
  static const std::string id = ReadBootId();
  return id;
}

std::vector<pid_t> AllPids() {
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  std::vector<pid_t> pids;
  if (proc == nullptr) return pids;
  while (const dirent* entry = ::readdir(proc.get())) {
    const long pid = std::strtol(entry->d_name, nullptr, 10);
    if (pid > 0) pids.push_back(static_cast<pid_t>(pid));
  }
  return pids;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string ReadToEnd(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

int WaitFor(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// In the grandchild of StartDetached: becomes the program, or ends.
[[noreturn]] void BecomeDetached(std::vector<std::string> arguments, int ready, int log) {
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(null.get(), 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  // dup2 clears close-on-exec, unless both are the same already.
  if (ready == 3) {
    ::fcntl(3, F_SETFD, 0);
  } else {
    ::dup2(ready, 3);
  }
  ::close_range(4, ~0U, 0);
  std::vector<char*> argv = Pointers(arguments);
  ::execv("/proc/self/exe", argv.data());
  const std::string problem = "cannot start a copy of this program\n";
  static_cast<void>(WriteAll(3, problem));
  ::_exit(127);
}

// The descriptor that ReportReady writes to; nothing at the second call.
UniqueFd TakeReady() {
  const char* number = ::getenv("PX_READY_FD");
  if (number == nullptr) return {};
  UniqueFd ready(static_cast<int>(std::strtol(number, nullptr, 10)));
  ::unsetenv("PX_READY_FD");
  return ready;
}

}  // namespace

std::string HostName() {
  utsname names{};
  return ::uname(&names) == 0 ? names.nodename : "localhost";
}

Result<ProcessIdentity> Identify(pid_t pid) {
  const auto stat = ReadStat(pid);
  if (!stat) return Fail(ENOENT, "process " + std::to_string(pid));
  return ProcessIdentity{
      .host = HostName(), .boot_id = BootId(), .pid = pid, .start_ticks = stat->start_ticks};
}

ProcessIdentity Self() {
  const pid_t pid = ::getpid();
  return Identify(pid).value_or(
      ProcessIdentity{.host = HostName(), .boot_id = BootId(), .pid = pid, .start_ticks = 0});
}

Liveness LivenessOf(const ProcessIdentity& process) {
  if (process.host != HostName()) return Liveness::kElsewhere;
  if (process.pid <= 0 || process.boot_id != BootId()) return Liveness::kDead;
  const auto stat = ReadStat(static_cast<pid_t>(process.pid));
  const bool same = stat && stat->start_ticks == process.start_ticks;
  return same && stat->state != 'Z' && stat->state != 'X' ? Liveness::kAlive : Liveness::kDead;
}

Status SignalProcess(const ProcessIdentity& process, int signal) {
  // By number: glibc 2.36 declares the wrappers without C linkage.
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  // Checked after the descriptor is held: it cannot come to mean another process any more.
  if (!pidfd || LivenessOf(process) != Liveness::kAlive) {
    return Fail(ESRCH, "process " + std::to_string(process.pid));
  }
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) != 0)
    return FailErrno("signal");
  return {};
}

std::vector<pid_t> Descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : AllPids()) {
    if (const auto stat = ReadStat(pid); stat && stat->state != 'Z') {
      children.emplace(stat->parent, pid);
    }
  }
  std::vector<pid_t> found{root};
  for (size_t i = 0; i < found.size(); ++i) {
    const auto [begin, end] = children.equal_range(found[i]);
    for (auto child = begin; child != end; ++child) found.push_back(child->second);
  }
  found.erase(found.begin());
  return found;
}

std::vector<pid_t> ProcessesWithEnvironment(const std::string& entry) {
  std::vector<pid_t> found;
  const std::string needle = std::string(1, '\0') + entry + '\0';
  for (const pid_t pid : AllPids()) {
    const auto environment = ReadFile("/proc/" + std::to_string(pid) + "/environ");
    if (environment && (std::string(1, '\0') + *environment).find(needle) != std::string::npos) {
      found.push_back(pid);
    }
  }
  return found;
}

Result<Finished> RunProgram(const std::vector<std::string>& arguments) {
  // A file, not a pipe: a daemon that the program leaves behind may keep it open for ever.
  const UniqueFd output(::memfd_create("px-output", MFD_CLOEXEC));
  if (!output) return FailErrno("memfd_create");
  std::vector<std::string> copy = arguments;
  std::vector<char*> argv = Pointers(copy);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("fork");
  if (child == 0) {
    const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::dup2(null.get(), 0);
    ::dup2(output.get(), 1);
    ::dup2(output.get(), 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  const int status = WaitFor(child);
  Finished finished;
  ::lseek(output.get(), 0, SEEK_SET);
  finished.output = ReadToEnd(output.get());
  finished.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return finished;
}

Status StartDetached(const std::vector<std::string>& arguments, const Environment& extra,
                     const std::string& log) {
  PX_TRY(MakeDirs(ParentOf(log)));
  PX_ASSIGN(const UniqueFd log_fd, OpenFile(log, O_WRONLY | O_CREAT | O_APPEND));
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("fork");
  if (child == 0) {
    ::setsid();
    const pid_t grandchild = ::fork();
    if (grandchild != 0) ::_exit(grandchild < 0 ? 1 : 0);
    for (const auto& [name, value] : extra) ::setenv(name.c_str(), value.c_str(), 1);
    ::setenv("PX_READY_FD", "3", 1);
    BecomeDetached(arguments, write_end.get(), log_fd.get());
  }
  write_end.Reset();
  WaitFor(child);
  const std::string answer = ReadToEnd(read_end.get());
  if (answer == "ok\n") return {};
  return Fail(EIO, answer.empty() ? "it ended at once; see " + log : answer);
}

void ReportReady(const std::string& problem) {
  const UniqueFd ready = TakeReady();
  // Nobody may be listening any more; that changes nothing for us.
  if (ready) static_cast<void>(WriteAll(ready.get(), problem.empty() ? "ok\n" : problem));
}

void LeaveReady() { TakeReady(); }

}  // namespace px::launcher
