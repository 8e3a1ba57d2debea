#include "launcher/failure.h"

namespace px::launcher {

ExitCode ExitCodeOf(const Error& error) {
  switch (error.code()) {
    case ENOENT:
      return ExitCode::kNotFound;
    case EBUSY:
    case EAGAIN:
      return ExitCode::kBusy;
    case EUCLEAN:
    case EBADMSG:
      return ExitCode::kCorrupt;
    default:
      return ExitCode::kFailed;
  }
}

Failure ToFailure(const Error& error) {
  // EINVAL carries the whole text for people (a polyaxonfile's problems, a rule that was broken).
  const bool said = error.code() == EINVAL && !error.context().empty();
  return {ExitCodeOf(error), said ? error.context() : error.ToString(), {}};
}

tl::unexpected<Failure> Refuse(const Error& error, const std::string& what, std::string hint) {
  return Refuse(ExitCodeOf(error), what + ": " + ToFailure(error).message, std::move(hint));
}

}  // namespace px::launcher
