// Failure: what a command could not do, in words for the person who typed it, with the next step
// and the exit code.
//
// The libraries below return px::Error; commands turn those into Failures where they know what was
// asked for.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/result.h"

namespace px::launcher {

enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kNotFound = 10,
  kBusy = 11,
  kCorrupt = 12,
};

struct [[nodiscard]] Failure {
  ExitCode exit_code = ExitCode::kFailed;
  std::string message;
  std::string hint;  // what to type next; may be empty
};

template <typename T>
using Outcome = tl::expected<T, Failure>;
using Done = Outcome<void>;

// ENOENT is not found, EBUSY and EAGAIN are busy, EUCLEAN and EBADMSG corrupt, the rest failed.
ExitCode ExitCodeOf(const Error& error);

inline Failure ToFailure(Failure failure) { return failure; }
Failure ToFailure(const Error& error);

inline tl::unexpected<Failure> Refuse(ExitCode code, std::string message, std::string hint = {}) {
  return tl::unexpected<Failure>(Failure{code, std::move(message), std::move(hint)});
}
// `what` could not be done because of `error`: "what: error".
tl::unexpected<Failure> Refuse(const Error& error, const std::string& what, std::string hint = {});

}  // namespace px::launcher

// As PX_TRY and PX_ASSIGN, in functions that return an Outcome; `expr` is an Outcome or a Result.
#define PXL_TRY(expr) PXL_TRY_IMPL(PX_CONCAT(pxl_try_, __COUNTER__), expr)
#define PXL_TRY_IMPL(tmp, expr)                               \
  do {                                                        \
    auto tmp = (expr);                                        \
    if (!tmp)                                                 \
      return tl::unexpected<::px::launcher::Failure>(         \
          ::px::launcher::ToFailure(std::move(tmp).error())); \
  } while (false)
#define PXL_ASSIGN(lhs, expr) PXL_ASSIGN_IMPL(PX_CONCAT(pxl_assign_, __COUNTER__), lhs, expr)
#define PXL_ASSIGN_IMPL(tmp, lhs, expr)                     \
  auto tmp = (expr);                                        \
  if (!tmp)                                                 \
    return tl::unexpected<::px::launcher::Failure>(         \
        ::px::launcher::ToFailure(std::move(tmp).error())); \
  lhs = std::move(*tmp)
