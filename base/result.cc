#include "base/result.h"

#include <system_error>

namespace px {

Error Error::Wrap(std::string_view what) && {
  std::string text(what);
  if (!context_.empty()) text.append(": ").append(context_);
  return Error(code_, std::move(text));
}

std::string Error::ToString() const {
  const std::string reason = std::generic_category().message(code_);
  return context_.empty() ? reason : context_ + ": " + reason;
}

tl::unexpected<Error> FailErrno(std::string context) { return Fail(errno, std::move(context)); }

}  // namespace px
