// CatalogRepair: checks catalog.db and makes it anew (catalog/catalog_salvage.h) where it is
// damaged.
//
// The finished catalog is beside the damaged one, as PATH.repaired, before that is touched; then it
// is copied over it, in place, since another process may be about to open that file. Whoever opens
// a catalog finishes what was begun so.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace px::catalog {

struct CatalogListener {
  std::function<void(const std::string&)> finding;  // a page, or the log: what is wrong with it
  std::function<void(const std::string&)> note;     // what was done, and what is lost
};

// Checks every page of the catalog at `path` and its log. With `repair` one wrong bit of a page is
// put right, and after more the catalog is made anew; what was there is kept as PATH.damaged (and
// PATH-log.damaged). Durable, and all or nothing. One without checksums, or none, has nothing
// wrong. EBUSY: a process has it open. Errors as SalvageCatalog, ENOSPC, EIO.
//
// This process must not have it open: its locks would be lost.
Status CheckCatalog(const std::string& path, bool repair, const CatalogListener& listener);

// Whether a repair was begun that is to be finished.
bool IsRepairPending(const std::string& path);
// Finishes it. EBUSY: a process has the catalog open.
Status FinishRepair(const std::string& path);

// Reads every page of the catalog at `path`, if there is one; others may use it meanwhile. EUCLEAN:
// something is wrong, the context says what. EBUSY, EIO.
Status VerifyCatalog(const std::string& path);

}  // namespace px::catalog
