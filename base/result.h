// Result<T>: a value, or an Error that carries a positive errno and says what was being done.
//
// The errno is what a caller decides on and what the kernel is told; the context is for people.
// Context strings are built only where an error is made, never on the success path.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace px {

class [[nodiscard]] Error {
 public:
  // `code` is a positive errno. EUCLEAN means a broken structure and EBADMSG a wrong checksum; both
  // reach the kernel as EIO.
  explicit Error(int code, std::string context = {}) : code_(code), context_(std::move(context)) {}

  int code() const { return code_; }
  const std::string& context() const { return context_; }

  // Puts `what` before the present context: "open objects/1f: No such file".
  Error Wrap(std::string_view what) &&;

  // "context: strerror(code)", or just the strerror text where there is no context.
  std::string ToString() const;

  // The errno the kernel may see: corruption becomes EIO.
  int ToKernel() const { return code_ == EUCLEAN || code_ == EBADMSG ? EIO : code_; }

 private:
  int code_;
  std::string context_;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(int code, std::string context = {}) {
  return tl::unexpected<Error>(Error(code, std::move(context)));
}
// The current errno with a context.
tl::unexpected<Error> FailErrno(std::string context);
inline tl::unexpected<Error> Forward(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace px

#define PX_CONCAT_INNER(a, b) a##b
#define PX_CONCAT(a, b) PX_CONCAT_INNER(a, b)

// Returns the error of `expr` from the enclosing function, if it is one.
#define PX_TRY(expr) PX_TRY_IMPL(PX_CONCAT(px_try_, __COUNTER__), expr)
#define PX_TRY_IMPL(tmp, expr)                              \
  do {                                                      \
    auto tmp = (expr);                                      \
    if (!tmp) return ::px::Forward(std::move(tmp).error()); \
  } while (false)

// Declares or assigns `lhs` from the value of `expr`, or returns its error.
#define PX_ASSIGN(lhs, expr) PX_ASSIGN_IMPL(PX_CONCAT(px_assign_, __COUNTER__), lhs, expr)
#define PX_ASSIGN_IMPL(tmp, lhs, expr)                    \
  auto tmp = (expr);                                      \
  if (!tmp) return ::px::Forward(std::move(tmp).error()); \
  lhs = std::move(*tmp)
