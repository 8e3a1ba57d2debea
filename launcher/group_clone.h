// resume, restart and copy of a whole group: a new group whose members are made from the members of
// one that has ended.
#pragma once

#include "launcher/clone.h"
#include "launcher/context.h"

namespace px::launcher {

struct GroupCloneResult {
  catalog::Group group;
  int64_t resumed = 0;  // go on in the outputs of the original's members
  int64_t copied = 0;   // begin with a copy of them
  int64_t fresh = 0;    // begin with nothing
  int64_t kept = 0;     // of a resume: had succeeded, and stay with the original
};

// The new group, its scheduler running. Overrides are merged into the group's specification and
// into that of each member. A resume takes up the members that did not succeed: those with a whole
// checkpoint go on, the others begin anew; a search (hyperband, bo) then goes on as well. A restart
// of a search begins it anew. Refused while the group or an experiment that would be resumed runs.
Outcome<GroupCloneResult> CloneGroup(Context& context, const catalog::Group& source,
                                     const CloneOptions& options);

}  // namespace px::launcher
