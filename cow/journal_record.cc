#include "cow/journal_record.h"

#include <xxhash.h>

#include <cstddef>
#include <cstring>
#include <string_view>

namespace px::cow {
namespace {

constexpr uint32_t kMagic = 0x4a6c7870;           // "pxlJ"
constexpr uint32_t kSyncPointMagic = 0x536c7870;  // "pxlS"
constexpr uint16_t kWholePage = 0xffff;
constexpr size_t kWord = 8;
static_assert(kNodeSize % kWord == 0 && kNodeSize < kWholePage);
// A gap of as many equal words costs less to write than another run.
constexpr size_t kJoinWords = 2;

uint64_t ChecksumOf(std::span<const std::byte> record) {
  const auto rest = record.subspan(sizeof RecordHeader::checksum);
  return XXH3_64bits(rest.data(), rest.size());
}

void Seal(uint32_t magic, uint64_t epoch, uint64_t seq, std::vector<std::byte>* record) {
  RecordHeader header{0, magic, static_cast<uint32_t>(record->size()), epoch, seq};
  std::memcpy(record->data(), &header, sizeof header);
  header.checksum = ChecksumOf(*record);
  std::memcpy(record->data(), &header, sizeof header);
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>* out) : out_(*out) {}
  template <typename T>
  void Number(T value) {
    Bytes(&value, sizeof value);
  }
  void Count(size_t value) { Number(static_cast<uint32_t>(value)); }
  void Bytes(const void* from, size_t size) {
    const auto* bytes = static_cast<const std::byte*>(from);
    out_.insert(out_.end(), bytes, bytes + size);
  }
  // The runs of `now` that differ from `before`, or all of it.
  void Page(const std::byte* now, const std::byte* before);

 private:
  std::vector<std::byte>& out_;
};

uint64_t WordAt(const std::byte* bytes, size_t word) {
  uint64_t value = 0;
  std::memcpy(&value, bytes + word * kWord, kWord);
  return value;
}

void Writer::Page(const std::byte* now, const std::byte* before) {
  constexpr size_t kWords = kNodeSize / kWord;
  const size_t start = out_.size();
  Number(kWholePage);
  uint16_t runs = 0;
  for (size_t word = 0; before != nullptr && word < kWords; ++word) {
    if (WordAt(now, word) == WordAt(before, word)) continue;
    size_t end = word + 1;  // after the last word that differs
    for (size_t at = end; at < kWords && at <= end + kJoinWords; ++at) {
      if (WordAt(now, at) != WordAt(before, at)) end = at + 1;
    }
    Number(static_cast<uint16_t>(word * kWord));
    Number(static_cast<uint16_t>((end - word) * kWord));
    Bytes(now + word * kWord, (end - word) * kWord);
    ++runs;
    word = end;
    if (out_.size() - start > kNodeSize) {
      before = nullptr;  // a whole page is shorter
      out_.resize(start + sizeof kWholePage);
    }
  }
  if (before == nullptr) {
    Bytes(now, kNodeSize);
  } else {
    std::memcpy(out_.data() + start, &runs, sizeof runs);
  }
}

class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes) : left_(bytes) {}
  template <typename T>
  Result<T> Number() {
    PX_ASSIGN(const auto bytes, Bytes(sizeof(T)));
    T value{};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  Result<std::span<const std::byte>> Bytes(size_t size) {
    if (size > left_.size()) return Fail(EUCLEAN, "journal record: too short");
    const auto bytes = left_.first(size);
    left_ = left_.subspan(size);
    return bytes;
  }
  // Calls `each` as often as the count that comes next says.
  Status Repeat(const std::function<Status()>& each) {
    PX_ASSIGN(const auto count, Number<uint32_t>());
    for (uint32_t i = 0; i < count; ++i) PX_TRY(each());
    return {};
  }
  bool done() const { return left_.empty(); }

 private:
  std::span<const std::byte> left_;
};

Status ParsePage(Parser* parser, DecodedBatch* out,
                 const std::function<Status(NodeId, std::span<std::byte>)>& load) {
  PX_ASSIGN(const auto id, parser->Number<uint64_t>());
  PX_ASSIGN(const auto runs, parser->Number<uint16_t>());
  std::vector<std::byte> page(kNodeSize);
  if (runs == kWholePage) {
    PX_ASSIGN(const auto bytes, parser->Bytes(kNodeSize));
    std::memcpy(page.data(), bytes.data(), kNodeSize);
  } else {
    PX_TRY(load(NodeId{id}, page));
    for (uint16_t i = 0; i < runs; ++i) {
      PX_ASSIGN(const auto offset, parser->Number<uint16_t>());
      PX_ASSIGN(const auto length, parser->Number<uint16_t>());
      if (size_t{offset} + length > kNodeSize) return Fail(EUCLEAN, "journal record: bad run");
      PX_ASSIGN(const auto bytes, parser->Bytes(length));
      std::memcpy(page.data() + offset, bytes.data(), length);
    }
  }
  out->storage.push_back(std::move(page));
  out->batch.pages.push_back({NodeId{id}, out->storage.back()});
  return {};
}

Status ParseVolume(Parser* parser, PageBatch* batch) {
  VolumeRow row;
  PX_ASSIGN(row.id.value, parser->Number<uint32_t>());
  PX_ASSIGN(row.root.value, parser->Number<uint64_t>());
  PX_ASSIGN(row.next_ino, parser->Number<uint64_t>());
  PX_ASSIGN(const auto size, parser->Number<uint32_t>());
  PX_ASSIGN(const auto bytes, parser->Bytes(size));
  row.attributes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  batch->volumes.push_back(std::move(row));
  return {};
}

template <typename IdType>
Status ParseCounts(Parser* parser, std::vector<PageBatch::Count<IdType>>* counts) {
  return parser->Repeat([&]() -> Status {
    PX_ASSIGN(const auto id, parser->Number<uint64_t>());
    PX_ASSIGN(const auto refs, parser->Number<uint64_t>());
    counts->push_back({IdType{id}, refs});
    return {};
  });
}

}  // namespace

void EncodeRecord(const PageBatch& batch, uint64_t epoch, uint64_t seq,
                  const std::function<const std::byte*(NodeId)>& previous,
                  std::vector<std::byte>* out) {
  out->assign(sizeof(RecordHeader), std::byte{0});
  Writer writer(out);
  writer.Count(batch.pages.size());
  for (const PageBatch::Page& page : batch.pages) {
    writer.Number(page.id.value);
    writer.Page(page.bytes.data(), previous(page.id));
  }
  writer.Count(batch.erased_pages.size());
  for (const NodeId id : batch.erased_pages) writer.Number(id.value);
  const auto counts = [&writer](const auto& all) {
    writer.Count(all.size());
    for (const auto& [id, refs] : all) {
      writer.Number(id.value);
      writer.Number(refs);
    }
  };
  counts(batch.node_refs);
  counts(batch.object_refs);
  writer.Count(batch.volumes.size());
  for (const VolumeRow& row : batch.volumes) {
    writer.Number(row.id.value);
    writer.Number(row.root.value);
    writer.Number(row.next_ino);
    writer.Count(row.attributes.size());
    writer.Bytes(row.attributes.data(), row.attributes.size());
  }
  writer.Count(batch.erased_volumes.size());
  for (const VolumeId id : batch.erased_volumes) writer.Number(id.value);
  writer.Count(batch.queued.size());
  for (const ReclaimRow& row : batch.queued) {
    writer.Number(row.seq);
    writer.Number(static_cast<uint8_t>(row.kind));
    writer.Number(row.id);
  }
  writer.Count(batch.unqueued.size());
  for (const uint64_t row : batch.unqueued) writer.Number(row);
  writer.Count(batch.counters.size());
  for (const auto& [name, value] : batch.counters) {
    writer.Number(static_cast<uint8_t>(name));
    writer.Number(value);
  }
  Seal(kMagic, epoch, seq, out);
}

void EncodeSyncPoint(uint64_t epoch, uint64_t seq, uint64_t covered, std::vector<std::byte>* out) {
  out->assign(sizeof(RecordHeader), std::byte{0});
  Writer(out).Number(covered);
  Seal(kSyncPointMagic, epoch, seq, out);
}

std::optional<uint64_t> SyncPointOf(std::span<const std::byte> record) {
  RecordHeader header;
  uint64_t covered = 0;
  if (record.size() != sizeof header + sizeof covered) return std::nullopt;
  std::memcpy(&header, record.data(), sizeof header);
  std::memcpy(&covered, record.data() + sizeof header, sizeof covered);
  if (header.magic != kSyncPointMagic) return std::nullopt;
  return covered;
}

RecordHeader HeaderOf(std::span<const std::byte> record) {
  RecordHeader header;
  std::memcpy(&header, record.data(), sizeof header);
  return header;
}

std::optional<RecordHeader> CheckRecord(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(RecordHeader)) return std::nullopt;
  const RecordHeader header = HeaderOf(bytes);
  if ((header.magic != kMagic && header.magic != kSyncPointMagic) ||
      header.length < sizeof header || header.length > bytes.size() ||
      ChecksumOf(bytes.first(header.length)) != header.checksum) {
    return std::nullopt;
  }
  return header;
}

std::optional<std::span<const std::byte>> FindRecord(std::span<const std::byte> bytes) {
  // What both magic numbers begin with, as they are in memory.
  constexpr std::string_view kBegin = "pxl";
  constexpr size_t kAt = offsetof(RecordHeader, magic);
  for (size_t at = 0; at + sizeof(RecordHeader) <= bytes.size(); ++at) {
    const auto from = bytes.subspan(at + kAt);
    const void* found = ::memmem(from.data(), from.size(), kBegin.data(), kBegin.size());
    if (found == nullptr) return std::nullopt;
    at += static_cast<size_t>(static_cast<const std::byte*>(found) - from.data());
    if (const auto header = CheckRecord(bytes.subspan(at))) {
      return bytes.subspan(at, header->length);
    }
  }
  return std::nullopt;
}

Result<DecodedBatch> DecodeRecord(std::span<const std::byte> record,
                                  const std::function<Status(NodeId, std::span<std::byte>)>& load) {
  DecodedBatch out;
  PageBatch& batch = out.batch;
  Parser parser(record.subspan(sizeof(RecordHeader)));
  PX_TRY(parser.Repeat([&] { return ParsePage(&parser, &out, load); }));
  PX_TRY(parser.Repeat([&]() -> Status {
    PX_ASSIGN(const auto id, parser.Number<uint64_t>());
    batch.erased_pages.push_back(NodeId{id});
    return {};
  }));
  PX_TRY(ParseCounts(&parser, &batch.node_refs));
  PX_TRY(ParseCounts(&parser, &batch.object_refs));
  PX_TRY(parser.Repeat([&] { return ParseVolume(&parser, &batch); }));
  PX_TRY(parser.Repeat([&]() -> Status {
    PX_ASSIGN(const auto id, parser.Number<uint32_t>());
    batch.erased_volumes.push_back(VolumeId{id});
    return {};
  }));
  PX_TRY(parser.Repeat([&]() -> Status {
    ReclaimRow row;
    PX_ASSIGN(row.seq, parser.Number<uint64_t>());
    PX_ASSIGN(const auto kind, parser.Number<uint8_t>());
    row.kind = static_cast<ReclaimRow::Kind>(kind);
    PX_ASSIGN(row.id, parser.Number<uint64_t>());
    batch.queued.push_back(row);
    return {};
  }));
  PX_TRY(parser.Repeat([&]() -> Status {
    PX_ASSIGN(const auto seq, parser.Number<uint64_t>());
    batch.unqueued.push_back(seq);
    return {};
  }));
  PX_TRY(parser.Repeat([&]() -> Status {
    PX_ASSIGN(const auto name, parser.Number<uint8_t>());
    PX_ASSIGN(const auto value, parser.Number<uint64_t>());
    batch.counters.emplace_back(static_cast<Counter>(name), value);
    return {};
  }));
  if (!parser.done()) return Fail(EUCLEAN, "journal record: too long");
  return out;
}

}  // namespace px::cow
