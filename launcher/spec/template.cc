#include "launcher/spec/template.h"

#include <algorithm>
#include <cctype>

#include "fmt/format.h"
#include "launcher/spec/template_ast.h"

namespace px::spec {
namespace {

constexpr int kMaxBlockDepth = 30;
constexpr size_t kMaxExpression = 2000;

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

// Where the next "{{", "{%" or "{#" is; npos if there is none.
size_t FindMarkOpen(std::string_view text, size_t from) {
  for (size_t at = text.find('{', from); at != std::string_view::npos;
       at = text.find('{', at + 1)) {
    const char next = at + 1 < text.size() ? text[at + 1] : ' ';
    if (next == '{' || next == '%' || next == '#') return at;
  }
  return std::string_view::npos;
}

// A piece of a template: plain text, {{ inside }} or {% inside %}.
struct Piece {
  enum class Kind { kText, kOutput, kTag };
  Kind kind = Kind::kText;
  std::string text;
};

// Cuts a template into pieces; comments vanish, white space control and raw blocks are done here.
class Cutter {
 public:
  explicit Cutter(std::string_view source) : source_(source) {}

  Result<std::vector<Piece>> Cut() {
    while (at_ < source_.size()) {
      const size_t open = FindOpen(at_);
      AddText(source_.substr(at_, open - at_));
      at_ = open;
      if (at_ >= source_.size()) break;
      PX_TRY(CutOne(source_[at_ + 1]));
    }
    return std::move(pieces_);
  }

 private:
  size_t FindOpen(size_t from) const {
    return std::min(FindMarkOpen(source_, from), source_.size());
  }

  void AddText(std::string_view text) {
    if (strip_next_) {
      while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
    }
    if (!text.empty()) {
      strip_next_ = false;
      pieces_.push_back({Piece::Kind::kText, std::string(text)});
    }
  }

  void StripBefore() {
    if (pieces_.empty() || pieces_.back().kind != Piece::Kind::kText) return;
    std::string& text = pieces_.back().text;
    while (!text.empty() && IsSpace(text.back())) text.pop_back();
  }

  // Where the end mark `close` begins, skipping quoted text and inner braces.
  size_t FindClose(size_t from, std::string_view close) const {
    int braces = 0;
    for (size_t at = from; at < source_.size(); ++at) {
      const char c = source_[at];
      if (braces == 0 && source_.substr(at).starts_with(close)) return at;
      if (c == '\'' || c == '"') {
        for (++at; at < source_.size() && source_[at] != c; ++at) {
          if (source_[at] == '\\') ++at;
        }
      } else if (c == '{') {
        ++braces;
      } else if (c == '}' && braces > 0) {
        --braces;
      }
    }
    return std::string_view::npos;
  }

  Status CutOne(char kind) {
    const std::string_view close = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const size_t begin = at_ + 2;
    const size_t end = kind == '#' ? source_.find(close, begin) : FindClose(begin, close);
    if (end == std::string_view::npos) {
      return Fail(EINVAL, fmt::format("'{}' is not closed by '{}'",
                                      Shorten(source_.substr(at_), 20), close));
    }
    std::string_view inside = source_.substr(begin, end - begin);
    if (inside.starts_with('-')) {
      StripBefore();
      inside.remove_prefix(1);
    }
    const bool strip_after = inside.ends_with('-');
    if (strip_after) inside.remove_suffix(1);
    inside = Trim(inside);
    at_ = end + 2;
    strip_next_ = strip_after;
    if (kind == '#') return {};
    if (inside.size() > kMaxExpression) return Fail(EINVAL, "the expression is too long");
    if (kind == '%' && inside == "raw") return CutRaw();
    pieces_.push_back(
        {kind == '{' ? Piece::Kind::kOutput : Piece::Kind::kTag, std::string(inside)});
    return {};
  }

  Status CutRaw() {
    for (size_t at = source_.find("{%", at_); at != std::string_view::npos;
         at = source_.find("{%", at + 1)) {
      const size_t end = source_.find("%}", at);
      if (end == std::string_view::npos) break;
      std::string_view inside = Trim(source_.substr(at + 2, end - at - 2));
      if (inside != "endraw") continue;
      AddText(source_.substr(at_, at - at_));
      at_ = end + 2;
      return {};
    }
    return Fail(EINVAL, "'{% raw %}' has no '{% endraw %}'");
  }

  std::string_view source_;
  size_t at_ = 0;
  bool strip_next_ = false;
  std::vector<Piece> pieces_;
};

// Builds the tree of blocks.
class BlockParser {
 public:
  explicit BlockParser(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {}

  Result<TemplateNodes> ParseAll() {
    PX_ASSIGN(TemplateNodes nodes, Body(0));
    if (at_ < pieces_.size()) {
      return Fail(EINVAL, fmt::format("'{{% {} %}}' closes nothing", pieces_[at_].text));
    }
    return nodes;
  }

 private:
  // "if x > 1" is {"if", "x > 1"}.
  std::pair<std::string, std::string> Split() const {
    const std::string& text = pieces_[at_].text;
    const size_t end = std::min(text.find_first_of(" \t\n("), text.size());
    return {text.substr(0, end), std::string(Trim(std::string_view(text).substr(end)))};
  }

  static Result<ExprPtr> ParseIn(const std::string& source) {
    Result<ExprPtr> expr = ParseExpression(source);
    if (expr) return expr;
    return Fail(EINVAL, fmt::format("{} in '{}'", expr.error().context(), Shorten(source, 60)));
  }

  // Nodes up to the end or to a tag that closes or continues the enclosing block.
  Result<TemplateNodes> Body(int depth) {
    if (depth > kMaxBlockDepth) return Fail(EINVAL, "blocks are nested too deeply");
    TemplateNodes nodes;
    for (; at_ < pieces_.size(); ++at_) {
      auto node = std::make_unique<TemplateNode>();
      if (pieces_[at_].kind == Piece::Kind::kText) {
        node->text = pieces_[at_].text;
      } else if (pieces_[at_].kind == Piece::Kind::kOutput) {
        node->kind = TemplateNode::Kind::kOutput;
        PX_ASSIGN(node->expr, ParseIn(pieces_[at_].text));
      } else {
        const std::string tag = Split().first;
        if (tag == "elif" || tag == "else" || tag == "endif" || tag == "endfor") return nodes;
        if (tag == "if") {
          PX_ASSIGN(node, If(depth));
        } else if (tag == "for") {
          PX_ASSIGN(node, For(depth));
        } else {
          return Fail(EINVAL, fmt::format("the tag '{{% {} %}}' is not known; use if, for or raw",
                                          pieces_[at_].text));
        }
      }
      nodes.push_back(std::move(node));
    }
    return nodes;
  }

  Result<std::unique_ptr<TemplateNode>> If(int depth) {
    auto node = std::make_unique<TemplateNode>();
    node->kind = TemplateNode::Kind::kIf;
    auto [tag, rest] = Split();
    while (true) {
      TemplateNode::Branch branch;
      if (tag != "else") {
        PX_ASSIGN(branch.condition, ParseIn(rest));
      }
      ++at_;
      PX_ASSIGN(branch.body, Body(depth + 1));
      const bool was_else = tag == "else";
      node->branches.push_back(std::move(branch));
      if (at_ >= pieces_.size()) return Fail(EINVAL, "'{% if %}' has no '{% endif %}'");
      std::tie(tag, rest) = Split();
      if (tag == "endif") return node;
      if (was_else || tag == "endfor") {
        return Fail(EINVAL, fmt::format("'{{% {} %}}' where '{{% endif %}}' was expected", tag));
      }
    }
  }

  Result<std::unique_ptr<TemplateNode>> For(int depth) {
    auto node = std::make_unique<TemplateNode>();
    node->kind = TemplateNode::Kind::kFor;
    const std::string rest = Split().second;
    const size_t in = rest.find(" in ");
    if (in == std::string::npos) return Fail(EINVAL, "write '{% for name in sequence %}'");
    PX_TRY(Names(rest.substr(0, in), node->names));
    PX_ASSIGN(node->expr, ParseIn(rest.substr(in + 4)));
    bool was_else = false;
    while (true) {
      ++at_;
      TemplateNode::Branch branch;
      PX_ASSIGN(branch.body, Body(depth + 1));
      node->branches.push_back(std::move(branch));
      if (at_ >= pieces_.size()) return Fail(EINVAL, "'{% for %}' has no '{% endfor %}'");
      const std::string tag = Split().first;
      if (tag == "endfor") return node;
      if (tag != "else" || was_else) {
        return Fail(EINVAL, fmt::format("'{{% {} %}}' where '{{% endfor %}}' was expected", tag));
      }
      was_else = true;
    }
  }

  static Status Names(std::string_view list, std::vector<std::string>& names) {
    while (true) {
      const size_t comma = std::min(list.find(','), list.size());
      const std::string_view name = Trim(list.substr(0, comma));
      const bool valid = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
      });
      if (!valid) return Fail(EINVAL, fmt::format("'{}' cannot be a loop variable", name));
      names.emplace_back(name);
      if (comma == list.size()) return {};
      list.remove_prefix(comma + 1);
    }
  }

  std::vector<Piece> pieces_;
  size_t at_ = 0;
};

}  // namespace

bool Template::IsTemplate(std::string_view text) {
  return FindMarkOpen(text, 0) != std::string_view::npos;
}

Result<Template> Template::Parse(const std::string& text) {
  PX_ASSIGN(std::vector<Piece> pieces, Cutter(text).Cut());
  PX_ASSIGN(TemplateNodes nodes, BlockParser(std::move(pieces)).ParseAll());
  return Template(std::move(nodes));
}

Template::Template(std::vector<std::unique_ptr<TemplateNode>> nodes) : nodes_(std::move(nodes)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

}  // namespace px::spec
