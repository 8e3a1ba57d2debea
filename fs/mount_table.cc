#include "fs/mount_table.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace px::fs {
namespace {

// Spaces and the like are written as \040 there.
std::string Unescape(const std::string& field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      text += static_cast<char>(std::strtol(field.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

}  // namespace

std::vector<PxMount> PxMounts() {
  std::vector<PxMount> mounts;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string skip, point, type, source;
    fields >> skip >> skip >> skip >> skip >> point;
    while (fields >> skip && skip != "-") {
    }
    fields >> type >> source;
    if (type == "fuse.px") mounts.push_back({Unescape(point), Unescape(source)});
  }
  return mounts;
}

}  // namespace px::fs
