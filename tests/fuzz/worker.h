// Worker: random system calls, each made in two directories, the subject's and the oracle's; what
// they give is compared at once. One worker has a subtree of each volume for itself, so that its
// results do not depend on what other workers do meanwhile.
//
// Not compared: times (only that a change does not take a file's mtime back), sizes of directories,
// block counts, and where SEEK_DATA and SEEK_HOLE see holes (only that a hole reads as zeros).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "tests/fuzz/random.h"

namespace px::testing {

class Worker {
 public:
  // Directories that hold the volumes; `id` names the worker's subtrees "wID". `use_maps` false
  // leaves mmap out.
  Worker(const std::string& subject, const std::string& oracle, int id, uint64_t seed,
         bool use_maps);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Makes `count` calls in `volume`; handles and mappings stay open for the next time. False at the
  // first difference; Report() then says which, and what went before.
  bool RunOps(const std::string& volume, int count);
  std::string Report() const;

 private:
  static constexpr size_t kSides = 2;  // 0 the subject, 1 the oracle

  struct Outcome {
    int64_t result = 0;
    int error = 0;
    std::string data;
    bool operator==(const Outcome&) const = default;
  };
  struct Handle {
    std::array<UniqueFd, kSides> fds;
    bool writable = false;
    std::string name;
  };
  struct Mapping {
    std::array<char*, kSides> at{};
    size_t size = 0;
    bool writable = false;
    UniqueFd oracle;  // the file, for its size
  };
  // Makes one call on one side, whose directory is `root`.
  using Call = std::function<Outcome(size_t side, int root)>;

  void Step();
  void NameStep();
  void HandleStep();
  void MapStep();
  void MetaStep();

  void OpenFile();
  void CloseFile();
  void ReadFile();
  void WriteFile();
  void AllocateFile();
  void SeekFile();
  void CopyRange();
  void MakeMap();
  void WriteMap();
  void ReadMap();
  void DropMap();
  void Rename();
  void ListDir();
  void CompareStat();

  // Makes the call on both sides and compares. `what` is for the report.
  Outcome Both(const std::string& what, const Call& call);
  void Differ(const std::string& what, const std::string& detail);
  // The same, for a call that changes the file of `fd`: its mtime must not go back.
  void Changing(const std::string& what, const Handle& handle, const Call& call);

  std::string RandomPath();
  off_t RandomOffset();
  size_t RandomSize();
  std::string RandomBytes(size_t size);
  Handle* RandomHandle();

  std::array<UniqueFd, kSides> roots_;
  const std::string subtree_;
  const bool use_maps_;
  Random random_;
  std::string base_;  // "VOLUME/wID"
  std::vector<Handle> handles_;
  std::vector<Mapping> maps_;
  std::deque<std::string> history_;
  std::string difference_;
};

}  // namespace px::testing
