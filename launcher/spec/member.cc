#include "launcher/spec/checker.h"
#include "launcher/spec/group.h"

namespace px::spec {

Json MemberSpec(const Json& group_raw, const Json& suggestion) {
  Json member = Normalize(group_raw);
  member.erase("hptuning");
  if (member.contains("kind") && member["kind"] == "group") member["kind"] = "experiment";
  if (suggestion.empty()) return member;
  Json& declarations = member[ParamsName(member)];
  if (!declarations.is_object()) declarations = Json::object();
  for (const auto& [name, value] : suggestion.items()) declarations[name] = value;
  return member;
}

}  // namespace px::spec
