// Verify: a walk over a store in use that reads every node from the page table, past the cache, in
// steps, and checks it as a load does: checksum, id, structure, level and key range.
//
// A node that several volumes or parents share is read once. The tree may change between steps:
// what was there all the time is read, what came meanwhile may be. Counts are compared only if
// nothing was committed from the first step to the last.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "cow/ids.h"

namespace px::cow {

// What a walk remembers. Memory: some dozens of bytes for each node and object.
struct VerifyState {
  std::unordered_set<uint64_t> done;  // nodes that were read with all below them
  std::unordered_map<uint64_t, uint64_t> node_refs, object_refs;
  uint64_t commits = 0;  // the store's counter, when its volumes were listed
  bool steady = true;    // nothing was committed since, and everything could be read
  uint64_t nodes = 0;    // read
};

struct VerifyVisitor {
  std::function<void(std::string_view key, std::string_view value)> item;
  // A line of text; it names the node.
  std::function<void(const std::string&)> finding;
};

}  // namespace px::cow
