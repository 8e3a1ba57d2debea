#include "launcher/context.h"

#include "launcher/files.h"

namespace px::launcher {

Outcome<catalog::Catalog*> Context::Catalog() {
  if (!catalog_) {
    PXL_TRY(MakePrivateDir(config_.store));
    auto opened = catalog::Catalog::Open(config_.CatalogPath(), clock_);
    if (!opened) {
      const int code = opened.error().code();
      return Refuse(opened.error(), "cannot open the catalog",
                    code == EPROTO ? "install the newer px again" : "");
    }
    catalog_ = std::move(*opened);
  }
  return &*catalog_;
}

Outcome<OutputsFs*> Context::Outputs() {
  if (outputs_ == nullptr) {
    PXL_ASSIGN(outputs_, factory_(config_));
  }
  return outputs_.get();
}

}  // namespace px::launcher
