// What the two readers share. Internal to launcher/spec; the public entry is ReadText in spec.h.
#pragma once

#include <string>

#include "launcher/spec/problem.h"

namespace px::spec {

// Deeper nesting and more values than any real file has; stops aliases that contain themselves and
// aliases of aliases that multiply.
constexpr int kMaxNesting = 100;
constexpr size_t kMaxValues = 100'000;
constexpr size_t kMaxKeys = 10'000;  // in one mapping; they are searched one after the other

// Both fill `marks` with the places of all values, and fail with EINVAL and the place in the text.
Result<Json> ReadYaml(const std::string& text, const std::string& name, Marks& marks);
Result<Json> ReadJson(const std::string& text, const std::string& name, Marks& marks);

// EINVAL with one problem.
tl::unexpected<Error> FailAt(const Mark& mark, std::string message, std::string hint = {});

}  // namespace px::spec
