// px-fs send: writes a volume that cannot change (a snapshot, or a read-only volume) as a stream.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "fs/stream.h"

namespace px::fs {

struct SendRequest {
  std::string path;    // what to send
  std::string since;   // an older state of the same volume that the receiver has; empty: everything
  std::string resume;  // what px-fs receive --token gave; empty: from the beginning
};

struct SendReport {
  uint64_t steps = 0;
  uint64_t bytes = 0;  // of the stream
};

// Where a received volume says which state it is, and a partly received one how far it came.
inline constexpr const char* kStateXattr = "user.px-state";
inline constexpr const char* kReceivingXattr = "user.px-receiving";

// The value of an xattr; ENODATA, ENOENT…
Result<std::string> ReadXattr(const std::string& path, const std::string& name);

// "STATE BASE STEPS OFFSET", BASE "-" where there is none.
struct ResumeToken {
  StateId state;
  std::optional<StateId> base;
  Progress progress;

  std::string ToString() const;
  static std::optional<ResumeToken> Parse(const std::string& text);
};

// Writes the stream to `fd`. Errors: EINVAL not a volume, or one that can change, or the token is
// of another sending; those of reading the volume and of write(2).
Result<SendReport> Send(const SendRequest& request, int fd);

}  // namespace px::fs
