// Checks values against the tables of schema.h and turns them into the types those ask for.
// Internal to launcher/spec.
#pragma once

#include <string>
#include <vector>

#include "launcher/spec/schema.h"

namespace px::spec {

class Checker {
 public:
  // Before rendering, values that hold a template are left alone and requirements that a template
  // may still meet are not asked.
  enum class Stage { kRaw, kRendered };

  Checker(const Marks* marks, Stage stage) : marks_(marks), stage_(stage) {}

  // Checks the mapping `value` at `pointer`; `where` completes the sentence about unknown keys,
  // such as "in section 'run'". Text is turned into numbers, booleans, lists where those are asked
  // for.
  void CheckSection(Json& value, const Fields& fields, const std::string& pointer,
                    const std::string& where);

  void Add(const std::string& pointer, std::string message, std::string hint = {});
  // Inserts the file's name for `pointer` and the value's type: "... must be text, not a list".
  void AddWrongType(const std::string& pointer, const std::string& wanted, const Json& value,
                    std::string hint = {});
  // True if templates may stand for values at this stage and `value` has one.
  bool IsOpen(const Json& value) const;

  std::vector<Problem> TakeProblems();

 private:
  void CheckField(Json& value, const Field& field, const std::string& pointer);
  void CheckText(Json& value, const Field& field, const std::string& pointer);
  void CheckNumber(Json& value, const Field& field, const std::string& pointer);
  void CheckBoolean(Json& value, const std::string& pointer);
  void CheckList(Json& value, const Field& field, const std::string& pointer);
  void CheckCommand(Json& value, const std::string& pointer);
  void CheckEnvVars(Json& value, const std::string& pointer);
  void CheckPolicy(Json& value, const std::string& pointer);
  void CheckReference(Json& value, const std::string& pointer);

  const Marks* marks_;
  Stage stage_;
  std::vector<Problem> problems_;
};

// matrix_check.cc: hptuning.matrix, and what holds between the fields of hptuning.
void CheckMatrix(Checker& checker, Json& matrix, const std::string& pointer);
void CheckHptuning(Checker& checker, const Json& hptuning, const std::string& pointer);

// normalize.cc: the specification with `settings` moved to hptuning and logging, and the older
// names in environment replaced. Leaves what it does not understand.
Json Normalize(const Json& raw);

// The name of the section of declarations that `raw` uses: "params" or "declarations".
std::string ParamsName(const Json& raw);

}  // namespace px::spec
