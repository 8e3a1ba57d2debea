// Checkpoints: what in an outputs directory a program could go on from, and whether it is whole.
//
// px does not know the program, so it goes by what the frameworks write (docs/CLI.md lists it): the
// names, and where the format has one, the sign that the file was written to its end. What is known
// to be something else (logs, event files, pictures) is none; any other file with content may be
// one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/outputs_fs.h"

namespace px::launcher {

struct Checkpoint {
  std::string
      path;  // below the outputs; of a checkpoint of several files their directory or prefix
  std::string kind;  // "torch", "keras", "hdf5", "safetensors", "tensorflow", "directory", "file"
  int64_t bytes = 0;
  int64_t at_ns = 0;  // when it was last written
  // Empty if it is whole as far as that can be seen; else what is wrong with it.
  std::string problem;
  // px-fs kept the content from before a write that never ended: it can be put back.
  bool restorable = false;
  int64_t kept_bytes = 0;  // of that content
  int64_t kept_at_ns = 0;
};

// All in `directory`, newest first. Symbolic links are not followed. Files that vanish while it
// looks are left out.
Result<std::vector<Checkpoint>> FindCheckpoints(OutputsFs& outputs, const std::string& directory);

// The newest that is whole; null if there is none. One whose format is known comes before a newer
// file that merely may be one.
const Checkpoint* NewestWhole(const std::vector<Checkpoint>& checkpoints);

// Puts back the kept content of every file whose last write never ended; their paths. What the
// files held is then the kept version: nothing is lost.
Result<std::vector<std::string>> PutBackTorn(OutputsFs& outputs, const std::string& directory);

}  // namespace px::launcher
