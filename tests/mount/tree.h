// A tree of files as text, so that two trees are the same exactly if their texts are.
#pragma once

#include <string>

namespace px::testing {

struct TreeOptions {
  bool times = true;  // mtimes, in nanoseconds
  bool owners = true;
  bool xattrs = true;    // all that can be listed, ACLs included
  bool contents = true;  // a hash of each file's bytes; else only sizes
};

// One line for each entry below `root`, sorted by path: type, mode, owner, links, size, mtime, a
// hash of its content, target, attributes. Hard links are told by the first path of their inode.
// Reads holes as zeros. What cannot be read shows as such, with the errno.
std::string DescribeTree(const std::string& root, const TreeOptions& options = {});

}  // namespace px::testing
