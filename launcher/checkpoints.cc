#include "launcher/checkpoints.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "launcher/checkpoint_formats.h"
#include "launcher/files.h"

namespace px::launcher {
namespace {

namespace fs = std::filesystem;

struct Found {
  std::string path;  // relative
  int64_t bytes = 0;
  int64_t at_ns = 0;
};

bool EndsWithAny(std::string_view name, const std::vector<std::string_view>& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

bool IsSomethingElse(std::string_view name) {
  return name.starts_with("events.out.tfevents") ||
         EndsWithAny(name, {".log", ".out", ".err", ".csv", ".tsv", ".png", ".jpg", ".jpeg", ".svg",
                            ".pdf", ".md", ".html", ".yml", ".yaml", ".py", ".sh", ".lock"});
}

// Names that programs give to what they have not finished yet.
bool IsUnfinishedName(const std::string& path) {
  return EndsWithAny(path, {".tmp", ".temp", ".part", ".incomplete", ".partial"}) ||
         path.find(".tempstate") != std::string::npos ||
         path.find("orbax-checkpoint-tmp") != std::string::npos ||
         path.find("_temp/") != std::string::npos || path.find("/.tmp") != std::string::npos ||
         path.starts_with(".tmp");
}

std::string KindOf(const std::string& path) {
  if (EndsWithAny(path, {".pt", ".pth", ".ckpt", ".bin", ".distcp"})) return "torch";
  if (path.ends_with(".keras")) return "keras";
  if (EndsWithAny(path, {".h5", ".hdf5"})) return "hdf5";
  if (path.ends_with(".safetensors")) return "safetensors";
  return "file";
}

std::vector<Found> ListFiles(const std::string& directory) {
  std::vector<Found> files;
  std::error_code error;
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto entry = fs::recursive_directory_iterator(directory, options, error);
       entry != fs::recursive_directory_iterator() && !error; entry.increment(error)) {
    struct stat status{};
    if (::lstat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    files.push_back({entry->path().string().substr(directory.size() + 1), status.st_size,
                     status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec});
  }
  return files;
}

// Puts the files of one checkpoint together.
class Grouper {
 public:
  Grouper(const std::string& directory, const std::vector<Found>& files) : directory_(directory) {
    for (const Found& file : files) all_.insert(file.path);
  }

  // The checkpoint that the file is a part of: itself, a TensorFlow prefix, or a directory that is
  // one checkpoint.
  std::string UnitOf(const std::string& path) const {
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      if (IsWholeDirectory(path.substr(0, slash))) return path.substr(0, slash);
    }
    if (path.ends_with(".index")) return path.substr(0, path.size() - 6);
    const size_t shard = path.rfind(".data-");
    if (shard != std::string::npos) return path.substr(0, shard);
    return path;
  }

  // A TensorFlow checkpoint is in the same directory.
  bool HasIndexBeside(const std::string& path) const {
    const std::string directory = path.substr(0, path.rfind('/') + 1);
    return std::any_of(all_.lower_bound(directory), all_.end(), [&](const std::string& other) {
      return other.starts_with(directory) && other.ends_with(".index") &&
             other.find('/', directory.size()) == std::string::npos;
    });
  }

  void Describe(Checkpoint& unit) const {
    const std::string full = directory_ + "/" + unit.path;
    if (IsWholeDirectory(unit.path)) {
      unit.kind = "directory";
      unit.problem = DirectoryProblem(unit.path);
    } else if (IsTensorflow(unit.path)) {
      unit.kind = "tensorflow";
      unit.problem = TensorflowProblem(unit.path);
    } else {
      unit.kind = KindOf(unit.path);
      unit.problem = CheckFormat(full);
    }
    if (IsUnfinishedName(unit.path)) unit.problem = "its name says that it is unfinished";
  }

 private:
  bool Has(const std::string& path) const { return all_.contains(path); }
  bool HasBelow(const std::string& directory, std::string_view start) const {
    const auto place = all_.lower_bound(directory + "/" + std::string(start));
    return place != all_.end() && place->starts_with(directory + "/" + std::string(start));
  }
  // Hugging Face's checkpoint-N, torch's distributed checkpoints, Orbax.
  bool IsWholeDirectory(const std::string& path) const {
    const std::string name = NameOf("/" + path);
    const bool numbered = name.starts_with("checkpoint-") && name.size() > 11;
    return numbered || Has(path + "/.metadata") || HasBelow(path, "__0_") ||
           Has(path + "/_CHECKPOINT_METADATA") || Has(path + "/commit_success.txt");
  }
  // Each writes one file after all others.
  std::string DirectoryProblem(const std::string& path) const {
    const std::string name = NameOf("/" + path);
    if (HasBelow(path, "__0_") && !Has(path + "/.metadata")) return "it has no .metadata yet";
    const bool trainer = Has(path + "/training_args.bin") || Has(path + "/optimizer.pt") ||
                         Has(path + "/scheduler.pt");
    if (name.starts_with("checkpoint-") && trainer && !Has(path + "/trainer_state.json")) {
      return "it has no trainer_state.json yet";
    }
    return "";
  }
  bool IsTensorflow(const std::string& prefix) const {
    return !Has(prefix) && (Has(prefix + ".index") || Shard(prefix) != all_.end());
  }
  std::set<std::string>::const_iterator Shard(const std::string& prefix) const {
    const auto place = all_.lower_bound(prefix + ".data-");
    return place != all_.end() && place->starts_with(prefix + ".data-") ? place : all_.end();
  }
  std::string TensorflowProblem(const std::string& prefix) const {
    if (!Has(prefix + ".index")) return "its .index is missing";
    const auto first = Shard(prefix);
    if (first == all_.end()) return "its data are missing";
    // ckpt-5.data-00000-of-00002
    const size_t of = first->rfind("-of-");
    if (of == std::string::npos) return "";
    const int64_t count = std::strtoll(first->c_str() + of + 4, nullptr, 10);
    int64_t there = 0;
    for (auto it = first; it != all_.end() && it->starts_with(prefix + ".data-"); ++it) ++there;
    if (there >= count) return "";
    return std::to_string(there) + " of " + std::to_string(count) + " data files are there";
  }

  const std::string& directory_;
  std::set<std::string> all_;
};

// The version of the file from before a write that never ended, if px-fs kept one. Not every
// filesystem keeps versions. One that is younger than the file's content is what a restore took
// away.
std::optional<FileVersion> BeforeTornWrite(OutputsFs& outputs, const std::string& path,
                                           int64_t written_at_ns) {
  const auto versions = outputs.Versions(path);
  if (!versions) return std::nullopt;
  for (const FileVersion& version : *versions) {
    const bool written_since = version.replaced_ns <= written_at_ns;
    if (version.closed && (written_since || version.at_ns < written_at_ns)) return version;
  }
  return std::nullopt;
}

void AddVersion(const std::optional<FileVersion>& kept, Checkpoint& unit) {
  if (!kept) return;
  unit.problem = "a write to it never ended";
  unit.restorable = true;
  unit.kept_bytes += kept->bytes;
  unit.kept_at_ns = std::max(unit.kept_at_ns, kept->at_ns);
}

}  // namespace

Result<std::vector<Checkpoint>> FindCheckpoints(OutputsFs& outputs, const std::string& directory) {
  const std::vector<Found> files = ListFiles(directory);
  const Grouper grouper(directory, files);
  std::map<std::string, Checkpoint> units;
  for (const Found& file : files) {
    const std::string name = NameOf("/" + file.path);
    const std::string path = grouper.UnitOf(file.path);
    // TensorFlow's list of its checkpoints, a few lines of text.
    const bool list = name == "checkpoint" && grouper.HasIndexBeside(file.path);
    if (path == file.path && (IsSomethingElse(name) || list)) continue;
    Checkpoint& unit = units[path];
    unit.path = path;
    unit.bytes += file.bytes;
    unit.at_ns = std::max(unit.at_ns, file.at_ns);
    AddVersion(BeforeTornWrite(outputs, directory + "/" + file.path, file.at_ns), unit);
  }
  std::vector<Checkpoint> found;
  for (auto& [path, unit] : units) {
    if (unit.bytes == 0 && !unit.restorable) continue;
    const std::string torn = unit.problem;
    grouper.Describe(unit);
    if (!torn.empty()) unit.problem = torn;
    found.push_back(std::move(unit));
  }
  std::sort(found.begin(), found.end(), [](const Checkpoint& a, const Checkpoint& b) {
    return a.at_ns != b.at_ns ? a.at_ns > b.at_ns : a.path < b.path;
  });
  return found;
}

Result<std::vector<std::string>> PutBackTorn(OutputsFs& outputs, const std::string& directory) {
  std::vector<std::string> restored;
  for (const Found& file : ListFiles(directory)) {
    const std::string path = directory + "/" + file.path;
    const auto kept = BeforeTornWrite(outputs, path, file.at_ns);
    if (!kept) continue;
    PX_TRY(outputs.RestoreVersion(path, kept->version));
    restored.push_back(file.path);
  }
  return restored;
}

const Checkpoint* NewestWhole(const std::vector<Checkpoint>& checkpoints) {
  const Checkpoint* maybe = nullptr;
  for (const Checkpoint& checkpoint : checkpoints) {
    if (!checkpoint.problem.empty()) continue;
    if (checkpoint.kind != "file") return &checkpoint;
    if (maybe == nullptr) maybe = &checkpoint;
  }
  return maybe;
}

}  // namespace px::launcher
