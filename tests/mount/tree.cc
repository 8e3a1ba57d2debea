#include "tests/mount/tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <vector>

#include "base/unique_fd.h"

namespace px::testing {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kFnvPrime = 0x100000001b3;
constexpr uint64_t kFnvBasis = 0xcbf29ce484222325;

uint64_t Hash(uint64_t hash, const char* bytes, size_t size) {
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, sizeof word);
    hash = (hash ^ word) * kFnvPrime;
    hash ^= hash >> 29;
  }
  for (; at < size; ++at) hash = (hash ^ static_cast<unsigned char>(bytes[at])) * kFnvPrime;
  return hash;
}

std::string Contents(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fmt::format("!open:{}", strerrorname_np(errno));
  uint64_t hash = kFnvBasis;
  size_t total = 0;
  std::vector<char> buffer(size_t{1} << 18);
  for (;;) {
    // A full buffer before each hash step: the result must not depend on how reads are cut.
    size_t filled = 0;
    while (filled < buffer.size()) {
      const ssize_t n = ::read(fd.get(), buffer.data() + filled, buffer.size() - filled);
      if (n < 0) return fmt::format("!read:{}@{}", strerrorname_np(errno), total + filled);
      if (n == 0) break;
      filled += static_cast<size_t>(n);
    }
    hash = Hash(hash, buffer.data(), filled);
    total += filled;
    if (filled < buffer.size()) return fmt::format("{:016x}/{}", hash, total);
  }
}

std::string Xattrs(const std::string& path) {
  std::vector<char> list(65536);
  const ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
  if (size < 0) return fmt::format(" !listxattr:{}", strerrorname_np(errno));
  std::vector<std::string> names;
  for (size_t at = 0; at < static_cast<size_t>(size); at += names.back().size() + 1) {
    names.emplace_back(list.data() + at);
  }
  std::sort(names.begin(), names.end());
  std::string text;
  std::vector<char> value(65536);
  for (const std::string& name : names) {
    if (name == "security.selinux" || name.starts_with("user.px.")) continue;
    const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    text += n < 0 ? fmt::format(" {}=!{}", name, strerrorname_np(errno))
                  : fmt::format(" {}={}:{:x}", name, n,
                                Hash(kFnvBasis, value.data(), static_cast<size_t>(n)));
  }
  return text;
}

class Describer {
 public:
  Describer(std::string root, const TreeOptions& options)
      : root_(std::move(root)), options_(options) {}

  std::string Describe() {
    Entry("");
    return std::move(text_);
  }

 private:
  void Entry(const std::string& relative) {
    const std::string path = root_ + relative;
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) {
      text_ += fmt::format("{} !lstat:{}\n", relative, strerrorname_np(errno));
      return;
    }
    text_ +=
        fmt::format("{} {:o} links={}", relative.empty() ? "/" : relative, st.st_mode, st.st_nlink);
    if (options_.owners) text_ += fmt::format(" {}:{}", st.st_uid, st.st_gid);
    if (options_.times) text_ += fmt::format(" @{}.{:09}", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    Content(path, relative, st);
    if (options_.xattrs) text_ += Xattrs(path);
    text_ += '\n';
    if (S_ISDIR(st.st_mode)) Children(path, relative);
  }

  void Content(const std::string& path, const std::string& relative, const struct stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      text_ += fmt::format(" same={}", first_path_.try_emplace(st.st_ino, relative).first->second);
    }
    if (S_ISREG(st.st_mode)) {
      text_ += fmt::format(" size={}", st.st_size);
      if (options_.contents) text_ += " " + Contents(path);
    } else if (S_ISLNK(st.st_mode)) {
      char target[8192];
      const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
      text_ += n < 0 ? fmt::format(" !readlink:{}", strerrorname_np(errno))
                     : " -> " + std::string(target, static_cast<size_t>(n));
    } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      text_ += fmt::format(" dev={}:{}", major(st.st_rdev), minor(st.st_rdev));
    }
  }

  void Children(const std::string& path, const std::string& relative) {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      names.push_back(it->path().filename());
    }
    if (error) text_ += fmt::format("{} !readdir:{}\n", relative, error.message());
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) Entry(relative + "/" + name);
  }

  const std::string root_;
  const TreeOptions options_;
  std::string text_;
  std::map<ino_t, std::string> first_path_;
};

}  // namespace

std::string DescribeTree(const std::string& root, const TreeOptions& options) {
  return Describer(root, options).Describe();
}

}  // namespace px::testing
