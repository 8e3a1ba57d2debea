// power_cut: random work on a store in this process, every write and flush of it recorded; then the
// store is opened as a disk may hold it after a power cut at random moments, and must be what it
// was at one moment not before the last fsync that returned.
//
//   power_cut [--seed=N] [--rounds=N | --seconds=N] [--states=N]
//
// What is checked of each state: it opens; the names of all volumes are those after some one
// operation, the last fsync or a later one; a file that was not changed since has that very
// content, one that was has, byte for byte, that or a later content; px-fs fsck finds nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "catalog/page_table.h"
#include "cow/journaled_page_table.h"
#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "tests/testing/disk_recorder.h"

namespace px::testing {
namespace {

using fs::Filesystem;
using fs::NodeKey;

constexpr int kOps = 120;
const fs::Caller kRoot{0, 0, 022, nullptr};

template <typename T>
T Must(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, result.error().ToString().c_str());
    std::abort();
  }
  return std::move(*result);
}
void Must(const Status& status, const char* what) {
  if (status) return;
  std::fprintf(stderr, "%s: %s\n", what, status.error().ToString().c_str());
  std::abort();
}

// Stands for the kernel: writes to backing files by itself.
class FakeKernel final : public fs::KernelSide {
 public:
  explicit FakeKernel(bool passthrough) : passthrough_(passthrough) {}
  Result<int> RegisterBacking(int fd) override {
    if (!passthrough_) return Fail(EPERM);
    const MutexLock lock(mutex_);
    backing_[++last_].Reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return last_;
  }
  void UnregisterBacking(int id) override {
    const MutexLock lock(mutex_);
    backing_.erase(id);
  }
  void InvalidateEntry(NodeKey, const std::string&) override {}
  void InvalidateAttributes(NodeKey) override {}
  void InvalidateData(NodeKey) override {}
  int FileOf(int id) {
    const MutexLock lock(mutex_);
    return backing_.at(id).get();
  }

 private:
  const bool passthrough_;
  Mutex mutex_;
  int last_ PX_GUARDED_BY(mutex_) = 0;
  std::map<int, UniqueFd> backing_ PX_GUARDED_BY(mutex_);
};

// The contents that one file of one volume had, by the operation that made them.
struct History {
  struct Version {
    int op;
    std::string bytes;
  };
  std::vector<Version> versions;
  std::vector<int> settled;  // operations after which the store knew all of it: closed, or fsync

  const std::string& Now() const { return versions.back().bytes; }
  size_t IndexAt(int op) const {
    size_t i = versions.size();
    while (i > 0 && versions[i - 1].op > op) --i;
    return i == 0 ? 0 : i - 1;
  }
  // The first version that may be found in a store that is as of `op`.
  size_t FirstAllowed(int op) const {
    int base = -1;
    for (const int at : settled) {
      if (at <= op) base = std::max(base, at);
    }
    return base < 0 ? 0 : IndexAt(base);
  }
};
using Names = std::map<std::string, std::shared_ptr<History>>;  // "v1/f3"; "v1" has none

// Work on a store, with what is to be expected of it.
class Work {
 public:
  Work(std::string dir, Random* random)
      : dir_(std::move(dir)), random_(*random), passthrough_(random_.Below(2) == 0) {}

  void Run(DiskRecorder* recorder) {
    recorder_ = recorder;
    recorder->AllowReflinks(random_.Below(2) == 0);
    FakeKernel kernel(passthrough_);
    SystemClock clock;
    const fs::StoreDir store = Must(fs::StoreDir::Open(dir_, true), "store");
    Filesystem::Parts parts = Must(store.OpenParts("boot A"), "parts");
    auto* pages = static_cast<cow::JournaledPageTable*>(parts.pages.get());
    auto* table = static_cast<catalog::SqlitePageTable*>(pages->below());
    if (random_.Below(2) == 0) {
      parts.checkpoint = [pages, table]() -> Status {
        PX_TRY(pages->HandOver());
        return table->Checkpoint();
      };
    }
    fs::FilesystemOptions options;
    options.pool_objects = 1 + random_.Below(8);
    options.tick = std::chrono::milliseconds(1 + random_.Below(10));
    options.seal_after = std::chrono::milliseconds(random_.Below(20));
    const auto fs = Must(Filesystem::Open(std::move(parts), options, &kernel, &clock), "open");
    fs_ = fs.get();
    kernel_ = &kernel;
    Must(fs->FsyncDir({}), "sync");
    states_.push_back({});
    done_at_.push_back(recorder->Position());
    for (int i = 0; i < kOps; ++i) {
      op_ = static_cast<int>(states_.size());
      const bool synced = Step();
      states_.push_back(names_);
      done_at_.push_back(recorder->Position());
      if (synced) syncs_.push_back(op_);
    }
    // The store must not be closed in order before the power goes.
    end_ = recorder->Position();
    recorder->Stop();
    op_ = static_cast<int>(states_.size());  // what is closed now is not promised to any state
    while (!handles_.empty()) CloseHandle(0);
  }

  size_t begin() const { return done_at_.front(); }
  size_t end() const { return end_; }
  int DoneBefore(size_t position) const {
    int op = 0;
    while (op + 1 < static_cast<int>(done_at_.size()) &&
           done_at_[static_cast<size_t>(op) + 1] <= position) {
      ++op;
    }
    return op;
  }
  int SyncedBefore(int op) const {
    int last = 0;
    for (const int at : syncs_) {
      if (at <= op) last = at;
    }
    return last;
  }
  const std::vector<Names>& states() const { return states_; }

 private:
  struct Handle {
    std::string volume;
    NodeKey node;
    int backing;
    std::shared_ptr<History> history;
  };

  bool Step() {
    switch (random_.Below(30)) {
      case 0:
        MakeVolume();
        return false;
      case 1:
      case 2:
        Clone();
        return false;
      case 3:
        Drop();
        return false;
      case 4:
      case 5:
      case 6:
        Replace();
        return false;
      case 7:
      case 8:
        Rename();
        return false;
      case 9:
        Unlink();
        return false;
      case 10:
      case 11:
        OpenHandle();
        return false;
      case 12:
      case 13:
        WriteHandle();
        return false;
      case 14:
        if (!handles_.empty()) CloseHandle(random_.Below(handles_.size()));
        return false;
      case 15:
      case 16:
        return Fsync();
      case 17:
        Truncate();
        return false;
      case 18:
      case 19:
        return WriteThrough();
      case 20:
      case 21:
        Allocate();
        return false;
      case 22:
      case 23:
        CopyRange();
        return false;
      case 24:
        ExchangeNames();
        return false;
      case 25:
        LinkNameless();
        return false;
      default:
        WriteInPlace();
        return false;
    }
  }

  std::vector<std::string> Volumes() const {
    std::vector<std::string> all;
    for (const auto& [name, history] : names_) {
      if (history == nullptr) all.push_back(name);
    }
    return all;
  }
  std::string AnyVolume() {
    const auto all = Volumes();
    return all.empty() ? "" : all[random_.Below(all.size())];
  }
  std::string AnyFile() {
    std::vector<std::string> all;
    for (const auto& [name, history] : names_) {
      if (history != nullptr) all.push_back(name);
    }
    return all.empty() ? "" : all[random_.Below(all.size())];
  }
  NodeKey Find(const std::string& path) {
    NodeKey node{cow::kRootVolume, cow::kRootIno};
    for (const auto& part : std::filesystem::path(path)) {
      node = Must(fs_->Lookup(node, part.string()), "lookup").node;
    }
    return node;
  }
  std::string Bytes() {
    const uint64_t kind = random_.Below(8);
    const uint64_t size = kind == 0  ? random_.Below(1'500'000)
                          : kind < 3 ? 262'144 + random_.Below(100'000)
                                     : random_.Below(20'000);
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(1 + random_.Next() % 255);
    return bytes;
  }
  static NodeKey Root() { return {cow::kRootVolume, cow::kRootIno}; }
  static std::string BaseOf(const std::string& path) { return path.substr(path.find('/') + 1); }
  static std::string VolumeOf(const std::string& path) { return path.substr(0, path.find('/')); }

  void MakeVolume() {
    const std::string name = fmt::format("v{}", random_.Below(4));
    if (names_.contains(name)) return;
    Must(fs_->CreateVolume(Root(), name, kRoot), "create volume");
    names_[name] = nullptr;
  }

  void Clone() {
    const std::string source = AnyVolume();
    const std::string target = fmt::format("v{}", random_.Below(4));
    if (source.empty() || names_.contains(target)) return;
    const px_ioc_token token = Must(fs_->IssueToken(Find(source), kRoot), "token");
    Must(fs_->CloneVolume(Root(), target, token, 0, kRoot), "clone");
    Names copies;
    for (const auto& [name, history] : names_) {
      if (history == nullptr || VolumeOf(name) != source) continue;
      auto copy = std::make_shared<History>();
      copy->versions.push_back({op_, history->Now()});
      copy->settled.push_back(op_);
      copies[target + name.substr(source.size())] = copy;
    }
    names_[target] = nullptr;
    names_.merge(copies);
  }

  void Drop() {
    const std::string volume = AnyVolume();
    if (volume.empty() || random_.Below(2) == 0) return;
    for (size_t i = handles_.size(); i-- > 0;) {
      if (handles_[i].volume == volume) CloseHandle(i);
    }
    Must(fs_->DropVolume(Root(), volume, /*trash=*/false, kRoot), "drop");
    std::erase_if(names_, [&](const auto& one) { return VolumeOf(one.first) == volume; });
  }

  void Put(NodeKey node, int backing, const std::string& bytes, size_t offset) {
    if (backing != 0) {
      const int fd = kernel_->FileOf(backing);
      if (::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) !=
          static_cast<ssize_t>(bytes.size())) {
        std::abort();
      }
      return;
    }
    size_t done = 0;
    while (done < bytes.size()) {
      done += Must(fs_->Write(node, std::string_view(bytes).substr(done, 131'072),
                              static_cast<off_t>(offset + done), false),
                   "write");
    }
  }

  // Writes a whole file: with O_TRUNC over one that is there, or anew.
  void Replace() {
    const std::string volume = AnyVolume();
    if (volume.empty()) return;
    const std::string name = fmt::format("f{}", random_.Below(5));
    const std::string path = volume + "/" + name;
    const std::string bytes = Bytes();
    NodeKey node;
    int backing = 0;
    if (names_.contains(path)) {
      node = Find(path);
      backing = Must(fs_->Open(node, O_WRONLY | O_TRUNC, false), "open").backing_id;
      names_[path]->versions.push_back({op_, ""});  // seen in between if it happens in place
    } else {
      const auto created = Must(
          fs_->Create(Find(volume), name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot), "create");
      node = created.entry.node;
      backing = created.opened.backing_id;
      names_[path] = std::make_shared<History>();
      names_[path]->versions.push_back({op_, ""});
    }
    Put(node, backing, bytes, 0);
    fs_->Release(node, O_WRONLY, 0);
    Note(names_[path], bytes, true);
  }

  void Note(const std::shared_ptr<History>& history, std::string bytes, bool closed) {
    history->versions.push_back({op_, std::move(bytes)});
    bool open = false;
    for (const Handle& handle : handles_) open = open || handle.history == history;
    if (closed && !open) history->settled.push_back(op_);
  }

  static void Overlay(std::string* content, const std::string& bytes, size_t offset) {
    content->resize(std::max(content->size(), offset + bytes.size()), '\0');
    content->replace(offset, bytes.size(), bytes);
  }

  void WriteInPlace() {
    const std::string path = AnyFile();
    if (path.empty()) return;
    const NodeKey node = Find(path);
    std::string content = names_[path]->Now();
    const size_t offset = random_.Below(content.size() + 1);
    const std::string bytes = Bytes().substr(0, 1 + random_.Below(9000));
    const struct stat before = Must(fs_->GetAttr(node), "stat");
    const int backing = Must(fs_->Open(node, O_RDWR, false), "open").backing_id;
    Put(node, backing, bytes, offset);
    // As rsync does: then nothing of the file's attributes says that it was written.
    if (random_.Below(3) == 0)
      Must(fs_->SetAttr(node, before, FUSE_SET_ATTR_MTIME, kRoot), "times");
    fs_->Release(node, O_RDWR, 0);
    Overlay(&content, bytes, offset);
    Note(names_[path], content, true);
  }

  void Allocate() {
    const std::string path = AnyFile();
    if (path.empty()) return;
    const NodeKey node = Find(path);
    std::string content = names_[path]->Now();
    const size_t offset = random_.Below(content.size() + 1), length = 1 + random_.Below(30'000);
    // What tmpfs can.
    constexpr std::array<int, 3> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                           FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[random_.Below(kModes.size())];
    Must(fs_->Open(node, O_RDWR, false), "open");
    Must(fs_->Fallocate(node, mode, static_cast<off_t>(offset), static_cast<off_t>(length), kRoot),
         "fallocate");
    fs_->Release(node, O_RDWR, 0);
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0) {
      content.resize(std::max(content.size(), offset + length), '\0');
    }
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && offset < content.size()) {
      const size_t cleared = std::min(length, content.size() - offset);
      content.replace(offset, cleared, cleared, '\0');
    }
    Note(names_[path], content, true);
  }

  void CopyRange() {
    const std::string source = AnyFile(), target = AnyFile();
    if (source.empty() || source == target) return;
    const NodeKey from = Find(source), to = Find(target);
    const std::string& bytes = names_[source]->Now();
    std::string content = names_[target]->Now();
    const size_t at = random_.Below(bytes.size() + 1), offset = random_.Below(content.size() + 1);
    Must(fs_->Open(from, O_RDONLY, false), "open");
    Must(fs_->Open(to, O_RDWR, false), "open");
    const size_t copied =
        Must(fs_->CopyRange(from, static_cast<off_t>(at), to, static_cast<off_t>(offset),
                            1 + random_.Below(100'000), kRoot),
             "copy");
    fs_->Release(to, O_RDWR, 0);
    fs_->Release(from, O_RDONLY, 0);
    if (copied == 0) return;
    Overlay(&content, bytes.substr(at, copied), offset);
    Note(names_[target], content, true);
  }

  void ExchangeNames() {
    const std::string one = AnyFile(), other = AnyFile();
    if (one.empty() || one == other || VolumeOf(one) != VolumeOf(other)) return;
    Must(fs_->Rename(Find(VolumeOf(one)), BaseOf(one), Find(VolumeOf(other)), BaseOf(other),
                     RENAME_EXCHANGE, kRoot),
         "exchange");
    std::swap(names_[one], names_[other]);
  }

  // O_TMPFILE, written, and given a name.
  void LinkNameless() {
    const std::string volume = AnyVolume();
    if (volume.empty()) return;
    const std::string name = fmt::format("f{}", random_.Below(5));
    if (names_.contains(volume + "/" + name)) return;
    const NodeKey dir = Find(volume);
    const auto created = Must(fs_->TmpFile(dir, S_IFREG | 0644, O_RDWR, kRoot), "tmpfile");
    const std::string bytes = Bytes();
    Put(created.entry.node, created.opened.backing_id, bytes, 0);
    Must(fs_->Link(created.entry.node, dir, name), "link");
    fs_->Release(created.entry.node, O_RDWR, 0);
    auto history = std::make_shared<History>();
    history->versions.push_back({op_, ""});
    names_[volume + "/" + name] = history;
    Note(history, bytes, true);
  }

  // With O_DSYNC: in passthrough the kernel flushes the backing file, and nobody tells us; else it
  // asks for an fsync after each write.
  bool WriteThrough() {
    const std::string volume = AnyVolume();
    if (volume.empty()) return false;
    const std::string name = fmt::format("f{}", random_.Below(5));
    const std::string path = volume + "/" + name;
    constexpr int kFlags = O_WRONLY | O_DSYNC;
    NodeKey node;
    fs::Opened opened;
    if (names_.contains(path)) {
      node = Find(path);
      opened = Must(fs_->Open(node, kFlags, false), "open");
    } else {
      const auto created =
          Must(fs_->Create(Find(volume), name, S_IFREG | 0644, kFlags | O_CREAT, kRoot), "create");
      node = created.entry.node;
      opened = created.opened;
      names_[path] = std::make_shared<History>();
      names_[path]->versions.push_back({op_, ""});
    }
    std::string content = names_[path]->Now();
    const size_t offset = random_.Below(content.size() + 1);
    const std::string bytes = Bytes().substr(0, 1 + random_.Below(9000));
    Put(node, opened.backing_id, bytes, offset);
    if (opened.backing_id != 0) {
      Must(::fdatasync(kernel_->FileOf(opened.backing_id)) == 0 ? Status{} : FailErrno("fdatasync"),
           "write through");
    } else {
      Must(fs_->Fsync(node, true), "fsync");
    }
    Overlay(&content, bytes, offset);
    names_[path]->versions.push_back({op_, std::move(content)});
    names_[path]->settled.push_back(op_);
    // Nothing that was done after the open was by name: a store as of it has the write.
    fs_->Release(node, kFlags, 0);
    return true;
  }

  void Truncate() {
    const std::string path = AnyFile();
    if (path.empty()) return;
    std::string content = names_[path]->Now();
    content.resize(random_.Below(content.size() + 5000), '\0');
    struct stat attr{};
    attr.st_size = static_cast<off_t>(content.size());
    Must(fs_->SetAttr(Find(path), attr, FUSE_SET_ATTR_SIZE, kRoot), "truncate");
    Note(names_[path], content, true);
  }

  void Rename() {
    const std::string from = AnyFile();
    if (from.empty()) return;
    const std::string volume = VolumeOf(from);
    const std::string name = fmt::format("f{}", random_.Below(5));
    const NodeKey dir = Find(volume);
    Must(fs_->Rename(dir, from.substr(volume.size() + 1), dir, name, 0, kRoot), "rename");
    if (volume + "/" + name == from) return;
    names_[volume + "/" + name] = names_[from];
    names_.erase(from);
  }

  void Unlink() {
    const std::string path = AnyFile();
    if (path.empty()) return;
    const std::string volume = VolumeOf(path);
    Must(fs_->Unlink(Find(volume), path.substr(volume.size() + 1)), "unlink");
    names_.erase(path);
  }

  void OpenHandle() {
    const std::string path = AnyFile();
    if (path.empty() || handles_.size() >= 3) return;
    const NodeKey node = Find(path);
    const int backing = Must(fs_->Open(node, O_RDWR, false), "open").backing_id;
    handles_.push_back({VolumeOf(path), node, backing, names_[path]});
  }

  void WriteHandle() {
    if (handles_.empty()) return;
    const Handle& handle = handles_[random_.Below(handles_.size())];
    std::string content = handle.history->Now();
    const size_t offset = random_.Below(content.size() + 1);
    const std::string bytes = Bytes().substr(0, 1 + random_.Below(9000));
    Put(handle.node, handle.backing, bytes, offset);
    Overlay(&content, bytes, offset);
    Note(handle.history, content, false);
  }

  void CloseHandle(size_t index) {
    const Handle handle = handles_[index];
    fs_->Release(handle.node, O_RDWR, 0);
    handles_.erase(handles_.begin() + static_cast<ptrdiff_t>(index));
    bool open = false;
    for (const Handle& other : handles_) open = open || other.history == handle.history;
    if (!open) handle.history->settled.push_back(op_);
  }

  bool Fsync() {
    const std::string path = AnyFile();
    if (path.empty() || random_.Below(4) == 0) {
      Must(fs_->FsyncDir(Root()), "sync");
      return true;
    }
    const NodeKey node = Find(path);
    Must(fs_->Open(node, O_RDWR, false), "open");
    Must(fs_->Fsync(node, random_.Below(2) == 0), "fsync");
    names_[path]->settled.push_back(op_);
    fs_->Release(node, O_RDWR, 0);
    return true;
  }

  const std::string dir_;
  Random& random_;
  const bool passthrough_;
  DiskRecorder* recorder_ = nullptr;
  Filesystem* fs_ = nullptr;
  FakeKernel* kernel_ = nullptr;
  int op_ = 0;
  Names names_;
  std::vector<Handle> handles_;
  std::vector<Names> states_;    // after each operation
  std::vector<size_t> done_at_;  // where in the record it had returned
  std::vector<int> syncs_;
  size_t end_ = 0;
};

// What a store holds.
using Found = std::map<std::string, std::optional<std::string>>;  // no content: a volume

Result<std::string> ReadAll(Filesystem& fs, NodeKey node) {
  PX_TRY(fs.Open(node, O_RDONLY, false));
  PX_ASSIGN(const struct stat attr, fs.GetAttr(node));
  std::string bytes(static_cast<size_t>(attr.st_size), '\0');
  const auto got = fs.Read(node, bytes, 0);
  fs.Release(node, O_RDONLY, 0);
  PX_TRY(got);
  if (*got != bytes.size()) {
    return Fail(EIO, fmt::format("size {}, but {} bytes", bytes.size(), *got));
  }
  return bytes;
}

Result<Found> ReadStore(const std::string& dir, const std::string& boot) {
  PX_ASSIGN(const fs::StoreDir store, fs::StoreDir::Open(dir, false));
  PX_ASSIGN(Filesystem::Parts parts, store.OpenParts(boot));
  FakeKernel kernel(false);
  SystemClock clock;
  PX_ASSIGN(const auto fs, Filesystem::Open(std::move(parts), {}, &kernel, &clock));
  Found found;
  std::vector<std::pair<std::string, NodeKey>> volumes;
  PX_TRY(fs->ReadDir({cow::kRootVolume, cow::kRootIno}, 0, true, [&](const fs::DirEntry& entry) {
    if (entry.name != "." && entry.name != "..") {
      volumes.emplace_back(entry.name, entry.entry.node);
    }
    return true;
  }));
  for (const auto& [volume, node] : volumes) {
    found[volume] = std::nullopt;
    std::vector<std::pair<std::string, NodeKey>> files;
    PX_TRY(fs->ReadDir(node, 0, true, [&](const fs::DirEntry& entry) {
      if (entry.name != "." && entry.name != "..") files.emplace_back(entry.name, entry.entry.node);
      return true;
    }));
    for (const auto& [name, file] : files) {
      auto bytes = ReadAll(*fs, file);
      if (!bytes) return Forward(Error(bytes.error()).Wrap(volume + "/" + name));
      found[volume + "/" + name] = std::move(*bytes);
    }
  }
  return found;
}

// Empty if `found` may be what `history` was, in a store that is as of `op`, with `until` the last
// operation that may have begun.
std::string Mismatch(const History& history, const std::string& found, int op, bool whole,
                     int until) {
  // Past the last fsync the store may be as of the middle of the operation.
  const size_t first = history.FirstAllowed(whole ? op : op - 1);
  const size_t last = history.IndexAt(until);
  size_t smallest = SIZE_MAX, largest = 0;
  for (size_t i = first; i <= last; ++i) {
    smallest = std::min(smallest, history.versions[i].bytes.size());
    largest = std::max(largest, history.versions[i].bytes.size());
  }
  if (found.size() < smallest || found.size() > largest) {
    return fmt::format("{} bytes, should be {} to {}", found.size(), smallest, largest);
  }
  for (size_t at = 0; at < found.size(); ++at) {
    bool known = found[at] == '\0' && first != last;
    for (size_t i = first; i <= last && !known; ++i) {
      const std::string& bytes = history.versions[i].bytes;
      known = (at < bytes.size() ? bytes[at] : '\0') == found[at];
    }
    if (!known) return fmt::format("a foreign byte at {} of {}", at, found.size());
  }
  return {};
}

// Empty if the store may be as of `op`.
std::string Mismatch(const Names& names, const Found& found, int op, bool whole, int until) {
  for (const auto& [path, history] : names) {
    const auto there = found.find(path);
    if (there == found.end()) return path + " is missing";
    if (history == nullptr || !there->second) continue;
    const std::string wrong = Mismatch(*history, *there->second, op, whole, until);
    if (!wrong.empty()) return path + ": " + wrong;
  }
  for (const auto& [path, content] : found) {
    if (!names.contains(path)) return path + " should not be there";
  }
  return {};
}

std::string CheckState(const Work& work, const std::string& dir, const std::string& boot, int from,
                       int done) {
  const auto found = ReadStore(dir, boot);
  if (!found) return "does not open: " + found.error().ToString();
  const int until = std::min(done + 1, static_cast<int>(work.states().size()) - 1);
  std::string wrong;
  bool matches = false;
  for (int op = until; op >= from && !matches; --op) {
    const std::string one =
        Mismatch(work.states()[static_cast<size_t>(op)], *found, op, op == from, until);
    matches = one.empty();
    if (!matches) wrong += fmt::format("\n  as of operation {}: {}", op, one);
  }
  if (!matches) return fmt::format("is as of none of {} to {}:{}", from, until, wrong);
  std::string lines;
  const auto report =
      fs::Fsck(dir, {.data = true}, [&](const std::string& line) { lines += "\n  " + line; });
  if (!report) return "fsck: " + report.error().ToString();
  return report->findings == 0 ? "" : "fsck finds:" + lines;
}

int Main(int argc, char** argv) {
  uint64_t seed =
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  uint64_t rounds = 0, seconds = 0, states = 24;
  for (int i = 1; i < argc; ++i) {
    unsigned long long number = 0;
    if (std::sscanf(argv[i], "--seed=%llu", &number) == 1) {
      seed = number;
    } else if (std::sscanf(argv[i], "--rounds=%llu", &number) == 1) {
      rounds = number;
    } else if (std::sscanf(argv[i], "--seconds=%llu", &number) == 1) {
      seconds = number;
    } else if (std::sscanf(argv[i], "--states=%llu", &number) == 1) {
      states = number;
    } else {
      std::fprintf(stderr, "usage: power_cut [--seed=N] [--rounds=N | --seconds=N] [--states=N]\n");
      return 2;
    }
  }
  if (rounds == 0 && seconds == 0) rounds = 1;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  // Of a tmpfs: it is quick, and no inode number comes twice.
  std::string base = "/dev/shm/px-power-cut.XXXXXX";
  if (::mkdtemp(base.data()) == nullptr) {
    std::perror("mkdtemp below /dev/shm");
    return 1;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t checked = 0, round = 0;
  Must(SetLogLevel(std::getenv("PX_LOG") ? std::getenv("PX_LOG") : "error"), "log");
  for (; rounds > 0 ? round < rounds : std::chrono::steady_clock::now() < end; ++round) {
    const uint64_t round_seed = seed + round;
    Random random(round_seed);
    const std::string live = base + "/live", crashed = base + "/crashed";
    std::filesystem::remove_all(live);
    std::filesystem::create_directory(live);
    DiskRecorder recorder(live);
    Work work(live, &random);
    work.Run(&recorder);
    for (uint64_t i = 0; i < states; ++i) {
      // The last moment is one that chance does not meet.
      const size_t position =
          i == 0 ? work.end() : work.begin() + random.Below(work.end() - work.begin() + 1);
      std::filesystem::remove_all(crashed);
      std::filesystem::create_directory(crashed);
      recorder.BuildCrashState(position, crashed, &random);
      const int done = work.DoneBefore(position);
      const std::string wrong = CheckState(work, crashed, "boot B", work.SyncedBefore(done), done);
      ++checked;
      if (wrong.empty()) continue;
      std::printf(
          "power_cut: --seed=%llu --rounds=1: power cut at event %zu of %zu, after "
          "operation %d: the store %s\n  left in %s\n",
          static_cast<unsigned long long>(round_seed), position, work.end(), done, wrong.c_str(),
          crashed.c_str());
      return 1;
    }
  }
  std::filesystem::remove_all(base);
  std::printf("power_cut: %llu states of %llu runs: nothing lost, nothing wrong\n",
              static_cast<unsigned long long>(checked), static_cast<unsigned long long>(round));
  return 0;
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
