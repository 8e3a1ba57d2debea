// Salvage: makes a page table of what can still be read of a damaged one.
//
// The rows are read past SQLite (sqlite.org/fileformat2.html, section 1.6): those of every sound
// page that a table's root leads to, and the nodes on sound pages that no root leads to any more
// because a page between is damaged. Counts are as they were, or missing: they have to be counted
// anew before the table is used.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "catalog/checked_vfs.h"
#include "cow/ids.h"

namespace px::catalog {

struct Salvaged {
  std::vector<std::pair<uint32_t, PageState>> damaged;  // pages
  bool log_damaged = false;
  uint64_t nodes = 0;
  bool has_journal_counter = false;  // which record of the journal was the last taken over
  std::string boot;                  // of its last use; empty: closed in order
  bool power_cut = false;            // one is still to be settled
};

// Whether `dir`/meta.db or its log is damaged, by `damaged` and `log_damaged`. Nothing has it open.
// With `put_right`, pages with one wrong bit are written as they were, durably. ENOTSUP: it has no
// checksums.
Result<Salvaged> FindDamage(const std::string& dir, const std::string& boot, bool put_right);

// Makes `to`/meta.db of what is in `from`/meta.db, which is only read. `boot` stands for the
// running kernel. `is_node` says whether these bytes can be that node.
using IsNode = std::function<bool(cow::NodeId, std::span<const std::byte>)>;
Result<Salvaged> Salvage(const std::string& from, const std::string& to, const std::string& boot,
                         const IsNode& is_node);

// Has `dir`/meta.db, closed in order, look as its last user's kill or a power cut left it.
Status SetLastUse(const std::string& dir, const Salvaged& as);

}  // namespace px::catalog
