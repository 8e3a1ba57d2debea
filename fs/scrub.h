// Scrub: one pass over everything in the store while it is in use, in steps that a caller asks for:
// the pages of meta.db, nodes, then objects, then the names of what was found.
//
// Each step is short and holds no lock for long; between two of them anything may change. A pass is
// forgotten when another begins, or the mount ends.
//
// Thread safe: one step at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cow/verify.h"
#include "fs/object_check.h"
#include "uapi/px_ioctl.h"

namespace px::fs {

class Filesystem;

struct ScrubCounts {
  uint64_t nodes = 0, objects = 0, objects_done = 0;
  uint64_t bytes = 0;     // of objects, read
  uint64_t verified = 0;  // bytes that are as their seal says
  uint64_t sealed = 0;    // objects
  uint64_t busy = 0, unsealed = 0, doubtful = 0;
  uint64_t findings = 0;  // damage: of nodes, counts and objects
  bool counts_compared = false;
};

class Scrub {
 public:
  explicit Scrub(Filesystem* fs) : fs_(fs) {}

  // Begins a pass where the cursor of `text` is zero, else goes on with the one it is of (ESTALE:
  // another was begun). `text` says how many bytes a step may read, in decimal. It comes back with
  // lines of JSON: findings, and last the progress. The cursor is zero at the end.
  Status Step(px_ioc_text* text) PX_EXCLUDES(mutex_);
  // The pass that runs or was last, as one line of JSON.
  std::string StatusJson() PX_EXCLUDES(mutex_);

 private:
  enum class Phase { kNone, kPages, kNodes, kObjects, kNames, kDone };
  struct Found {
    Outcome outcome;
    std::string why;
    std::vector<NodeKey> inodes;
    std::vector<bool> version;
  };
  struct Pass {
    uint64_t id = 0;
    int64_t began_ns = 0, ended_ns = 0;
    Phase phase = Phase::kNone;
    uint32_t page = 1;  // of meta.db, the next one
    std::vector<cow::VolumeId> volumes;
    size_t volume = 0;  // index
    std::string from;   // key in it
    cow::VerifyState nodes;
    std::map<uint64_t, CheckTarget> objects;
    std::map<uint64_t, CheckTarget>::iterator next;
    std::unique_ptr<ObjectCheck> check;
    std::map<uint64_t, Found> found;  // objects with something wrong
    std::vector<std::string> lines;   // not told yet
    ScrubCounts counts;
  };

  Status Begin() PX_REQUIRES(mutex_);
  Status LoadVolumes() PX_REQUIRES(mutex_);
  Status StepPages() PX_REQUIRES(mutex_);
  Status StepNodes() PX_REQUIRES(mutex_);
  void EndNodes() PX_REQUIRES(mutex_);
  Status BeginObjects() PX_REQUIRES(mutex_);
  Status StepObjects(uint64_t budget) PX_REQUIRES(mutex_);
  void Count(Outcome outcome) PX_REQUIRES(mutex_);
  Status StepNames() PX_REQUIRES(mutex_);
  Status EndNames() PX_REQUIRES(mutex_);
  void TellText(const char* kind, const std::string& text) PX_REQUIRES(mutex_);
  void TellNode(cow::VolumeId volume, const std::string& text) PX_REQUIRES(mutex_);
  Status TellObject(uint64_t object, const Found& found) PX_REQUIRES(mutex_);
  std::string Progress() PX_REQUIRES(mutex_);
  void Reply(px_ioc_text* text) PX_REQUIRES(mutex_);
  void VisitItem(cow::VolumeId volume, std::string_view key, std::string_view value)
      PX_REQUIRES(mutex_);

  Filesystem* const fs_;
  Mutex mutex_;
  uint64_t passes_ PX_GUARDED_BY(mutex_) = 0;
  Pass pass_ PX_GUARDED_BY(mutex_);
};

}  // namespace px::fs
