// Where things stand in the files people wrote, and what is wrong with them.
//
// All functions are pure and may be called from any thread.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace px::spec {

// The value type of specifications. Mappings keep the order in which they were written.
using Json = nlohmann::ordered_json;

// A place in a file. Lines and columns count from 1; 0 means unknown.
struct Mark {
  std::string file;
  int line = 0;
  int column = 0;
};

// From a JSON pointer ("/environment/resources/cpu", "/tags/0") to the place of its key or element.
using Marks = std::map<std::string, Mark, std::less<>>;

// One thing that is wrong. `file`, `line` and `column` are empty or 0 where the place is unknown.
struct Problem {
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;
  std::string hint;  // what to do about it; may be empty
};

// One line "file:line:column: message" per problem, each followed by "  hint: ..." if it has one.
std::string FormatProblems(const std::vector<Problem>& problems);

// EINVAL with the text of FormatProblems. `problems` must not be empty.
Error ToError(const std::vector<Problem>& problems);

// The place of `pointer`, or of its nearest ancestor that has one; an empty mark if none has.
Mark FindMark(const Marks& marks, std::string_view pointer);

// `pointer` with one more element, escaped as RFC 6901 says (~ and /).
std::string Child(std::string_view pointer, std::string_view key);
std::string Child(std::string_view pointer, size_t index);
// "/environment/worker/0/index" as people write it: "environment.worker[0].index".
std::string ToDotted(std::string_view pointer);

// At most `bytes` bytes of `text`, cut between characters, with "..." where something was cut.
std::string Shorten(std::string_view text, size_t bytes);

// The candidate that `name` was probably meant to be, or "" if none is close. Case is ignored.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace px::spec
