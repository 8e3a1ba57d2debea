#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

#include "fmt/format.h"
#include "launcher/spec/literal.h"
#include "launcher/spec/reader.h"

namespace px::spec {
namespace {

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

bool OneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text == word) return true;
  }
  return false;
}

bool IsNull(std::string_view text) { return OneOf(text, {"", "~", "null", "Null", "NULL"}); }

// A plain scalar: null, booleans (yes, no, on and off are some), numbers, else text.
Json ResolvePlain(const std::string& text) {
  if (IsNull(text)) return nullptr;
  if (OneOf(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
  if (OneOf(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})) return false;
  if (std::optional<Json> number = ParseYamlNumber(text)) return std::move(*number);
  return text;
}

class Converter {
 public:
  Converter(const std::string& text, const std::string& name, Marks& marks)
      : text_(text), name_(name), marks_(marks) {}

  Mark At(const YAML::Mark& mark) const {
    if (mark.is_null()) return {name_, 1, 1};
    return {name_, mark.line + 1, mark.column + 1};
  }

  // What to do about an error in the line of `mark`: templates that are not quoted are the usual
  // cause.
  std::string HintFor(const Mark& mark) const {
    size_t begin = 0;
    for (int line = 1; line < mark.line && begin != std::string::npos; ++line) {
      begin = text_.find('\n', begin);
      if (begin != std::string::npos) ++begin;
    }
    if (begin == std::string::npos) return "check the end of the file";
    const std::string line = text_.substr(begin, text_.find('\n', begin) - begin);
    if (line.find("{{") != std::string::npos || line.find("{%") != std::string::npos) {
      return "put a value that starts with a template in quotes: \"{{ name }}\"";
    }
    if (line.find('\t') != std::string::npos) return "indent with spaces; YAML has no tabs there";
    return "check the indentation, the quotes and the brackets here and in the line before";
  }

  Result<Json> Convert(const YAML::Node& node, const std::string& pointer, int depth) {
    const Mark mark = At(node.Mark());
    marks_.try_emplace(pointer, mark);
    if (depth > kMaxNesting) {
      return FailAt(mark, fmt::format("nested more than {} deep", kMaxNesting),
                    "an alias (*name) must not lie within its own anchor (&name)");
    }
    if (++count_ > kMaxValues) {
      return FailAt(mark, fmt::format("more than {} values", kMaxValues),
                    "aliases of aliases multiply; write the values once");
    }
    if (node.IsSequence()) return ConvertSequence(node, pointer, depth);
    if (node.IsMap()) return ConvertMapping(node, pointer, depth);
    if (node.IsScalar()) return ConvertScalar(node, mark);
    return Json(nullptr);
  }

 private:
  Result<Json> ConvertScalar(const YAML::Node& node, const Mark& mark) {
    const std::string& tag = node.Tag();
    const std::string& text = node.Scalar();
    if (!IsCleanText(text)) {
      return FailAt(mark, "the text holds a NUL character or no valid UTF-8", "check its escapes");
    }
    if (tag == "!" || tag == std::string(kTagPrefix) + "str") return Json(text);
    Json value = ResolvePlain(text);
    if (tag.empty() || tag == "?") return value;
    const bool standard = tag.starts_with(kTagPrefix);
    const std::string type = standard ? tag.substr(kTagPrefix.size()) : tag;
    if (standard && type == "float" && value.is_number()) return Json(value.get<double>());
    if (standard &&
        ((type == "int" && value.is_number_integer()) || (type == "bool" && value.is_boolean()) ||
         (type == "null" && value.is_null()))) {
      return value;
    }
    return FailAt(mark, fmt::format("the value '{}' cannot be read with the tag '{}'", text, type),
                  "use the tags !!str, !!int, !!float, !!bool and !!null, or none");
  }

  Result<Json> ConvertSequence(const YAML::Node& node, const std::string& pointer, int depth) {
    Json list = Json::array();
    for (const YAML::Node& element : node) {
      PX_ASSIGN(Json value, Convert(element, Child(pointer, list.size()), depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }

  Result<std::string> ConvertKey(const YAML::Node& key) {
    const Mark mark = At(key.Mark());
    if (!key.IsScalar() || (key.Tag() != "!" && IsNull(key.Scalar()))) {
      return FailAt(mark, "a key of a mapping must be text", HintFor(mark));
    }
    if (!IsCleanText(key.Scalar())) {
      return FailAt(mark, "the key holds a NUL character or no valid UTF-8", "check its escapes");
    }
    return key.Scalar();
  }

  Result<Json> ConvertMapping(const YAML::Node& node, const std::string& pointer, int depth) {
    Json mapping = Json::object();
    std::vector<Json> merges;
    for (const auto& entry : node) {
      PX_ASSIGN(const std::string key, ConvertKey(entry.first));
      const Mark mark = At(entry.first.Mark());
      if (mapping.contains(key)) {
        const Mark first = marks_[Child(pointer, key)];
        return FailAt(mark, fmt::format("the key '{}' is given twice", key),
                      fmt::format("it is also in line {}; keep one of them", first.line));
      }
      if (mapping.size() >= kMaxKeys) {
        return FailAt(mark, fmt::format("more than {} keys in one mapping", kMaxKeys));
      }
      const std::string child = Child(pointer, key);
      marks_[child] = mark;
      PX_ASSIGN(Json value, Convert(entry.second, child, depth + 1));
      if (key == "<<" && entry.first.Tag() != "!") {
        PX_TRY(AddMerge(std::move(value), mark, merges));
        continue;
      }
      mapping[key] = std::move(value);
    }
    for (const Json& merge : merges) {
      for (const auto& [key, value] : merge.items()) {
        if (!mapping.contains(key)) mapping[key] = value;
      }
    }
    return mapping;
  }

  // "<<: *defaults" and "<<: [*a, *b]".
  static Status AddMerge(Json value, const Mark& mark, std::vector<Json>& merges) {
    if (!value.is_array()) value = Json::array({std::move(value)});
    for (Json& element : value) {
      if (!element.is_object()) {
        return FailAt(mark, "'<<' must be given a mapping, or a list of mappings",
                      "give it an alias such as *defaults");
      }
      merges.push_back(std::move(element));
    }
    return {};
  }

  const std::string& text_;
  const std::string& name_;
  Marks& marks_;
  size_t count_ = 0;
};

// Notes only where a document begins.
class DocumentStart final : public YAML::EventHandler {
 public:
  const YAML::Mark& mark() const { return mark_; }

  void OnDocumentStart(const YAML::Mark& mark) override { mark_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  YAML::Mark mark_;
};

// Where a second document begins, if there is one. YAML::LoadAll would say, too, but it never
// returns for some malformed files, such as one that begins with a comma.
std::optional<YAML::Mark> FindSecondDocument(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStart start;
  if (!parser.HandleNextDocument(start) || !parser.HandleNextDocument(start)) return std::nullopt;
  return start.mark();
}

}  // namespace

Result<Json> ReadYaml(const std::string& text, const std::string& name, Marks& marks) {
  Converter converter(text, name, marks);
  try {
    if (const std::optional<YAML::Mark> second = FindSecondDocument(text)) {
      return FailAt(converter.At(*second),
                    "the file holds more than one document, or text that belongs to none",
                    "keep one document; give several files with several -f options");
    }
    const YAML::Node document = YAML::Load(text);
    if (!document.IsDefined() || document.IsNull()) return Json(nullptr);
    return converter.Convert(document, "", 0);
  } catch (const YAML::Exception& e) {
    const Mark mark = converter.At(e.mark);
    return FailAt(mark, "not valid YAML: " + e.msg, converter.HintFor(mark));
  } catch (const std::exception& e) {
    return FailAt({name, 1, 1}, std::string("not valid YAML: ") + e.what());
  }
}

}  // namespace px::spec
