// Where a file format tells whether a checkpoint was written to its end.
#pragma once

#include <string>

namespace px::launcher {

// What is wrong with the regular file at `path`; empty if nothing is, or its format cannot tell.
//   zip (torch.save, .keras, .npz): the end of the central directory (APPNOTE.TXT 4.3.16)
//   HDF5 (.h5): the end of file that the superblock names (file format 3.0, section II.A)
//   safetensors: the end of the last tensor that the header names
std::string CheckFormat(const std::string& path);

}  // namespace px::launcher
