// Rebuild: a store's tree made anew from what can still be read of a damaged one: meta.db, its log
// and its journal.
//
// Nodes that cannot be read stay missing; what hangs below them is then found by a check, and
// nothing that they may name is removed. The counts are counted anew before the tree is used. What
// was there is kept beside it, as NAME.damaged.
//
// The store must be locked, and not open otherwise.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace px::fs {

// Says what of meta.db and its log is damaged, one line each. A store whose meta.db has no
// checksums yet has nothing to say. With `repair` what is damaged in one bit is put right, durably.
// True if more is damaged than that: it takes a Rebuild.
Result<bool> CheckPages(const std::string& store, const std::string& boot, bool repair,
                        const std::function<void(const std::string&)>& line);

// Durable, and all or nothing: a store that was killed meanwhile is as before, or as after it.
// EUCLEAN: nothing says any more where the tree begins. ENOTSUP: meta.db has no checksums. ENOSPC:
// it needs as much room as meta.db has, and its journal.
Status Rebuild(const std::string& store, const std::string& boot,
               const std::function<void(const std::string&)>& line);

// Puts the finished tree of a Rebuild that was killed into its place.
Status FinishRebuild(const std::string& store);

}  // namespace px::fs
