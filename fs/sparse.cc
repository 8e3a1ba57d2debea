// Sparse files in the tree: making them, their extent items, and back to whole ones (see
// sparse_file.h).
#include <fcntl.h>
#include <unistd.h>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

// Extent items of one transaction: a file with many scattered runs must not hold everybody off.
constexpr size_t kRunsAtOnce = 256;

}  // namespace

Result<std::vector<SparseFile::Run>> Filesystem::LoadRuns(cow::Reader& reader, NodeKey node) {
  std::vector<SparseFile::Run> runs;
  Status broken;
  PX_TRY(reader.Scan(node.volume, cow::ItemKey(node.ino, cow::ItemType::kExtent),
                     cow::ItemKeyEnd(node.ino, cow::ItemType::kExtent),
                     [&](std::string_view key, std::string_view value) {
                       const auto extent = cow::FromBytes<cow::ExtentItem>(value);
                       if (!extent || key.size() != 17) {
                         broken = Fail(EUCLEAN, "broken extent");
                         return false;
                       }
                       runs.push_back({cow::LoadBigEndian64(key.data() + 9), extent->length});
                       return true;
                     }));
  PX_TRY(broken);
  return runs;
}

Status Filesystem::EraseRuns(cow::Txn& txn, NodeKey node, uint64_t from, uint64_t end) {
  std::vector<std::string> keys;
  const std::string to = end == ~uint64_t{0} ? cow::ItemKeyEnd(node.ino, cow::ItemType::kExtent)
                                             : cow::ExtentKey(node.ino, end);
  PX_TRY(txn.Scan(node.volume, cow::ExtentKey(node.ino, from), to,
                  [&keys](std::string_view key, std::string_view) {
                    keys.emplace_back(key);
                    return true;
                  }));
  for (const std::string& key : keys) PX_TRY(txn.Erase(node.volume, key));
  return {};
}

Status Filesystem::PutRuns(cow::Txn& txn, NodeKey node, std::span<const SparseFile::Run> runs) {
  for (const SparseFile::Run& run : runs) {
    cow::ExtentItem extent;
    extent.length = run.length;
    PX_TRY(txn.Put(node.volume, cow::ExtentKey(node.ino, run.offset), cow::AsBytes(extent)));
  }
  return {};
}

Result<std::unique_ptr<SparseFile>> Filesystem::OpenSparse(NodeKey node, int own,
                                                           cow::ObjectId base) {
  std::vector<SparseFile::Run> runs;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(runs, LoadRuns(reader, node));
    return {};
  }));
  PX_ASSIGN(UniqueFd base_fd, objects_->OpenObject(base, O_RDONLY));
  return SparseFile::Open(own, std::move(base_fd), base, runs, objects_->finds_data_by_block());
}

// The inode's object is shared, large, and cannot be reflinked: it becomes the base of a new, empty
// own object.
Status Filesystem::BecomeSparse(OpenInode& open, const cow::InodeItem& item) {
  const cow::ObjectId base{item.object};
  PX_ASSIGN(UniqueFd base_fd, objects_->OpenObject(base, O_RDONLY));
  UniqueFd own;
  cow::ObjectId object;
  LiveStart start;
  std::unique_ptr<SparseFile> sparse;
  PX_TRY(store_->Update([&](cow::Txn& txn) -> Status {
    PX_ASSIGN(cow::InodeItem now, LoadInode(txn, open.node));
    PX_ASSIGN(object, txn.NewObject());
    PX_ASSIGN(own, objects_->Take(object));
    if (::ftruncate(own.get(), static_cast<off_t>(now.size)) != 0)
      return FailErrno("size an object");
    PX_ASSIGN(sparse, SparseFile::Open(own.get(), std::move(base_fd), base, {},
                                       objects_->finds_data_by_block()));
    PX_ASSIGN(start, PrepareLive(open.node, own.get(), object));
    objects_->unsynced()->Add(object);
    now.base = base.value;
    now.object = object.value;
    now.content = cow::ContentKind::kSparse;
    return SaveInode(txn, open.node, now);
  }));
  WakePool();
  BeginLive(open, std::move(start), std::move(own), object, std::move(sparse));
  return {};
}

Status Filesystem::SaveRuns(OpenInode& open) {
  std::vector<SparseFile::Run> runs;
  {
    const ReaderLock io(open.io);
    if (open.sparse == nullptr) return {};
    runs = open.sparse->TakeChanged();
    if (!runs.empty()) objects_->unsynced()->Add(open.object);
  }
  size_t done = 0;
  while (done < runs.size()) {
    const std::span<const SparseFile::Run> some(runs.data() + done,
                                                std::min(kRunsAtOnce, runs.size() - done));
    const Status saved = store_->Update([&](cow::Txn& txn) -> Status {
      for (const SparseFile::Run& run : some) {
        PX_TRY(EraseRuns(txn, open.node, run.offset, run.offset + run.length));
      }
      return PutRuns(txn, open.node, some);
    });
    if (!saved) {
      const ReaderLock io(open.io);
      open.sparse->EndSaving({runs.begin() + static_cast<ptrdiff_t>(done), runs.end()});
      return saved;
    }
    done += some.size();
  }
  const ReaderLock io(open.io);
  open.sparse->EndSaving({});
  return {};
}

bool Filesystem::EndsWhole(OpenInode& open) {
  const ReaderLock io(open.io);
  return open.sparse != nullptr && open.sparse->WhollyOwn();
}

}  // namespace px::fs
