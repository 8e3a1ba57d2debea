#include "launcher/spec/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/spec.h"

namespace px::spec {
namespace {

constexpr off_t kMaxFileBytes = 16 << 20;

std::string Extension(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t dot = name.rfind('.');
  const bool has_dot = dot != std::string::npos && (slash == std::string::npos || dot > slash);
  return has_dot ? name.substr(dot) : std::string();
}

Result<std::string> ReadWhole(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno("cannot read the polyaxonfile '" + path + "'");
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0)
    return FailErrno("cannot read the polyaxonfile '" + path + "'");
  if (S_ISDIR(status.st_mode)) return Fail(EISDIR, "cannot read the polyaxonfile '" + path + "'");
  std::string text;
  char buffer[65536];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("cannot read the polyaxonfile '" + path + "'");
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > static_cast<size_t>(kMaxFileBytes)) {
      return Fail(EFBIG, "'" + path + "' is too large for a polyaxonfile");
    }
  }
}

// The first line that holds what no reader should see.
Status CheckText(const std::string& text, const std::string& name) {
  int line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (!IsCleanText(std::string_view(text).substr(begin, end - begin))) {
      return FailAt({name, line, 1}, "the line is not valid UTF-8 text",
                    "save the file as UTF-8, without NUL characters");
    }
    begin = end + 1;
  }
  return {};
}

}  // namespace

tl::unexpected<Error> FailAt(const Mark& mark, std::string message, std::string hint) {
  return Forward(
      ToError({Problem{mark.file, mark.line, mark.column, std::move(message), std::move(hint)}}));
}

Result<Json> ReadText(const std::string& text, const std::string& name, Marks* marks) {
  PX_TRY(CheckText(text, name));
  const std::string extension = Extension(name);
  const bool yaml = extension == ".yml" || extension == ".yaml";
  if (!yaml && extension != ".json") {
    return FailAt({name, 0, 0}, "a polyaxonfile must be a .yml, .yaml or .json file",
                  "rename it to say which it is");
  }
  Marks found;
  PX_ASSIGN(Json value, yaml ? ReadYaml(text, name, found) : ReadJson(text, name, found));
  if (!value.is_object()) {
    return FailAt({name, 1, 1},
                  value.is_null() ? "the file is empty" : "the file is not a mapping of sections",
                  "a polyaxonfile has lines like 'version: 1' and 'kind: experiment'");
  }
  if (marks != nullptr) {
    for (auto& [pointer, mark] : found) (*marks)[pointer] = std::move(mark);
  }
  return value;
}

Result<Json> ReadFiles(const std::vector<std::string>& paths, Marks* marks) {
  if (paths.empty()) return Fail(EINVAL, "no polyaxonfile was given");
  Json merged;
  for (const std::string& path : paths) {
    PX_ASSIGN(const std::string text, ReadWhole(path));
    PX_ASSIGN(Json value, ReadText(text, path, marks));
    merged = merged.is_null() ? std::move(value) : Merge(merged, value);
  }
  return merged;
}

}  // namespace px::spec
