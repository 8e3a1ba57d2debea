// Which sections and fields a polyaxonfile may have, as tables. Internal to launcher/spec.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/spec/spec.h"

namespace px::spec {

enum class FieldType {
  kAny,
  kText,
  kInteger,
  kNumber,
  kBoolean,
  kMapping,     // with any keys
  kSection,     // with the keys of Field::section
  kSections,    // a list of such sections
  kTexts,       // a list of text
  kAnyList,     // a list of anything
  kMappings,    // a list of mappings
  kReference,   // an id or a name
  kReferences,  // a list of those
  kCommand,     // text, or a list of text
  kEnvVars,     // a list of [name, value]; as a mapping, too
  kPolicy,      // of early stopping: a name or a section
  kMatrix,      // by name one section with one form of values; see matrix_check.cc
};

struct Field;
using Fields = std::vector<Field>;
using SectionTable = const Fields& (*)();

struct Field {
  std::string_view name;
  FieldType type = FieldType::kAny;
  SectionTable section = nullptr;  // kSection, kSections
  std::string_view choices = {};   // kText: "a|b|c", in any case
  std::optional<double> min = {};
  bool required = false;
};

// The sections of a specification of this kind, hptuning included.
const Fields& TopLevel(Kind kind);

// "a|b|c" as a list.
std::vector<std::string> SplitChoices(std::string_view choices, char separator = '|');

}  // namespace px::spec
