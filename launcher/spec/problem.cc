#include "launcher/spec/problem.h"

#include <algorithm>
#include <cctype>

#include "fmt/format.h"

namespace px::spec {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// Optimal string alignment distance: a swap of neighbours counts as one change.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

const Mark* FindExact(const Marks& marks, std::string_view pointer) {
  const auto it = marks.find(pointer);
  return it == marks.end() ? nullptr : &it->second;
}

// The nearest ancestor that has a place, and how long its pointer is.
const Mark* FindNearest(const Marks& marks, std::string_view pointer, size_t* length) {
  while (true) {
    if (const Mark* mark = FindExact(marks, pointer)) {
      *length = pointer.size();
      return mark;
    }
    if (pointer.empty()) return nullptr;
    pointer = pointer.substr(0, pointer.rfind('/'));
  }
}

// Sections that are moved or merged under another name, and so may have their place under this one.
std::string Alias(std::string_view pointer) {
  constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"/hptuning", "/settings"},
      {"/logging", "/settings/logging"},
      {"/params", "/declarations"},
      {"/declarations", "/params"},
  };
  for (const auto& [name, other] : kAliases) {
    const bool below = pointer.size() > name.size() && pointer[name.size()] == '/';
    if (pointer.starts_with(name) && (pointer.size() == name.size() || below)) {
      return std::string(other) + std::string(pointer.substr(name.size()));
    }
  }
  return std::string(pointer);
}

}  // namespace

std::string FormatProblems(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    if (!problem.file.empty()) {
      text += problem.file;
      if (problem.line > 0) text += fmt::format(":{}:{}", problem.line, problem.column);
      text += ": ";
    }
    text += problem.message;
    if (!problem.hint.empty()) text += "\n  hint: " + problem.hint;
  }
  return text;
}

Error ToError(const std::vector<Problem>& problems) {
  return Error(EINVAL, FormatProblems(problems));
}

Mark FindMark(const Marks& marks, std::string_view pointer) {
  size_t length = 0;
  size_t other_length = 0;
  const std::string alias = Alias(pointer);
  const Mark* mark = FindNearest(marks, pointer, &length);
  const Mark* other = FindNearest(marks, alias, &other_length);
  const bool use_other = other != nullptr && other_length > 0 && length == 0;
  const bool deeper = other != nullptr && alias.size() - other_length < pointer.size() - length;
  const Mark* best = mark == nullptr || use_other || deeper ? other : mark;
  return best != nullptr ? *best : Mark{};
}

std::string Child(std::string_view pointer, std::string_view key) {
  std::string child(pointer);
  child += '/';
  for (const char c : key) {
    if (c == '~') {
      child += "~0";
    } else if (c == '/') {
      child += "~1";
    } else {
      child += c;
    }
  }
  return child;
}

std::string Child(std::string_view pointer, size_t index) {
  return fmt::format("{}/{}", pointer, index);
}

std::string ToDotted(std::string_view pointer) {
  std::string dotted;
  size_t begin = 0;
  while (begin < pointer.size()) {
    const size_t end = std::min(pointer.find('/', begin + 1), pointer.size());
    std::string part(pointer.substr(begin + 1, end - begin - 1));
    begin = end;
    for (size_t at = 0; (at = part.find('~', at)) != std::string::npos; ++at) {
      part.replace(at, 2, part.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    const bool index = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (index && !dotted.empty()) {
      dotted += '[' + part + ']';
    } else {
      dotted += (dotted.empty() ? "" : ".") + part;
    }
  }
  return dotted;
}

std::string Shorten(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) --bytes;
  return std::string(text.substr(0, bytes)) + "...";
}

std::string NearestName(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.size() > 100) return {};
  const std::string lower = Lower(name);
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 100) continue;
    const size_t distance = Distance(lower, Lower(candidate));
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace px::spec
