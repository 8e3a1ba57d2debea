#include "launcher/spec/ignore.h"

#include <algorithm>

namespace px::spec {
namespace {

std::vector<std::string_view> SplitPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    if (end > 0) parts.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

// [abc], [a-z], [!abc] at the start of `pattern`; its length there, or 0 if it is no class.
size_t MatchClass(std::string_view pattern, char c, bool* matches) {
  size_t at = 1;
  const bool negated = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^');
  if (negated) ++at;
  bool found = false;
  for (const size_t begin = at; at < pattern.size(); ++at) {
    if (pattern[at] == ']' && at > begin) {
      *matches = found != negated;
      return at + 1;
    }
    const bool range = at + 2 < pattern.size() && pattern[at + 1] == '-' && pattern[at + 2] != ']';
    if (range) {
      found = found || (pattern[at] <= c && c <= pattern[at + 2]);
      at += 2;
    } else {
      found = found || pattern[at] == c;
    }
  }
  return 0;
}

// How much of `pattern` matches the one character `c`; 0 if it does not.
size_t MatchOne(std::string_view pattern, char c) {
  if (pattern.empty()) return 0;
  if (pattern[0] == '?') return 1;
  if (pattern[0] == '[') {
    bool matches = false;
    const size_t length = MatchClass(pattern, c, &matches);
    if (length > 0) return matches ? length : 0;
  }
  if (pattern[0] == '\\' && pattern.size() > 1) return pattern[1] == c ? 2 : 0;
  return pattern[0] == c ? 1 : 0;
}

// One part of a path against one part of a pattern. Goes back to the last '*' only: linear in
// practice.
bool MatchPart(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
      continue;
    }
    if (const size_t length = MatchOne(pattern.substr(p), text[t]); length > 0) {
      p += length;
      ++t;
      continue;
    }
    if (star == std::string_view::npos) return false;
    p = star + 1;
    t = ++star_text;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// For each number of parts whether the pattern matches a path that ends after so many of them,
// starting at the first part or, if not `anchored`, at any. "**" stands for any number of parts.
std::vector<bool> MatchParts(const std::vector<std::string>& pattern,
                             const std::vector<std::string_view>& parts, bool anchored) {
  std::vector<bool> reachable(parts.size() + 1, !anchored);
  reachable[0] = true;
  for (const std::string& part : pattern) {
    std::vector<bool> next(parts.size() + 1, false);
    for (size_t j = 0; j <= parts.size(); ++j) {
      if (part == "**") {
        next[j] = reachable[j] || (j > 0 && next[j - 1]);
      } else if (j < parts.size() && reachable[j] && MatchPart(part, parts[j])) {
        next[j + 1] = true;
      }
    }
    reachable = std::move(next);
  }
  return reachable;
}

std::string_view TrimLine(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) {
    // "\ " at the end keeps its blank.
    if (line.back() == ' ' && line.size() > 1 && line[line.size() - 2] == '\\') break;
    line.remove_suffix(1);
  }
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  return line;
}

}  // namespace

IgnoreRules::IgnoreRules(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = TrimLine(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    Rule rule;
    if (line.front() == '!') {
      rule.negated = true;
      line.remove_prefix(1);
    }
    while (line.starts_with("./")) {
      rule.anchored = true;
      line.remove_prefix(2);
    }
    rule.anchored = rule.anchored || line.starts_with('/');
    rule.directory_only = line.ends_with('/');
    for (const std::string_view part : SplitPath(line)) rule.parts.emplace_back(part);
    if (rule.parts.empty()) continue;
    has_negated_ = has_negated_ || rule.negated;
    rules_.push_back(std::move(rule));
  }
}

bool IgnoreRules::Matches(const Rule& rule, const std::vector<std::string_view>& parts,
                          bool is_directory) {
  const std::vector<bool> ends = MatchParts(rule.parts, parts, rule.anchored);
  // What matches a directory above holds for all that lies below it.
  for (size_t end = 1; end < parts.size(); ++end) {
    if (ends[end]) return true;
  }
  return ends[parts.size()] && (is_directory || !rule.directory_only);
}

bool IgnoreRules::IsIgnored(std::string_view path, bool is_directory) const {
  const std::vector<std::string_view> parts = SplitPath(path);
  if (parts.empty()) return false;
  bool ignored = false;
  for (const Rule& rule : rules_) {
    if (rule.negated == !ignored) continue;  // would change nothing
    if (Matches(rule, parts, is_directory)) ignored = !rule.negated;
  }
  return ignored;
}

bool IgnoreRules::CanPrune(std::string_view path) const {
  return !has_negated_ && IsIgnored(path, true);
}

std::string_view DefaultIgnoreText() {
  return "# What is not copied into the code snapshots of experiments.\n"
         "# One pattern a line; '!' takes back, a leading '/' means this directory only.\n"
         ".git\n"
         ".eggs\n"
         "__pycache__\n"
         "*.pyc\n"
         "*.swp\n"
         ".DS_Store\n"
         "/.polyaxon\n";
}

}  // namespace px::spec
