// ObjectCheck: seals one data object, or verifies it against its seal, in steps, while the
// filesystem is in use.
//
// Used by one thread. What it gives for an object that somebody may be writing to, or began to
// write to meanwhile, is kBusy, never a finding.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "cow/ids.h"
#include "fs/node.h"
#include "fs/object_digest.h"
#include "fs/seals.h"

namespace px::fs {

class Filesystem;

enum class Outcome {
  kGood,        // as its seal says
  kSealed,      // it had none; now it has
  kUnsealed,    // it has none, and gets none
  kBusy,        // it may be written to
  kGone,        // nothing names it any more
  kDamaged,     // see Comparison
  kChanged,     //
  kDoubtful,    //
  kMissing,     // there is no such file
  kTruncated,   // shorter than the file it is the content of
  kUnreadable,  // the disk gives an error
};
std::string_view NameOf(Outcome outcome);
// Something is wrong with the object.
inline bool IsFinding(Outcome outcome) { return outcome >= Outcome::kDamaged; }

struct CheckTarget {
  cow::ObjectId object;
  NodeKey node;          // an inode that names it
  bool version = false;  // through a kept version, or as the base of its content
};

class ObjectCheck {
 public:
  enum class What {
    kSeal,     // if it has no seal
    kVerify,   // against its seal if it has one; no new seal
    kBoth,     // the one or the other
    kReplace,  // a new seal whatever it had: the bytes are accepted as they are
  };
  // In the background it reads at the lowest priority.
  ObjectCheck(Filesystem* fs, const CheckTarget& target, What what, bool background = false);
  ~ObjectCheck();

  // Goes on by about `budget` bytes; none: not finished.
  std::optional<Outcome> Step(uint64_t budget);
  // What is to be put into the seals (Seals::PutAll), if anything, once there is an outcome.
  const std::optional<Seal>& seal() const { return seal_; }
  const Seals::Watch& watch() const { return watch_; }
  const CheckTarget& target() const { return target_; }
  uint64_t bytes() const { return bytes_; }  // read so far
  const std::string& why() const { return why_; }

 private:
  Result<std::optional<Outcome>> TryStep(uint64_t budget);
  Result<std::optional<Outcome>> Begin();
  Result<std::optional<Outcome>> End();
  Outcome SealAs(Outcome outcome);
  // The object was not where the tree says: the tree may have changed.
  Outcome StillNamed(Outcome outcome);
  Result<bool> IsTruncated() const;  // ENOENT: it is missing

  Filesystem* const fs_;
  const CheckTarget target_;
  const What what_;
  const bool background_;
  Seals::Watch watch_;
  std::optional<Seal> before_, seal_;
  std::unique_ptr<ObjectDigest> digest_;
  bool second_ = false;  // reads it again, to be sure
  uint64_t bytes_ = 0;
  std::string why_;
};

}  // namespace px::fs
