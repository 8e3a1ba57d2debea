// What a stream holds, in this order: what is gone since the base; every entry that is new or has
// changed, by path, so that a directory comes before what is in it; the attributes of the
// directories once more, from the innermost, since what came in between has changed their times.
// Each of these is a step. The list follows from the two states alone, so that a broken stream can
// be gone on with.
#include "fs/send.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "fs/control_client.h"
#include "fs/node.h"

namespace px::fs {
namespace {

constexpr size_t kCompared = size_t{128} << 10;  // a piece of a changed file, sent or not

struct Step {
  enum class Kind { kRemove, kEntry, kDirectoryEnd };
  Kind kind = Kind::kEntry;
  std::string path;
  bool fresh = true;
  std::string same_as;
};

// Two states of a volume show an inode under two numbers, since they are two volumes.
cow::Ino InVolume(ino_t number) { return NodeKey::FromFuse(number).ino; }

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Result<StateId> StateOf(const std::string& path) {
  PX_ASSIGN(const px_ioc_info info, ControlInfo(path));
  if (info.volume == 0 || info.ino != 1) return Fail(EINVAL, path + " is not a volume");
  if ((info.flags & PX_VOLUME_READONLY) == 0) {
    return Fail(EINVAL, path + " can change while it is sent: take a snapshot and send that");
  }
  if (const auto received = ReadXattr(path, kStateXattr)) {
    if (const auto state = StateId::Parse(*received)) return *state;
  }
  return StateId{info.volume, info.created_ns};
}

Result<bool> Look(const std::string& path, struct stat* info) {
  if (::lstat(path.c_str(), info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return FailErrno(path);
}

class Sender {
 public:
  Sender(std::string root, std::string base, int fd)
      : root_(std::move(root)), base_(std::move(base)), writer_(fd) {}

  Result<SendReport> Run(const StreamBegin& begin) {
    if (begin.base) {
      PX_TRY(PlanChanges());
    } else {
      PX_TRY(PlanTree("."));
    }
    PX_TRY(PlanSteps());
    if (begin.from.steps > steps_.size()) return Fail(EINVAL, "the token is of another sending");
    PX_TRY(writer_.Begin(begin));
    for (size_t i = begin.from.steps; i < steps_.size(); ++i) {
      PX_TRY(SendStep(steps_[i], i == begin.from.steps ? begin.from.offset : 0));
    }
    PX_TRY(writer_.End(steps_.size()));
    return SendReport{steps_.size(), writer_.bytes()};
  }

 private:
  std::string In(const std::string& tree, const std::string& path) const {
    return path == "." ? tree : tree + "/" + path;
  }

  // All at and below `path`, as new.
  Status PlanTree(const std::string& path) {
    struct stat info{};
    PX_ASSIGN(const bool there, Look(In(root_, path), &info));
    if (!there) return {};
    planned_[path] = path != ".";
    if (!S_ISDIR(info.st_mode)) return {};
    std::error_code error;
    std::filesystem::directory_iterator entries(In(root_, path), error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
      const std::string name = entries->path().filename();
      PX_TRY(PlanTree(path == "." ? name : path + "/" + name));
    }
    if (error) return Fail(error.value(), In(root_, path));
    return {};
  }

  Status PlanChanges() {
    std::vector<std::string> changed;
    PX_TRY(ControlChanges(base_, root_, [&](const std::string& line) {
      const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object()) return;
      const std::string hex = json.value("path_hex", "");
      changed.push_back(hex.empty() ? json.value("path", ".") : FromHex(hex));
    }));
    for (const std::string& path : changed) {
      struct stat before{}, now{};
      PX_ASSIGN(const bool was, Look(In(base_, path), &before));
      PX_ASSIGN(const bool is, Look(In(root_, path), &now));
      if (!is) {
        if (was) removed_.push_back(path);
        continue;
      }
      const bool same = was && InVolume(before.st_ino) == InVolume(now.st_ino) &&
                        (before.st_mode & S_IFMT) == (now.st_mode & S_IFMT);
      if (!same) {
        PX_TRY(PlanTree(path));  // a directory may have been renamed: nothing below it has changed
      } else {
        planned_.emplace(path, false);
      }
    }
    return {};
  }

  Status PlanSteps() {
    std::sort(removed_.begin(), removed_.end());
    removed_.erase(std::unique(removed_.begin(), removed_.end()), removed_.end());
    for (const std::string& path : removed_) {
      steps_.push_back({Step::Kind::kRemove, path, true, {}});
    }
    // Those that entries are put into or taken from have other times afterwards.
    std::set<std::string> directories;
    for (const std::string& path : removed_) {
      struct stat info{};
      PX_ASSIGN(const bool there, Look(In(root_, ParentOf(path)), &info));
      if (there && S_ISDIR(info.st_mode)) directories.insert(ParentOf(path));
    }
    std::map<ino_t, const Step*> first;  // of a file with several names
    std::vector<Step> entries;
    entries.reserve(planned_.size());
    for (const auto& [path, fresh] : planned_) {
      struct stat info{};
      PX_ASSIGN(const bool there, Look(In(root_, path), &info));
      if (!there) return Fail(ENOENT, In(root_, path));
      Step step{Step::Kind::kEntry, path, fresh, {}};
      if (S_ISDIR(info.st_mode)) {
        directories.insert(path);
        if (!fresh) continue;
      } else if (info.st_nlink > 1) {
        const auto found = first.find(info.st_ino);
        if (found != first.end()) {
          if (!fresh && !found->second->fresh) continue;  // as it was there
          step.same_as = found->second->path;
          step.fresh = true;
        }
      }
      if (step.fresh) directories.insert(ParentOf(path));
      entries.push_back(std::move(step));
      if (info.st_nlink > 1) first.emplace(info.st_ino, &entries.back());
    }
    std::move(entries.begin(), entries.end(), std::back_inserter(steps_));
    std::for_each(directories.rbegin(), directories.rend(), [this](const std::string& path) {
      steps_.push_back({Step::Kind::kDirectoryEnd, path, false, {}});
    });
    return {};
  }

  Status SendStep(const Step& step, uint64_t offset) {
    if (step.kind == Step::Kind::kRemove) return writer_.Remove(step.path);
    PX_ASSIGN(const StreamEntry entry, EntryOf(step));
    PX_TRY(writer_.Entry(entry));
    if (!S_ISREG(entry.mode) || !entry.same_as.empty()) return {};
    const std::string path = In(root_, step.path);
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) return FailErrno(path);
    PX_TRY(step.fresh ? SendData(file.get(), entry.size, offset)
                      : SendChanges(file.get(), step.path, entry.size, offset));
    PX_ASSIGN(const Digest digest, DigestOf(file.get()));
    return writer_.FileEnd(digest);
  }

  Result<StreamEntry> EntryOf(const Step& step) const {
    const std::string path = In(root_, step.path);
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) return FailErrno(path);
    StreamEntry entry;
    entry.path = step.path;
    entry.mode = info.st_mode;
    entry.uid = info.st_uid;
    entry.gid = info.st_gid;
    entry.mtime_ns = ToNanoseconds(info.st_mtim);
    entry.device = info.st_rdev;
    entry.size = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
    entry.same_as = step.same_as;
    entry.fresh = step.fresh;
    if (S_ISLNK(info.st_mode)) {
      std::error_code error;
      entry.target = std::filesystem::read_symlink(path, error);
      if (error) return Fail(error.value(), path);
    }
    PX_TRY(LoadXattrs(path, &entry));
    return entry;
  }

  static Status LoadXattrs(const std::string& path, StreamEntry* entry) {
    const ssize_t size = ::llistxattr(path.c_str(), nullptr, 0);
    if (size < 0) return FailErrno(path);
    std::string names(static_cast<size_t>(size), '\0');
    const ssize_t got = ::llistxattr(path.c_str(), names.data(), names.size());
    if (got < 0) return FailErrno(path);
    for (size_t at = 0; at < static_cast<size_t>(got); at += std::strlen(names.data() + at) + 1) {
      const std::string name = names.data() + at;
      if (entry->path == "." && (name == kStateXattr || name == kReceivingXattr)) continue;
      PX_ASSIGN(std::string value, ReadXattr(path, name));
      entry->xattrs.emplace_back(name, std::move(value));
    }
    return {};
  }

  Status SendData(int file, uint64_t size, uint64_t offset) {
    std::vector<char> buffer(kStreamChunk);
    const auto end = static_cast<off_t>(size);
    for (auto at = static_cast<off_t>(offset); at < end;) {
      const off_t data = ::lseek(file, at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) return {};
      if (data < 0) return FailErrno("find data");
      const off_t hole = ::lseek(file, data, SEEK_HOLE);
      if (hole < 0) return FailErrno("find a hole");
      const auto want = std::min(static_cast<size_t>(hole - data), buffer.size());
      const ssize_t n = ::pread(file, buffer.data(), want, data);
      if (n < 0) return FailErrno("read");
      if (n == 0) return {};
      PX_TRY(writer_.Data(static_cast<uint64_t>(data), {buffer.data(), static_cast<size_t>(n)}));
      at = data + n;
    }
    return {};
  }

  Status SendChanges(int file, const std::string& path, uint64_t size, uint64_t offset) {
    const UniqueFd before(::open(In(base_, path).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!before) return FailErrno(In(base_, path));
    std::vector<char> now(kCompared), then(kCompared);
    for (uint64_t at = offset; at < size; at += kCompared) {
      const size_t want = std::min<uint64_t>(kCompared, size - at);
      const ssize_t n = ::pread(file, now.data(), want, static_cast<off_t>(at));
      if (n < 0) return FailErrno("read " + path);
      if (static_cast<size_t>(n) != want) return Fail(EIO, path + " is shorter than its size");
      const ssize_t had = ::pread(before.get(), then.data(), want, static_cast<off_t>(at));
      if (had < 0) return FailErrno("read " + path);
      std::fill(then.begin() + had, then.begin() + static_cast<ssize_t>(want), '\0');
      if (std::equal(now.begin(), now.begin() + n, then.begin())) continue;
      const bool zeros = std::all_of(now.begin(), now.begin() + n, [](char c) { return c == 0; });
      if (zeros) {
        PX_TRY(writer_.Hole(at, want));
      } else {
        PX_TRY(writer_.Data(at, {now.data(), want}));
      }
    }
    return {};
  }

  const std::string root_;
  const std::string base_;
  StreamWriter writer_;
  std::map<std::string, bool> planned_;  // path, and whether it is new
  std::vector<std::string> removed_;
  std::vector<Step> steps_;
};

std::string BaseOf(const SendRequest& request) {
  if (request.since.empty() || request.since.find('/') != std::string::npos) return request.since;
  std::filesystem::path path = std::filesystem::path(request.path).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::filesystem::path snapshots =
      path.parent_path().filename() == ".snapshots" ? path.parent_path() : path / ".snapshots";
  return snapshots / request.since;
}

}  // namespace

Result<std::string> ReadXattr(const std::string& path, const std::string& name) {
  std::string value(size_t{64} << 10, '\0');
  const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return FailErrno(path);
  value.resize(static_cast<size_t>(size));
  return value;
}

std::string ResumeToken::ToString() const {
  return fmt::format("{} {} {} {}", state.ToString(), base ? base->ToString() : "-", progress.steps,
                     progress.offset);
}

std::optional<ResumeToken> ResumeToken::Parse(const std::string& text) {
  std::istringstream words(text);
  std::string state, base, rest;
  ResumeToken token;
  if (!(words >> state >> base >> token.progress.steps >> token.progress.offset) || words >> rest) {
    return std::nullopt;
  }
  const auto state_id = StateId::Parse(state);
  if (!state_id) return std::nullopt;
  token.state = *state_id;
  if (base == "-") return token;
  token.base = StateId::Parse(base);
  if (!token.base) return std::nullopt;
  return token;
}

Result<SendReport> Send(const SendRequest& request, int fd) {
  StreamBegin begin;
  PX_ASSIGN(begin.state, StateOf(request.path));
  const std::string base = BaseOf(request);
  if (!base.empty()) {
    PX_ASSIGN(begin.base, StateOf(base));
  }
  begin.name = std::filesystem::path(request.path).lexically_normal().string();
  if (!request.resume.empty()) {
    const auto token = ResumeToken::Parse(request.resume);
    if (!token) return Fail(EINVAL, "'" + request.resume + "' is not what receive --token gives");
    if (token->state != begin.state || token->base != begin.base) {
      return Fail(EINVAL, "the token is of another sending: of state " + token->state.ToString() +
                              " since " +
                              (token->base ? token->base->ToString() : "the beginning"));
    }
    begin.from = token->progress;
  }
  return Sender(request.path, base, fd).Run(begin);
}

}  // namespace px::fs
