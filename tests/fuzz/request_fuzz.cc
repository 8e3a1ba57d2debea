// request_fuzz: sends random FUSE requests to the daemon's own session and bridge, over a socket
// pair (tests/testing/fake_kernel.h).
//
//   request_fuzz [--seed=N] [--requests=N | --seconds=N]
//
// Lengths are right, since libfuse relies on the kernel for those; everything else is anything at
// all (tests/fuzz/requests.h). It is checked that every request is answered once, in the right
// form; that the store is sound afterwards (px-fs fsck --data); and that a volume which only
// requests that change nothing were sent for, its snapshot, and what was cloned from it meanwhile,
// hold the same files, byte for byte. Crashes, and what sanitizers find, end the program.
#include <fcntl.h>
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include "base/log.h"
#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "tests/fuzz/random.h"
#include "tests/fuzz/requests.h"
#include "tests/testing/fake_kernel.h"
#include "tests/testing/no_kernel.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;
using fs::Filesystem;
using fs::NodeKey;

constexpr uint64_t kRequestsOfOneStore = 4000;
constexpr int kMaxDepth = 8;
// So that no file takes long to be copied or read, whatever its size is set to.
constexpr rlim_t kMostBytes = rlim_t{64} << 20;

struct Failure {
  std::string what;
};

void Must(const Status& status, const char* what) {
  if (!status) throw Failure{fmt::format("{}: {}", what, status.error().ToString())};
}
template <typename T>
T Must(Result<T> result, const char* what) {
  if (!result) throw Failure{fmt::format("{}: {}", what, result.error().ToString())};
  return std::move(*result);
}

struct Figures {
  uint64_t stores = 0, requests = 0, done = 0, refused = 0, notifications = 0;
};

fs::FilesystemOptions Options(Random* random) {
  fs::FilesystemOptions options;
  options.passthrough = random->OneIn(2);
  options.pool_objects = 4;
  options.parked_inodes = random->OneIn(2) ? 4 : 1000;
  options.tick = std::chrono::milliseconds(5);
  options.trash_age = std::chrono::seconds(random->OneIn(2) ? 1 : 1000);
  options.seal_after = std::chrono::milliseconds(20);
  return options;
}

// --- The store ---

void WriteFile(Filesystem& fs, NodeKey dir, const std::string& name, const std::string& bytes) {
  const auto created =
      Must(fs.Create(dir, name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot), "create");
  Must(fs.Write(created.entry.node, bytes, 0, false), "write");
  fs.Release(created.entry.node, O_WRONLY, created.opened.handle);
}

NodeKey NodeOf(Filesystem& fs, NodeKey dir, const std::string& name) {
  return Must(fs.Lookup(dir, name), "look up").node;
}

NodeKey Clone(Filesystem& fs, NodeKey source, const std::string& name) {
  const px_ioc_token token = Must(fs.IssueToken(source, kRoot), "token");
  Must(fs.CloneVolume(kTop, name, token, 0, kRoot), "clone");
  return NodeOf(fs, kTop, name);
}

std::string Bytes(Random* random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random->Next());
  return bytes;
}

// Gives the root of the volume that is to stay as it is. Its name is none that requests have.
NodeKey MakeContent(Filesystem& fs, Random* random) {
  Must(fs.CreateVolume(kTop, "untouched", kRoot), "volume");
  const NodeKey root = NodeOf(fs, kTop, "untouched");
  WriteFile(fs, root, "a", Bytes(random, 5000));
  WriteFile(fs, root, "b", "");
  WriteFile(fs, root, "small", "small");
  WriteFile(fs, root, "large", Bytes(random, 1'300'000));
  WriteFile(fs, root, "f", Bytes(random, 300'000));
  for (int i = 0; i < 150; ++i) WriteFile(fs, root, fmt::format("one-of-many-{}", i), "x");
  const NodeKey dir = Must(fs.MakeNode(root, "dir", S_IFDIR | 0755, 0, kRoot), "mkdir").node;
  WriteFile(fs, dir, "inner", "inner");
  Must(fs.MakeSymlink(root, "link", std::string(2000, 't'), kRoot), "symlink");
  const NodeKey large = NodeOf(fs, root, "large");
  Must(fs.Link(large, dir, "hard"), "link");
  Must(fs.SetXattr(large, "user.note", std::string(3000, 'x'), 0, kRoot), "xattr");
  struct stat mode{};
  mode.st_mode = 06755;
  Must(fs.SetAttr(NodeOf(fs, root, "a"), mode, FUSE_SET_ATTR_MODE, kRoot), "chmod");
  Must(fs.Snapshot(root, "s", kRoot), "snapshot");
  const NodeKey work = Clone(fs, root, "work");
  Must(fs.Snapshot(work, "s", kRoot), "snapshot");
  Clone(fs, root, "other");
  Clone(fs, work, "gone");
  Must(fs.DropVolume(kTop, "gone", /*trash=*/true, kRoot), "trash");
  Must(fs.MakeNode(kTop, "plain", S_IFDIR | 0777, 0, kRoot), "mkdir");
  Must(fs.CreateVolume(NodeOf(fs, kTop, "plain"), "mine", kRoot), "volume");
  WriteFile(fs, kTop, "x", "in the root volume");
  return root;
}

// What the tree below holds, one line for each name.
void Describe(Filesystem& fs, NodeKey dir, const std::string& path, int depth,
              std::map<std::string, std::string>* found) {
  if (depth > kMaxDepth) return;
  std::vector<std::string> names;
  Must(fs.ReadDir(dir, 0, false,
                  [&](const fs::DirEntry& entry) {
                    if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
                    return true;
                  }),
       "list");
  for (const std::string& name : names) {
    const fs::Entry entry = Must(fs.Lookup(dir, name), "look up");
    const struct stat& attr = entry.attr;
    std::string& line = (*found)[path + "/" + name];
    line = fmt::format("{:o} {} {}:{} {} {}.{} ", attr.st_mode, attr.st_nlink, attr.st_uid,
                       attr.st_gid, attr.st_size, attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec);
    line += Must(fs.ListXattr(entry.node, kRoot), "xattrs");
    if (const auto note = fs.GetXattr(entry.node, "user.note")) line += *note;
    if (S_ISLNK(attr.st_mode)) line += Must(fs.ReadLink(entry.node), "link");
    if (S_ISREG(attr.st_mode)) {
      const auto opened = Must(fs.Open(entry.node, O_RDONLY, false), "open");
      std::string bytes(static_cast<size_t>(attr.st_size), '\0');
      bytes.resize(Must(fs.Read(entry.node, bytes, 0), "read"));
      fs.Release(entry.node, O_RDONLY, opened.handle);
      line += bytes;
    }
    if (S_ISDIR(attr.st_mode)) Describe(fs, entry.node, path + "/" + name, depth + 1, found);
  }
}

std::map<std::string, std::string> DescribeUntouched(Filesystem& fs, NodeKey root) {
  std::map<std::string, std::string> found;
  Describe(fs, root, "", 0, &found);
  Describe(fs, NodeOf(fs, root, ".snapshots"), "/.snapshots", 0, &found);
  return found;
}

// Runs `body` on the filesystem, without a session.
void WithStore(const std::string& dir, bool create,
               const std::function<void(Filesystem& fs)>& body) {
  NoKernel kernel;
  SystemClock clock;
  const auto store = Must(fs::StoreDir::Open(dir, create), "open the store");
  const auto fs = Must(
      Filesystem::Open(Must(store.OpenParts(), "open the store"), {}, &kernel, &clock), "open");
  body(*fs);
}

// --- One store ---

void Exchange(FakeKernel* kernel, RequestMaker* maker, Figures* figures) {
  for (const FuseReply& reply : Must(kernel->Receive(), "no answer")) {
    ++(reply.error == 0 ? figures->done : figures->refused);
    maker->Learn(reply);
  }
  if (!kernel->complaint().empty()) throw Failure{kernel->complaint()};
}

void Send(FakeKernel* kernel, const FuseRequest& request, Figures* figures) {
  Must(kernel->Send(request), "send");
  ++figures->requests;
}

// The kernel's own writes to what it has in passthrough.
void WritePassthrough(const RequestMaker& maker, Random* random) {
  if (maker.handles().empty()) return;
  const auto& handle = maker.handles()[random->Below(maker.handles().size())];
  if (handle.backing_id == 0 || (handle.flags & O_ACCMODE) == O_RDONLY) return;
  FakeKernel::WriteBacking(handle.backing_id, Bytes(random, random->Below(5000)),
                           random->Below(1 << 20));
}

void Fuzz(FakeKernel* kernel, NodeKey untouched, uint64_t requests, Random* random,
          Figures* figures) {
  RequestMaker maker(random, {untouched.volume.value});
  for (uint64_t i = 0; i < requests;) {
    // Mostly one after the other; now and then some at once, one of them twice.
    const uint64_t together = random->OneIn(4) ? 1 + random->Below(8) : 1;
    for (uint64_t n = 0; n < together; ++n, ++i) {
      const FuseRequest request = maker.Make();
      Send(kernel, request, figures);
      if (random->OneIn(40)) Send(kernel, request, figures);
    }
    Exchange(kernel, &maker, figures);
    WritePassthrough(maker, random);
  }
  // A kernel releases what is open, but for one that is made to end.
  if (!random->OneIn(4)) {
    for (const auto& handle : std::vector(maker.handles())) {
      Send(kernel, RequestMaker::Release(handle), figures);
    }
    Exchange(kernel, &maker, figures);
  }
  Send(kernel, {.opcode = FUSE_DESTROY}, figures);
  Exchange(kernel, &maker, figures);
  figures->notifications += kernel->notifications();
  Must(kernel->Stop(), "stop");
  if (!kernel->complaint().empty()) throw Failure{kernel->complaint()};
}

// `kernel` is the caller's, who must not end it after a failure: what hangs would never end.
void RunOne(const std::string& dir, uint64_t seed, uint64_t requests,
            std::unique_ptr<FakeKernel>* kernel, Figures* figures) {
  Random random(seed);
  stdfs::remove_all(dir);
  NodeKey untouched;
  std::map<std::string, std::string> before, after;
  WithStore(dir, /*create=*/true, [&](Filesystem& fs) {
    untouched = MakeContent(fs, &random);
    before = DescribeUntouched(fs, untouched);
  });
  const FakeKernel::Options options{Options(&random), /*live_table=*/random.OneIn(2)};
  *kernel = Must(FakeKernel::Start(dir, options), "start");
  Fuzz(kernel->get(), untouched, requests, &random, figures);
  kernel->reset();
  // A store whose files stayed open has unlinked ones that its next use removes.
  WithStore(dir, /*create=*/false,
            [&](Filesystem& fs) { after = DescribeUntouched(fs, untouched); });
  std::string findings;
  const auto report =
      Must(fs::Fsck(dir, {.data = true}, [&](const std::string& line) { findings += line + "\n"; }),
           "fsck");
  if (report.findings > 0) throw Failure{"fsck: " + findings};
  for (const auto& [path, line] : before) {
    if (!after.contains(path)) throw Failure{path + " is gone"};
    if (after.at(path) != line) throw Failure{path + " is not what it was"};
  }
  if (before.size() != after.size()) throw Failure{"the untouched volume has new files"};
  ++figures->stores;
}

int Main(int argc, char** argv) {
  unsigned long long seed = 1, requests = kRequestsOfOneStore, seconds = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::sscanf(argv[i], "--seed=%llu", &seed) == 1) continue;
    if (std::sscanf(argv[i], "--requests=%llu", &requests) == 1) continue;
    if (std::sscanf(argv[i], "--seconds=%llu", &seconds) == 1) continue;
    std::fprintf(stderr, "usage: request_fuzz [--seed=N] [--requests=N | --seconds=N]\n");
    return 2;
  }
  if (!SetLogLevel("off")) return 1;
  const rlimit limit{kMostBytes, kMostBytes};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ::signal(SIGXFSZ, SIG_IGN);
  const char* shm = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  std::string base = std::string(shm) + "/px-requests.XXXXXX";
  if (::mkdtemp(base.data()) == nullptr) return 1;
  Figures figures;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  do {
    std::unique_ptr<FakeKernel> kernel;
    try {
      RunOne(base + "/store", seed, requests, &kernel, &figures);
    } catch (const Failure& failure) {
      std::printf("request_fuzz: --seed=%llu --requests=%llu (store kept in %s): %s\n", seed,
                  requests, base.c_str(), failure.what.c_str());
      std::fflush(stdout);
      ::_exit(1);
    }
    ++seed;
  } while (std::chrono::steady_clock::now() < until);
  stdfs::remove_all(base);
  std::printf(
      "request_fuzz: %llu requests to %llu stores: %llu done, %llu refused, %llu notifications\n",
      static_cast<unsigned long long>(figures.requests),
      static_cast<unsigned long long>(figures.stores),
      static_cast<unsigned long long>(figures.done),
      static_cast<unsigned long long>(figures.refused),
      static_cast<unsigned long long>(figures.notifications));
  return 0;
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
