#include "launcher/context.h"

#include "launcher/files.h"

namespace px::launcher {

void Context::Say(const std::string& line, const spec::Json& fields) {
  if (!json_) {
    *out_ << line << '\n' << std::flush;
    return;
  }
  if (said_.is_null()) said_ = spec::Json::object();
  const std::string before = said_.value("message", "");
  said_["message"] = before.empty() ? line : before + "\n" + line;
  said_.update(fields);
}

void Context::Answer(const spec::Json& json) {
  *out_ << json.dump(2, ' ', false, spec::Json::error_handler_t::replace) << '\n';
}

void Context::FinishAnswer() {
  if (!said_.is_null()) Answer(said_);
}

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
