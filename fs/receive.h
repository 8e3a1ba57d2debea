// px-fs receive: makes a volume of a stream.
//
// What arrives goes into PATH.receiving; when the stream has ended and everything in it has been
// checked, PATH appears, whole and read-only, and survives a power cut. A stream that breaks leaves
// PATH.receiving behind with a note of how far it came; one that begins there goes on with it.
//
// A stream of changes needs the volume that its base was received as, somewhere at or below the
// directory of PATH.
#pragma once

#include <string>

#include "base/result.h"

namespace px::fs {

struct ReceiveReport {
  std::string name;  // what the volume was called where it comes from
  uint64_t steps = 0;
  uint64_t bytes = 0;  // of file data
  bool owners_kept = true;
};

// Reads the stream from `fd`. Errors: EEXIST PATH is there, ENOENT the base is not here, EBUSY
// PATH.receiving is of another stream; EBADMSG the stream is damaged, or a file came out with other
// bytes than it had; ENODATA, EPROTO as StreamReader; those of writing.
Result<ReceiveReport> Receive(const std::string& path, int fd);

// For px-fs send --resume. ENOENT: nothing was received in part.
Result<std::string> ReceiveToken(const std::string& path);

}  // namespace px::fs
