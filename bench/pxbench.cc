// pxbench DIR [--files=N] [--mib=N] [--rows=a,b,...]: measures a filesystem by the work of training
// jobs.
//
// One JSON object a row on standard output: {"row":…,"value":…,"unit":…}; larger is better in all
// of them. Before each row, what earlier ones left dirty is written back, so that each row measures
// itself. In a px volume, rows that begin with "shared_" measure a file that a clone shares with
// its source.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "uapi/px_ioctl.h"

namespace px::bench {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

constexpr size_t kMiB = 1 << 20;
constexpr size_t kBlock = 4096;

struct Options {
  std::string dir;
  int files = 2000;
  size_t mib = 256;
  std::string rows;  // comma separated; empty: all
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "pxbench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

void Require(bool good, const std::string& what) {
  if (!good) Die(what);
}

UniqueFd Open(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  Require(static_cast<bool>(fd), "open " + path);
  return fd;
}

// Waits until nothing is left to write back, as far as the kernel's own count says.
void Settle() {
  ::sync();
  for (int i = 0; i < 100; ++i) {
    std::ifstream info("/proc/meminfo");
    std::string key;
    int64_t dirty_kib = 0;
    int64_t value = 0;
    for (std::string line; std::getline(info, line);) {
      std::istringstream fields(line);
      fields >> key >> value;
      if (key == "Dirty:" || key == "Writeback:") dirty_kib += value;
    }
    if (dirty_kib < 4096) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

class Bench {
 public:
  explicit Bench(const Options& options);
  ~Bench();
  void Run();

 private:
  struct Row {
    const char* name;
    const char* unit;
    // Makes what the row needs, outside the time; may be empty.
    std::function<void()> prepare;
    // Gives the number of units done.
    std::function<double()> work;
  };

  std::vector<Row> Rows();
  void AddMetadataRows(std::vector<Row>& rows);
  void AddDataRows(std::vector<Row>& rows);
  void AddSharedRows(std::vector<Row>& rows);
  void RunRow(const Row& row);

  std::string Name(int i, const char* suffix = "") const {
    return base_ + "/d/f" + std::to_string(i) + suffix;
  }
  void MakeFiles(size_t bytes);
  void RemoveFiles() { fs::remove_all(base_ + "/d"); }
  void MakeBig();
  double ForFiles(const std::function<void(int)>& body) const {
    for (int i = 0; i < options_.files; ++i) body(i);
    return options_.files;
  }
  double SequentialRead(const std::string& path);
  double RandomRead(const std::string& path);
  double MapRead(const std::string& path) const;
  bool Clone();

  const Options& options_;
  const std::string base_;
  const std::string big_;
  std::string clone_;
  std::vector<char> buffer_;
  std::mt19937_64 random_{42};
};

Bench::Bench(const Options& options)
    : options_(options), base_(options.dir + "/pxbench"), big_(base_ + "/big"), buffer_(kMiB) {
  std::error_code ignored;
  fs::remove_all(base_, ignored);
  Require(::mkdir(base_.c_str(), 0755) == 0, "mkdir " + base_);
  for (char& byte : buffer_) byte = static_cast<char>(random_());
}

Bench::~Bench() {
  std::error_code ignored;
  fs::remove_all(base_, ignored);
}

void Bench::Run() {
  for (const Row& row : Rows()) {
    const std::string wanted = "," + options_.rows + ",";
    if (options_.rows.empty() ||
        wanted.find("," + std::string(row.name) + ",") != std::string::npos) {
      RunRow(row);
    }
  }
}

void Bench::RunRow(const Row& row) {
  if (row.prepare) row.prepare();
  Settle();
  const auto start = SteadyClock::now();
  const double units = row.work();
  const std::chrono::duration<double> seconds = SteadyClock::now() - start;
  if (units <= 0) return;
  std::printf("{\"row\":\"%s\",\"value\":%.1f,\"unit\":\"%s\"}\n", row.name,
              units / seconds.count(), row.unit);
  std::fflush(stdout);
}

std::vector<Bench::Row> Bench::Rows() {
  std::vector<Row> rows;
  AddMetadataRows(rows);
  AddDataRows(rows);
  AddSharedRows(rows);
  return rows;
}

void Bench::MakeFiles(size_t bytes) {
  RemoveFiles();
  Require(::mkdir((base_ + "/d").c_str(), 0755) == 0, "mkdir");
  ForFiles([&](int i) {
    const UniqueFd fd = Open(Name(i), O_CREAT | O_WRONLY);
    if (bytes > 0)
      Require(::write(fd.get(), buffer_.data(), bytes) == static_cast<ssize_t>(bytes), "write");
  });
}

void Bench::AddMetadataRows(std::vector<Row>& rows) {
  const auto empty_dir = [this] {
    RemoveFiles();
    Require(::mkdir((base_ + "/d").c_str(), 0755) == 0, "mkdir");
  };
  const auto files = [this] { MakeFiles(0); };
  const auto known_files = [this] {
    MakeFiles(0);
    struct stat st{};
    ForFiles([&](int i) { Require(::stat(Name(i).c_str(), &st) == 0, "stat"); });
  };
  const auto small_files = [this] { MakeFiles(kBlock); };
  rows.push_back({"create", "files/s", empty_dir, [this] {
                    return ForFiles([&](int i) { Open(Name(i), O_CREAT | O_EXCL | O_WRONLY); });
                  }});
  rows.push_back({"small_write", "files/s", empty_dir, [this] {
                    return ForFiles([&](int i) {
                      const UniqueFd fd = Open(Name(i), O_CREAT | O_WRONLY);
                      Require(::write(fd.get(), buffer_.data(), kBlock) == ssize_t{kBlock},
                              "write");
                    });
                  }});
  rows.push_back({"small_read", "files/s", small_files, [this] {
                    return ForFiles([&](int i) {
                      const UniqueFd fd = Open(Name(i), O_RDONLY);
                      Require(::read(fd.get(), buffer_.data(), kBlock) == ssize_t{kBlock}, "read");
                    });
                  }});
  rows.push_back({"open_close", "ops/s", files,
                  [this] { return ForFiles([&](int i) { Open(Name(i), O_RDONLY); }); }});
  rows.push_back({"stat", "ops/s", known_files, [this] {
                    struct stat st{};
                    for (int round = 0; round < 100; ++round) {
                      ForFiles([&](int i) { Require(::stat(Name(i).c_str(), &st) == 0, "stat"); });
                    }
                    return 100.0 * options_.files;
                  }});
  rows.push_back({"readdir", "entries/s", known_files, [this] {
                    double entries = 0;
                    for (int round = 0; round < 100; ++round) {
                      DIR* stream = ::opendir((base_ + "/d").c_str());
                      Require(stream != nullptr, "opendir");
                      while (::readdir(stream) != nullptr) ++entries;
                      ::closedir(stream);
                    }
                    return entries;
                  }});
  rows.push_back({"rename", "ops/s", files, [this] {
                    return ForFiles([&](int i) {
                      Require(::rename(Name(i).c_str(), Name(i, "r").c_str()) == 0, "rename");
                    });
                  }});
  rows.push_back({"unlink", "ops/s", files, [this] {
                    return ForFiles(
                        [&](int i) { Require(::unlink(Name(i).c_str()) == 0, "unlink"); });
                  }});
}

void Bench::MakeBig() {
  RemoveFiles();
  struct stat st{};
  if (::stat(big_.c_str(), &st) == 0 && st.st_size == static_cast<off_t>(options_.mib * kMiB))
    return;
  const UniqueFd fd = Open(big_, O_CREAT | O_TRUNC | O_WRONLY);
  for (size_t i = 0; i < options_.mib; ++i) {
    Require(::write(fd.get(), buffer_.data(), kMiB) == ssize_t{kMiB}, "write");
  }
}

double Bench::SequentialRead(const std::string& path) {
  const UniqueFd fd = Open(path, O_RDONLY);
  double mib = 0;
  for (ssize_t n = 0; (n = ::read(fd.get(), buffer_.data(), kMiB)) > 0;)
    mib += static_cast<double>(n) / kMiB;
  return mib;
}

double Bench::RandomRead(const std::string& path) {
  constexpr int kReads = 500'000;  // some tenths of a second: a late wake-up must not count
  const UniqueFd fd = Open(path, O_RDONLY);
  for (int i = 0; i < kReads; ++i) {
    const auto offset = static_cast<off_t>(random_() % (options_.mib * kMiB / kBlock) * kBlock);
    Require(::pread(fd.get(), buffer_.data(), kBlock, offset) == ssize_t{kBlock}, "pread");
  }
  return kReads;
}

double Bench::MapRead(const std::string& path) const {
  const UniqueFd fd = Open(path, O_RDONLY);
  const size_t size = options_.mib * kMiB;
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  Require(at != MAP_FAILED, "mmap");
  uint64_t sum = 0;
  for (size_t i = 0; i < size; i += kBlock) sum += static_cast<unsigned char*>(at)[i];
  ::munmap(at, size);
  return sum == 0 ? 0 : static_cast<double>(options_.mib);
}

void Bench::AddDataRows(std::vector<Row>& rows) {
  const auto cached = [this] {
    MakeBig();
    SequentialRead(big_);
  };
  const auto none = [this] {
    RemoveFiles();
    ::unlink(big_.c_str());
  };
  rows.push_back({"seq_write", "MiB/s", none, [this] {
                    MakeBig();
                    return static_cast<double>(options_.mib);
                  }});
  rows.push_back({"seq_read", "MiB/s", cached, [this] {
                    for (int i = 0; i < 3; ++i) SequentialRead(big_);
                    return 4 * SequentialRead(big_);
                  }});
  rows.push_back({"rand_read_4k", "ops/s", cached, [this] { return RandomRead(big_); }});
  rows.push_back({"mmap_read", "MiB/s", cached, [this] {
                    double mib = 0;
                    for (int i = 0; i < 50; ++i) mib += MapRead(big_);
                    return mib;
                  }});
  rows.push_back({"rand_write_4k", "ops/s", cached, [this] {
                    constexpr int kWrites = 200'000;
                    const UniqueFd fd = Open(big_, O_RDWR);
                    for (int i = 0; i < kWrites; ++i) {
                      const size_t block = random_() % (options_.mib * kMiB / kBlock);
                      Require(::pwrite(fd.get(), buffer_.data(), kBlock,
                                       static_cast<off_t>(block * kBlock)) == ssize_t{kBlock},
                              "pwrite");
                    }
                    return double{kWrites};
                  }});
  rows.push_back({"checkpoint_1m", "saves/s", none, [this] {
                    constexpr int kSaves = 40;
                    const std::string temporary = base_ + "/ckpt.tmp";
                    for (int i = 0; i < kSaves; ++i) {
                      {
                        const UniqueFd fd = Open(temporary, O_CREAT | O_TRUNC | O_WRONLY);
                        Require(::write(fd.get(), buffer_.data(), kMiB) == ssize_t{kMiB}, "write");
                        Require(::fsync(fd.get()) == 0, "fsync");
                      }
                      Require(::rename(temporary.c_str(), (base_ + "/ckpt").c_str()) == 0,
                              "rename");
                      const UniqueFd dir = Open(base_, O_RDONLY | O_DIRECTORY);
                      Require(::fsync(dir.get()) == 0, "fsync of a directory");
                    }
                    return double{kSaves};
                  }});
}

// A clone of the px volume that DIR is the root of; false if DIR is none.
bool Bench::Clone() {
  clone_ = options_.dir + ".pxbench-clone";
  px_ioc_clone argument{};
  const std::string name = fs::path(clone_).filename();
  name.copy(argument.name, sizeof argument.name - 1);
  const UniqueFd source = Open(options_.dir, O_RDONLY | O_DIRECTORY);
  if (::ioctl(source.get(), PX_IOC_TOKEN, &argument.source) != 0) return false;
  const UniqueFd parent = Open(fs::path(options_.dir).parent_path(), O_RDONLY | O_DIRECTORY);
  return ::ioctl(parent.get(), PX_IOC_CLONE, &argument) == 0;
}

void Bench::AddSharedRows(std::vector<Row>& rows) {
  const auto shared_big = [this] { return clone_ + "/pxbench/big"; };
  const auto prepare = [this, shared_big] {
    if (clone_.empty()) {
      MakeBig();
      if (!Clone()) clone_ = "-";
    }
    if (clone_ != "-") SequentialRead(shared_big());
  };
  const auto if_shared = [this](std::function<double()> work) {
    return [this, work] { return clone_ == "-" ? 0.0 : work(); };
  };
  rows.push_back({"shared_seq_read", "MiB/s", prepare, if_shared([this, shared_big] {
                    for (int i = 0; i < 3; ++i) SequentialRead(shared_big());
                    return 4 * SequentialRead(shared_big());
                  })});
  rows.push_back({"shared_rand_read_4k", "ops/s", prepare,
                  if_shared([this, shared_big] { return RandomRead(shared_big()); })});
  rows.push_back({"shared_mmap_read", "MiB/s", prepare, if_shared([this, shared_big] {
                    double mib = 0;
                    for (int i = 0; i < 50; ++i) mib += MapRead(shared_big());
                    return mib;
                  })});
  rows.push_back({"shared_first_write", "ops/s", prepare, if_shared([this, shared_big] {
                    const UniqueFd fd = Open(shared_big(), O_RDWR);
                    Require(::pwrite(fd.get(), "x", 1, 4097) == 1, "pwrite");
                    return 1.0;
                  })});
  rows.push_back(
      {"shared_end", "", nullptr, [this] {
         if (clone_ == "-" || clone_.empty()) return 0.0;
         px_ioc_name name{};
         const std::string last = fs::path(clone_).filename();
         last.copy(name.name, sizeof name.name - 1);
         const UniqueFd parent = Open(fs::path(clone_).parent_path(), O_RDONLY | O_DIRECTORY);
         // A release may still be on its way to the daemon.
         for (int i = 0; i < 100 && ::ioctl(parent.get(), PX_IOC_DROP, &name) != 0; ++i) {
           std::this_thread::sleep_for(std::chrono::milliseconds(20));
         }
         return 0.0;
       }});
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--files=")) {
      options.files = std::atoi(argument.c_str() + 8);
    } else if (argument.starts_with("--mib=")) {
      options.mib = std::strtoul(argument.c_str() + 6, nullptr, 10);
    } else if (argument.starts_with("--rows=")) {
      options.rows = argument.substr(7) + ",shared_end";
    } else if (!argument.starts_with("-") && options.dir.empty()) {
      options.dir = argument;
    } else {
      options.dir.clear();
      break;
    }
  }
  if (options.dir.empty() || options.files < 1 || options.mib < 1) {
    std::fprintf(stderr, "usage: pxbench DIR [--files=N] [--mib=N] [--rows=a,b,...]\n");
    return 2;
  }
  Bench(options).Run();
  return 0;
}

}  // namespace
}  // namespace px::bench

int main(int argc, char** argv) { return px::bench::Main(argc, argv); }
