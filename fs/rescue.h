// Rescue: names for what nothing names, after what named it was lost (px-fs fsck --repair).
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "cow/store.h"
#include "fs/fsck_volume.h"
#include "fs/object_store.h"

namespace px::fs {

// The directory lost+found of a volume, made where there is none. ENOENT: the volume has no root
// directory.
Result<cow::Ino> LostAndFound(cow::Txn& txn, cow::VolumeId volume);
// A new entry, and the counts of its directory. ENOENT, EUCLEAN: there is no such directory.
Status AddEntry(cow::Txn& txn, cow::VolumeId volume, cow::Ino dir, std::string_view name,
                const cow::DentryItem& dentry);
// A directory that is to be put where one was lost: empty, without an entry, for its owner alone.
cow::InodeItem LostDirectory(cow::Ino parent);

// Finds volumes that no entry names. With `repair` each gets the name back that its attributes say,
// in the directory where it was; if that directory is lost, in one of its number in lost+found. A
// snapshot or one in the trash becomes that again.
Status NameVolumes(cow::Store* store, bool repair, FsckLog* log);
// Each object gets a file of its own in lost+found of the root volume, `object-ID`, for root alone.
// The counts of the objects are to be checked after that: they are too high. Empty ones are passed
// over; gives the others.
Result<std::unordered_set<uint64_t>> NameObjects(cow::Store* store, const ObjectStore& objects,
                                                 const std::vector<cow::ObjectId>& ids);

}  // namespace px::fs
