#include "launcher/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace px::launcher {

Status MakeDirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Fail(error.value(), "cannot make the directory " + path);
  return {};
}

Status MakePrivateDir(const std::string& path) {
  PX_TRY(MakeDirs(ParentOf(path)));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno("cannot make the directory " + path);
  }
  return {};
}

Result<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return FailErrno(path);
  return fd;
}

Result<std::string> ReadFile(const std::string& path) {
  PX_ASSIGN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(path);
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

Status WriteFile(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp" + std::to_string(::getpid());
  PX_ASSIGN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
  Status written = WriteAll(fd.get(), text);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) written = FailErrno("rename");
  if (!written) {
    ::unlink(temporary.c_str());
    return Forward(std::move(written).error().Wrap(path));
  }
  return {};
}

bool PathExists(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0;
}

Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) return FailErrno(path);
  return {};
}

Result<std::vector<std::string>> ListNames(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error.value() != ENOENT) return Fail(error.value(), directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::string ParentOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

std::string NameOf(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

std::string RelativeTo(const std::string& link, const std::string& target) {
  return std::filesystem::path(target).lexically_relative(ParentOf(link)).string();
}

}  // namespace px::launcher
