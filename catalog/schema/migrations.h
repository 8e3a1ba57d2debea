// The catalog's schema: one SQL script a version, applied in order, each in a transaction of its
// own.
#pragma once

#include <span>
#include <string_view>

namespace px::catalog {

// Script i brings a catalog from version i to i + 1. Never edit one that was released: add the
// next.
std::span<const std::string_view> Migrations();

}  // namespace px::catalog
