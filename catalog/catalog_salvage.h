// CatalogSalvage: makes a catalog anew of what can still be read of a damaged one.
//
// Rows are taken as they are. One that is lost, but that an index still names, is put together from
// what the indexes say of it: a user or a project wholly, an experiment or a group without its
// specification, and failed. What names something of which nothing is left goes as when that is
// deleted. Numbers are not given again.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "catalog/database_image.h"

namespace px::catalog {

struct CatalogSalvage {
  uint64_t rows = 0;             // that were read
  uint64_t put_together = 0;     // from indexes
  uint64_t without_subject = 0;  // were left out: what they are about is lost
};

// Makes `to`, where nothing is yet, of `image`. `line` hears of each user, project, experiment and
// group of which something is lost. EUCLEAN: nothing can be read of it. EPROTO: a newer px made it.
Result<CatalogSalvage> SalvageCatalog(DatabaseImage image, const std::string& to,
                                      const std::function<void(const std::string&)>& line);

}  // namespace px::catalog
