// damage_corpus: makes a store with a little of everything, damages copies of it in many ways, and
// has px-fs fsck and the filesystem work on each.
//
//   damage_corpus [--seed=N] [--stores=N]
//
// Damage: bits flipped, pages zeroed, files cut, lengthened, removed, exchanged; and nodes with
// random changes under a right checksum, as a bug or an attacker would leave them. Of each store it
// is checked, in a process of its own, that nothing crashes or hangs, and that nothing is made
// worse: a file that could be read as it was before still can be after a mount that used it, and
// after px-fs fsck --repair. Only the former is checked where the rows beside the nodes (counts,
// the queue, counters) were changed, under right checksums too: of those nothing says so.
//
// Every fifth store has one bit flipped, or some of one page, in meta.db, its log or its journal:
// it must be found, unless it is where nothing is; nothing wrong may be read, and nothing made
// worse by use, though it is used before it is checked. One bit in meta.db makes no difference;
// after more, where px-fs fsck --repair leaves nothing to find, everything is back.
//
// Every fifth store has one sealed object damaged instead, as a disk does it, or cut, or removed:
// px-fs fsck --data and a scrub must find it; the files that it is the content of give EIO, and all
// others what they held.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "catalog/seal_table.h"
#include "catalog/sqlite.h"
#include "fs/fsck.h"
#include "fs/store_dir.h"
#include "fs/unsynced.h"
#include "tests/fuzz/random.h"
#include "tests/testing/no_kernel.h"

namespace px::testing {
namespace {

namespace stdfs = std::filesystem;
using fs::Filesystem;
using fs::NodeKey;

constexpr unsigned kLimitSeconds = 60;
constexpr int kMaxDepth = 12;

void Must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "damage_corpus: %s\n", what);
  std::abort();
}

struct Open {
  NoKernel kernel;
  SystemClock clock;
  std::optional<fs::StoreDir> store;
  std::unique_ptr<Filesystem> fs;
};

Result<std::unique_ptr<Open>> OpenStore(const std::string& dir, bool create) {
  auto open = std::make_unique<Open>();
  PX_ASSIGN(open->store, fs::StoreDir::Open(dir, create));
  PX_ASSIGN(Filesystem::Parts parts, open->store->OpenParts());
  fs::FilesystemOptions options;
  options.pool_objects = 4;
  options.tick = std::chrono::milliseconds(2);
  options.seal_after = std::chrono::milliseconds(1);
  PX_ASSIGN(open->fs, Filesystem::Open(std::move(parts), options, &open->kernel, &open->clock));
  return open;
}

Status WriteFile(Filesystem& fs, NodeKey dir, const std::string& name, const std::string& bytes) {
  PX_ASSIGN(const auto created, fs.Create(dir, name, S_IFREG | 0644, O_WRONLY | O_CREAT, kRoot));
  const NodeKey node = created.entry.node;
  const auto put = fs.Write(node, bytes, 0, false);
  fs.Release(node, O_WRONLY, 0);
  return put ? Status{} : Status(Forward(put.error()));
}

std::string Bytes(Random* random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random->Next());
  return bytes;
}

// --- The store ---

Status MakeContent(Filesystem& fs, Random* random) {
  PX_TRY(fs.CreateVolume(kTop, "a", kRoot));
  PX_ASSIGN(const fs::Entry a, fs.Lookup(kTop, "a"));
  for (int i = 0; i < 120; ++i) {
    PX_TRY(WriteFile(fs, a.node, fmt::format("file-with-a-longer-name-{}", i),
                     Bytes(random, random->Below(9000))));
  }
  PX_TRY(WriteFile(fs, a.node, "large", Bytes(random, 300'000)));
  PX_ASSIGN(const fs::Entry dir, fs.MakeNode(a.node, "dir", S_IFDIR | 0755, 0, kRoot));
  PX_TRY(WriteFile(fs, dir.node, "inner", "inner"));
  PX_TRY(fs.MakeSymlink(a.node, "link", std::string(2000, 't'), kRoot));
  PX_ASSIGN(const fs::Entry large, fs.Lookup(a.node, "large"));
  PX_TRY(fs.Link(large.node, dir.node, "hard"));
  PX_TRY(fs.SetXattr(large.node, "user.note", std::string(3000, 'x'), 0, kRoot));
  PX_TRY(fs.Snapshot(a.node, "s", kRoot));
  PX_ASSIGN(const px_ioc_token token, fs.IssueToken(a.node, kRoot));
  PX_TRY(fs.CloneVolume(kTop, "b", token, 0, kRoot));
  PX_ASSIGN(const fs::Entry b, fs.Lookup(kTop, "b"));
  PX_ASSIGN(const fs::Entry sparse, fs.Lookup(b.node, "large"));
  // Over its shared base, where there are no reflinks.
  PX_TRY(fs.Open(sparse.node, O_RDWR, false));
  PX_TRY(fs.Write(sparse.node, "changed", 100'000, false));
  fs.Release(sparse.node, O_RDWR, 0);
  PX_TRY(fs.CreateVolume(kTop, "dropped", kRoot));
  PX_ASSIGN(const fs::Entry dropped, fs.Lookup(kTop, "dropped"));
  PX_TRY(WriteFile(fs, dropped.node, "f", "in the trash"));
  return fs.DropVolume(kTop, "dropped", /*trash=*/true, kRoot);
}

// --- Reading all of it ---

using Content = std::map<std::string, std::string>;

void ReadTree(Filesystem& fs, NodeKey dir, const std::string& path, int depth, Content* content) {
  if (depth > kMaxDepth) return;
  std::vector<std::pair<std::string, NodeKey>> entries;
  (void)fs.ReadDir(dir, 0, true, [&](const fs::DirEntry& entry) {
    if (entry.name != "." && entry.name != "..") {
      entries.emplace_back(entry.name, entry.entry.node);
    }
    return entries.size() < 2000;
  });
  for (const auto& [name, unused] : entries) {
    const auto found = fs.Lookup(dir, name);
    if (!found) continue;
    const NodeKey node = found->node;
    const std::string full = path + "/" + name;
    (void)fs.ListXattr(node, kRoot);
    (void)fs.GetXattr(node, "user.note");
    if (S_ISDIR(found->attr.st_mode)) {
      ReadTree(fs, node, full, depth + 1, content);
    } else if (S_ISLNK(found->attr.st_mode)) {
      if (auto target = fs.ReadLink(node)) (*content)[full] = *target;
    } else if (S_ISREG(found->attr.st_mode)) {
      if (!fs.Open(node, O_RDONLY, false)) continue;
      std::string bytes(std::min<size_t>(static_cast<size_t>(found->attr.st_size), 1 << 20), '\0');
      const auto got = fs.Read(node, bytes, 0);
      fs.Release(node, O_RDONLY, 0);
      if (got && *got == bytes.size()) (*content)[full] = bytes;
    }
  }
}

Content ReadAll(Filesystem& fs) {
  Content content;
  ReadTree(fs, kTop, "", 0, &content);
  for (const char* volume : {"a", "b"}) {
    const auto found = fs.Lookup(kTop, volume);
    if (!found) continue;
    const auto snapshots = fs.Lookup(found->node, ".snapshots");
    if (snapshots) ReadTree(fs, snapshots->node, std::string("/") + volume + "/.s", 0, &content);
  }
  return content;
}

// What else a mount is asked; errors are fine.
void Use(Filesystem& fs, Random* random) {
  for (const char* volume : {"a", "b"}) {
    const auto found = fs.Lookup(kTop, volume);
    if (!found) continue;
    (void)fs.MeasureUsage(found->node, kRoot);
    (void)WriteFile(fs, found->node, "new", "written after the damage");
    (void)fs.Unlink(found->node, "new");
    const auto token = fs.IssueToken(found->node, kRoot);
    if (!token) continue;
    (void)fs.CloneVolume(kTop, std::string(volume) + "-clone", *token, 0, kRoot);
    (void)fs.DropVolume(kTop, std::string(volume) + "-clone", random->Below(2) == 0, kRoot);
  }
  auto text = std::make_unique<px_ioc_text>();
  (void)fs.ListVolumes(kTop, text.get(), kRoot);
  *text = {};
  (void)fs.ListTrash(text.get(), kRoot);
  px_ioc_gc gc{};
  gc.flags = PX_GC_ALL;
  (void)fs.CollectGarbage(&gc, kRoot);
  (void)fs.FsyncDir(kTop);
}

// --- Damage ---

std::vector<std::string> FilesOf(const std::string& dir) {
  std::vector<std::string> files;
  for (const auto& entry : stdfs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file() && entry.path().filename() != "lock") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// More often one of the few that hold the tree than one of the many objects.
std::string AnyFile(const std::string& dir, Random* random) {
  static const char* const kTree[] = {"meta.db",    "meta.db",    "meta.db-wal",
                                      "meta.log.0", "meta.log.1", "open.slots",
                                      "format",     "seals.db",   "seals.db-wal"};
  if (random->Below(3) != 0) {
    std::string path = dir + "/" + kTree[random->Below(std::size(kTree))];
    if (stdfs::exists(path)) return path;
  }
  const auto files = FilesOf(dir);
  return files[random->Below(files.size())];
}

void Overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) (void)!::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
}

void FlipBits(const std::string& path, uint64_t size, Random* random) {
  if (size == 0) return;
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  for (uint64_t i = 1 + random->Below(8); i > 0; --i) {
    // What is used of the preallocated logs is at their beginning.
    const uint64_t reach = random->Below(2) == 0 ? size : std::min<uint64_t>(size, 100'000);
    const auto at = static_cast<off_t>(random->Below(reach));
    char byte = 0;
    if (::pread(fd.get(), &byte, 1, at) != 1) return;
    byte = static_cast<char>(byte ^ (1 << random->Below(8)));
    (void)!::pwrite(fd.get(), &byte, 1, at);
  }
}

// Random changes of one node under a right checksum.
void ForgeNode(const std::string& dir, Random* random) {
  auto database = catalog::Database::Open(dir + "/meta.db", SQLITE_OPEN_READWRITE, 1000,
                                          catalog::kCheckedOneProcessVfs);
  if (!database) return;
  auto pages = database->Prepare("SELECT id, data FROM page ORDER BY random() LIMIT 1");
  if (!pages) return;
  const auto row = pages->Step();
  if (!row || !*row) return;
  const int64_t id = pages->Int(0);
  const auto blob = pages->Blob(1);
  std::string data(reinterpret_cast<const char*>(blob.data()), blob.size());
  pages->Reset();
  if (data.size() < 64) return;
  for (uint64_t i = 1 + random->Below(6); i > 0; --i) {
    const size_t at = 8 + random->Below(data.size() - 8);
    switch (random->Below(3)) {
      case 0:
        data[at] = static_cast<char>(random->Next());
        break;
      case 1:
        data[at] = static_cast<char>(data[at] ^ (1 << random->Below(8)));
        break;
      default: {
        const size_t from = 8 + random->Below(data.size() - 8);
        const size_t length = std::min({size_t{8}, data.size() - at, data.size() - from});
        std::memmove(data.data() + at, data.data() + from, length);
      }
    }
  }
  const uint64_t checksum = XXH3_64bits(data.data() + 8, data.size() - 8);
  std::memcpy(data.data(), &checksum, sizeof checksum);
  auto update = database->Prepare("UPDATE page SET data = ? WHERE id = ?");
  if (!update) return;
  update->BindBlob(1, std::as_bytes(std::span(data))).Bind(2, id);
  (void)update->Run();
}

// Random changes of the rows beside the nodes.
std::string ForgeRows(const std::string& dir, Random* random) {
  auto database = catalog::Database::Open(dir + "/meta.db", SQLITE_OPEN_READWRITE, 1000,
                                          catalog::kCheckedOneProcessVfs);
  if (!database) return "nothing";
  static const char* const kChanges[] = {
      "UPDATE node_refs SET refs = refs + 1",
      "UPDATE object_refs SET refs = 1 + abs(random()) % 5",
      "DELETE FROM node_refs",
      "DELETE FROM object_refs WHERE id IN (SELECT id FROM object_refs ORDER BY random() LIMIT 3)",
      "DELETE FROM page WHERE id IN (SELECT id FROM page ORDER BY random() LIMIT 1)",
      "UPDATE volume SET root = (SELECT id FROM page ORDER BY random() LIMIT 1) WHERE id = 1",
      "UPDATE volume SET attributes = x'00' WHERE id > 0",
      "UPDATE volume SET next_ino = 3",
      "UPDATE counter SET value = 1",
      "UPDATE counter SET value = -1",
      "INSERT INTO reclaim VALUES(1, 900, 12345), (2, 901, 3), (7, 902, 1)",
      "DELETE FROM volume WHERE id = 0",
      "UPDATE sync_point SET boot = 'x', frames = 7",
  };
  const char* const change = kChanges[random->Below(std::size(kChanges))];
  (void)database->Execute(change);
  return change;
}

const std::string kForged = "forged: ";

// Says what it did.
std::string DamageOnce(const std::string& dir, Random* random) {
  const uint64_t way = random->Below(12);
  if (way >= 10) return kForged + ForgeRows(dir, random);
  if (way >= 6) {
    ForgeNode(dir, random);
    return "a node forged";
  }
  const std::string path = AnyFile(dir, random);
  const std::string name = path.substr(dir.size() + 1);
  std::error_code ignored;
  const uint64_t size = stdfs::file_size(path, ignored);
  switch (way) {
    case 0: {
      const uint64_t to = size == 0 ? 4096 : random->Below(size);
      stdfs::resize_file(path, to, ignored);
      return fmt::format("{} cut to {} of {}", name, to, size);
    }
    case 1:
      stdfs::remove(path, ignored);
      return name + " removed";
    case 2: {
      const std::string other = AnyFile(dir, random);
      stdfs::rename(path, dir + "/swap", ignored);
      stdfs::rename(other, path, ignored);
      stdfs::rename(dir + "/swap", other, ignored);
      return name + " exchanged with " + other.substr(dir.size() + 1);
    }
    case 3: {
      const uint64_t at = random->Below(size + 1) & ~uint64_t{4095};
      Overwrite(path, at, std::string(4096, '\0'));
      return fmt::format("{} zeroed at {}", name, at);
    }
    default:
      FlipBits(path, size, random);
      return name + ": bits flipped";
  }
}

// --- One store ---

// Files that were as in `sound` in `before` are so in `after`.
bool NothingWorse(const Content& sound, const Content& before, const Content& after,
                  const char* what) {
  for (const auto& [path, bytes] : sound) {
    const auto was = before.find(path);
    if (was == before.end() || was->second != bytes) continue;
    const auto is = after.find(path);
    if (is != after.end() && is->second == bytes) continue;
    std::printf("  %s: after %s it is %s\n", path.c_str(), what,
                is == after.end() ? "not there" : "another");
    return false;
  }
  return true;
}

// A whole pass; how many findings there were.
Result<uint64_t> ScrubAll(Filesystem& fs) {
  auto text = std::make_unique<px_ioc_text>();
  *text = {};
  uint64_t findings = 0;
  for (bool more = true; more;) {
    std::memset(text->text, 0, sizeof text->text);
    PX_TRY(fs.ScrubStep(text.get(), kRoot));
    const std::string_view lines(text->text, text->length);
    for (size_t at = 0; (at = lines.find("{\"kind\":", at)) != std::string_view::npos; ++at) {
      ++findings;
    }
    more = std::any_of(std::begin(text->cursor), std::end(text->cursor),
                       [](auto byte) { return byte != 0; });
  }
  return findings;
}

std::string BytesOf(const std::string& path) {
  std::string bytes(stdfs::file_size(path), '\0');
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Must(::read(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "read");
  return bytes;
}

// Damages one object that has a seal; gives what it held.
std::string DamageObject(const std::string& dir, Random* random, std::string* what) {
  auto table = catalog::SealTable::Open(dir, "the corpus");
  Must(table.has_value(), "seals");
  std::vector<std::pair<cow::ObjectId, catalog::Seal>> rows;
  Must((*table)
           ->Scan(cow::ObjectId{0},
                  [&](cow::ObjectId object, const catalog::Seal& seal) {
                    if (seal.size > 0) rows.emplace_back(object, seal);
                    return true;
                  })
           .has_value(),
       "scan of seals");
  Must(rows.size() > 100, "too few objects are sealed");
  auto [object, seal] = rows[random->Below(rows.size())];
  const std::string path = dir + "/objects/" + fs::ObjectName(object);
  const std::string bytes = BytesOf(path);
  const uint64_t way = random->Below(4);
  *what = fmt::format("object {:x} ", object.value);
  if (way == 0) {
    stdfs::remove(path);
    *what += "removed";
  } else if (way == 1) {
    stdfs::resize_file(path, random->Below(bytes.size()));
    *what += "cut";
  } else {
    std::string one = bytes;
    const size_t at = random->Below(bytes.size());
    one[at] = static_cast<char>(one[at] ^ (1 << random->Below(8)));
    Overwrite(path, 0, one);
    struct stat file{};
    Must(::stat(path.c_str(), &file) == 0, "stat");
    seal.mtime_ns = ToNanoseconds(file.st_mtim);
    seal.ctime_ns = ToNanoseconds(file.st_ctim);
    *what += "rotten";
  }
  const catalog::SealTable::Change change{object, seal};
  Must((*table)->Apply({&change, 1}).has_value(), "put a seal");
  Must((*table)->CloseInOrder().has_value(), "close the seals");
  return bytes;
}

// In a process of its own; 0 if all is well. `bytes` is what the damaged object held.
int CheckDamagedObject(const std::string& dir, const Content& sound, const std::string& bytes) {
  ::alarm(kLimitSeconds);
  const auto report = fs::Fsck(dir, {.data = true}, [](const std::string&) {});
  if (!report || report->findings == 0) return std::puts("  fsck --data finds nothing"), 1;
  const auto open = OpenStore(dir, false);
  if (!open) return std::printf("  it does not open: %s\n", open.error().ToString().c_str()), 1;
  const auto findings = ScrubAll(*(*open)->fs);
  if (!findings || *findings == 0) return std::puts("  scrub finds nothing"), 1;
  const Content after = ReadAll(*(*open)->fs);
  for (const auto& [path, held] : sound) {
    // The one file (two names) that is sparse over a shared object, where there are no reflinks.
    const bool over = (path == "/b/large" || path == "/b/dir/hard") && bytes.size() == held.size();
    const bool refused = held == bytes || over;
    const auto is = after.find(path);
    if (!refused && (is == after.end() || is->second != held)) {
      return std::printf("  %s is not what it was\n", path.c_str()), 1;
    }
    if (refused && !over && is != after.end()) {
      return std::printf("  %s can be read\n", path.c_str()), 1;
    }
    if (over && is != after.end() && is->second != held) {
      return std::printf("  %s has other bytes\n", path.c_str()), 1;
    }
  }
  return 0;
}

// Has the store used, and gives what could be read before that.
Content UseStore(const std::string& dir, Random* random, bool change) {
  Content content;
  const auto open = OpenStore(dir, false);
  if (!open) return content;
  content = ReadAll(*(*open)->fs);
  if (change) Use(*(*open)->fs, random);
  return content;
}

// What can be read after use. What was changed may be in the way of damage, so that the store does
// not open any more: then a repair must bring it back.
Content AfterUse(const std::string& dir, Random* random) {
  if (!OpenStore(dir, false)) (void)fs::Fsck(dir, {.repair = true}, [](const std::string&) {});
  return UseStore(dir, random, false);
}

// Nothing is other than it was; what is not there counts too if `all`.
bool IsAsItWas(const Content& sound, const Content& is, bool all, const char* when) {
  for (const auto& [path, bytes] : sound) {
    const auto found = is.find(path);
    if (found == is.end() ? !all : found->second == bytes) continue;
    std::printf("  %s: %s it is %s\n", path.c_str(), when,
                found == is.end() ? "not there" : "another");
    return false;
  }
  return true;
}

// What files held is there, under whatever name; but for symlinks, which are all in the tree, and
// the file (two names) whose object may go on as what another one is sparse over.
bool HasAllContents(const Content& sound, const Content& is) {
  std::set<std::string_view> there;
  for (const auto& [path, bytes] : is) there.insert(bytes);
  for (const auto& [path, bytes] : sound) {
    if (bytes.size() < 64 || path.ends_with("/link")) continue;
    if (path.ends_with("/large") || path.ends_with("/hard")) continue;
    if (there.contains(bytes)) continue;
    std::printf("  %s: nothing holds what it held\n", path.c_str());
    return false;
  }
  return true;
}

// Flips bits of one page of what holds the tree. `unused`: it need not be found, since there is
// nothing on the page, or it is not of the database.
std::string FlipPage(const std::string& dir, bool closed, uint64_t bits, Random* random,
                     bool* unused) {
  static const char* const kLive[] = {"meta.db", "meta.db-wal", "meta.log.0", "meta.log.1"};
  const std::string name = closed ? kLive[0] : kLive[random->Below(std::size(kLive))];
  const std::string path = dir + "/" + name;
  // The journals' files are as large as they may get.
  const uint64_t size = name.starts_with("meta.log") ? 600'000 : stdfs::file_size(path);
  const uint64_t page = random->Below(size / 4096) * 4096;
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  for (uint64_t i = 0; i < bits; ++i) {
    const auto at = static_cast<off_t>(page + i * 4096 / bits + random->Below(4096 / bits));
    char byte = 0;
    Must(::pread(fd.get(), &byte, 1, at) == 1, "read of what is flipped");
    byte = static_cast<char>(byte ^ (1 << random->Below(8)));
    Must(::pwrite(fd.get(), &byte, 1, at) == 1, "flip");
  }
  const std::string flipped = BytesOf(path).substr(page, 4096);
  *unused = name != kLive[0] || std::count(flipped.begin(), flipped.end(), '\0') >= 4096 - 8;
  return fmt::format("{}: {} bits flipped in the page at byte {}", name, bits, page);
}

// In a process of its own; 0 if all is well.
int CheckFlipped(const std::string& dir, const Content& sound, bool closed, bool one_bit,
                 bool unused, uint64_t seed) {
  ::alarm(kLimitSeconds);
  Random random(seed);
  // Used before anybody checks it.
  const std::string used = dir + "-used";
  stdfs::remove_all(used);
  stdfs::copy(dir, used, stdfs::copy_options::recursive);
  const Content before = UseStore(used, &random, true);
  if (closed && !IsAsItWas(sound, before, one_bit, "before a check")) return 1;
  if (one_bit && closed && !OpenStore(used, false)) {
    return std::puts("  it does not open again"), 1;
  }
  const Content after = AfterUse(used, &random);
  if (!NothingWorse(sound, before, after, "use")) return 1;
  if (closed && !IsAsItWas(sound, after, one_bit, "after use")) return 1;
  stdfs::remove_all(used);

  const auto found = fs::Fsck(dir, {}, [](const std::string&) {});
  const bool clean = found && found->findings == 0;
  if (closed && clean && !unused) return std::puts("  fsck finds nothing"), 1;
  if (clean)
    return IsAsItWas(sound, UseStore(dir, &random, false), true, "with no finding") ? 0 : 1;
  bool lost = false;
  const auto repaired = fs::Fsck(dir, {.repair = true}, [&](const std::string& line) {
    lost = lost || line.find("an empty one takes its place") != std::string::npos;
  });
  // A store that was killed before its first hand-over has nothing but its journal.
  if (!repaired && !closed && repaired.error().code() == EUCLEAN) {
    return NothingWorse(sound, before, AfterUse(dir, &random), "a repair that cannot be") ? 0 : 1;
  }
  if (!repaired) {
    return std::printf("  fsck --repair: %s\n", repaired.error().ToString().c_str()), 1;
  }
  const auto again = fs::Fsck(dir, {}, [](const std::string&) {});
  if (!again) return std::printf("  fsck: %s\n", again.error().ToString().c_str()), 1;
  if (lost && closed && again->findings != 0) return std::puts("  fsck finds more"), 1;
  const bool whole = closed && !lost && (one_bit || again->findings == 0);
  const Content left = UseStore(dir, &random, true);
  if (lost && closed && !HasAllContents(sound, left)) return 1;
  if (closed && !IsAsItWas(sound, left, whole, "after a repair")) return 1;
  if (!NothingWorse(sound, before, left, "fsck --repair")) return 1;
  return NothingWorse(sound, left, AfterUse(dir, &random), "use after a repair") ? 0 : 1;
}

// In a process of its own; 0 if all is well.
int CheckStore(const std::string& dir, const Content& of_sound, bool forged, uint64_t seed) {
  ::alarm(kLimitSeconds);
  Random random(seed);
  // With counts too low a drop takes what others still use, and only fsck can know.
  bool counts = true;
  const auto report = fs::Fsck(dir, {.data = true}, [&](const std::string& line) {
    counts = counts && line.find("its count is") == std::string::npos;
  });
  const bool change = report && counts;
  const Content before = UseStore(dir, &random, change || forged);
  const Content sound = forged ? Content() : of_sound;
  if (!NothingWorse(sound, before, AfterUse(dir, &random), "use")) return 1;
  std::string unrepaired;
  const auto repaired = fs::Fsck(dir, {.repair = true, .data = true}, [](const std::string&) {});
  if (!NothingWorse(sound, before, UseStore(dir, &random, false), "fsck --repair")) return 1;
  const auto again = fs::Fsck(dir, {.data = true}, [&](const std::string& line) {
    if (line.find("its count is") != std::string::npos) unrepaired = line;
  });
  if (!repaired || !again || !unrepaired.empty()) return 0;  // not to be trusted with changes
  (void)UseStore(dir, &random, true);
  return NothingWorse(sound, before, AfterUse(dir, &random), "use after a repair") ? 0 : 1;
}

int InProcess(const std::function<int()>& check) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    const int result = check();
    std::fflush(stdout);
    ::_exit(result);
  }
  int status = 0;
  Must(::waitpid(child, &status, 0) == child, "waitpid");
  if (WIFSIGNALED(status)) {
    std::printf("  %s\n", WTERMSIG(status) == SIGALRM ? "hangs" : strsignal(WTERMSIG(status)));
    return 1;
  }
  return WEXITSTATUS(status);
}

int Main(int argc, char** argv) {
  unsigned long long seed = 1, stores = 500;
  for (int i = 1; i < argc; ++i) {
    if (std::sscanf(argv[i], "--seed=%llu", &seed) == 1) continue;
    if (std::sscanf(argv[i], "--stores=%llu", &stores) == 1) continue;
    std::fprintf(stderr, "usage: damage_corpus [--seed=N] [--stores=N]\n");
    return 2;
  }
  const char* shm = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  std::string base = std::string(shm) + "/px-damage.XXXXXX";
  Must(::mkdtemp(base.data()) != nullptr, "mkdtemp");
  Must(SetLogLevel("off").has_value(), "log");
  // One store that was closed in order and one as a kill leaves it, its log and journal in use.
  const std::string closed = base + "/closed", killed = base + "/killed", one = base + "/one";
  Content sound;
  {
    Random random(7);
    auto open = OpenStore(closed, true);
    Must(open.has_value(), "cannot make a store");
    const Status made = MakeContent(*(*open)->fs, &random);
    if (!made) std::fprintf(stderr, "%s\n", made.error().ToString().c_str());
    Must(made.has_value(), "cannot fill it");
    const auto sealed = ScrubAll(*(*open)->fs);
    Must(sealed && *sealed == 0, "a sound store is found to be damaged");
    stdfs::copy(closed, killed, stdfs::copy_options::recursive);
  }
  {
    Random random(1);
    sound = UseStore(closed, &random, false);
  }
  Must(sound.size() > 350, "the store does not hold what it should");
  unsigned long long bad = 0;
  for (unsigned long long i = 0; i < stores; ++i) {
    Random random(seed * 1'000'003 + i);
    stdfs::remove_all(one);
    stdfs::copy(i % 3 == 0 ? killed : closed, one, stdfs::copy_options::recursive);
    std::string damage = i % 3 == 0 ? "killed" : "closed";
    int result = 0;
    if (i % 5 == 3) {
      const bool whole = i % 3 != 0;
      const uint64_t bits = i % 2 == 0 ? 1 : 2 + random.Below(7);
      bool unused = false;
      damage = FlipPage(one, whole, bits, &random, &unused);
      result = InProcess([&] { return CheckFlipped(one, sound, whole, bits == 1, unused, i); });
    } else if (i % 5 == 4) {
      const std::string bytes = DamageObject(one, &random, &damage);
      result = InProcess([&] { return CheckDamagedObject(one, sound, bytes); });
    } else {
      for (uint64_t n = 1 + random.Below(3); n > 0; --n) damage += "; " + DamageOnce(one, &random);
      const bool forged = damage.find(kForged) != std::string::npos;
      result = InProcess([&] { return CheckStore(one, sound, forged, i); });
    }
    if (result == 0) continue;
    ++bad;
    std::printf("damage_corpus: --seed=%llu: store %llu (kept in %s/bad.%llu): %s\n", seed, i,
                base.c_str(), i, damage.c_str());
    stdfs::rename(one, fmt::format("{}/bad.{}", base, i));
    if (bad >= 5) break;
  }
  if (bad == 0) stdfs::remove_all(base);
  std::printf("damage_corpus: %llu damaged stores, %llu bad\n", stores, bad);
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace px::testing

int main(int argc, char** argv) { return px::testing::Main(argc, argv); }
