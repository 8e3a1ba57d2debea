#include "fs/request.h"

#include "cow/page_table.h"

namespace px::fs {
namespace {

static_assert(kReplayLane + kReplayBanks * kReplayLanes <= cow::kLanes);

Request& Current() {
  thread_local Request current;
  return current;
}

}  // namespace

const Request& CurrentRequest() { return Current(); }

RequestScope::RequestScope(const Request& request) : before_(Current()) { Current() = request; }

RequestScope::~RequestScope() { Current() = before_; }

}  // namespace px::fs
