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
  Failure failure{ExitCodeOf(error), said ? error.context() : error.ToString(), {}};
  if (failure.exit_code == ExitCode::kCorrupt) {
    failure.hint =
        failure.message.find("catalog.db") != std::string::npos
            ? "unmount, and `px-fs fsck --repair STORE` makes catalog.db anew of what can "
              "still be read; what is in the mount is untouched"
            : "put back a copy of the file that is named; what is in the mount is "
              "untouched";
  }
  return failure;
}

tl::unexpected<Failure> Refuse(const Error& error, const std::string& what, std::string hint) {
  const Failure failure = ToFailure(error);
  if (hint.empty()) hint = failure.hint;
  return Refuse(failure.exit_code, what + ": " + failure.message, std::move(hint));
}

}  // namespace px::launcher
