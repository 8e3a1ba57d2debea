// latency DIR --seconds=N: how long single calls take in the foreground, for bench/run.
//
// For N seconds, at most 500 rounds a second of what a job does with small files: create and write
// one, read it, rename it, remove it, list its attributes. One JSON object on standard output:
// median, 99th percentile and maximum of all calls in microseconds. The pauses keep it from being
// the load itself.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace px::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr auto kPause = std::chrono::microseconds(2000);
constexpr size_t kBytes = 4096;

class Latency {
 public:
  explicit Latency(std::string dir) : dir_(std::move(dir)), buffer_(kBytes, 'x') {}

  void Run(double seconds) {
    const auto end = SteadyClock::now() + std::chrono::duration<double>(seconds);
    for (int round = 0; SteadyClock::now() < end; ++round) {
      Round(dir_ + "/latency." + std::to_string(round));
      std::this_thread::sleep_for(kPause);
    }
    std::sort(micros_.begin(), micros_.end());
    const auto at = [this](double part) {
      return micros_[static_cast<size_t>(part * static_cast<double>(micros_.size() - 1))];
    };
    std::printf("{\"calls\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", micros_.size(),
                at(0.5), at(0.99), at(1));
  }

 private:
  template <typename Call>
  auto Time(const char* what, const Call& call) {
    const auto start = SteadyClock::now();
    auto result = call();
    micros_.push_back(
        std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count());
    if (result < 0) {
      std::fprintf(stderr, "latency: %s: %s\n", what, std::strerror(errno));
      std::exit(1);
    }
    return result;
  }

  void Round(const std::string& path) {
    const std::string other = path + ".r";
    {
      const UniqueFd fd(Time("create", [&] {
        return ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
      }));
      Time("write", [&] { return ::write(fd.get(), buffer_.data(), buffer_.size()); });
    }
    struct stat info{};
    Time("stat", [&] { return ::stat(path.c_str(), &info); });
    {
      const UniqueFd fd(Time("open", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
      Time("read", [&] { return ::read(fd.get(), buffer_.data(), buffer_.size()); });
    }
    Time("rename", [&] { return ::rename(path.c_str(), other.c_str()); });
    Time("unlink", [&] { return ::unlink(other.c_str()); });
  }

  const std::string dir_;
  std::vector<char> buffer_;
  std::vector<double> micros_;
};

}  // namespace
}  // namespace px::bench

int main(int argc, char** argv) {
  const std::string option = argc == 3 ? argv[2] : "";
  const double seconds = option.starts_with("--seconds=") ? std::atof(option.c_str() + 10) : 0;
  if (seconds <= 0) {
    std::fprintf(stderr, "usage: latency DIR --seconds=N\n");
    return 2;
  }
  px::bench::Latency(argv[1]).Run(seconds);
  return 0;
}
