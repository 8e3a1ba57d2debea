#include "cow/store_impl.h"
namespace px::cow {
Result<uint64_t> StoreImpl::Check(bool, const std::function<void(const std::string&)>&, const std::function<void(ObjectId)>&) { return Fail(ENOTSUP); }
}  // namespace px::cow
