#include "fs/receive.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/io.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "fs/control_client.h"
#include "fs/send.h"
#include "fs/stream.h"

namespace px::fs {
namespace {

constexpr uint64_t kNoteBytes = uint64_t{64} << 20;
constexpr uint64_t kNoteSteps = 256;

std::string Partial(const std::string& path) { return path + ".receiving"; }

std::string DescriptorPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// A tree that a stream, which may be anybody's, is put into: no path leads out of it.
class Tree {
 public:
  Status Open(const std::string& root) {
    root_.Reset(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return root_ ? Status{} : Status(FailErrno(root));
  }
  int root() const { return root_.get(); }

  // The directory of a path, and its last name.
  struct Place {
    int dir = -1;
    std::string name;
  };
  Result<Place> Find(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string dir = slash == std::string::npos ? "" : path.substr(0, slash);
    Place place;
    place.name = slash == std::string::npos ? path : path.substr(slash + 1);
    const bool bad = place.name.empty() || place.name == "." || place.name == ".." ||
                     place.name.find('\0') != std::string::npos ||
                     (slash != std::string::npos && dir.empty());
    if (bad) return Fail(EPROTO, "the stream holds the path '" + path + "'");
    if (!last_ || dir != last_path_) {
      PX_ASSIGN(last_, Beneath(dir.empty() ? "." : dir, O_RDONLY | O_DIRECTORY));
      last_path_ = dir;
    }
    place.dir = last_.get();
    return place;
  }
  Result<UniqueFd> Beneath(const std::string& path, uint64_t flags) const {
    open_how how{};
    how.flags = flags | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    UniqueFd fd(
        static_cast<int>(::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how)));
    if (!fd) return FailErrno(path);
    return fd;
  }
  // The entry at `path` and all below it; none there is success.
  Status Remove(const std::string& path) {
    auto place = Find(path);
    if (!place && (place.error().code() == ENOENT || place.error().code() == ENOTDIR)) return {};
    PX_TRY(place);
    last_path_.clear();  // what is kept open may be below it
    const UniqueFd dir(::fcntl(place->dir, F_DUPFD_CLOEXEC, 0));
    last_.Reset();
    std::error_code error;
    std::filesystem::remove_all(DescriptorPath(dir.get()) + "/" + place->name, error);
    if (error) return Fail(error.value(), path);
    return {};
  }

 private:
  UniqueFd root_;
  UniqueFd last_;
  std::string last_path_;
};

class Receiver {
 public:
  Receiver(std::string path, int fd) : path_(std::move(path)), reader_(fd) {}

  Result<ReceiveReport> Run() {
    PX_ASSIGN(const RecordType first, reader_.Next());
    if (first != RecordType::kBegin) return Fail(EPROTO, "the stream does not begin");
    PX_ASSIGN(begin_, reader_.Begin());
    struct stat there{};
    if (::lstat(path_.c_str(), &there) == 0) return Fail(EEXIST, path_);
    PX_TRY(Prepare());
    PX_TRY(tree_.Open(Partial(path_)));
    PX_TRY(Note());
    const Status applied = Apply();
    if (!applied) {
      if (const Status noted = Note(); !noted) LogWarn("{}", noted.error().ToString());
      return Forward(applied.error());
    }
    PX_TRY(Finish());
    return ReceiveReport{begin_.name, progress_.steps, bytes_, owners_kept_};
  }

 private:
  // Makes PATH.receiving what the stream begins from.
  Status Prepare() {
    const std::string partial = Partial(path_);
    const auto note = ReadXattr(partial, kReceivingXattr);
    if (begin_.from.steps != 0 || begin_.from.offset != 0) {
      progress_ = begin_.from;
      const auto token = note ? ResumeToken::Parse(*note) : std::nullopt;
      const bool fits = token && token->state == begin_.state && token->base == begin_.base &&
                        token->progress.steps == begin_.from.steps &&
                        token->progress.offset == begin_.from.offset;
      if (fits) return {};
      return Fail(EBUSY, partial + " is not where the stream goes on: see px-fs receive --token");
    }
    struct stat there{};
    if (::lstat(partial.c_str(), &there) == 0) {
      if (!note) return Fail(EEXIST, partial + " is not of a broken receive");
      PX_TRY(ControlDrop(partial, /*trash=*/false));
    }
    if (!begin_.base) return ControlCreate(partial);
    PX_ASSIGN(const std::string base, FindBase());
    PX_ASSIGN([[maybe_unused]] const uint32_t volume, ControlClone(base, partial, 0));
    return {};
  }

  Result<std::string> FindBase() const {
    const std::string parent = std::filesystem::path(path_).parent_path();
    const std::string dir = parent.empty() ? "." : parent;
    const std::string wanted = begin_.base->ToString();
    std::string found;
    PX_TRY(ControlList(dir, [&](const std::string& line) {
      const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object() || !json.value("readonly", false)) return;
      const std::string volume = dir + "/" + json.value("path", "");
      const auto state = ReadXattr(volume, kStateXattr);
      if (state && *state == wanted) found = volume;
    }));
    if (!found.empty()) return found;
    return Fail(ENOENT, "no volume below " + dir + " is what the stream counts on (state " +
                            wanted + " of " + begin_.name + "): receive that first");
  }

  Status Apply() {
    bool goes_on = begin_.from.offset != 0;
    for (;;) {
      PX_ASSIGN(const RecordType type, reader_.Next());
      if (file_ &&
          (type == RecordType::kEntry || type == RecordType::kRemove || type == RecordType::kEnd)) {
        return Fail(EPROTO, "the stream leaves " + entry_.path + " half done");
      }
      if (!file_ && (type == RecordType::kData || type == RecordType::kHole ||
                     type == RecordType::kFileEnd)) {
        return Fail(EPROTO, "the stream holds data of no file");
      }
      if (type == RecordType::kEnd) break;
      PX_TRY(One(type, std::exchange(goes_on, false)));
    }
    PX_ASSIGN(const uint64_t steps, reader_.Steps());
    if (steps != progress_.steps) return Fail(EPROTO, "the stream ends at another step");
    return {};
  }

  Status One(RecordType type, bool goes_on) {
    switch (type) {
      case RecordType::kRemove: {
        PX_ASSIGN(const std::string path, reader_.Path());
        PX_TRY(tree_.Remove(path));
        return StepDone();
      }
      case RecordType::kEntry: {
        PX_ASSIGN(entry_, reader_.Entry());
        PX_TRY(Begin(goes_on));
        return file_ ? Status{} : StepDone();
      }
      case RecordType::kData: {
        PX_ASSIGN(const auto data, reader_.Data());
        PX_TRY(Write(data.first, data.second));
        bytes_ += data.second.size();
        return Reached(data.first + data.second.size());
      }
      case RecordType::kHole: {
        PX_ASSIGN(const auto hole, reader_.Hole());
        if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(hole.first), static_cast<off_t>(hole.second)) != 0) {
          return FailErrno(entry_.path);
        }
        return Reached(hole.first + hole.second);
      }
      case RecordType::kFileEnd:
        return EndFile();
      case RecordType::kBegin:
      case RecordType::kEnd:
        break;
    }
    return Fail(EPROTO, "the stream holds a record of an unknown type");
  }

  Status Begin(bool goes_on) {
    if (entry_.path == ".") return SetAttributes(tree_.root());
    if (entry_.fresh && !goes_on) PX_TRY(tree_.Remove(entry_.path));
    PX_ASSIGN(const Tree::Place place, tree_.Find(entry_.path));
    const char* name = place.name.c_str();
    if (!entry_.same_as.empty()) return Link(place);
    if (S_ISREG(entry_.mode)) return BeginFile(place, goes_on);
    if (!entry_.fresh) return SetAttributesOf(place);
    if (S_ISDIR(entry_.mode)) {
      // Its attributes come when all that is in it has.
      return ::mkdirat(place.dir, name, 0700) == 0 ? Status{} : Status(FailErrno(entry_.path));
    }
    const int made = S_ISLNK(entry_.mode)
                         ? ::symlinkat(entry_.target.c_str(), place.dir, name)
                         : ::mknodat(place.dir, name, entry_.mode & (S_IFMT | 0600), entry_.device);
    if (made != 0) return FailErrno(entry_.path);
    return SetAttributesOf(place);
  }

  Status Link(const Tree::Place& place) {
    // The other name's directory may be the one that is kept open: a descriptor of its own.
    const UniqueFd dir(::fcntl(place.dir, F_DUPFD_CLOEXEC, 0));
    PX_ASSIGN(const Tree::Place other, tree_.Find(entry_.same_as));
    if (::linkat(other.dir, other.name.c_str(), dir.get(), place.name.c_str(), 0) == 0) return {};
    return FailErrno(entry_.path);
  }

  Status BeginFile(const Tree::Place& place, bool goes_on) {
    const bool make = entry_.fresh && !goes_on;
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (make ? O_CREAT | O_EXCL : 0);
    file_.Reset(::openat(place.dir, place.name.c_str(), flags, 0600));
    if (!file_ && errno == EACCES && !make) {
      // Its owner may not write to it, but may say so.
      if (::fchmodat(place.dir, place.name.c_str(), 0600, 0) == 0) {
        file_.Reset(::openat(place.dir, place.name.c_str(), flags, 0600));
      }
    }
    if (!file_) return FailErrno(entry_.path);
    struct stat info{};
    if (::fstat(file_.get(), &info) != 0) return FailErrno(entry_.path);
    if (!S_ISREG(info.st_mode)) return Fail(EPROTO, entry_.path + " is not the file it was");
    if (::ftruncate(file_.get(), static_cast<off_t>(entry_.size)) != 0) {
      return FailErrno(entry_.path);
    }
    return {};
  }

  Status Write(uint64_t offset, std::span<const char> bytes) {
    if (offset > entry_.size || bytes.size() > entry_.size - offset) {
      return Fail(EPROTO, "the stream holds data behind the end of " + entry_.path);
    }
    return WriteAllAt(file_.get(), std::as_bytes(bytes), offset, entry_.path.c_str());
  }

  Status EndFile() {
    PX_ASSIGN(const Digest wanted, reader_.FileEnd());
    PX_ASSIGN(const Digest digest, DigestOf(file_.get()));
    if (digest != wanted) {
      return Fail(EBADMSG, entry_.path + " came out with other bytes than it had");
    }
    PX_TRY(SetAttributes(file_.get()));
    file_.Reset();
    return StepDone();
  }

  Status SetAttributesOf(const Tree::Place& place) {
    const UniqueFd fd(::openat(place.dir, place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return FailErrno(entry_.path);
    return SetAttributes(fd.get());
  }

  // `fd` may be of O_PATH.
  Status SetAttributes(int fd) {
    const std::string path = DescriptorPath(fd);
    const bool link = S_ISLNK(entry_.mode);
    struct stat now{};
    if (::fstat(fd, &now) != 0) return FailErrno(entry_.path);
    if (now.st_uid != entry_.uid || now.st_gid != entry_.gid) {
      if (::fchownat(fd, "", entry_.uid, entry_.gid, AT_EMPTY_PATH) != 0) {
        if (errno != EPERM) return FailErrno(entry_.path);
        owners_kept_ = false;
      }
    }
    if (!link && ::chmod(path.c_str(), entry_.mode & 07777) != 0) return FailErrno(entry_.path);
    if (!link) PX_TRY(SetXattrs(path));
    const timespec mtime{entry_.mtime_ns / 1'000'000'000, entry_.mtime_ns % 1'000'000'000};
    const timespec times[2] = {{0, UTIME_OMIT}, mtime};
    if (::utimensat(fd, "", times, AT_EMPTY_PATH) != 0) return FailErrno(entry_.path);
    return {};
  }

  Status SetXattrs(const std::string& path) {
    std::string names(size_t{64} << 10, '\0');
    const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
    if (size < 0) return FailErrno(entry_.path);
    for (const char* name = names.data(); name < names.data() + size;
         name += std::strlen(name) + 1) {
      const bool ours = entry_.path == "." && (std::strcmp(name, kStateXattr) == 0 ||
                                               std::strcmp(name, kReceivingXattr) == 0);
      const bool wanted = std::any_of(entry_.xattrs.begin(), entry_.xattrs.end(),
                                      [&](const auto& one) { return one.first == name; });
      if (ours || wanted) continue;
      if (::removexattr(path.c_str(), name) != 0) return FailErrno(entry_.path);
    }
    for (const auto& [name, value] : entry_.xattrs) {
      if (::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
        return FailErrno(entry_.path + ": xattr " + name);
      }
    }
    return {};
  }

  // --- How far it came ---

  Status Reached(uint64_t offset) {
    progress_.offset = offset;
    if (bytes_ - noted_bytes_ < kNoteBytes) return {};
    noted_bytes_ = bytes_;
    return Note();
  }

  Status StepDone() {
    ++progress_.steps;
    progress_.offset = 0;
    return progress_.steps % kNoteSteps == 0 ? Note() : Status{};
  }

  // The note and all that came before it are durable together.
  Status Note() {
    const std::string text = ResumeToken{begin_.state, begin_.base, progress_}.ToString();
    if (::fsetxattr(tree_.root(), kReceivingXattr, text.data(), text.size(), 0) != 0 ||
        ::fsync(tree_.root()) != 0) {
      return FailErrno("note how far the stream came");
    }
    return {};
  }

  Status Finish() {
    const std::string state = begin_.state.ToString();
    if (::fsetxattr(tree_.root(), kStateXattr, state.data(), state.size(), 0) != 0) {
      return FailErrno(path_);
    }
    if (::fremovexattr(tree_.root(), kReceivingXattr) != 0 && errno != ENODATA) {
      return FailErrno(path_);
    }
    tree_ = Tree();
    PX_ASSIGN([[maybe_unused]] const uint32_t volume,
              ControlClone(Partial(path_), path_, PX_VOLUME_READONLY));
    PX_TRY(SyncPath(path_));
    return ControlDrop(Partial(path_), /*trash=*/false);
  }

  const std::string path_;
  StreamReader reader_;
  StreamBegin begin_;
  Tree tree_;
  StreamEntry entry_;
  UniqueFd file_;  // of entry_, while its data comes
  Progress progress_;
  uint64_t bytes_ = 0;
  uint64_t noted_bytes_ = 0;
  bool owners_kept_ = true;
};

}  // namespace

Result<ReceiveReport> Receive(const std::string& path, int fd) {
  std::filesystem::path full = std::filesystem::path(path).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  return Receiver(full, fd).Run();
}

Result<std::string> ReceiveToken(const std::string& path) {
  auto note = ReadXattr(Partial(path), kReceivingXattr);
  if (!note && (note.error().code() == ENOENT || note.error().code() == ENODATA)) {
    return Fail(ENOENT, "nothing was received in part for " + path);
  }
  return note;
}

}  // namespace px::fs
