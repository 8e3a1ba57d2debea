// Context: what a command works with; made once in main, opened as far as the command needs it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <ostream>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "launcher/config.h"
#include "launcher/outputs_fs.h"
#include "launcher/paths.h"
#include "launcher/spec/problem.h"

namespace px::launcher {

// Makes the filesystem ready for use (mounts it) and gives it.
using OutputsFsFactory = std::function<Outcome<std::unique_ptr<OutputsFs>>(const Config&)>;

class Context {
 public:
  // `json`: whether answers are for programs (--json).
  Context(Config config, OutputsFsFactory factory, std::ostream& out, std::ostream& err,
          bool json = false)
      : config_(std::move(config)),
        layout_(config_.outputs, config_.logs),
        factory_(std::move(factory)),
        out_(&out),
        err_(&err),
        json_(json) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Config& config() const { return config_; }
  const Layout& layout() const { return layout_; }
  Clock& clock() { return clock_; }
  std::ostream& out() { return *out_; }
  std::ostream& err() { return *err_; }

  // ---- What a command answers ----
  bool json() const { return json_; }
  // A line for people, shown at once. With --json it becomes part of the one object that the
  // command answers: {"message": LINES, FIELDS}.
  void Say(const std::string& line, const spec::Json& fields = spec::Json::object());
  // An answer for programs, complete in itself.
  void Answer(const spec::Json& json);
  // Writes what Say collected; called once when the command has succeeded.
  void FinishAnswer();

  // Opened at the first call; the pointer stays valid as long as the context.
  Outcome<catalog::Catalog*> Catalog();
  Outcome<OutputsFs*> Outputs();

 private:
  Config config_;
  Layout layout_;
  OutputsFsFactory factory_;
  std::ostream* out_;
  std::ostream* err_;
  bool json_;
  spec::Json said_;  // null if nothing was said
  SystemClock clock_;
  std::optional<catalog::Catalog> catalog_;
  std::unique_ptr<OutputsFs> outputs_;
};

}  // namespace px::launcher
