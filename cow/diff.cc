#include "cow/store_impl.h"
namespace px::cow {
Status StoreImpl::Diff(VolumeId, VolumeId, std::string_view, const DiffVisitor&) { return Fail(ENOTSUP); }
}  // namespace px::cow
