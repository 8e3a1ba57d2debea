#include "launcher/job_group.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "launcher/files.h"
#include "launcher/process.h"

namespace px::launcher {
namespace {

using std::chrono::steady_clock;

// For killed processes to be gone: long on a busy machine, and for one that waits for a disk.
constexpr auto kPatience = std::chrono::seconds(20);

Status WriteControl(const std::string& file, const std::string& value) {
  PX_ASSIGN(const UniqueFd fd, OpenFile(file, O_WRONLY));
  return WriteAll(fd.get(), value);
}

// Where the hierarchy of `type` ("cgroup2", or "cgroup" with that controller) is mounted; empty if
// nowhere.
std::string MountOf(const std::string& type, const std::string& controller = {}) {
  std::istringstream mounts(ReadFile("/proc/self/mounts").value_or(""));
  std::string device, place, kind, options, rest;
  while (mounts >> device >> place >> kind >> options && std::getline(mounts, rest)) {
    if (kind != type) continue;
    const bool has = ("," + options + ",").find("," + controller + ",") != std::string::npos;
    if (controller.empty() || has) return place;
  }
  return "";
}

// This process's own place in a hierarchy: "/…". `controller` is empty for version 2.
std::string OwnCgroup(const std::string& controller = {}) {
  std::istringstream lines(ReadFile("/proc/self/cgroup").value_or(""));
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool has = ("," + controllers + ",").find("," + controller + ",") != std::string::npos;
    if (controller.empty() ? controllers.empty() : has) return line.substr(second + 1);
  }
  return "/";
}

// Where a version 1 cgroup called `name` belongs: below our own, so that limits set on us still
// hold. Empty if the machine has no such hierarchy.
std::string OldCgroup(const std::string& controller, const std::string& name) {
  const std::string mount = MountOf("cgroup", controller);
  if (mount.empty()) return "";
  const std::string own = OwnCgroup(controller);
  return mount + (own == "/" ? "" : own) + "/" + name;
}

bool MayUse(const std::string& parent) {
  return ::access(parent.c_str(), W_OK) == 0 &&
         ::access((parent + "/cgroup.procs").c_str(), W_OK) == 0;
}

std::vector<pid_t> ReadPids(const std::string& directory) {
  std::istringstream lines(ReadFile(directory + "/cgroup.procs").value_or(""));
  std::vector<pid_t> pids;
  pid_t pid = 0;
  while (lines >> pid) pids.push_back(pid);
  return pids;
}

int64_t CounterIn(const std::string& file, const std::string& name) {
  std::istringstream lines(ReadFile(file).value_or(""));
  std::string key;
  int64_t value = 0;
  while (lines >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

// A killed process leaves its cgroup's list before it has left the cgroup: until then it is busy.
// And one that was on its way in may have come since.
void RemoveCgroup(const std::string& directory) {
  const auto deadline = steady_clock::now() + kPatience;
  while (::rmdir(directory.c_str()) != 0 && errno == EBUSY && steady_clock::now() < deadline) {
    for (const pid_t pid : ReadPids(directory)) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string Bytes(double mib) { return std::to_string(static_cast<int64_t>(mib * 1024 * 1024)); }

}  // namespace

std::string WritableCgroupParent() {
  const std::string mount = MountOf("cgroup2");
  if (mount.empty()) return "";
  std::string own = mount + OwnCgroup();
  while (!own.empty() && own.back() == '/') own.pop_back();
  // The parent of our own comes first: a cgroup that holds processes cannot give controllers to its
  // children.
  for (const std::string& candidate : {ParentOf(own), own}) {
    if (candidate.starts_with(mount) && MayUse(candidate)) return candidate;
  }
  return "";
}

JobGroup JobGroup::Create(const std::string& name, const JobLimits& limits) {
  JobGroup group;
  group.name_ = name;
  const std::string parent = WritableCgroupParent();
  const std::string directory = parent + "/" + name;
  if (!parent.empty() && ::mkdir(directory.c_str(), 0755) == 0) {
    if (PathExists(directory + "/cgroup.kill")) {
      group.cgroup_ = directory;
    } else {
      ::rmdir(directory.c_str());
    }
  }
  group.description_ = group.cgroup_.empty() ? "process group and subreaper" : "cgroup v2";
  group.ApplyLimits(limits);
  return group;
}

JobGroup JobGroup::Adopt(const std::string& name, const std::string& cgroup) {
  JobGroup group;
  group.name_ = name;
  group.adopted_ = true;
  // Without a recorded one: its maker may have died between making it and writing it down.
  const std::string place = cgroup.empty() ? WritableCgroupParent() + "/" + name : cgroup;
  if (PathExists(place + "/cgroup.procs")) group.cgroup_ = place;
  for (const char* controller : {"memory", "cpu"}) {
    const std::string old = OldCgroup(controller, name);
    if (!old.empty() && PathExists(old)) group.old_ones_.push_back(old);
  }
  return group;
}

void JobGroup::LimitOneResource(const std::string& controller, const Limit& limit) {
  const std::string what = controller + " limit";
  if (!cgroup_.empty()) {
    // Fails where the controller does not exist or is not ours to give; then the file below is
    // missing.
    static_cast<void>(
        WriteControl(ParentOf(cgroup_) + "/cgroup.subtree_control", "+" + controller));
    if (WriteControl(cgroup_ + "/" + limit.file, limit.value)) {
      description_ += ", " + what;
      return;
    }
  }
  const std::string old = OldCgroup(controller, name_);
  if (!old.empty() && ::mkdir(old.c_str(), 0755) == 0) {
    if (WriteControl(old + "/" + limit.old_file, limit.old_value)) {
      old_ones_.push_back(old);
      description_ += ", " + what + " (cgroup v1)";
      return;
    }
    ::rmdir(old.c_str());
  }
  description_ += ", no " + what + " (no controller)";
}

void JobGroup::ApplyLimits(const JobLimits& limits) {
  if (limits.memory_mib) {
    const std::string bytes = Bytes(*limits.memory_mib);
    LimitOneResource("memory", {"memory.max", bytes, "memory.limit_in_bytes", bytes});
  }
  if (limits.cpus) {
    const auto quota = std::to_string(static_cast<int64_t>(*limits.cpus * 100'000));
    LimitOneResource("cpu", {"cpu.max", quota + " 100000", "cpu.cfs_quota_us", quota});
  }
}

Status JobGroup::Enter(pid_t pid) const {
  const std::string text = std::to_string(pid);
  if (!cgroup_.empty()) PX_TRY(WriteControl(cgroup_ + "/cgroup.procs", text));
  for (const std::string& old : old_ones_) PX_TRY(WriteControl(old + "/cgroup.procs", text));
  return {};
}

std::vector<pid_t> JobGroup::Processes() const {
  if (!cgroup_.empty()) return ReadPids(cgroup_);
  return adopted_ ? ProcessesWithEnvironment("PX_JOB=" + name_) : Descendants(::getpid());
}

void JobGroup::Signal(int signal) const {
  for (const pid_t pid : Processes()) ::kill(pid, signal);
}

void JobGroup::KillAll() const {
  const auto deadline = steady_clock::now() + kPatience;
  while (true) {
    if (cgroup_.empty() || !WriteControl(cgroup_ + "/cgroup.kill", "1")) Signal(SIGKILL);
    if (Processes().empty() || steady_clock::now() > deadline) return;
    // The kernel gives no event for "the last one is gone" that holds for both ways.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

int64_t JobGroup::OomKills() const {
  int64_t kills = cgroup_.empty() ? 0 : CounterIn(cgroup_ + "/memory.events", "oom_kill");
  for (const std::string& old : old_ones_) {
    kills += CounterIn(old + "/memory.oom_control", "oom_kill");
  }
  return kills;
}

void JobGroup::Remove() const {
  for (const std::string& old : old_ones_) RemoveCgroup(old);
  if (!cgroup_.empty()) RemoveCgroup(cgroup_);
}

}  // namespace px::launcher
