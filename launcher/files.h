// Small operations on ordinary files and directories, with errors that name the path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/io.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace px::launcher {

// Makes the directory and its parents; no error if it is there.
Status MakeDirs(const std::string& path);
// The same, and if it is made, nobody else may enter it.
Status MakePrivateDir(const std::string& path);
Result<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode = 0666);
Result<std::string> ReadFile(const std::string& path);
// Replaces the file whole: a reader sees the old text or the new one.
Status WriteFile(const std::string& path, std::string_view text);
// True if something, also a dangling link, is at `path`.
bool PathExists(const std::string& path);
// Removes a file or link; no error if it is not there.
Status RemoveFile(const std::string& path);

// The names in a directory, sorted; none if there is no such directory.
Result<std::vector<std::string>> ListNames(const std::string& directory);

std::string ParentOf(const std::string& path);
std::string NameOf(const std::string& path);
// The relative path that, in a link at `link`, leads to `target`. Both are absolute.
std::string RelativeTo(const std::string& link, const std::string& target);

}  // namespace px::launcher
