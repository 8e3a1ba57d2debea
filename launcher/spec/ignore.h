// .polyaxonignore: which files of a working directory are not part of a code snapshot.
//
// One pattern per line; '#' starts a comment, '!' takes back what earlier lines ignored, a leading
// '\' makes the next character plain. `*`, `?` and `[...]` never match '/'; `**` matches any number
// of directories. A pattern matches a path from the right, as Python's PurePath.match does: "*.pyc"
// matches at every depth, "a/*.pyc" below every directory "a". A leading '/' or './' ties it to the
// top directory, a trailing '/' to directories. What lies below an ignored directory is ignored
// too, unless a later '!' line matches it. Later lines win.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace px::spec {

class IgnoreRules {
 public:
  // Ignores nothing.
  IgnoreRules() = default;
  // Never fails: a line that is no valid pattern matches itself literally.
  explicit IgnoreRules(std::string_view text);

  // `path` is relative to the top, with '/' between its parts and no "./" in front.
  bool IsIgnored(std::string_view path, bool is_directory) const;
  // True if a walk need not enter the ignored directory `path`: no '!' line could match below it.
  bool CanPrune(std::string_view path) const;

 private:
  struct Rule {
    std::vector<std::string> parts;  // of the pattern, between '/'
    bool negated = false;
    bool anchored = false;
    bool directory_only = false;
  };
  static bool Matches(const Rule& rule, const std::vector<std::string_view>& parts,
                      bool is_directory);
  std::vector<Rule> rules_;
  bool has_negated_ = false;
};

// What `init` writes to .polyaxonignore, and what is used where there is none.
std::string_view DefaultIgnoreText();

}  // namespace px::spec
