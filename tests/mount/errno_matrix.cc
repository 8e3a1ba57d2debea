// errno_matrix: each kind of operation, for each call that the daemon makes on its store meanwhile,
// and each errno that such a call can give: what the caller gets, and that nothing is harmed.
//
//   errno_matrix --mode=passthrough [--only=WORDS] [--stride=N [--offset=N]] [--verbose]
//
// Of each operation it runs first one without a fault, to count the calls. With a fault the caller
// must get that errno, or success where px has another way (kOtherwise says where and why); the
// operation has been done if it succeeded and has left no trace if it failed; it works when it is
// tried again; all other files are as they were; after an unmount px-fs fsck finds nothing, and a
// new mount shows the same tree. --stride=N takes every Nth fault only.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/mount/errno_operations.h"
#include "tests/mount/mode_main.h"
#include "tests/mount/tree.h"
#include "tests/mount/volume.h"
#include "tests/mount/watchdog.h"
#include "tests/testing/fault_injector.h"

namespace px::testing {
namespace {

// Longer than anything here takes, so that a hang is a failure.
constexpr auto kCaseLimit = std::chrono::seconds(30);
// Of a site that is met often: these many of its first calls, and the last.
constexpr uint64_t kFirstCalls = 3;
// So many faults of the background show that it has met them and gone on.
constexpr uint64_t kBackgroundHits = 20;

// Where the caller does not get the errno of the call.
struct Otherwise {
  StoreCall call;
  StoreFile file;
  int error;  // 0: any
  int caller;
  const char* reason;
  const char* operation = "";  // whose name begins so
};
constexpr Otherwise kOtherwise[] = {
    {StoreCall::kRead, StoreFile::kObject, EINTR, 0, "the read is made again"},
    {StoreCall::kWrite, StoreFile::kObject, EINTR, 0, "the write is made again"},
    {StoreCall::kCopyRange, StoreFile::kObject, EINTR, 0, "the copy is made again"},
    {StoreCall::kSync, StoreFile::kJournal, 0, 0,
     "what the journal cannot flush is still in memory, and goes into meta.db at once"},
    {StoreCall::kWrite, StoreFile::kJournal, 0, 0,
     "where the journal takes no sync point all of it goes into meta.db at once", "fsync"},
    {StoreCall::kWrite, StoreFile::kJournal, 0, 0, "as fsync", "fdatasync"},
    {StoreCall::kWrite, StoreFile::kJournal, 0, 0,
     "as well: what is written in place has no other owner after a power cut either", "O_TRUNC"},
    {StoreCall::kWrite, StoreFile::kJournal, 0, 0, "as well", "open"},
    {StoreCall::kWrite, StoreFile::kJournal, 0, 0, "as well", "truncate"},
    {StoreCall::kReflink, StoreFile::kObject, EOPNOTSUPP, 0, "it is copied instead"},
    {StoreCall::kReflink, StoreFile::kObject, EINVAL, 0, "it is copied instead"},
    {StoreCall::kReflink, StoreFile::kObject, 0, 0, "it is read without a copy",
     "read of a shared"},
    {StoreCall::kTruncate, StoreFile::kObject, 0, 0, "as well", "read of a shared"},
    {StoreCall::kCreate, StoreFile::kObject, 0, 0, "as well", "read of a shared"},
    {StoreCall::kOpen, StoreFile::kObject, EROFS, 0, "it can still be read", "open for reading"},
    {StoreCall::kOpen, StoreFile::kObject, EROFS, 0, "as well", "read"},
    {StoreCall::kRead, StoreFile::kDatabase, 0, EIO, "SQLite tells no more of a read"},
    {StoreCall::kRead, StoreFile::kWal, 0, EIO, "SQLite tells no more of a read"},
    {StoreCall::kWrite, StoreFile::kJournal, EINTR, 0, "the write is made again"},
    {StoreCall::kWrite, StoreFile::kSlots, EINTR, 0, "the write is made again"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "it is served in cached mode then", "create"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "as well", "open"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "as well", "O_TRUNC"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "as well", "tmpfile"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "as well", "read"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "what is not known to be flushed is flushed again",
     "fsync"},
    {StoreCall::kStat, StoreFile::kObject, 0, 0, "as well", "fdatasync"},
    {StoreCall::kSpace, StoreFile::kObjectDir, 0, 0, "what is not known to be short is not"},
    {StoreCall::kSpace, StoreFile::kObjectDir, 0, -1, "who asks gets it", "statfs"},
};

std::string NameOf(int error) { return error == 0 ? "0" : strerrorname_np(error); }

struct Planned {
  uint32_t site = 0;
  uint64_t call = 0;
  int error = 0;
  bool lasting = false;  // this call and all after it

  std::string Describe() const {
    return fmt::format("{} #{}{} {}", SiteName(site), call, lasting ? " and on" : "",
                       NameOf(error));
  }
};

struct Options {
  const MountMode* mode = nullptr;
  std::string only;
  size_t stride = 1, offset = 0;
  bool verbose = false;
};

class ErrnoMatrix {
 public:
  ErrnoMatrix(const Options& options, MountFixture& mount, FaultInjector& faults)
      : options_(options),
        mount_(mount),
        faults_(faults),
        watchdog_([this] { mount_.AbortConnection(); }) {}

  bool Run();

 private:
  bool RunOperation(const Operation& operation);
  bool RunFault(const Operation& operation, const Planned& planned);
  std::vector<Planned> Plan(const Operation& operation, const FaultInjector::Counts& before);
  int TryToPrepare(const Operation& operation, Attempt* attempt);
  bool Prepare(const Operation& operation, Attempt* attempt);
  bool CheckAnswer(const Operation& operation, const Planned& planned, int error);
  bool EndOperations();
  bool RunInBackground(int error);
  bool Restart(const std::string& what);
  void Settle() const;
  bool Complain(const std::string& what);
  std::string Describe(const Attempt& attempt) const;

  const Options& options_;
  MountFixture& mount_;
  FaultInjector& faults_;
  Watchdog watchdog_;
  std::string label_;  // of what is being done
  std::string witness_, before_, after_;
  size_t attempts_ = 0, planned_ = 0, done_ = 0, missed_ = 0, complaints_ = 0;
};

bool ErrnoMatrix::Complain(const std::string& what) {
  std::printf("FAILED: %s: %s\n", label_.c_str(), what.c_str());
  std::fflush(stdout);
  ++complaints_;
  return false;
}

// Requests that nobody waits for, as the release of a closed file, have been served when this
// returns: a control call waits for what came before it.
void ErrnoMatrix::Settle() const { CreateVolume(mount_.root() + "/."); }

std::string ErrnoMatrix::Describe(const Attempt& attempt) const {
  TreeOptions options;
  options.times = false;
  std::string text = DescribeTree(attempt.dir, options);
  const std::string snapshot = attempt.In("v/.snapshots/s");
  if (::access(snapshot.c_str(), F_OK) == 0) text += "snapshot " + DescribeTree(snapshot, options);
  return text;
}

int ErrnoMatrix::TryToPrepare(const Operation& operation, Attempt* attempt) {
  attempt->dir = fmt::format("{}/case{}", mount_.root(), ++attempts_);
  if (::mkdir(attempt->dir.c_str(), 0755) != 0) return errno;
  return operation.prepare(*attempt);
}

bool ErrnoMatrix::Prepare(const Operation& operation, Attempt* attempt) {
  if (const int error = TryToPrepare(operation, attempt); error != 0) {
    return Complain("preparing: " + NameOf(error));
  }
  if (operation.cold && !Restart("before a cold operation")) return false;
  Settle();
  return true;
}

bool ErrnoMatrix::Restart(const std::string& what) {
  const auto end = std::chrono::steady_clock::now() + kCaseLimit;
  Status status = mount_.Remount();
  // The kernel may still be ending what was closed.
  while (!status && status.error().code() == EBUSY && std::chrono::steady_clock::now() < end) {
    Settle();
    status = mount_.Remount();
  }
  return status ? true : Complain(what + ": " + status.error().ToString());
}

// What the fault-free run met since `before`, times the errnos of each.
std::vector<Planned> ErrnoMatrix::Plan(const Operation& operation,
                                       const FaultInjector::Counts& before) {
  std::vector<Planned> plan;
  const FaultInjector::Counts now = faults_.CountsNow();
  for (uint32_t site = 0; site < kSites; ++site) {
    const uint64_t calls = now[site] - before[site];
    if (IsBackground(site)) continue;
    for (uint64_t call = 0; call < calls; ++call) {
      if (call >= kFirstCalls && call + 1 < calls) continue;
      for (const int error : ErrnosOf(CallOf(site))) {
        for (const bool lasting : {false, true}) {
          // The kernel reads again what could not be read ahead, and a caller writes the rest of
          // what was written in part: one fault alone need not show.
          const bool hidden = operation.partial || CallOf(site) == StoreCall::kRead;
          if (!lasting && hidden) continue;
          if (lasting && error == EINTR) continue;  // for ever would be for ever
          if (planned_++ % options_.stride == options_.offset)
            plan.push_back({site, call, error, lasting});
        }
      }
    }
  }
  return plan;
}

bool ErrnoMatrix::CheckAnswer(const Operation& operation, const Planned& planned, int error) {
  if (options_.verbose) std::printf("%s: %s\n", label_.c_str(), NameOf(error).c_str());
  int wanted = planned.error;
  for (const Otherwise& otherwise : kOtherwise) {
    if (otherwise.call == CallOf(planned.site) && otherwise.file == FileOf(planned.site) &&
        (otherwise.error == 0 || otherwise.error == planned.error) &&
        operation.name.starts_with(otherwise.operation)) {
      wanted = otherwise.caller;
      // One that is true of one operation only may not be true of each of its calls.
      if (otherwise.operation[0] != '\0' && error == planned.error && error != EINTR)
        wanted = error;
    }
  }
  if (error == wanted || (error == 0 && operation.quiet)) return true;
  return Complain(fmt::format("the caller got {}, not {}", NameOf(error), NameOf(wanted)));
}

bool ErrnoMatrix::RunFault(const Operation& operation, const Planned& planned) {
  label_ = fmt::format("{} [{}]", operation.name, planned.Describe());
  Attempt attempt;
  if (!Prepare(operation, &attempt)) return false;
  watchdog_.Arm(kCaseLimit);
  faults_.Arm(Fault::kFail, planned.site, planned.call, planned.lasting ? UINT64_MAX : 1,
              planned.error);
  int error = operation.act(attempt);
  Settle();
  const bool hit = faults_.Disarm() > 0;
  if (!hit) ++missed_;
  if (hit) CheckAnswer(operation, planned, error);
  std::string now = Describe(attempt);
  const std::string& wanted = error == 0 ? after_ : before_;
  const bool may_be_done = error != 0 && (operation.partial || (operation.quiet && now == after_));
  if (now != wanted && !may_be_done) {
    Complain(fmt::format("after {} the tree is\n{}and should be\n{}", NameOf(error), now, wanted));
  }
  if (error != 0) {
    error = operation.act(attempt);
    if (error != 0 && CallOf(planned.site) == StoreCall::kSync) {
      // What a flush could not write may be gone from the kernel's memory: nothing more is
      // acknowledged before the store was opened anew.
      attempt.fd.Reset();
      attempt.other.Reset();
      if (!Restart("after a failed flush")) return false;
      if (!Prepare(operation, &attempt)) return false;
      error = operation.act(attempt);
    }
    Settle();
    if (error != 0) Complain("tried again it fails: " + NameOf(error));
    now = Describe(attempt);
    if (error == 0 && now != after_) {
      Complain(fmt::format("tried again the tree is\n{}and should be\n{}", now, after_));
    }
  }
  attempt.fd.Reset();
  attempt.other.Reset();
  // From here on it would answer every fsync with that.
  const bool broken = hit && CallOf(planned.site) == StoreCall::kSync && planned.error == EIO;
  if (broken && !Restart("after a failed flush")) return false;
  if (DescribeTree(mount_.root() + "/witness") != witness_) return Complain("the witness changed");
  if (watchdog_.Disarm()) return Complain("it hung");
  ++done_;
  return true;
}

// What was done since the last call is as sound on disk as it looks.
bool ErrnoMatrix::EndOperations() {
  label_ = "up to " + label_;
  const std::string before = DescribeTree(mount_.root());
  if (const Status status = mount_.Unmount(); !status) return Complain(status.error().ToString());
  const RunResult fsck = mount_.PxFs({"fsck", mount_.store()});
  if (fsck.exit_code != 0) return Complain("fsck: " + fsck.output);
  if (const Status status = mount_.Mount(); !status) return Complain(status.error().ToString());
  const std::string now = DescribeTree(mount_.root());
  if (now != before) {
    return Complain(fmt::format("mounted again the tree is\n{}and was\n{}", now, before));
  }
  std::error_code error;
  for (const auto& dir : std::filesystem::directory_iterator(mount_.root(), error)) {
    if (!dir.path().filename().string().starts_with("case")) continue;
    for (const auto& volume : std::filesystem::directory_iterator(dir.path(), error)) {
      if (const int dropped = DropVolume(volume.path()); dropped != 0) {
        return Complain(fmt::format("drop {}: {}", volume.path().string(), NameOf(dropped)));
      }
    }
    if (::rmdir(dir.path().c_str()) != 0) return Complain("rmdir: " + NameOf(errno));
  }
  return true;
}

bool ErrnoMatrix::RunOperation(const Operation& operation) {
  label_ = operation.name;
  std::vector<Planned> plan;
  {
    Attempt attempt;
    if (!Prepare(operation, &attempt)) return false;
    before_ = Describe(attempt);
  }
  {
    Attempt attempt;
    if (!Prepare(operation, &attempt)) return false;
    const FaultInjector::Counts before = faults_.CountsNow();
    if (const int error = operation.act(attempt); error != 0) {
      return Complain("without a fault: " + NameOf(error));
    }
    Settle();
    plan = Plan(operation, before);
    after_ = Describe(attempt);
  }
  for (const Planned& planned : plan) {
    if (!RunFault(operation, planned) && complaints_ > 100) return false;
    if (const Status status = mount_.EnsureMounted(); !status) {
      return Complain(status.error().ToString());
    }
  }
  return true;
}

// All that the daemon does by itself fails for a while: hand-overs of the journal, write-backs,
// reclaim, the pool. Nobody who does not ask for a flush need notice, and afterwards all is caught
// up with.
bool ErrnoMatrix::RunInBackground(int error) {
  label_ = "any call in the background " + NameOf(error);
  faults_.Arm(Fault::kFail, kAnyInBackground, 0, UINT64_MAX, error);
  watchdog_.Arm(kCaseLimit);
  const auto end = std::chrono::steady_clock::now() + kCaseLimit;
  std::vector<std::string> expected;
  const auto first = attempts_;
  bool refused = false;
  while (faults_.hits() < kBackgroundHits && std::chrono::steady_clock::now() < end) {
    Attempt attempt;
    const int failed = TryToPrepare(ErrnoOperations().front(), &attempt);
    // Where the database has no room to grow nothing new is taken on.
    refused = failed == error && (error == ENOSPC || error == EDQUOT);
    if (failed != 0 && !refused) Complain("preparing: " + NameOf(failed));
    if (failed != 0) break;
    Settle();
    if (::unlink(attempt.In("v/small").c_str()) != 0) Complain("unlink: " + NameOf(errno));
    const int cloned = CloneVolume(attempt.In("v"), attempt.In("w"));
    refused = cloned == error && (error == ENOSPC || error == EDQUOT);
    if (cloned != 0 && !refused) Complain("clone: " + NameOf(cloned));
    if (cloned != 0) break;
    expected.push_back(Describe(attempt));
  }
  if (faults_.Disarm() < (refused ? 1 : kBackgroundHits)) Complain("it did nothing by itself");
  if (watchdog_.Disarm()) return Complain("it hung");
  ++done_;
  for (size_t i = 0; i < expected.size(); ++i) {
    Attempt attempt;
    attempt.dir = fmt::format("{}/case{}", mount_.root(), first + i + 1);
    if (Describe(attempt) != expected[i]) Complain(attempt.dir + " changed");
  }
  return EndOperations();
}

bool ErrnoMatrix::Run() {
  const std::string witness = mount_.root() + "/witness";
  label_ = "the witness";
  Attempt attempt;
  attempt.dir = witness;
  if (::mkdir(witness.c_str(), 0755) != 0 || ErrnoOperations().front().prepare(attempt) != 0 ||
      CloneVolume(attempt.In("v"), attempt.In("w")) != 0) {
    return Complain("cannot be made");
  }
  witness_ = DescribeTree(witness);
  size_t operations = 0;
  const size_t end_every = options_.stride > 1 ? 10 : 1;
  for (const Operation& operation : ErrnoOperations()) {
    if (!options_.only.empty() && operation.name.find(options_.only) == std::string::npos) continue;
    ++operations;
    if (!RunOperation(operation)) break;
    const bool last = &operation == &ErrnoOperations().back();
    if ((operations % end_every == 0 || last || !options_.only.empty()) && !EndOperations()) break;
  }
  constexpr int kErrors[] = {ENOSPC, EIO, EMFILE, EDQUOT, EROFS};
  for (size_t i = 0; options_.only.empty() && complaints_ == 0 && i < std::size(kErrors); ++i) {
    if (options_.stride == 1 || i % 5 == options_.offset % 5) RunInBackground(kErrors[i]);
  }
  if (complaints_ > 0) {
    std::printf("errno_matrix: %zu complaints\n%s\n", complaints_, mount_.LogTail().c_str());
    return false;
  }
  std::printf("ok: %zu operations, %zu faults (%zu not met again), nothing harmed\n", operations,
              done_, missed_);
  return operations > 0 && done_ > 0;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::string value = argument.substr(std::min(argument.size(), argument.find('=') + 1));
    if (argument.starts_with("--mode=")) {
      options.mode = FindMountMode(value);
    } else if (argument.starts_with("--only=")) {
      options.only = value;
    } else if (argument.starts_with("--stride=")) {
      options.stride = std::max<size_t>(1, std::strtoul(value.c_str(), nullptr, 10));
    } else if (argument.starts_with("--offset=")) {
      options.offset = std::strtoul(value.c_str(), nullptr, 10);
    } else if (argument == "--verbose") {
      options.verbose = true;
    } else {
      options.mode = nullptr;
      break;
    }
  }
  if (options.mode == nullptr || !options.mode->px || options.offset >= options.stride) {
    std::fprintf(stderr,
                 "usage: errno_matrix --mode=MODE [--only=WORDS] [--stride=N [--offset=N]] "
                 "[--verbose]\n");
    return 2;
  }
  return RunOnMount(*options.mode, "ErrnoMatrix", [&](MountFixture& mount) {
    const auto faults = FaultInjector::Create(mount.scratch(), mount.store());
    if (!faults) {
      std::fprintf(stderr, "errno_matrix: %s\n", faults.error().ToString().c_str());
      return 1;
    }
    mount.set_environment((*faults)->environment());
    mount.set_keeper(false);
    if (const Status status = mount.Remount(); !status) {
      std::fprintf(stderr, "errno_matrix: %s\n", status.error().ToString().c_str());
      return 1;
    }
    return ErrnoMatrix(options, mount, **faults).Run() ? 0 : 1;
  });
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
