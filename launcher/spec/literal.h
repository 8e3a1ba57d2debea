// Python literals and Python's way of writing values: what Polyaxon did to strings through
// ast.literal_eval and through jinja2's str(), kept so that the same files mean the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "launcher/spec/problem.h"

namespace px::spec {

// The value of `text` as a Python literal: None, True, False, numbers ('1e-3', '0x10', '1_000'),
// quoted strings, lists, tuples (become lists) and dicts. Nothing if `text` is no literal ('007',
// 'adam', '1 + 1'), or one that JSON cannot hold (bytes, sets, complex, integers beyond 64 bits).
std::optional<Json> ParseLiteral(std::string_view text);

// A number as YAML 1.1 plain scalars write them ("12", "-1_000", "0x1f", "1e-3", ".5", ".inf");
// nothing for anything else. Infinity and not-a-number are the texts "inf", "-inf" and "nan", which
// Python's float() reads: JSON has no such numbers, and specifications are kept as JSON. Integers
// with a leading zero and base-60 numbers are not numbers here.
std::optional<Json> ParseYamlNumber(std::string_view text);

// str(value) and repr(value) of Python: True, None, 1e-05, ['a', 1].
std::string ToPythonText(const Json& value);
std::string ToPythonRepr(const Json& value);
// json.dumps(value) of Python: `{"lr": 0.01, "layers": [1, 2]}`.
std::string ToPythonJson(const Json& value);

// True if `text` is valid UTF-8 without NUL characters.
bool IsCleanText(std::string_view text);
// Appends a code point. False if there is no such character.
bool AppendUtf8(std::string& text, uint32_t code_point);

}  // namespace px::spec
