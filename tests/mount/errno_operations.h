// The operations of the errno matrix (errno_matrix.cc): what is done on a mount while one call of
// the daemon on its store fails.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace px::testing {

// One run of an operation, in a directory of its own in the root volume.
struct Attempt {
  std::string dir;
  UniqueFd fd, other;  // what `prepare` opened for `act`; closed after it

  std::string In(const std::string& name) const { return dir + "/" + name; }
};

struct Operation {
  std::string name;
  // Makes what the operation works on. 0 or an errno.
  std::function<int(Attempt& attempt)> prepare;
  // 0 or the errno that the caller got.
  std::function<int(Attempt& attempt)> act;
  // May have done a part of its work, or all, when it fails, as write(2) may.
  bool partial = false;
  // The daemon is started afresh before `act`, so that it has nothing in memory.
  bool cold = false;
  // A fault behind the change proper, or in what is done again by itself, need not reach the
  // caller; and where it does the change may have been made.
  bool quiet = false;
};

const std::vector<Operation>& ErrnoOperations();

}  // namespace px::testing
