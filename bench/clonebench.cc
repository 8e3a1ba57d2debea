// clonebench: the time of the clone call alone, and of the first write after it, for one tree.
//
//   clonebench DIR --files=N --mib=N [--clones=N] [--btrfs]
//
// DIR is a directory of a px mount in which volumes can be made, or of a btrfs with --btrfs. Prints
// one JSON object: medians and ranges in microseconds, also for the 50th clone of a clone.
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "uapi/px_ioctl.h"

namespace px::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string dir;
  int files = 1000;
  size_t mib = 0;
  int clones = 21;
  bool btrfs = false;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "clonebench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

double MicrosSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

class CloneBench {
 public:
  explicit CloneBench(const Options& options)
      : options_(options),
        parent_(::open(options.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (!parent_) Die("open " + options.dir);
  }

  void Run();

 private:
  void Create(const std::string& name) const;
  // The time of the one call that makes the clone.
  double Clone(const std::string& from, const std::string& to) const;
  void Drop(const std::string& name) const;
  void Fill(const std::string& name) const;
  // Opens a file that exists, writes a byte in its middle, closes.
  double FirstWrite(const std::string& volume) const;
  static void Print(const char* name, std::vector<double> values, const char* after);

  std::string Path(const std::string& volume) const { return options_.dir + "/" + volume; }

  const Options& options_;
  const UniqueFd parent_;
};

void CloneBench::Create(const std::string& name) const {
  if (options_.btrfs) {
    btrfs_ioctl_vol_args argument{};
    name.copy(argument.name, sizeof argument.name - 1);
    if (::ioctl(parent_.get(), BTRFS_IOC_SUBVOL_CREATE, &argument) != 0) Die("create " + name);
    return;
  }
  px_ioc_name argument{};
  name.copy(argument.name, sizeof argument.name - 1);
  if (::ioctl(parent_.get(), PX_IOC_CREATE, &argument) != 0) Die("create " + name);
}

double CloneBench::Clone(const std::string& from, const std::string& to) const {
  const UniqueFd source(::open(Path(from).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!source) Die("open " + from);
  if (options_.btrfs) {
    btrfs_ioctl_vol_args_v2 argument{};
    argument.fd = source.get();
    to.copy(argument.name, sizeof argument.name - 1);
    const auto start = SteadyClock::now();
    if (::ioctl(parent_.get(), BTRFS_IOC_SNAP_CREATE_V2, &argument) != 0) Die("snapshot " + from);
    return MicrosSince(start);
  }
  px_ioc_clone argument{};
  to.copy(argument.name, sizeof argument.name - 1);
  if (::ioctl(source.get(), PX_IOC_TOKEN, &argument.source) != 0) Die("token " + from);
  const auto start = SteadyClock::now();
  if (::ioctl(parent_.get(), PX_IOC_CLONE, &argument) != 0) Die("clone " + from);
  return MicrosSince(start);
}

void CloneBench::Drop(const std::string& name) const {
  if (options_.btrfs) {
    btrfs_ioctl_vol_args argument{};
    name.copy(argument.name, sizeof argument.name - 1);
    if (::ioctl(parent_.get(), BTRFS_IOC_SNAP_DESTROY, &argument) != 0) Die("drop " + name);
    return;
  }
  px_ioc_name argument{};
  name.copy(argument.name, sizeof argument.name - 1);
  // Releases of files just closed may still be on their way to the daemon: EBUSY for a moment.
  for (int i = 0; ::ioctl(parent_.get(), PX_IOC_DROP, &argument) != 0; ++i) {
    if (errno != EBUSY || i == 250) Die("drop " + name);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void CloneBench::Fill(const std::string& name) const {
  std::mt19937_64 random(1);
  std::vector<char> buffer(size_t{1} << 20);
  for (char& byte : buffer) byte = static_cast<char>(random());
  const size_t total = options_.mib << 20;
  const size_t each = total / static_cast<size_t>(options_.files);
  for (int i = 0; i < options_.files; ++i) {
    const std::string dir = Path(name) + "/d" + std::to_string(i / 1000);
    if (i % 1000 == 0 && ::mkdir(dir.c_str(), 0755) != 0) Die("mkdir " + dir);
    const std::string path = dir + "/f" + std::to_string(i);
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (!fd) Die("create " + path);
    for (size_t left = each; left > 0;) {
      const ssize_t n = ::write(fd.get(), buffer.data(), std::min(left, buffer.size()));
      if (n <= 0) Die("write " + path);
      left -= static_cast<size_t>(n);
    }
  }
  ::sync();
}

double CloneBench::FirstWrite(const std::string& volume) const {
  const int file = options_.files / 2;
  const std::string path =
      Path(volume) + "/d" + std::to_string(file / 1000) + "/f" + std::to_string(file);
  const auto middle =
      static_cast<off_t>((options_.mib << 20) / static_cast<size_t>(options_.files) / 2);
  const auto start = SteadyClock::now();
  {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) Die("open " + path);
    if (::pwrite(fd.get(), "x", 1, middle) != 1) Die("write " + path);
  }
  return MicrosSince(start);
}

void CloneBench::Print(const char* name, std::vector<double> values, const char* after) {
  std::sort(values.begin(), values.end());
  std::printf("\"%s\":{\"median\":%.1f,\"min\":%.1f,\"max\":%.1f}%s", name,
              values[values.size() / 2], values.front(), values.back(), after);
}

void CloneBench::Run() {
  constexpr int kDepth = 50;
  Create("base");
  Fill("base");
  std::vector<double> clones;
  std::vector<double> writes;
  for (int i = 0; i < options_.clones; ++i) {
    const std::string name = "clone" + std::to_string(i);
    clones.push_back(Clone("base", name));
    writes.push_back(FirstWrite(name));
  }
  for (int i = 0; i < options_.clones; ++i) Drop("clone" + std::to_string(i));
  std::string last = "base";
  for (int i = 1; i < kDepth; ++i) {
    const std::string next = "chain" + std::to_string(i);
    Clone(last, next);
    last = next;
  }
  std::vector<double> deep_clones;
  std::vector<double> deep_writes;
  for (int i = 0; i < options_.clones; ++i) {
    const std::string name = "deep" + std::to_string(i);
    deep_clones.push_back(Clone(last, name));
    deep_writes.push_back(FirstWrite(name));
  }
  for (int i = 0; i < options_.clones; ++i) Drop("deep" + std::to_string(i));
  for (int i = 1; i < kDepth; ++i) Drop("chain" + std::to_string(i));
  Drop("base");
  std::printf("{\"files\":%d,\"mib\":%zu,\"clones\":%d,", options_.files, options_.mib,
              options_.clones);
  Print("clone_us", clones, ",");
  Print("first_write_us", writes, ",");
  Print("clone_50_us", deep_clones, ",");
  Print("first_write_50_us", deep_writes, "}\n");
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--files=")) {
      options.files = std::atoi(argument.c_str() + 8);
    } else if (argument.starts_with("--mib=")) {
      options.mib = std::strtoul(argument.c_str() + 6, nullptr, 10);
    } else if (argument.starts_with("--clones=")) {
      options.clones = std::atoi(argument.c_str() + 9);
    } else if (argument == "--btrfs") {
      options.btrfs = true;
    } else if (!argument.starts_with("-") && options.dir.empty()) {
      options.dir = argument;
    } else {
      options.dir.clear();
      break;
    }
  }
  if (options.dir.empty() || options.files < 1 || options.clones < 1) {
    std::fprintf(stderr, "usage: clonebench DIR --files=N --mib=N [--clones=N] [--btrfs]\n");
    return 2;
  }
  CloneBench(options).Run();
  return 0;
}

}  // namespace
}  // namespace px::bench

int main(int argc, char** argv) { return px::bench::Main(argc, argv); }
