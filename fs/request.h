// Request: which request of the kernel this thread is serving, for what has to be done exactly
// once.
//
// A daemon that takes over from one that died is sent again what was not answered. Such a request
// may have been done all the same: the lane's mark in the tree (cow::Txn::SetMark) and the handles
// of the live table (live_table.h) tell. Requests that may simply be done twice need none of it.
//
// Set by RequestScope; thread local, so that the calls between need not carry it.
#pragma once

#include <cstdint>

namespace px::fs {

struct Request {
  // No lane: the request leaves no mark.
  static constexpr uint32_t kNoLane = ~uint32_t{0};

  uint64_t unique = 0;  // as the kernel numbers it, without the bit that says it was sent again
  uint32_t lane = kNoLane;
  bool resent = false;
};

// What this thread serves; all zero outside of any scope.
const Request& CurrentRequest();

class RequestScope {
 public:
  explicit RequestScope(const Request& request);
  ~RequestScope();
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;

 private:
  Request before_;
};

// Which lanes of the tree's marks who uses. While requests that were sent again are answered, lanes
// are used that the last few daemons did not use: their marks must stay until then.
inline constexpr uint32_t kServingLanes = 64;
inline constexpr uint32_t kControlLanes = 4;
inline constexpr uint32_t kControlLane = kServingLanes;
inline constexpr uint32_t kReplayLane = kControlLane + kControlLanes;
inline constexpr uint32_t kReplayBanks = 10;
inline constexpr uint32_t kReplayLanes = 1 + kControlLanes;  // of each bank

}  // namespace px::fs
