#include "launcher/saved_environment.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "launcher/files.h"

namespace px::launcher {

Status KeepEnvironment(const std::string& path) {
  if (PathExists(path)) return {};
  PX_TRY(MakeDirs(ParentOf(path)));
  std::string text;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    text += *entry;
    text += '\0';
  }
  const std::string temporary = path + ".tmp" + std::to_string(::getpid());
  PX_ASSIGN(const UniqueFd file, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  Status kept = WriteAll(file.get(), text);
  if (kept && ::rename(temporary.c_str(), path.c_str()) != 0) kept = FailErrno(path);
  if (!kept) ::unlink(temporary.c_str());
  return kept;
}

Status AdoptEnvironment(const std::string& path) {
  if (!PathExists(path)) return {};
  PX_ASSIGN(const std::string text, ReadFile(path));
  ::clearenv();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    const size_t equals = text.find('=', at);
    if (equals < end) {
      ::setenv(text.substr(at, equals - at).c_str(),
               text.substr(equals + 1, end - equals - 1).c_str(), 1);
    }
    at = end + 1;
  }
  return {};
}

}  // namespace px::launcher
