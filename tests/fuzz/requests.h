// RequestMaker: random FUSE requests, right in their lengths and with names that end, as the kernel
// makes them and libfuse relies on, and with anything at all otherwise: nodes, handles, flags,
// offsets, names, control calls.
//
// It learns nodes, handles and tokens from the answers, so that many requests mean something.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/random.h"
#include "tests/testing/fake_kernel.h"

namespace px::testing {

class RequestMaker {
 public:
  // Only requests that change nothing are made for nodes of the volumes `untouched`.
  RequestMaker(Random* random, std::set<uint32_t> untouched)
      : random_(random), untouched_(std::move(untouched)) {}

  FuseRequest Make();
  void Learn(const FuseReply& reply);

  struct Handle {
    uint64_t node = 0;
    uint64_t handle = 0;
    uint32_t flags = 0;
    int backing_id = 0;  // 0: cached
  };
  // Every handle that was given out and not released.
  const std::vector<Handle>& handles() const { return handles_; }
  static FuseRequest Release(const Handle& handle);
  bool IsUntouched(uint64_t node) const;

 private:
  uint32_t AnyOpcode();
  uint64_t AnyNode();
  uint64_t NodeToChange();
  Handle AnyHandle();
  uint64_t Offset();
  uint32_t Size();
  std::string Name();  // with its end
  std::string Text(size_t size);
  std::string XattrName();
  std::string XattrValue();
  uint32_t OpenFlags();

  std::string SetAttr(const Handle& handle);
  std::string Rename(bool flags);
  std::string SetXattr();
  std::string Ioctl(bool harmless);
  std::string ControlArgument(size_t size);
  std::string BodyOf(FuseRequest* request, const Handle& handle);
  std::string DataBody(FuseRequest* request, const Handle& handle);
  static bool ChangesNothing(uint32_t opcode);
  void LearnNode(uint64_t node);
  void LearnOpen(const FuseRequest& request, uint64_t node, std::string_view reply);
  void LearnRelease(const FuseRequest& request);

  Random* const random_;
  const std::set<uint32_t> untouched_;
  std::vector<uint64_t> nodes_ = {1};
  std::vector<Handle> handles_;
  std::vector<Handle> released_;
  std::vector<std::string> tokens_;
};

}  // namespace px::testing
