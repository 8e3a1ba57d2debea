// VolumeCheck: whether the dentries and inodes of one volume agree, and putting right what does
// not.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "cow/store.h"
#include "fs/node.h"
#include "fs/object_store.h"

namespace px::fs {

// What a check says, counted.
class FsckLog {
 public:
  explicit FsckLog(const std::function<void(const std::string&)>& line) : line_(line) {}
  // A finding that is put right if `repaired` is set.
  void Find(const std::string& text, bool repaired = false) {
    ++findings_;
    if (repaired) ++repaired_;
    line_(text);
  }
  // Not a finding.
  void Note(const std::string& text) { line_(text); }
  uint64_t findings() const { return findings_; }
  uint64_t repaired() const { return repaired_; }
  void Repaired(uint64_t more) { repaired_ += more; }
  void Found(uint64_t more) { findings_ += more; }

 private:
  const std::function<void(const std::string&)>& line_;
  uint64_t findings_ = 0, repaired_ = 0;
};

// The volume that an item of the root volume names, as its dentry; 0: none.
uint32_t VolumeNamedBy(std::string_view key, std::string_view value);

// Finds: wrong link counts, numbers of entries, inodes without a name, names without an inode or
// under a wrong hash, directories whose inode is lost; and, where `objects` is given, files of
// another size than their object. With `repair` they are put right, if all of the volume could be
// read: an inode without a name gets one in the directory lost+found of its volume, `#INO`; a name
// without an inode goes, but that of a directory gets a new inode.
class VolumeCheck {
 public:
  VolumeCheck(cow::Store* store, cow::VolumeId volume, const ObjectStore* objects, bool repair,
              FsckLog* log)
      : store_(*store), volume_(volume), objects_(objects), repair_(repair), log_(*log) {}

  // Errors: of repairing only.
  Status Run();
  uint64_t inodes() const { return inodes_.size(); }

 private:
  // What one pass over the volume finds out about an inode.
  struct Seen {
    uint32_t links = 0;    // dentries that name it
    uint64_t entries = 0;  // dentries in it
    uint32_t subdirs = 0;
    bool has_item = false;
    bool is_orphan = false;
    uint64_t named_in = 0;  // a directory whose entry says that this is one
    cow::InodeItem item;
  };
  struct Misplaced {
    std::string key, value, right_key;  // no right key: it goes
    bool stays = false;
  };

  void Find(const std::string& text, bool repaired = true);
  void Visit(std::string_view key, std::string_view value);
  void VisitDentry(std::string_view whole, const cow::ParsedKey& key, std::string_view value);
  Status FindLostDirectories(cow::Reader& reader);
  Status FindTakenNames(cow::Reader& reader);
  Status FindNamesOfNothing(cow::Reader& reader);
  void Judge(uint64_t ino, Seen& seen);
  void JudgeDirectory(uint64_t ino, Seen& seen);
  void JudgeSize(uint64_t ino, Seen& seen);
  Status Repair();
  Status RepairDentries(cow::Txn& txn);
  Status RepairLost();

  cow::Store& store_;
  const cow::VolumeId volume_;
  const ObjectStore* const objects_;
  bool repair_;
  FsckLog& log_;
  std::unordered_map<uint64_t, Seen> inodes_;
  std::vector<Misplaced> misplaced_;
  std::vector<uint64_t> changed_;  // items to be written
  std::vector<uint64_t> lost_;     // without a name
  std::vector<uint64_t> stale_orphans_;
};

}  // namespace px::fs
